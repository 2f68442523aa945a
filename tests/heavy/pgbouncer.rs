//! A PgBouncer in front of the test run's cluster.

use crate::support::{Database, eventually};
use nix::unistd::{User, chown, geteuid};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

/// Of the cluster: it trusts whoever reaches its socket.
const USER: &str = "callspool";
/// The name of a server's socket on the standard port.
const SOCKET: &str = ".s.PGSQL.5432";
/// Where `.ci/setup.sh heavy` unpacks what it may not install.
const PRIVATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.callspool/debian");

pub struct PgBouncer {
    dir: TempDir,
    child: Child,
}

impl PgBouncer {
    /// In transaction mode, with at most `sessions` of them for each database.
    pub async fn transaction(database: &Database, sessions: u32) -> Self {
        Self::start(database, "transaction", sessions, "").await
    }

    /// The same, which lets the driver's start-up pass and keeps no statements' names for it.
    pub async fn lenient(database: &Database, sessions: u32) -> Self {
        let mut more = "ignore_startup_parameters = extra_float_digits\n".to_owned();
        if version().await >= (1, 21) {
            more.push_str("max_prepared_statements = 0\n");
        }
        Self::start(database, "transaction", sessions, &more).await
    }

    /// In `pool_mode`, for a driver that sends what it likes at the start.
    pub async fn before(database: &Database, pool_mode: &str, sessions: u32) -> Self {
        Self::start(database, pool_mode, sessions, "ignore_startup_parameters = extra_float_digits\n").await
    }

    /// `more`: lines of its `[pgbouncer]` section.
    async fn start(database: &Database, pool_mode: &str, sessions: u32, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let (_, server) = database.url.split_once("host=").unwrap();
        // It refuses to run as root, and changes to this user itself.
        let user = unprivileged();
        let user_line = user.as_ref().map_or(String::new(), |user| format!("user = {}\n", user.name));
        let settings = format!(
            "[databases]\n* = host={server} port=5432\n[pgbouncer]\nunix_socket_dir = {path}\nlisten_port = 5432\n\
             auth_type = trust\nauth_file = {path}/users\npool_mode = {pool_mode}\ndefault_pool_size = {sessions}\n\
             max_client_conn = 500\nserver_login_retry = 0.1\n{user_line}{more}\n"
        );
        std::fs::write(dir.path().join("pgbouncer.ini"), settings).unwrap();
        std::fs::write(dir.path().join("users"), format!("\"{USER}\" \"\"\n")).unwrap();
        if let Some(user) = user {
            chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let child = spawn(dir.path());
        let pgbouncer = Self { dir, child };
        pgbouncer.answers().await;
        pgbouncer
    }

    /// `database` as it is found here.
    pub fn database(&self, database: &Database) -> Database {
        Database { url: self.url(database) }
    }

    pub fn url(&self, database: &Database) -> String {
        let (address, _) = database.url.split_once("host=").unwrap();
        format!("{address}host={}", self.dir.path().display())
    }

    /// `kill -9`: every connection ends, and new ones are refused.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// After [`PgBouncer::kill`].
    pub async fn again(&mut self) {
        self.child = spawn(self.dir.path());
        self.answers().await;
    }

    async fn answers(&self) {
        let socket = self.dir.path().join(SOCKET);
        eventually("PgBouncer", || async { UnixStream::connect(&socket).await.ok() }).await;
    }
}

/// Major and minor.
async fn version() -> (u32, u32) {
    let said = command().arg("--version").output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let number = said.split_whitespace().nth(1).unwrap();
    let mut parts = number.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

fn command() -> Command {
    let mut command = Command::new(program());
    if let Some(libraries) = private_libraries() {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

/// It ends with the value that holds it.
fn spawn(dir: &Path) -> Child {
    let mut command = command();
    command.arg("--quiet").arg(dir.join("pgbouncer.ini"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// The one that `PGBOUNCER` names, for a run with another version; else the system's or the unpacked one.
fn program() -> PathBuf {
    let named = std::env::var_os("PGBOUNCER").map(PathBuf::from);
    let places =
        ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", &format!("{PRIVATE}/usr/sbin/pgbouncer")].map(PathBuf::from);
    let found = named.or_else(|| places.into_iter().find(|place| place.exists()));
    found.expect("PgBouncer is missing; `sh .ci/setup.sh heavy` installs it")
}

fn private_libraries() -> Option<PathBuf> {
    let folders = std::fs::read_dir(format!("{PRIVATE}/usr/lib")).ok()?;
    folders.flatten().map(|folder| folder.path()).find(|path| path.to_string_lossy().ends_with("-linux-gnu"))
}

fn unprivileged() -> Option<User> {
    if !geteuid().is_root() {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).unwrap())
}
