//! A private PostgreSQL for development, the demo and the tests, from the server binaries on this machine.
//!
//! The cluster lies under `.callspool/` and is reached by a unix socket in a folder that only its user may enter, so it
//! needs no password and no port. Whoever needs it starts it or joins in, and the last one that leaves stops it: file
//! locks say who is there, so one that was killed is not counted. After a `kill -9` of the last one the next start
//! takes over what still runs, or recovers the data.

mod binaries;
mod owner;

pub use binaries::Binaries;

use crate::domain::{sql_name::quoted, text::clean};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use owner::Owner;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, postgres::PgConnectOptions};
use std::{
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use tokio::process::Command;

/// Longest wait for the server to start, recovery included, or to stop.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks whether the server is up, or another process has done starting or stopping it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SUPERUSER: &str = "callspool";
const PID_FILE: &str = "postmaster.pid";
const SOCKET_LOCK: &str = ".s.PGSQL.5432.lock";
/// Counted from 0.
const SOCKET_LINE: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(
        "no PostgreSQL server binaries were found. Install them, or set DATABASE_URL.\n  \
         Debian, Ubuntu: apt-get install postgresql\n  Fedora: dnf install postgresql-server\n  \
         macOS: brew install postgresql"
    )]
    NoBinaries,
    #[error("{path} was made by PostgreSQL {needed}, whose binaries are not on this machine (found: {found})")]
    OtherVersion { path: String, needed: u32, found: u32 },
    // No `source`: what prints the chain of causes would say it twice.
    #[error("{what}: {cause}")]
    Io { what: String, cause: io::Error },
    #[error("{program} failed: {tail}")]
    Program { program: &'static str, tail: String },
    #[error("the embedded PostgreSQL does not answer: {0}")]
    NoAnswer(String),
}

/// How durable and how long-lived the cluster is to be.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedOptions {
    /// Off is for tests: a power cut may lose the cluster.
    pub fsync: bool,
    /// Stop also when this process is killed. Off in normal use: the next start takes over.
    pub stop_when_killed: bool,
    pub max_connections: u32,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { fsync: true, stop_when_killed: false, max_connections: 100 }
    }
}

/// A running cluster that this process uses, alone or with others.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    cluster: Cluster,
    /// Shared by all that use the cluster.
    users: Flock<File>,
    /// Its standard input is the pipe whose end tells it that we are gone.
    watcher: Option<tokio::process::Child>,
}

/// Where the parts of the cluster are.
#[derive(Debug)]
struct Cluster {
    binaries: Binaries,
    owner: Owner,
    /// Held while the cluster is started or stopped: one process at a time.
    turn: PathBuf,
    data: PathBuf,
    log: PathBuf,
    socket_dir: PathBuf,
}

impl EmbeddedPostgres {
    /// Whether a cluster was made under `dir` before.
    pub fn is_at(dir: &Path) -> bool {
        Owner::of_this_process().place(dir).is_ok_and(|dir| dir.join("data").is_dir())
    }

    /// Starts the cluster under `dir`, or joins the one that runs there.
    pub async fn start(dir: &Path) -> Result<Self, EmbeddedError> {
        Self::start_with(dir, EmbeddedOptions::default()).await
    }

    pub async fn start_with(dir: &Path, options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let owner = Owner::of_this_process();
        let dir = owner.home(dir).map_err(|cause| io_error("the folder of the embedded PostgreSQL", cause))?;
        let data = dir.join("data");
        let binaries = Binaries::find(&data).await?;
        let (turn, log, socket_dir) = (dir.join("turn"), dir.join("postgres.log"), socket_dir(&dir));
        let mut cluster = Cluster { binaries, owner, turn, data, log, socket_dir };
        let turn = cluster.turn().await?;
        let users = lock(&dir.join("users"), FlockArg::LockShared)?;
        cluster.ensure_initialised().await?;
        let started = cluster.ensure_running(options).await?;
        let watcher = if started && options.stop_when_killed { Some(cluster.watch()?) } else { None };
        drop(turn);
        Ok(Self { cluster, users, watcher })
    }

    /// The address of `name` in this cluster; the database is made where it is missing.
    ///
    /// `name`: letters, digits and underscores.
    pub async fn database(&self, name: &str) -> Result<String, EmbeddedError> {
        let made = async {
            let mut connection = self.cluster.connect("postgres").await?;
            // Asked again after a refusal: another process may have made it in between.
            if !is_there(&mut connection, name).await? {
                let made = connection.execute(AssertSqlSafe(format!("create database {}", quoted(name)))).await;
                if let Err(error) = made
                    && !is_there(&mut connection, name).await?
                {
                    return Err(error);
                }
            }
            connection.close().await
        };
        made.await.map_err(|error: sqlx::Error| EmbeddedError::NoAnswer(error.to_string()))?;
        Ok(self.cluster.url(name))
    }

