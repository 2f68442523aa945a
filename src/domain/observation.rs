//! What happens, as it is measured. The actors and routes say it to an [`Observer`]; what is made of it is no business
//! of theirs. It does not go by the log: a level that is turned down must not change a count.

use super::{
    explain::Reason,
    failure::FailureCode,
    hold::HoldKind,
    ids::BusinessId,
    job::{Achieved, Disposition},
    migration::MigrationOutcome,
    ports::{Backlog, StoreResult},
};
use async_trait::async_trait;
use std::time::Duration;

/// One thing that happened in this process.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A route committed a job, or found it there already.
    Enqueued { deduplicated: bool },
    /// The database answered a claim.
    Claimed { jobs: usize },
    /// The database answered a settlement.
    Settled { results: usize },
    /// A result came after its lease had ended, and was dropped.
    ResultDropped,
    /// A worker begins an attempt.
    AttemptStarted,
    /// `took` is not known of an attempt whose worker did not report.
    AttemptEnded { end: AttemptEnd, took: Option<Duration> },
    /// The database knows it: the job does not come back.
    JobEnded(JobEnd),
    /// A hold began in the fleet, by a failure of this process.
    HoldStarted { kind: HoldKind },
    /// This process tried whether the cause of a hold is gone.
    HoldProbed { is_over: bool },
    /// An actor of this group began its life number `generation`.
    ActorStarted { group: &'static str, generation: u64 },
    /// The wait for the migration lock is over, one way or the other.
    LockWaited { acquired: bool, waited: Duration },
    /// A try to tell a business's system something is over: `sent`, `failed` or `given_up`.
    Announced { outcome: &'static str },
    /// Something of a recording was deleted: its `file`, or the provider's copy (`provider`).
    Deleted { what: &'static str },
    /// This process's try to migrate is over.
    Migrated { outcome: &'static str },
}

/// Told what happens. Called by actors: never blocks.
pub trait Observer: Send + Sync {
    fn observe(&self, observation: Observation);
}

/// For a command, which nobody measures.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn observe(&self, _: Observation) {}
}

/// How a job ended that a worker had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// `latency`: from its enqueueing to its file.
    Done {
        bytes: u64,
        latency: Duration,
    },
    /// No attempt is left, or none can help.
    Dead,
    Cancelled,
}

impl JobEnd {
    /// `None`: it comes back.
    pub fn of(disposition: &Disposition, latency: Duration) -> Option<Self> {
        match disposition {
            Disposition::Achieved(Achieved::Stored(stored)) => Some(Self::Done { bytes: stored.bytes, latency }),
            Disposition::Achieved(Achieved::Nothing | Achieved::Transcribed(_)) => {
                Some(Self::Done { bytes: 0, latency })
            }
            Disposition::Dead { .. } => Some(Self::Dead),
            Disposition::Cancelled => Some(Self::Cancelled),
            Disposition::Achieved(Achieved::Advanced(_))
            | Disposition::Wait { .. }
            | Disposition::NotReady { .. }
            | Disposition::Retry { .. }
            | Disposition::HandBack => None,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptEnd {
    Stored,
    /// By a drain, or given back unburnt.
    Interrupted,
    /// By an operator.
    Cancelled,
    /// It met a hold: it does not count, and its job waits.
    Held,
    Failed(FailureCode),
}

impl AttemptEnd {
    /// The `reason` of the log's events, and `success`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Stored => "success",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Held => "held",
            Self::Failed(code) => code.as_str(),
        }
    }

    pub fn outcome(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Held => "held",
            Self::Failed(_) => "failed",
        }
    }

    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Stored, Self::Interrupted, Self::Cancelled, Self::Held]
            .into_iter()
            .chain(FailureCode::ALL.into_iter().map(Self::Failed))
    }
}

impl From<&Disposition> for AttemptEnd {
    fn from(disposition: &Disposition) -> Self {
        match disposition {
            Disposition::Achieved(_) => Self::Stored,
            Disposition::HandBack => Self::Interrupted,
            Disposition::Cancelled => Self::Cancelled,
            Disposition::Wait { .. } => Self::Held,
            Disposition::NotReady { failure, .. }
            | Disposition::Retry { failure, .. }
            | Disposition::Dead { failure } => Self::Failed(failure.code),
        }
    }
}

impl From<&MigrationOutcome> for Observation {
    fn from(outcome: &MigrationOutcome) -> Self {
        let outcome = match outcome {
            MigrationOutcome::Applied { .. } => "applied",
            MigrationOutcome::UpToDate { .. } => "up_to_date",
            MigrationOutcome::Skipped(_) => "skipped",
            MigrationOutcome::Failed(_) => "failed",
        };
        Self::Migrated { outcome }
    }
}

/// Connections of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUse {
    pub in_use: u32,
    pub idle: u32,
    pub limit: u32,
}

/// The whole fleet at one moment, as the database tells it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetGauges {
    pub backlog: Backlog,
    /// Processes that live, and those of them that take jobs.
    pub instances: i64,
    pub workers: i64,
    /// The busiest; never more than a few, however many there are.
    pub businesses: Vec<BusinessSlots>,
    /// Businesses with ready jobs that were not picked for a while, by the reason that `explain` gives.
    pub stalled: Vec<(Reason, i64)>,
    /// The holds that stand, each with the jobs that are parked for it, counted up to 1,000.
    pub holds: Vec<(HoldKind, i64)>,
    /// Age of the ready job that was enqueued first.
    pub oldest_ready: Option<Duration>,
    /// Since the queue was last looked at: how old all of this is.
    pub watch_age: Option<Duration>,
    /// What keeps dead rows from being vacuumed: every claim steps over them.
    pub horizon: Horizon,
}

/// Slots of one business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusinessSlots {
    pub business_id: BusinessId,
    pub in_use: i64,
    pub limit: i64,
}

/// How far back the database has to keep what nobody else needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Horizon {
    /// Since the oldest open transaction began.
    pub oldest_transaction: Duration,
    /// Transactions since the oldest one that a session, a replication slot or a prepared transaction still needs.
    pub oldest_xmin: u32,
}

/// What came of asking the database.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetReading {
    Fleet(FleetGauges),
    /// It answers, but its schema has nothing to be measured yet.
    NoSchema,
    /// It does not answer.
    Away,
}

impl From<StoreResult<FleetGauges>> for FleetReading {
    fn from(answer: StoreResult<FleetGauges>) -> Self {
        // Classes 42 and 3F: a table, a column or the whole schema is missing (PostgreSQL documentation, Appendix A).
        let is_missing = |code: &String| code.starts_with("42") || code.starts_with("3F");
        match answer {
            Ok(gauges) => Self::Fleet(gauges),
            Err(error) if error.sqlstate.as_ref().is_some_and(is_missing) => Self::NoSchema,
            Err(_) => Self::Away,
        }
    }
}

/// The database's side of a scrape: one cheap query, whatever the backlog.
#[async_trait]
pub trait FleetMeter: Send + Sync {
    async fn gauges(&self) -> StoreResult<FleetGauges>;
}

/// Everything that is measured, as a page for who collects it.
pub trait MetricsPage: Send + Sync {
    fn content_type(&self) -> &'static str;
    /// Whatever the reading, the page has the process's own metrics.
    fn text(&self, is_ready: bool, fleet: &FleetReading) -> String;
}
