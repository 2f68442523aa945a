//! Two clusters of a test's own: a primary, and a standby that streams from it. Either may be killed, promoted, and
//! brought back as the other's standby.

use crate::support::{Database, eventually};
use callspool::adapters::embedded_postgres::Binaries;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User, chown},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const USER: &str = "callspool";
const DATABASE: &str = "failover";

/// How the nodes are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Loopback, each on a port of its own.
    Tcp,
    /// A unix socket on the standard port, each in a folder of its own.
    Socket,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// It is on both (`synchronous_commit=on`), while there is a standby.
    Synchronous,
    Asynchronous,
}

/// The nodes are called by their place in the URL: 0 and 1. At first 0 is the primary.
pub struct Standby {
    nodes: [Node; 2],
    primary: AtomicUsize,
    binaries: Binaries,
    owner: Option<User>,
    by: By,
    replication: Replication,
    max_connections: u32,
    /// Dropped after the watchers, whose pipes end with this process: then the servers end, too.
    dir: TempDir,
}

struct Node {
    data: PathBuf,
    /// Where its socket is; empty for none.
    socket: PathBuf,
    port: u16,
    watcher: Child,
}

impl Standby {
    pub async fn synchronous() -> Self {
        Self::start(By::Tcp, Replication::Synchronous, 100).await
    }

    pub async fn asynchronous() -> Self {
        Self::start(By::Tcp, Replication::Asynchronous, 100).await
    }