    /// Leaves the cluster, and stops it where nobody else uses it. Connections that are still open are ended then.
    pub async fn stop(self) {
        let Self { cluster, users, watcher } = self;
        let alone = match cluster.turn().await {
            Ok(turn) => users.relock(FlockArg::LockExclusiveNonblock).is_ok().then_some(turn),
            Err(error) => {
                tracing::warn!(%error, "the embedded PostgreSQL is left running; the next start takes it over");
                None
            }
        };
        if alone.is_some() {
            match cluster.pg_ctl(&["stop", "-m", "fast"]).await {
                // Empty now; one that is not is not only ours.
                Ok(()) => drop(fs::remove_dir(&cluster.socket_dir)),
                Err(error) => {
                    tracing::warn!(%error, "the embedded PostgreSQL was not stopped; the next start takes it over");
                }
            }
        }
        if let Some(mut watcher) = watcher {
            // Ended before its pipe is, or it would stop the server for the others.
            let _ = watcher.kill().await;
        }
    }
}

async fn is_there(connection: &mut sqlx::PgConnection, database: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select 1 from pg_database where datname = $1)")
        .bind(database)
        .fetch_one(connection)
        .await
}

impl Cluster {
    fn url(&self, database: &str) -> String {
        // The host is never asked for: `host` in the query names the socket's folder.
        format!("postgres://{SUPERUSER}@localhost/{database}?host={}", self.socket_dir.display())
    }

    async fn connect(&self, database: &str) -> Result<sqlx::PgConnection, sqlx::Error> {
        self.url(database).parse::<PgConnectOptions>()?.disable_statement_logging().connect().await
    }

