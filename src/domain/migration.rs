//! Migrations as the rest of the program sees them: outcomes are values, never strings (incident 3).

use super::text::clean;
use serde::Serialize;
use std::{fmt, time::Duration};

/// A version of the schema: the number at the start of a migration's file name; 0 is an empty database.
pub type Version = i64;

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
#[error("migration {} failed: {reason}", version.map_or_else(|| "(none)".to_owned(), |v| v.to_string()))]
pub struct MigrationFailure {
    /// Which one; `None` when it failed before any was begun.
    pub version: Option<Version>,
    pub reason: String,
    /// Whether a later try can end otherwise: a broken connection can, a syntax error cannot.
    pub can_pass: bool,
}

impl MigrationFailure {
    pub fn new(version: Option<Version>, reason: impl AsRef<str>, can_pass: bool) -> Self {
        Self { version, reason: clean(reason.as_ref()), can_pass }
    }
}

/// Who has the migration lock, as `pg_locks` and `pg_stat_activity` tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockHolder {
    pub pid: i32,
    /// `application_name`; a migrator's is `callspool-migrator/<instance>`.
    pub app: String,
    /// When that session began.
    pub since: chrono::DateTime<chrono::Utc>,
}

/// The answer of one try for the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockTry {
    Acquired,
    /// The holder is `None` when it let go between the try and the look.
    Busy(Option<LockHolder>),
}

/// One migration that was applied just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedMigration {
    pub version: Version,
    pub took: Duration,
}

/// The schema of the database beside the one that this binary was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SchemaVersions {
    pub have: Version,
    pub need: Version,
}

impl SchemaVersions {
    pub fn fits(self) -> bool {
        self.have >= self.need
    }
}
