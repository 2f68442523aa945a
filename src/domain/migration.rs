//! Migrations as the rest of the program sees them: outcomes are values, never strings (incident 3).

use super::text::clean;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// A version of a schema: the number at the start of a migration's file name; 0 is an empty database.
pub type Version = i64;

/// Whose migrations. Each set has versions and a history of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrationSet {
    /// Ours; in the binary.
    Callspool,
    /// The application's, from `MIGRATIONS_DIR`; run after ours.
    Application,
}

impl MigrationSet {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Callspool => "callspool",
            Self::Application => "application",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Callspool, Self::Application].into_iter().find(|set| set.as_str() == name)
    }
}

impl fmt::Display for MigrationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why this process left migrating to others. Both are safe: whoever migrates, workers wait at the schema gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// `RUN_MIGRATIONS=0`.
    Disabled,
    /// Another session held the lock during the whole wait.
    LockTimeout,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::LockTimeout => "lock_timeout",
        })
    }
}

/// How one try to migrate ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationOutcome {
    Skipped(SkipReason),
    UpToDate { version: Version },
    Applied { count: u32, version: Version },
    Failed(MigrationFailure),
}

/// A migration that did not work; the reason is clean.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MigrationFailure {
    /// Which one; `None` when it failed before any was begun.
    pub migration: Option<(MigrationSet, Version)>,
    pub reason: String,
    /// PostgreSQL's five characters, where it answered.
    pub sqlstate: Option<String>,
    /// Whether a later try can end otherwise: a broken connection can, a syntax error cannot.
    pub can_pass: bool,
    /// How often this migration is to be tried again, where its header says so.
    pub retries: Option<u32>,
}

impl MigrationFailure {
    /// One that no later try can end otherwise.
    pub fn lasting(migration: Option<(MigrationSet, Version)>, reason: impl AsRef<str>) -> Self {
        Self { migration, reason: clean(reason.as_ref()), sqlstate: None, can_pass: false, retries: None }
    }

    /// One that may pass by itself.
    pub fn passing(migration: Option<(MigrationSet, Version)>, reason: impl AsRef<str>) -> Self {
        Self { can_pass: true, ..Self::lasting(migration, reason) }
    }

    pub fn version(&self) -> Option<Version> {
        self.migration.map(|(_, version)| version)
    }
}

impl fmt::Display for MigrationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.migration {
            Some((MigrationSet::Callspool, version)) => write!(f, "migration {version} failed: ")?,
            Some((MigrationSet::Application, version)) => {
                write!(f, "the application's migration {version} failed: ")?;
            }
            None => f.write_str("migrating failed: ")?,
        }
        f.write_str(&self.reason)?;
        self.sqlstate.as_ref().map_or(Ok(()), |state| write!(f, " (SQLSTATE {state})"))
    }
}

/// A session of the database that holds something another one wants, as `pg_stat_activity` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LockHolder {
    pub pid: i32,
    /// `application_name`; a migrator's is `callspool-migrator/<instance>`.
    pub app: String,
    /// Address of the client; `None` for a unix socket, or where we may not see it.
    pub client: Option<String>,
    /// When that session, or its transaction, began; `None` where we may not see it.
    pub since: Option<DateTime<Utc>>,
    /// `active`, `idle in transaction`, …
    pub state: Option<String>,
    /// The first word of its last query: the rest may hold data.
    pub query: Option<String>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({}", self.pid, if self.app.is_empty() { "no application_name" } else { &self.app })?;
        if let Some(state) = &self.state {
            write!(f, ", {state}")?;
        }
        if let Some(query) = &self.query {
            write!(f, ", {query}")?;
        }
        if let Some(since) = self.since {
            write!(f, ", since {}", since.format("%H:%M:%S"))?;
        }
        f.write_str(")")
    }
}

/// The answer of one try for the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockTry {
    Acquired,
    /// The holder is `None` when it let go between the try and the look.
    Busy(Option<LockHolder>),
}

/// What a migration that runs is doing, as other sessions see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrationProgress {
    /// The server has no such session any more: whoever waits for its answer waits for ever.
    pub gone: bool,
    /// What it waits for, such as `Lock relation`; `None`: it works.
    pub waiting_for: Option<String>,
    /// Who is in its way.
    pub blocked_by: Vec<LockHolder>,
    /// Of an index build: its phase, and how far it is where that is known.
    pub index_build: Option<String>,
}

/// The schema of the database beside the one that this binary was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct SchemaVersions {
    /// The newest version applied.
    pub have: Version,
    /// The newest version that this binary knows.
    pub need: Version,
    /// Versions that this binary knows and that are not applied.
    pub pending: u32,
    /// The oldest applied version that is newer than this binary and not marked `compatible=true`.
    pub incompatible: Option<Version>,
}

impl SchemaVersions {
    pub fn fits(self) -> bool {
        self.pending == 0 && self.incompatible.is_none()
    }
}

impl fmt::Display for SchemaVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { have, need, pending, incompatible } = self;
        match incompatible {
            Some(version) => write!(
                f,
                "schema is at {have}; its migration {version} is newer than this binary, which knows {need}, and is \
                 not marked compatible: deploy a newer binary"
            ),
            None => write!(f, "schema is at {have}, this binary needs {need} ({pending} migrations are missing)"),
        }
    }
}

/// How the last try of a migration failed; kept until it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FailedMigration {
    pub set: MigrationSet,
    pub version: Version,
    pub failed_at: DateTime<Utc>,
    pub reason: String,
    pub sqlstate: Option<String>,
}

impl fmt::Display for FailedMigration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it failed on {}: {}", self.failed_at.format("%Y-%m-%d %H:%M:%S UTC"), self.reason)?;
        self.sqlstate.as_ref().map_or(Ok(()), |state| write!(f, " (SQLSTATE {state})"))
    }
}

/// One migration, as `migrate status` and `migrate plan` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MigrationRecord {
    pub set: MigrationSet,
    pub version: Version,
    pub description: String,
    pub state: MigrationState,
    pub applied_at: Option<DateTime<Utc>>,
    /// How long it took; unknown for one that was adopted by `migrate baseline`.
    pub ms: Option<u64>,
    /// Of one that drifted: what differs. Of one that is pending: how its last try failed.
    pub detail: Option<String>,
    /// Of one that we know: what it would run.
    #[serde(skip)]
    pub sql: Option<String>,
    #[serde(skip)]
    pub no_transaction: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    Applied,
    Pending,
    /// Applied with another content than we have.
    Drifted,
    /// Applied, older than our newest, and we do not have it.
    Missing,
    /// Applied by a newer release, which marked it compatible with us.
    Newer,
    /// Applied by a newer release, which did not.
    Incompatible,
}

impl MigrationState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Drifted => "drifted",
            Self::Missing => "missing",
            Self::Newer => "newer",
            Self::Incompatible => "incompatible",
        }
    }
}