    /// Makes the cluster in a folder aside, so that a cluster that is there is whole.
    async fn ensure_initialised(&self) -> Result<(), EmbeddedError> {
        if self.data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let aside = self.data.with_extension("new");
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(|cause| io_error("a half-made cluster cannot be removed", cause))?;
        }
        let mut initdb = self.owner.command(&self.binaries.path("initdb"));
        initdb.arg("-D").arg(&aside).args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C"]);
        finished("initdb", initdb).await?;
        fs::rename(&aside, &self.data).map_err(|cause| io_error("the new cluster cannot be put in place", cause))
    }

    /// Whether this call started it.
    async fn ensure_running(&mut self, options: EmbeddedOptions) -> Result<bool, EmbeddedError> {
        self.forget_stale_pid().await;
        if self.is_joined().await? {
            tracing::info!("an embedded PostgreSQL runs already");
            return Ok(false);
        }
        self.owner
            .private_dir(&self.socket_dir)
            .map_err(|cause| io_error("the socket's folder cannot be made", cause))?;
        let on_off = |on| if on { "on" } else { "off" };
        let settings = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync={fsync} -c synchronous_commit={fsync} \
             -c full_page_writes={fsync} -c max_connections={} -c logging_collector=off",
            self.socket_dir.display(),
            options.max_connections,
            fsync = on_off(options.fsync),
        );
        let log = self.log.display().to_string();
        // Waits until it answers.
        self.pg_ctl(&["start", "-l", &log, "-o", &settings]).await?;
        Ok(true)
    }

    /// Waits until a server that runs answers, which takes a while when it was started just now; `false` where none runs,
    /// or none any more: it was stopping.
    async fn is_joined(&mut self) -> Result<bool, EmbeddedError> {
        let deadline = Instant::now() + PATIENCE;
        while self.pg_ctl(&["status"]).await.is_ok() {
            // It knows best where its socket is.
            if let Some(folder) = self.pid_file().and_then(|lines| lines.get(SOCKET_LINE).cloned()) {
                self.socket_dir = folder.into();
            }
            match self.connect("postgres").await {
                Ok(connection) => {
                    // It answered; how the connection ends does not matter.
                    let _ = connection.close().await;
                    return Ok(true);
                }
                Err(error) if Instant::now() > deadline => return Err(EmbeddedError::NoAnswer(error.to_string())),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        Ok(false)
    }

    /// The lines of `postmaster.pid` (PostgreSQL's source, `miscadmin.h`): of a server that runs, or that was killed.
    fn pid_file(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.data.join(PID_FILE)).ok()?;
        Some(text.lines().map(ToOwned::to_owned).collect())
    }

    /// Removes the `postmaster.pid`, and its socket's twin of it, of a server that was killed, where its number misleads
    /// PostgreSQL: after a container's restart it is another program's, and without an init process it stays a
    /// zombie's. A server and all its processes work in the data folder; while one of them still does, it is waited
    /// for, since two servers on one folder would destroy it.
    async fn forget_stale_pid(&self) {
        let Ok(data) = self.data.canonicalize() else { return };
        let works_here = |process: &Path| fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == data);
        let forgotten = async {
            while let Some(pid) = self.pid_file().and_then(|lines| lines.first()?.trim().parse::<u32>().ok()) {
                // Without this view of processes, as on macOS, PostgreSQL's own checks have to do.
                let Ok(processes) = fs::read_dir("/proc") else { break };
                if works_here(&Path::new("/proc").join(pid.to_string())) {
                    break;
                }
                if processes.flatten().any(|process| works_here(&process.path())) {
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                tracing::warn!(pid, "removing the postmaster.pid of a PostgreSQL that was killed");
                // Where one stays, the start says so.
                let _ = fs::remove_file(self.data.join(PID_FILE));
                let _ = fs::remove_file(self.socket_dir.join(SOCKET_LOCK));
                break;
            }
        };
        // Late: then the start says what is the matter.
        let _ = tokio::time::timeout(PATIENCE, forgotten).await;
    }

    async fn turn(&self) -> Result<Flock<File>, EmbeddedError> {
        let taken = async {
            loop {
                match lock(&self.turn, FlockArg::LockExclusiveNonblock) {
                    Err(EmbeddedError::Io { cause, .. }) if cause.kind() == io::ErrorKind::WouldBlock => {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    taken => break taken,
                }
            }
        };
        let late =
            |_| Err(EmbeddedError::NoAnswer("another process has been starting or stopping it for long".into()));
        tokio::time::timeout(PATIENCE, taken).await.unwrap_or_else(late)
    }

    /// A shell that waits for the end of our pipe and then stops the server.
    fn watch(&self) -> Result<tokio::process::Child, EmbeddedError> {
        let mut shell = self.owner.command(Path::new("/bin/sh"));
        shell.args(["-c", "cat >/dev/null; exec \"$0\" -D \"$1\" -m immediate -W stop >/dev/null 2>&1"]);
        shell.arg(self.binaries.path("pg_ctl")).arg(&self.data);
        // A group of its own: a Ctrl-C in the terminal is ours, not its.
        shell.stdin(Stdio::piped()).process_group(0);
        shell.spawn().map_err(|cause| io_error("the watcher of the embedded PostgreSQL cannot be started", cause))
    }

    async fn pg_ctl(&self, arguments: &[&str]) -> Result<(), EmbeddedError> {
        let mut pg_ctl = self.owner.command(&self.binaries.path("pg_ctl"));
        pg_ctl.arg("-D").arg(&self.data).arg("-w").arg("-t").arg(PATIENCE.as_secs().to_string()).args(arguments);
        finished("pg_ctl", pg_ctl).await
    }
}

/// A socket's path may have 107 bytes at most, so it does not lie with the data.
fn socket_dir(dir: &Path) -> PathBuf {
    PathBuf::from(format!("/tmp/callspool-{}", name_for(dir)))
}

/// A short name for a folder, the same with every build of this program.
fn name_for(dir: &Path) -> String {
    let digest = Sha256::digest(dir.as_os_str().as_bytes());
    let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    format!("{:016x}", u64::from_be_bytes(*first))
}

fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>, EmbeddedError> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.map_err(|cause| io_error("a lock of the embedded PostgreSQL", cause))?;
    Flock::lock(file, how)
        .map_err(|(_, errno): (_, Errno)| io_error("a lock of the embedded PostgreSQL", errno.into()))
}

/// Runs a program to its end; what it said last is the error.
async fn finished(program: &'static str, mut command: Command) -> Result<(), EmbeddedError> {
    // The server inherits none of these: `pg_ctl start -l` gives it its log.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let Output { status, stderr, .. } = command.output().await.map_err(|cause| io_error(program, cause))?;
    if status.success() {
        return Ok(());
    }
    Err(EmbeddedError::Program { program, tail: clean(&String::from_utf8_lossy(&stderr)) })
}

fn io_error(what: impl Into<String>, cause: io::Error) -> EmbeddedError {
    EmbeddedError::Io { what: what.into(), cause }
}
