//! The queue: where jobs come in, are claimed with their slots, and end.

use super::{InstanceInfo, StoreResult};
use crate::domain::{
    failure::Failure,
    ids::{BusinessId, CallSid, InstanceId, JobId},
    job::{
        AttemptView, ClaimedJob, Disposition, Enqueued, JobFilter, JobType, JobView, NewJob, Settled, Settlement,
    },
    lease::{Holder, LeaseId, WorkerLife},
    recording::{RecordingFilter, RecordingView},
    slots::RingPlace,
};
use async_trait::async_trait;
use std::time::Duration;

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
    /// One cheap query, for readiness: the database answers and takes writes. It waits for no connection that requests use.
    async fn ping(&self) -> StoreResult<()>;
    /// Whether the database has carried out a write within this time.
    fn answered_within(&self, time: Duration) -> bool;
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
    /// Jobs a turn and unit of weight, see [`crate::domain::slots`].
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

/// What an attempt asks before it does what cannot be taken back.
#[async_trait]
pub trait Leases: Send + Sync {
    /// `false`: the attempt has ended, by a settlement or the reaper, and another one may have begun.
    async fn is_held(&self, job: JobId, lease: LeaseId) -> StoreResult<bool>;
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
    /// Looks for businesses that have ready jobs but are not marked so, among the next `limit` behind `after`; there must
    /// be none. Those found are marked.
    async fn heal_stranded(&self, after: Option<BusinessId>, limit: u32) -> StoreResult<Healed>;
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Healed {
    pub businesses: u64,
    /// Where to go on; `None`: it was the last one.
    pub next: Option<BusinessId>,
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
