//! `callspool run` as a real process, whose log is read as it comes.

use super::{Database, Provider, within_patience};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

/// The token that the provider's webhooks are signed with, and its account.
pub const AUTH_TOKEN: &str = "test-auth-token";
pub const ACCOUNT_SID: &str = "AC1";

/// How a process is to be started. Variables win over everything.
pub struct Setup {
    dir: TempDir,
    vars: BTreeMap<String, String>,
    config: String,
    binary: PathBuf,
    /// The folder that its binary's release has its configuration in.
    shipped: PathBuf,
}

impl Setup {
    /// One that migrates, with short waits, on `database`.
    pub fn new(database: &Database) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_callspool"));
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let setup = Self { dir, vars: BTreeMap::new(), config: String::new(), binary, shipped };
        let storage = format!("file:{}", setup.storage().display());
        setup
            .var("DATABASE_URL", &database.url)
            .var("RUN_MIGRATIONS", "1")
            .var("CALLSPOOL_ENV", "test")
            .var("CALLSPOOL_HTTP_BIND", "127.0.0.1:0")
            .var("CALLSPOOL_LOG_FORMAT", "json")
            .var("CALLSPOOL_STORAGE_URL", &storage)
            // Without the date, so that a test can name the file.
            .var("CALLSPOOL__STORAGE__LAYOUT", "{business_id}/{call_sid}.{ext}")
            .var("CALLSPOOL__SUPERVISION__BACKOFF_MIN", "10ms")
            .var("CALLSPOOL__QUEUE__BEAT_INTERVAL", "200ms")
            .var("CALLSPOOL__QUEUE__BEAT_TTL", "1s")
            .var("CALLSPOOL__QUEUE__REAP_INTERVAL", "100ms")
            .var("CALLSPOOL__RETRY__BASE", "50ms")
            .var("CALLSPOOL__RETRY__NOT_READY_BASE", "50ms")
    }

    /// Fetches from `provider`, and believes its webhooks.
    pub fn provider(self, provider: &Provider) -> Self {
        self.var("TWILIO_API_BASE", provider.base())
            .var("TWILIO_ACCOUNT_SID", ACCOUNT_SID)
            .var("TWILIO_AUTH_TOKEN", AUTH_TOKEN)
    }

    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What [`Self::var`] was told last.
    pub fn value(&self, name: &str) -> String {
        self.vars[name].clone()
    }

    /// More of the configuration file, such as `[[faults]]`.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    /// Of another release: its binary, and the configuration that it came with.
    #[allow(dead_code, reason = "of the heavy tests")]
    pub fn of_release(mut self, binary: &Path, shipped: &Path) -> Self {
        (self.binary, self.shipped) = (binary.to_owned(), shipped.to_owned());
        self
    }

    pub fn storage(&self) -> PathBuf {
        self.dir.path().join("recordings")
    }

    /// The command with its environment; nothing of this process's is inherited but the path.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.with_environment(Command::new(&self.binary));
        command.args(arguments);
        command
    }

    /// A line for the shell, which finds `callspool` in its path.
    pub fn shell(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.with_environment(Command::new("sh"));
        command.env("PATH", format!("{}:{path}", self.binary.parent().unwrap().display())).args(["-c", line]);
        command
    }

    fn with_environment(&self, mut command: Command) -> Command {
        let config = self.dir.path().join("config");
        std::fs::create_dir_all(&config).unwrap();
        let own = std::fs::read_to_string(self.shipped.join("test.toml")).unwrap();
        std::fs::write(config.join("test.toml"), format!("{own}\n{}", self.config)).unwrap();
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // The folder `config` there is the one that it reads.
        command.current_dir(self.dir.path()).envs(&self.vars);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Starts `callspool run`; it may not be ready yet.
    pub fn start(self) -> Process {
        let command = self.command(&["run"]);
        self.start_by(command)
    }

    /// The same by a line for the shell, which ends in `exec callspool run`.
    pub fn start_by_shell(self, line: &str) -> Process {
        let command = self.shell(line);
        self.start_by(command)
    }

    fn start_by(self, mut command: Command) -> Process {
        let mut child = command.spawn().unwrap();
        let (log, stdout) = Log::read(child.stdout.take().unwrap());
        let (errors, stderr) = Log::read(child.stderr.take().unwrap());
        Process { child, log, errors, readers: [stdout, stderr], setup: self, http: reqwest::Client::new() }
    }

    /// Starts `callspool run` and waits until it is ready.
    pub async fn run(self) -> Process {
        let process = self.start();
        process.wait_until_ready().await;
        process
    }
}

/// Lines as they come; whoever waits for one is woken.
struct Log(watch::Receiver<Vec<Value>>);

