//! A private PostgreSQL for development, the demo and the tests, from the server binaries on this machine.
//!
//! The cluster lies under `.callspool/` and is reached by a unix socket in a folder that only its user may enter, so it
//! needs no password and no port. Who starts it holds a file lock and stops it at the end; another process that
//! finds the lock taken joins in. After a `kill -9` the next start takes over what still runs, or recovers the data.

mod binaries;
mod owner;

pub use binaries::Binaries;

use crate::domain::text::clean;
use nix::fcntl::{Flock, FlockArg};
use owner::Owner;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, postgres::PgConnectOptions};
use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tokio::process::Command;

/// Longest wait for the server to start, recovery included, or to stop.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks whether another process's server is up.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SUPERUSER: &str = "callspool";

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
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
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

/// A running cluster, owned or joined.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    cluster: Cluster,
    /// `None`: another process owns the cluster.
    lock: Option<Flock<File>>,
    /// Its standard input is the pipe whose end tells it that we are gone.
    watcher: Option<tokio::process::Child>,
}

/// Where the parts of the cluster are.
#[derive(Debug)]
struct Cluster {
    binaries: Binaries,
    owner: Owner,
    data: PathBuf,
    log: PathBuf,
    socket_dir: PathBuf,
}

impl EmbeddedPostgres {
    /// Starts the cluster under `dir`, or joins the one that runs there.
    pub async fn start(dir: &Path) -> Result<Self, EmbeddedError> {
        Self::start_with(dir, EmbeddedOptions::default()).await
    }

    pub async fn start_with(dir: &Path, options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let owner = Owner::of_this_process();
        let dir = owner.home(dir).map_err(|source| io_error("the folder of the embedded PostgreSQL", source))?;
        let data = dir.join("data");
        let binaries = Binaries::find(&data).await?;
        let socket_dir = socket_dir(&dir);
        let cluster = Cluster { binaries, owner, log: dir.join("postgres.log"), socket_dir, data };
        let lock = lock(&dir.join("lock"))?;
        let mut embedded = Self { cluster, lock, watcher: None };
        if embedded.lock.is_some() {
            embedded.cluster.ensure_initialised().await?;
            embedded.cluster.ensure_running(options).await?;
            if options.stop_when_killed {
                embedded.watcher = Some(embedded.cluster.watch()?);
            }
        }
        embedded.cluster.wait_until_it_answers().await?;
        Ok(embedded)
    }

