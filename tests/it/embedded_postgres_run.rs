//! `callspool run` with no configuration at all, in an empty folder.

use crate::support::{Provider, eventually, provider::recording, within_patience};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Some user that is not root; where the tests' own is none, everything runs as that one.
const NOBODY: u32 = 65_534;

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// The binary with nothing but a path, a port that is free and a provider that is here.
fn callspool(dir: &Path, provider: &Provider, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callspool"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).current_dir(dir).args(arguments);
    command.env("CALLSPOOL_HTTP_BIND", "127.0.0.1:0").env("TWILIO_API_BASE", provider.base());
    command.env("CALLSPOOL__STORAGE__LAYOUT", "{business_id}/{call_sid}.{ext}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// A process and its log, as it comes.
struct Run {
    child: Child,
    log: Lines<BufReader<ChildStdout>>,
}

impl Run {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, log }
    }

    /// Reads on to a line with this text.
    async fn line(&mut self, text: &str) -> String {
        let found = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the process ended without {text}")
        };
        within_patience(text, found).await
    }

    async fn url(&mut self) -> String {
        let line = self.line("address=").await;
        let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap();
        format!("http://{address}")
    }

    async fn end(mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().unwrap().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        // Read to the end, so that it can write to the end.
        while within_patience("the end of the log", self.log.next_line()).await.unwrap().is_some() {}
        within_patience("the end of the process", self.child.wait()).await.unwrap().code()
    }
}

async fn stores_a_recording(url: &str, number: u32, dir: &Path) {
    let client = reqwest::Client::new();
    let is_ready =
        || async { client.get(format!("{url}/readyz")).send().await.ok()?.status().is_success().then_some(()) };
    eventually("readiness", is_ready).await;
    let body = format!(r#"{{"business_id":42,"call_sid":"CA{number}","recording_url":"/Recordings/RE{number}"}}"#);
    let request = client.post(format!("{url}/v1/jobs")).header("Content-Type", "application/json").body(body);
    assert_eq!(request.send().await.unwrap().status(), 202);
    let file = dir.join(format!("data/recordings/42/CA{number}.mp3"));
    let stored = || async { fs::read(&file).ok().filter(|bytes| *bytes == recording(number)).map(|_| ()) };
    eventually("the file", stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_empty_folder_it_becomes_ready_stores_and_goes_on_after_a_kill() {
    let (dir, provider) = (folder(), Provider::start());
    let mut run = Run::start(callspool(dir.path(), &provider, &["run"]));
    stores_a_recording(&run.url().await, 1, dir.path()).await;
    // A command joins in and leaves it running.
    let status = callspool(dir.path(), &provider, &["status"]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("api,webhooks,worker"), "{status:?}");
    run.child.kill().await.unwrap();

    let mut run = Run::start(callspool(dir.path(), &provider, &["run"]));
    stores_a_recording(&run.url().await, 2, dir.path()).await;
    let list = callspool(dir.path(), &provider, &["jobs", "list", "--json"]).output().await.unwrap();
    let jobs: Vec<serde_json::Value> = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(jobs.len(), 2, "what was there before the kill still is: {jobs:?}");
    assert_eq!(run.end().await, Some(0));
    assert!(!dir.path().join(".callspool/data/postmaster.pid").exists(), "it ended with the process");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_for_a_user_who_is_not_root() {
    let (dir, provider) = (folder(), Provider::start());
    let mut command = callspool(dir.path(), &provider, &["run"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
        nix::unistd::chown(dir.path(), Some(NOBODY.into()), Some(NOBODY.into())).unwrap();
    }
    let mut run = Run::start(command);
    stores_a_recording(&run.url().await, 1, dir.path()).await;
    assert_eq!(run.end().await, Some(0));
}

/// A process that cannot start must not leave a server behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_stops_the_server_that_it_started() {
    let (dir, provider) = (folder(), Provider::start());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = callspool(dir.path(), &provider, &["run"]);
    let output = command.env("CALLSPOOL_HTTP_BIND", &address).stderr(Stdio::piped()).output().await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(&format!("CALLSPOOL_HTTP_BIND {address} cannot be bound")), "{err}");
    assert!(dir.path().join(".callspool/data/PG_VERSION").exists());
    assert!(!dir.path().join(".callspool/data/postmaster.pid").exists());
}

/// Somebody who stands in another folder than the fleet's would see an empty database, and believe it.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_looks_makes_no_database_where_there_is_none() {
    let (dir, provider) = (folder(), Provider::start());
    for arguments in [&["status"][..], &["jobs", "list"], &["businesses", "set", "1", "--pause"]] {
        let said = callspool(dir.path(), &provider, arguments).stderr(Stdio::piped()).output().await.unwrap();
        let complaint = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("no DATABASE_URL, and no embedded PostgreSQL in .callspool"), "{complaint}");
        assert!(complaint.contains("next: set DATABASE_URL, or go to the folder"), "{complaint}");
    }
    assert!(!dir.path().join(".callspool").exists());
}
