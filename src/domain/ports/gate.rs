//! The migration gate, and the backfills behind it.

use super::{BellEar, StoreResult};
use crate::domain::{
    backfill::{Backfill, BackfillFile, BackfillName, BackfillTrouble, Batch, Verdict},
    migration::{
        LockTry, MigrationFailure, MigrationProgress, MigrationRecord, MigrationSet, SchemaVersions, Version,
    },
};
use async_trait::async_trait;
use std::time::Duration;

/// The migration gate's side of the database: one dedicated connection, never pooled.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Opens the connection that will hold the lock. Refuses one that a transaction-mode pooler stands before.
    async fn open(&self) -> Result<Box<dyn GateSession>, MigrationFailure>;
    /// The schema as it stands, by the ordinary pool; version 0 for an empty database.
    async fn versions(&self) -> StoreResult<SchemaVersions>;
    /// Hears of migrations that others applied. `migrates`: this process would, if it got the lock.
    async fn listen(&self, migrates: bool) -> StoreResult<Box<dyn BellEar>>;
    /// Whether a process with `RUN_MIGRATIONS=1` is connected that has not migrated yet.
    async fn somebody_migrates(&self) -> StoreResult<bool>;
    /// What the session with this process id is doing, seen from another one.
    async fn progress(&self, pid: i32) -> StoreResult<MigrationProgress>;
    /// Every migration that is known or applied, in the order in which they run.
    async fn records(&self) -> Result<Vec<MigrationRecord>, MigrationFailure>;
}

/// Dropping it closes the connection, and with it the lock.
#[async_trait]
pub trait GateSession: Send {
    /// Of its connection, as [`Gate::progress`] wants it.
    fn pid(&self) -> i32;
    /// One try; never blocks on the lock, never leaves a transaction open.
    async fn try_lock(&mut self) -> Result<LockTry, MigrationFailure>;
    /// The next migration that is pending; fails when the lock is no longer held, or when what is applied is not what we
    /// know. Ours come first, and are not held up by what is wrong with the application's.
    async fn next(&mut self) -> Result<Option<(MigrationSet, Version)>, MigrationFailure>;
    /// Applies what [`GateSession::next`] found, and says how long it took.
    async fn apply(&mut self) -> Result<Duration, MigrationFailure>;
    /// Marks the migrations of `set` up to `version` as applied without running them, and says how many were not yet.
    async fn baseline(&mut self, set: MigrationSet, version: Version) -> Result<u32, MigrationFailure>;
    /// The newest version of ours that is applied.
    async fn version(&mut self) -> Result<Version, MigrationFailure>;
    /// Tells the fleet, gives the lock back (an answer of "was not held" is an error) and closes the connection.
    async fn close(self: Box<Self>) -> Result<(), MigrationFailure>;
}

/// The folder of the application's backfills.
#[async_trait]
pub trait BackfillFiles: Send + Sync {
    /// Every `.sql` file, in no particular order. An error's text is clean.
    async fn read(&self) -> Result<Vec<BackfillFile>, String>;
}

/// How far backfills have come, and their batches. All by the pool: nothing is kept in a session.
#[async_trait]
pub trait Backfills: Send + Sync {
    /// Makes the rows of those that are met for the first time, so that `status` shows what is to come.
    async fn announce(&self, backfills: &[Backfill]) -> StoreResult<()>;
    /// Takes a backfill for this process, where that may be. `again` as in [`crate::domain::backfill::Standing::verdict`];
    /// `beat_ttl`: a holder that has not beaten for so long is dead.
    async fn begin(&self, backfill: &Backfill, again: bool, beat_ttl: Duration)
    -> Result<Verdict, BackfillTrouble>;
    /// One batch of `rows` rows, and the position behind it, in one transaction. `None`: this process no longer has the
    /// backfill; begin again.
    async fn run_batch(&self, backfill: &Backfill, rows: u32) -> Result<Option<Batch>, BackfillTrouble>;
    /// Keeps why the present batch of this process did not work yet.
    async fn note_trouble(&self, name: &BackfillName, reason: &str) -> StoreResult<()>;
    /// It cannot go on; what was committed stays.
    async fn fail(&self, name: &BackfillName, checksum: &str, reason: &str) -> StoreResult<()>;
    /// Leaves what this process runs to the others.
    async fn release(&self) -> StoreResult<()>;
}
