//! The processes: each on its own ways to the database's nodes, with a key of its own for the provider, and a log in a file.

use crate::{
    checker::{Drain, Moment, Window, moment},
    clock,
    provider::Provider,
    recordings::{ACCOUNT, LIMITED_ACCOUNT},
    standby::Standby,
    support::{process::AUTH_TOKEN, way::Way},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::RngExt;
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// How many processes there are, which of them work, and which has a clock that can be set.
pub const MEMBERS: usize = 4;
pub const WORKERS: [usize; 3] = [1, 2, 3];
pub const CLOCKED: usize = 3;
/// Which take in webhooks.
pub const DOORS: [usize; 2] = [0, 3];

/// `queue.beat_ttl` of all of them.
pub const BEAT_TTL: Duration = Duration::from_secs(2);

pub const NAMES: [&str; MEMBERS] = ["door", "one", "two", "three"];
const ROLES: [&str; MEMBERS] = ["api,webhooks", "worker", "worker", "webhooks,worker"];

pub struct Member {
    pub name: &'static str,
    /// To each node.
    pub ways: [Way; 2],
    /// Scheme, host and port, the same in each of its lives.
    pub url: String,
    folder: PathBuf,
    vars: BTreeMap<String, String>,
    child: Option<Child>,
    /// More of its configuration, in its next life.
    faults: String,
}

pub struct Fleet {
    pub members: Vec<Member>,
    pub windows: Vec<Window>,
    /// The drains, with the pid of the life in the place of its instance: who that was is known when all is over.
    pub drains: Vec<(u32, Drain)>,
    /// Every life: its pid, and whose it was.
    pub lives: Vec<(u32, &'static str)>,
}

impl Fleet {
    pub fn new(folder: &Path, nodes: &Standby, provider: &Provider, storage: &Path) -> Self {
        let member = |place: usize| Member::new(place, folder, nodes, provider, storage);
        Self {
            members: (0..MEMBERS).map(member).collect(),
            windows: Vec::new(),
            drains: Vec::new(),
            lives: Vec::new(),
        }
    }

    pub fn start(&mut self, place: usize) {
        let member = &mut self.members[place];
        let pid = member.start();
        self.lives.push((pid, member.name));
    }

    /// From the cause until now, in which it may not have beaten.
    pub fn could_not_beat(&mut self, place: usize, from: Moment) {
        self.windows.push(Window { member: self.members[place].name.to_owned(), from, until: moment() });
    }

    /// Ends a member as an operator does, and waits for its end.
    pub async fn drain(&mut self, place: usize) -> Result<(), String> {
        let (from, pid) = (moment(), self.members[place].pid());
        self.members[place].signal(Signal::SIGTERM);
        let status = self.members[place].ended().await?;
        let member = self.members[place].name.to_owned();
        self.drains.push((pid, Drain { member: member.clone(), instance: String::new(), from }));
        if status.success() { Ok(()) } else { Err(format!("{member} ended a drain with {status}")) }
    }

    /// Whoever ended without an order.
    pub fn ended_by_itself(&mut self) -> Vec<String> {
        let ended = self.members.iter_mut().filter_map(|member| {
            let status = member.child.as_mut()?.try_wait().ok()??;
            member.child = None;
            Some(format!("{} ended by itself: {status}", member.name))
        });
        ended.collect()
    }

    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| Some(member.child.as_ref()?.id())).collect()
    }
}

impl Member {
    fn new(place: usize, folder: &Path, nodes: &Standby, provider: &Provider, storage: &Path) -> Self {
        let name = NAMES[place];
        let [(first, to_first), (second, to_second)] = [0, 1].map(|node| Way::to(&nodes.database_at(&[node])));
        let (_, second_folder) = to_second.url.split_once("host=").unwrap();
        let folder = folder.join(name);
        fs::create_dir_all(folder.join("config")).unwrap();
        let address = free_address();
        let mut vars = settings();
        let mut var = |name: &str, value: &str| vars.insert(name.to_owned(), value.to_owned());
        var("DATABASE_URL", &format!("{},{second_folder}", to_first.url));
        var("RUN_MIGRATIONS", if place == 0 { "1" } else { "0" });
        var("CALLSPOOL_ROLES", ROLES[place]);
        var("CALLSPOOL_HTTP_BIND", &address);
        var("CALLSPOOL_STORAGE_URL", &format!("file:{}", storage.display()));
        var("TWILIO_API_BASE", &provider.base);
        var("TWILIO_ACCOUNT_SID", ACCOUNT);
        for account in [ACCOUNT, LIMITED_ACCOUNT] {
            var(&format!("TWILIO_AUTH_TOKEN_{account}"), AUTH_TOKEN);
            // Its secret says who asks.
            var(&format!("TWILIO_API_KEY_{account}"), &format!("SK{place:032}:{name}"));
        }
        if place == CLOCKED {
            vars.extend(clock::settings(&folder));
        }
        // One meets the full disk in the middle of a file, the others look before they begin.
        if place != 1 {
            vars.insert("CALLSPOOL__STORAGE__MIN_FREE".to_owned(), "1048576".to_owned());
        }
        let url = format!("http://{address}");
        Self { name, ways: [first, second], url, folder, vars, child: None, faults: String::new() }
    }

