//! What the actors, routes and commands need from the edges. Each trait has one real implementation, in `store/` or
//! `adapters/`; all of them are called on the I/O runtime only (see `actors/mod.rs`).
//!
//! A method is one atomic step: it happens wholly or not at all, and may be called again after any error.

use super::{
    backfill::{Backfill, BackfillFile, BackfillName, BackfillStatus, BackfillTrouble, Batch, Verdict},
    business::{BusinessChange, BusinessFilter, BusinessView},
    explain::Explanation,
    failure::Failure,
    ids::{BusinessId, CallSid, InstanceId, JobId},
    job::{
        AttemptView, ClaimedJob, Disposition, Enqueued, JobFilter, JobType, JobView, NewJob, Priority, Settled,
        Settlement,
    },
    lease::{Holder, LeaseId, WorkerLife},
    migration::{
        LockTry, MigrationFailure, MigrationProgress, MigrationRecord, MigrationSet, SchemaVersions, Version,
    },
    operate::{JobOutcome, Operator, OperatorAction},
    overview::{Overview, PulseCounts, Stall, StallChange},
    recording::{RecordingFilter, RecordingView},
    slots::RingPlace,
    text::clean,
};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range, pin::Pin, time::Duration};
use utoipa::ToSchema;

/// The database did not do what was asked. The text is clean: no address, no credentials, no row's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("database: {message}")]
pub struct StoreError {
    /// PostgreSQL's five characters, where it answered at all.
    pub sqlstate: Option<String>,
    pub message: String,
}

impl StoreError {
    pub fn new(sqlstate: Option<String>, message: impl AsRef<str>) -> Self {
        Self { sqlstate, message: clean(message.as_ref()) }
    }
}

pub type StoreResult<T> = Result<T, StoreError>;

/// Where jobs come in and are looked at: the API, the webhooks and the command line.
#[async_trait]
pub trait JobBook: Send + Sync {
    /// All or nothing; the answers stand in the order of the jobs.
    async fn enqueue(&self, jobs: &[NewJob]) -> StoreResult<Vec<Enqueued>>;
    async fn job(&self, id: JobId) -> StoreResult<Option<JobView>>;
    /// The attempts of a job that failed, in their order, as long as the history is kept.
    async fn attempts(&self, id: JobId) -> StoreResult<Vec<AttemptView>>;
    async fn jobs(&self, filter: &JobFilter) -> StoreResult<Vec<JobView>>;
    /// Tells the fleet that jobs came in. A hint, never the truth: the doorbell's row is.
    async fn ring(&self) -> StoreResult<()>;
    /// One cheap query, for readiness.
    async fn ping(&self) -> StoreResult<()>;
}

/// What operators ask and do: the API, the dashboard and the command line.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Why a job does not run now; `None`: there is no such job.
    async fn explain(&self, id: JobId) -> StoreResult<Option<Explanation>>;
    /// Cancels up to [`super::operate::BATCH`] jobs; one answer for each different id, in order of the ids.
    async fn cancel(&self, ids: &[JobId], operator: &Operator) -> StoreResult<Vec<JobOutcome>>;
    /// Tries up to [`super::operate::BATCH`] jobs again, the scheduled ones at once; answers as [`Operations::cancel`].
    async fn retry(&self, ids: &[JobId], operator: &Operator) -> StoreResult<Vec<JobOutcome>>;
    /// Somebody waits for this call: its live jobs get this priority where theirs is lower. Returns how many did; asked
    /// again, it only reads.
    async fn expedite(&self, business_id: BusinessId, call_sid: &CallSid, priority: Priority) -> StoreResult<u32>;
    async fn businesses(&self, filter: BusinessFilter) -> StoreResult<Vec<BusinessView>>;
    async fn business(&self, id: BusinessId) -> StoreResult<Option<BusinessView>>;
    /// Changes a business, or makes it before its first job. The change was checked.
    async fn set_business(
        &self,
        id: BusinessId,
        change: BusinessChange,
        operator: &Operator,
    ) -> StoreResult<BusinessView>;
    /// What operators did to a business and its jobs, the newest first.
    async fn actions(&self, id: BusinessId, limit: u16) -> StoreResult<Vec<OperatorAction>>;
}

/// The watch over the queue, which every process keeps and one at a time carries out.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Looks at the queue, unless another process has just done so; what changed of the reasons for which ready jobs
    /// are not picked.
    async fn watch(&self, rules: &WatchRules) -> StoreResult<Vec<StallChange>>;
    /// Adds what ended in this process to the fleet's pulse.
    async fn add_pulse(&self, counts: &PulseCounts) -> StoreResult<()>;
}