    /// The address of `name` in this cluster; the database is made where it is missing.
    ///
    /// `name`: letters, digits and underscores.
    pub async fn database(&self, name: &str) -> Result<String, EmbeddedError> {
        let made = async {
            let mut connection = self.cluster.connect("postgres").await?;
            let known: bool = sqlx::query_scalar("select exists (select 1 from pg_database where datname = $1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
            if !known {
                let quoted = name.replace('"', "\"\"");
                let made = connection.execute(AssertSqlSafe(format!("create database \"{quoted}\""))).await;
                if let Err(error) = made
                    && !is_there_already(&error)
                {
                    return Err(error);
                }
            }
            connection.close().await
        };
        made.await.map_err(|error: sqlx::Error| EmbeddedError::NoAnswer(error.to_string()))?;
        Ok(self.cluster.url(name))
    }

    /// Stops the cluster where this process owns it. Connections that are still open are ended.
    pub async fn stop(mut self) {
        if self.lock.is_none() {
            return;
        }
        if let Err(error) = self.cluster.pg_ctl(&["stop", "-m", "fast"]).await {
            tracing::warn!(%error, "the embedded PostgreSQL was not stopped; the next start takes it over");
        }
        if let Some(mut watcher) = self.watcher.take() {
            // Its pipe is closed with it; there is nothing left that it could stop.
            drop(watcher.stdin.take());
            let _ = watcher.wait().await;
        }
    }
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
            fs::remove_dir_all(&aside)
                .map_err(|source| io_error("a half-made cluster cannot be removed", source))?;
        }
        let mut initdb = self.owner.command(&self.binaries.path("initdb"));
        initdb.arg("-D").arg(&aside).args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C"]);
        finished("initdb", initdb).await?;
        fs::rename(&aside, &self.data).map_err(|source| io_error("the new cluster cannot be put in place", source))
    }

    async fn ensure_running(&self, options: EmbeddedOptions) -> Result<(), EmbeddedError> {
        self.owner
            .private_dir(&self.socket_dir)
            .map_err(|source| io_error("the socket's folder cannot be made", source))?;
        if self.pg_ctl(&["status"]).await.is_ok() {
            tracing::info!("taking over an embedded PostgreSQL that still runs");
            return Ok(());
        }
        let on_off = |on| if on { "on" } else { "off" };
        let settings = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync={fsync} -c synchronous_commit={fsync} \
             -c full_page_writes={fsync} -c max_connections={} -c logging_collector=off",
            self.socket_dir.display(),
            options.max_connections,
            fsync = on_off(options.fsync),
        );
        let log = self.log.display().to_string();
        self.pg_ctl(&["start", "-l", &log, "-o", &settings]).await
    }

    /// A shell that waits for the end of our pipe and then stops the server.
    fn watch(&self) -> Result<tokio::process::Child, EmbeddedError> {
        let mut shell = self.owner.command(Path::new("/bin/sh"));
        shell.args(["-c", "cat >/dev/null; exec \"$0\" -D \"$1\" -m immediate -W stop >/dev/null 2>&1"]);
        shell.arg(self.binaries.path("pg_ctl")).arg(&self.data);
        // A group of its own: a Ctrl-C in the terminal is ours, not its.
        shell.stdin(Stdio::piped()).process_group(0);
        shell.spawn().map_err(|source| io_error("the watcher of the embedded PostgreSQL cannot be started", source))
    }

    async fn pg_ctl(&self, arguments: &[&str]) -> Result<(), EmbeddedError> {
        let mut pg_ctl = self.owner.command(&self.binaries.path("pg_ctl"));
        pg_ctl.arg("-D").arg(&self.data).arg("-w").arg("-t").arg(PATIENCE.as_secs().to_string()).args(arguments);
        finished("pg_ctl", pg_ctl).await
    }

    async fn wait_until_it_answers(&self) -> Result<(), EmbeddedError> {
        let answer = async {
            loop {
                match self.connect("postgres").await {
                    Ok(connection) => break connection.close().await,
                    Err(_) => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answered) => answered.map_err(|error| EmbeddedError::NoAnswer(error.to_string())),
            Err(_) => Err(EmbeddedError::NoAnswer(format!("not within {} s", PATIENCE.as_secs()))),
        }
    }
}

/// Another process that joined the cluster made the database in between.
fn is_there_already(error: &sqlx::Error) -> bool {
    const DUPLICATE_DATABASE: &str = "42P04";
    const UNIQUE_VIOLATION: &str = "23505";
    let code = error.as_database_error().and_then(|answer| answer.code()).unwrap_or_default();
    [DUPLICATE_DATABASE, UNIQUE_VIOLATION].contains(&&*code)
}

/// A socket's path may have 107 bytes at most, so it does not lie with the data.
fn socket_dir(dir: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    PathBuf::from(format!("/tmp/callspool-{:016x}", hasher.finish()))
}

/// `None`: another process has it.
fn lock(path: &Path) -> Result<Option<Flock<File>>, EmbeddedError> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.map_err(|source| io_error("the lock of the embedded PostgreSQL", source))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(io_error("the lock of the embedded PostgreSQL", errno.into())),
    }
}

/// Runs a program to its end; what it said last is the error.
async fn finished(program: &'static str, mut command: Command) -> Result<(), EmbeddedError> {
    // The server inherits none of these: `pg_ctl start -l` gives it its log.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let Output { status, stderr, .. } = command.output().await.map_err(|source| io_error(program, source))?;
    if status.success() {
        return Ok(());
    }
    Err(EmbeddedError::Program { program, tail: clean(&String::from_utf8_lossy(&stderr)) })
}

fn io_error(what: impl Into<String>, source: io::Error) -> EmbeddedError {
    EmbeddedError::Io { what: what.into(), source }
}