    /// Its next life has these `[[faults]]`; the one after it has none.
    pub fn next_fails(&mut self, faults: String) {
        self.faults = faults;
    }

    fn start(&mut self) -> u32 {
        let own = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/test.toml")).unwrap();
        let accounts = format!("[twilio.accounts.{ACCOUNT}]\n[twilio.accounts.{LIMITED_ACCOUNT}]\n");
        let config = format!("{own}\n{accounts}\n{}", std::mem::take(&mut self.faults));
        fs::write(self.folder.join("config/test.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_callspool"));
        command.arg("run").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(&self.folder).envs(&self.vars);
        command.stdin(Stdio::null()).stdout(self.log("log")).stderr(self.log("errors"));
        let child = command.spawn().unwrap();
        let pid = child.id();
        self.child = Some(child);
        pid
    }

    /// All lives of a member write into one file.
    fn log(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.folder.join(name)).unwrap()
    }

    pub fn set_clock(&self, offset: &str) {
        clock::set(&self.folder, offset);
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }

    /// Its end, which somebody has ordered.
    pub async fn ended(&mut self) -> Result<ExitStatus, String> {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let began = tokio::time::Instant::now();
        while began.elapsed() < crate::support::PATIENCE {
            pace.tick().await;
            if let Some(status) = self.child.as_mut().expect("it runs").try_wait().unwrap() {
                self.child = None;
                return Ok(status);
            }
        }
        Err(format!("{} does not end", self.name))
    }

    pub async fn kill(&mut self) -> Result<(), String> {
        self.signal(Signal::SIGKILL);
        let status = self.ended().await?;
        if status.signal() == Some(9) { Ok(()) } else { Err(format!("{} ended by itself: {status}", self.name)) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// Of all members: short waits, no attempt that is the last, and a lease that no download outlives.
fn settings() -> BTreeMap<String, String> {
    let ttl = format!("{}ms", BEAT_TTL.as_millis());
    [
        ("CALLSPOOL_ENV", "test"),
        ("CALLSPOOL_LOG_FORMAT", "json"),
        ("CALLSPOOL__STORAGE__LAYOUT", "{business_id}/{call_sid}.{ext}"),
        ("CALLSPOOL__STORAGE__FSYNC", "true"),
        ("CALLSPOOL__STORAGE__MIN_FREE", "0"),
        ("CALLSPOOL__STORAGE__SWEEP_INTERVAL", "1s"),
        ("CALLSPOOL__STORAGE__SWEEP_AGE", "20s"),
        ("CALLSPOOL__DATABASE__POOL_SIZE", "5"),
        ("CALLSPOOL__WORKER__COUNT", "8"),
        ("CALLSPOOL__QUEUE__LEASE", "20s"),
        ("CALLSPOOL__TWILIO__ATTEMPT_TIMEOUT", "15s"),
        ("CALLSPOOL__QUEUE__BEAT_INTERVAL", "300ms"),
        ("CALLSPOOL__QUEUE__BEAT_TTL", &ttl),
        ("CALLSPOOL__QUEUE__REAP_INTERVAL", "200ms"),
        ("CALLSPOOL__QUEUE__PROMOTE_INTERVAL", "200ms"),
        ("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1000"),
        ("CALLSPOOL__RETRY__BASE", "100ms"),
        ("CALLSPOOL__RETRY__MAX", "1s"),
        ("CALLSPOOL__RETRY__NOT_READY_BASE", "200ms"),
        ("CALLSPOOL__RETRY__NOT_READY_MAX", "1s"),
        ("CALLSPOOL__HOLDS__REFRESH", "200ms"),
        ("CALLSPOOL__HOLDS__PROBE_FIRST", "200ms"),
        ("CALLSPOOL__HOLDS__PROBE_MAX", "1s"),
        ("CALLSPOOL__HOLDS__ACCOUNT_PROBE", "1s"),
        ("CALLSPOOL__HOLDS__STORAGE_PROBE", "1s"),
        ("CALLSPOOL__SUPERVISION__BACKOFF_MIN", "10ms"),
        ("CALLSPOOL__SHUTDOWN__GRACE_SECONDS", "3"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// One that stays the same over a restart: below the ports that connections are given.
fn free_address() -> String {
    loop {
        let address = format!("127.0.0.1:{}", rand::rng().random_range(20_000..30_000));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}