impl Log {
    fn read(stream: impl AsyncRead + Send + Unpin + 'static) -> (Self, tokio::task::JoinHandle<()>) {
        let (lines, log) = watch::channel(Vec::new());
        let reader = tokio::spawn(async move {
            let mut stream = BufReader::new(stream).lines();
            while let Ok(Some(line)) = stream.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.send_modify(|lines| lines.push(line));
            }
        });
        (Self(log), reader)
    }
}

/// A running process; it is killed when this is dropped.
pub struct Process {
    child: Child,
    log: Log,
    errors: Log,
    readers: [tokio::task::JoinHandle<()>; 2],
    setup: Setup,
    http: reqwest::Client,
}

impl Process {
    /// The first log line, from the beginning on, for which `fits` holds.
    pub async fn line(&self, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let mut log = self.log.0.clone();
        let mut seen = 0;
        let found = async {
            loop {
                let new: Vec<Value> = log.borrow_and_update()[seen..].to_vec();
                seen += new.len();
                if let Some(line) = new.into_iter().find(|line| fits(line)) {
                    return Some(line);
                }
                if log.changed().await.is_err() {
                    return None;
                }
            }
        };
        within_patience(what, found)
            .await
            .unwrap_or_else(|| panic!("the process ended without: {what}\n{}", self.everything()))
    }

    /// The first event with this marker.
    pub async fn event(&self, marker: &str) -> Value {
        self.event_number(marker, 1).await
    }

    /// The `number`th event with this marker, counted from 1.
    pub async fn event_number(&self, marker: &str, number: usize) -> Value {
        let mut seen = 0;
        self.line(&format!("{marker}, number {number}"), |line| {
            seen += usize::from(line["marker"] == marker);
            seen == number
        })
        .await
    }

    /// The events with this marker so far.
    pub fn events(&self, marker: &str) -> Vec<Value> {
        self.log.0.borrow().iter().filter(|line| line["marker"] == marker).cloned().collect()
    }

    /// Every log line so far.
    pub fn lines(&self) -> Vec<Value> {
        self.log.0.borrow().clone()
    }

    /// Scheme, host and port of its HTTP server.
    pub async fn url(&self) -> String {
        let started = self.line("the start", |line| line["address"].is_string()).await;
        format!("http://{}", started["address"].as_str().unwrap())
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.url().await)).send().await.unwrap()
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.http.post(format!("{}{path}", self.url().await));
        request.header("Content-Type", "application/json").body(body.to_string()).send().await.unwrap()
    }

    /// Enqueues by `POST /v1/jobs`; the job's id.
    pub async fn enqueue(&self, business_id: i64, number: u32) -> i64 {
        let body = serde_json::json!({
            "business_id": business_id,
            "call_sid": format!("CA{number}"),
            "recording_url": format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE{number}"),
        });
        let answer = self.post_json("/v1/jobs", &body).await;
        assert_eq!(answer.status(), 202);
        json(answer).await["id"].as_i64().unwrap()
    }

    pub async fn job(&self, id: i64) -> Value {
        json(self.get(&format!("/v1/jobs/{id}")).await).await
    }

    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.status().is_success()
    }

    pub async fn wait_until_ready(&self) {
        super::eventually("readiness", || async { self.is_ready().await.then_some(()) }).await;
    }

    /// The file of a call, below its business.
    pub fn file(&self, business_id: i64, number: u32) -> PathBuf {
        self.storage().join(format!("{business_id}/CA{number}.mp3"))
    }

    pub fn storage(&self) -> PathBuf {
        self.setup.storage()
    }

    pub fn folder(&self) -> &Path {
        self.setup.dir.path()
    }

    /// What a command needs to speak of the same fleet.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub fn pid(&self) -> i32 {
        self.child.id().expect("it runs").cast_signed()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits for the end of the process and of its log; the exit code, or minus the signal's number.
    pub async fn exit_code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = self.exit_status().await;
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }

    /// The same, with whether it left a core.
    pub async fn exit_status(&mut self) -> std::process::ExitStatus {
        let status = within_patience("the end of the process", self.child.wait()).await.unwrap();
        for reader in &mut self.readers {
            within_patience("the end of the log", reader).await.unwrap();
        }
        status
    }

    /// `kill -9`, and its end.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Everything that it wrote so far, for a failure's message or a search for secrets.
    pub fn everything(&self) -> String {
        let lines = |log: &Log| log.0.borrow().iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        format!("{}\n--- stderr\n{}", lines(&self.log), lines(&self.errors))
    }

    /// Another process with the same setup: the same folder, the same variables.
    pub fn again(self) -> Process {
        self.setup.start()
    }
}

pub async fn json(answer: reqwest::Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}