#[derive(Debug, Clone, PartialEq)]
pub struct WatchRules {
    /// Between two looks, whichever processes take them.
    pub every: Duration,
    /// Ready jobs of which none was picked for so long are stalled.
    pub stalled_after: Duration,
    /// Without a beat for so long an instance is dead.
    pub beat_ttl: Duration,
    /// How long it is kept what operators did.
    pub keep: Duration,
    /// Slots of a business that is met for the first time.
    pub default_max_slots: i32,
}

/// Recordings that are stored.
#[async_trait]
pub trait RecordingBook: Send + Sync {
    /// Those that fit, the newest first; at most 1,000, which is far beyond what one call has.
    async fn recordings(&self, filter: &RecordingFilter) -> StoreResult<Vec<RecordingView>>;
}

/// What one claim may take.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRequest {
    pub instance: InstanceId,
    /// The free workers of this process; a claim never takes more jobs than these.
    pub workers: Vec<WorkerLife>,
    /// Where the last claim left the ring.
    pub place: RingPlace,
    /// Jobs a turn and unit of weight, see [`super::slots`].
    pub quantum: u16,
    /// How long an attempt may take before the reaper takes it for lost.
    pub lease_for: Duration,
    /// Doorbell rows that are read first, in the same transaction.
    pub drain_limit: u32,
    /// Slots of a business that is met for the first time.
    pub default_max_slots: i32,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claimed {
    /// With the worker that each was claimed for.
    pub jobs: Vec<(WorkerLife, ClaimedJob)>,
    /// Where the next claim begins.
    pub place: RingPlace,
    /// Doorbell rows that were read.
    pub bells: u32,
}

/// A job whose attempt ended without a report of its worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Reclaimed {
    pub job: JobId,
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub job_type: JobType,
    /// The attempt that ended; counts from 1.
    pub attempt: u16,
    /// How it goes on: ready again, scheduled, or dead.
    pub disposition: Disposition,
}

/// A lease of this instance, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    pub job: JobId,
    pub lease: LeaseId,
    pub life: WorkerLife,
    pub business_id: BusinessId,
    pub call_sid: CallSid,
}

/// A process as the fleet sees it. `actors` is what `status` shows of its tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstanceInfo {
    pub instance: InstanceId,
    pub host: String,
    pub pid: u32,
    pub roles: Vec<String>,
    pub version: String,
    pub workers: u16,
    pub draining: bool,
    pub actors: Vec<ActorInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActorInfo {
    pub actor: String,
    pub generation: u64,
    /// `up`, `restarting`, `waiting` (for the schema), `stopped`.
    pub state: String,
    /// Where it last panicked, such as `src/actors/listener.rs:12`, in whichever life; older processes do not say it.
    #[serde(default)]
    pub last_panic: Option<String>,
}

/// The claiming side: slots, leases, and the end of attempts. Only the slot manager claims and settles.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Reads the doorbell, then claims jobs with their slots. Never waits for another claimer.
    async fn claim(&self, request: &ClaimRequest) -> StoreResult<Claimed>;
    /// Ends attempts and frees their slots. Returns the leases that were still held: a result whose lease is missing
    /// there came too late and was dropped.
    async fn settle(&self, settlements: &[Settlement]) -> StoreResult<Vec<Settled>>;
    async fn held(&self, instance: InstanceId) -> StoreResult<Vec<HeldLease>>;
    /// Leases of this instance whose jobs are to be cancelled.
    async fn cancel_requests(&self, instance: InstanceId) -> StoreResult<Vec<LeaseId>>;
    /// Says that this instance lives; registers it the first time.
    async fn beat(&self, info: &InstanceInfo) -> StoreResult<()>;
    /// After the last lease was settled or handed back.
    async fn deregister(&self, instance: InstanceId) -> StoreResult<()>;
    /// Takes back what one life of a worker held, as a failed attempt (or, with `None`, unburnt).
    async fn reclaim(&self, holder: Holder, failure: Option<&Failure>) -> StoreResult<Vec<Reclaimed>>;
}

/// What time brings back. Every process may call these at any time; they share the work.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Takes back the leases of instances that have not beaten for `beat_ttl`, and those past their deadline.
    async fn reap(&self, beat_ttl: Duration, limit: u32) -> StoreResult<Vec<Reclaimed>>;
    /// Makes due jobs ready.
    async fn promote(&self, limit: u32) -> StoreResult<Promoted>;
    /// Creates the partitions of the days to come and drops those older than `keep`. Returns (created, dropped).
    async fn rotate_history(&self, keep: Duration) -> StoreResult<(u32, u32)>;
    /// Businesses that have ready jobs but are not marked so; must be 0. Those found are marked.
    async fn heal_stranded(&self) -> StoreResult<u64>;
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Promoted {
    pub count: u32,
    /// When the earliest of those still scheduled is due, in the database's time from now; zero when overdue.
    pub next_due_in: Option<Duration>,
}