    pub async fn start(by: By, replication: Replication, max_connections: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A server refuses to run as root.
        let unprivileged = || ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).unwrap());
        let owner = Uid::effective().is_root().then(|| unprivileged().unwrap());
        let own = |folder: &Path| owner.iter().for_each(|o| chown(folder, Some(o.uid), Some(o.gid)).unwrap());
        own(dir.path());
        let binaries = Binaries::find(Path::new("/nowhere")).await.unwrap();
        // Both at once, so that they differ; free a moment ago.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [free(), free()].map(|listener| listener.local_addr().unwrap().port());
        let node = |place: usize| {
            let (data, socket) = (dir.path().join(format!("node{place}")), dir.path().join(format!("s{place}")));
            fs::create_dir(&socket).unwrap();
            own(&socket);
            let mut watcher = command(owner.as_ref(), Path::new("/bin/sh"));
            watcher.args(["-c", "cat >/dev/null; exec \"$0\" -D \"$1\" -m immediate -W stop >/dev/null 2>&1"]);
            watcher.arg(binaries.path("pg_ctl")).arg(&data).stdin(Stdio::piped()).process_group(0);
            let watcher = watcher.spawn().unwrap();
            match by {
                By::Tcp => Node { data, socket: PathBuf::new(), port: ports[place], watcher },
                By::Socket => Node { data, socket, port: 5432, watcher },
            }
        };
        let nodes = [node(0), node(1)];
        let standby =
            Self { nodes, primary: AtomicUsize::new(0), binaries, owner, by, replication, max_connections, dir };
        standby.run("initdb", 0, &["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]).await;
        standby.start_again(0).await;
        standby.order(0, &format!("create database {DATABASE}")).await;
        standby.rejoin(1).await;
        standby
    }

    /// As the applications name it: node 0 first.
    pub fn database(&self) -> Database {
        self.database_at(&[0, 1])
    }

    /// The hosts in another order, or one of them alone.
    pub fn database_at(&self, places: &[usize]) -> Database {
        Database { url: self.url(places, DATABASE) }
    }

    /// The one that was promoted last.
    pub fn primary(&self) -> usize {
        self.primary.load(Relaxed)
    }

    fn url(&self, places: &[usize], database: &str) -> String {
        let nodes = places.iter().map(|place| &self.nodes[*place]);
        match self.by {
            By::Tcp => {
                let hosts: Vec<String> = nodes.map(|node| format!("127.0.0.1:{}", node.port)).collect();
                let attributes = if hosts.len() > 1 { "?target_session_attrs=read-write" } else { "" };
                format!("postgres://{USER}@{}/{database}{attributes}", hosts.join(","))
            }
            By::Socket => {
                let folders: Vec<String> = nodes.map(|node| node.socket.display().to_string()).collect();
                format!("postgres://{USER}@localhost/{database}?host={}", folders.join(","))
            }
        }
    }

    /// At once, as by a power cut: nothing is sent on, no connection is ended in words.
    pub async fn kill(&self, place: usize) {
        self.run("pg_ctl", place, &["-w", "-m", "immediate", "stop"]).await;
    }

    /// `mode`: fast or immediate.
    pub async fn restart(&self, place: usize, mode: &str) {
        self.run("pg_ctl", place, &["-w", "-m", mode, "stop"]).await;
        self.start_again(place).await;
    }

    /// Its connections stay and say nothing more, and new ones are not answered, as of a host behind a cut cable.
    pub fn freeze(&self, place: usize) {
        self.signal(place, Signal::SIGSTOP);
    }

    pub fn thaw(&self, place: usize) {
        self.signal(place, Signal::SIGCONT);
    }

    /// To the server and each of its sessions, which are its children.
    fn signal(&self, place: usize, signal: Signal) {
        let file = fs::read_to_string(self.nodes[place].data.join("postmaster.pid")).unwrap();
        let server: i32 = file.lines().next().unwrap().parse().unwrap();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        for pid in children.split_whitespace().map(|pid| pid.parse().unwrap()).chain([server]) {
            // A session may have ended in between.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Waits until it takes writes. No commit waits for a standby until there is one again.
    pub async fn promote(&self, place: usize) {
        self.run("pg_ctl", place, &["-w", "promote"]).await;
        self.primary.store(place, Relaxed);
    }

    /// As it was stopped: a standby as a standby, and a primary as one, whatever was promoted since.
    pub async fn start_again(&self, place: usize) {
        let Node { socket, port, .. } = &self.nodes[place];
        let address = if self.by == By::Tcp { "127.0.0.1" } else { "" };
        let log = self.dir.path().join(format!("node{place}.log")).display().to_string();
        let options = format!(
            "-c listen_addresses='{address}' -c port={port} -c unix_socket_directories='{}' -c fsync=off \
             -c logging_collector=off -c shared_buffers=32MB -c max_connections={} -c wal_retrieve_retry_interval=100ms",
            socket.display(),
            self.max_connections
        );
        self.run("pg_ctl", place, &["-w", "-l", &log, "-o", &options, "start"]).await;
    }

    /// Made anew as the other's standby, and up to date with it.
    pub async fn rejoin(&self, place: usize) {
        let (data, primary) = (&self.nodes[place].data, &self.nodes[1 - place]);
        if data.exists() {
            fs::remove_dir_all(data).unwrap();
        }
        let host = if self.by == By::Tcp { "127.0.0.1".to_owned() } else { primary.socket.display().to_string() };
        let port = primary.port.to_string();
        let from = ["-h", &host, "-p", &port, "-U", USER, "-R", "-X", "stream", "-c", "fast", "-N"];
        self.run("pg_basebackup", place, &from).await;
        // Of the primary's it has that, too, and would wait for a standby of its own once it is promoted.
        let settings = fs::OpenOptions::new().append(true).open(data.join("postgresql.auto.conf"));
        writeln!(settings.unwrap(), "synchronous_standby_names = ''").unwrap();
        self.start_again(place).await;
        self.standbys_of(1 - place, "streaming").await;
        if self.replication == Replication::Synchronous {
            self.order(1 - place, "alter system set synchronous_standby_names = '*'").await;
            self.order(1 - place, "select pg_reload_conf()").await;
            self.standbys_of(1 - place, "sync").await;
        }
    }

    /// Waits until there is one in this state.
    async fn standbys_of(&self, place: usize, state: &str) {
        let mut connection = self.admin(place).await;
        let asked = "select exists (select 1 from pg_stat_replication where $1 in (state, sync_state))";
        eventually(&format!("a standby that is {state}"), async || {
            let found: bool = sqlx::query_scalar(asked).bind(state).fetch_one(&mut connection).await.unwrap();
            found.then_some(())
        })
        .await;
        connection.close().await.unwrap();
    }

    async fn order(&self, place: usize, sql: &str) {
        let mut connection = self.admin(place).await;
        connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Others may have taken every connection for a while.
    async fn admin(&self, place: usize) -> PgConnection {
        let url = self.url(&[place], "postgres");
        eventually("a connection", async || PgConnection::connect(&url).await.ok()).await
    }

    /// Sessions of ours on that node, by the names that they give themselves.
    pub async fn sessions(&self, place: usize) -> Vec<String> {
        let mut connection = PgConnection::connect(&self.url(&[place], DATABASE)).await.unwrap();
        let asked = "select application_name from pg_stat_activity where application_name like 'callspool%'";
        sqlx::query_scalar(asked).fetch_all(&mut connection).await.unwrap()
    }

    pub async fn stop(mut self) {
        for place in [0, 1] {
            // One that is down already cannot be stopped.
            let _ = self.status("pg_ctl", place, &["-w", "-m", "immediate", "stop"]).await;
            self.nodes[place].watcher.kill().await.unwrap();
        }
    }

    async fn run(&self, program: &str, place: usize, arguments: &[&str]) {
        assert!(self.status(program, place, arguments).await, "{program} of node {place}: {arguments:?}");
    }

    async fn status(&self, program: &str, place: usize, arguments: &[&str]) -> bool {
        let mut command = command(self.owner.as_ref(), &self.binaries.path(program));
        command.arg("-D").arg(&self.nodes[place].data).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.unwrap().success()
    }
}

fn command(owner: Option<&User>, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if let Some(owner) = owner {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    command
}