/// Hears the bells that other processes ring. One connection of its own, see `MIGRATION_DATABASE_URL`.
#[async_trait]
pub trait Bells: Send + Sync {
    async fn listen(&self) -> StoreResult<Box<dyn BellEar>>;
}

#[async_trait]
pub trait BellEar: Send {
    /// Waits for the next bell; those that came together are one. An error ends this ear: listen again, and take it
    /// that a bell was missed.
    async fn hear(&mut self) -> StoreResult<Bell>;
}

/// What a bell says. It is a hint: what it speaks of is in the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bell {
    /// Somebody wants running jobs cancelled.
    pub cancel: bool,
}

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
    /// Takes a backfill for this process, where that may be. `again` as in [`super::backfill::Standing::verdict`];
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

/// A recording on its way in or out: its bytes, in order.
pub type MediaStream = Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, Failure>> + Send>>;

pub struct Media {
    /// Of the answer.
    pub http_status: u16,
    /// Announced by `Content-Length`, where it was.
    pub length: Option<u64>,
    pub stream: MediaStream,
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media").field("length", &self.length).finish_non_exhaustive()
    }
}

/// The telephony provider.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks for a recording's media. Every answer but a success is a [`Failure`].
    async fn fetch(&self, recording_url: &str) -> Result<Media, Failure>;
}

/// Where recordings go, and come from. A key to read by is one that the database has of a stored recording, never one
/// that somebody sent.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Starts a file that nobody sees yet.
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, Failure>;
    /// How long a stored file is, in bytes; `None`: there is none under this key.
    async fn size(&self, key: &str) -> Result<Option<u64>, Failure>;
    /// Opens a part of a stored file; the part must not be empty. The bytes are read as the stream is polled.
    async fn read(&self, key: &str, part: Range<u64>) -> Result<Option<StoredFile>, Failure>;
    /// Can a file be written, read back and removed? Asked at start, so that a wrong address says so then.
    async fn check(&self) -> Result<(), Failure>;
}

/// A stored file that is open for reading.
pub struct StoredFile {
    /// Of the whole file, in bytes.
    pub size: u64,
    /// The part that was asked for, as far as the file goes.
    pub stream: MediaStream,
}

impl fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredFile").field("size", &self.size).finish_non_exhaustive()
    }
}

/// A file being written aside. Dropping it without [`Upload::commit`] leaves nothing under the final name.
#[async_trait]
pub trait Upload: Send {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure>;
    /// The file is whole: from now on it is seen, under its final name, at once.
    async fn commit(self: Box<Self>) -> Result<(), Failure>;
    async fn abort(self: Box<Self>);
}

/// Time and randomness, so that tests can choose them.
pub trait Clock: Send + Sync {
    fn now(&self) -> DateTime<Utc>;
    /// From 0 to 1.
    fn random(&self) -> f64;
}

/// What `status` prints.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FleetStatus {
    /// Why ready jobs are not picked; empty: all goes well.
    pub stalls: Vec<Stall>,
    pub instances: Vec<InstanceStatus>,
    pub slots_in_use: i64,
    pub backlog: Backlog,
    pub oldest_ready: Option<DateTime<Utc>>,
    pub schema: SchemaVersions,
    pub lock_holder: Option<super::migration::LockHolder>,
    /// Also of the application's migrations, which no worker waits for.
    pub failed_migrations: Vec<super::migration::FailedMigration>,
    /// In the order in which they run.
    pub backfills: Vec<BackfillStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InstanceStatus {
    #[serde(flatten)]
    pub info: InstanceInfo,
    pub started_at: DateTime<Utc>,
    /// Since its last beat, by the database's clock, in milliseconds.
    pub beat_age_ms: i64,
}

/// Jobs by state, from kept counters: never counted over the backlog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Backlog {
    pub ready: i64,
    pub scheduled: i64,
    pub running: i64,
    pub done: i64,
    pub cancelled: i64,
    pub dead: i64,
}

#[async_trait]
pub trait FleetView: Send + Sync {
    async fn fleet_status(&self) -> StoreResult<FleetStatus>;
    /// What the watch and the processes wrote down: two cheap queries, whatever the backlog. The pulse is of the last
    /// `minutes`, 0 to 1,440.
    async fn overview(&self, minutes: u16) -> StoreResult<Overview>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_process_says_of_its_actors_is_still_read() {
        let older = r#"{"actor": "http", "generation": 1, "state": "up"}"#;
        assert_eq!(serde_json::from_str::<ActorInfo>(older).unwrap().last_panic, None);
    }
}
