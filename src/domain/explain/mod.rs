//! Why a job does not run now: the one place where facts become a reason, for the API, the command line, the dashboard
//! and the log's `QUEUE_STALLED`.
//!
//! Several things may stand in the way of a ready job. The reason is the one to look at first; the others are named in
//! [`Explanation::also`]. `words` tells each reason.

mod words;

pub use words::span;

use super::{
    business::BusinessView,
    hold::Hold,
    ids::{CallSid, InstanceId, JobId},
    job::{JobState, JobView, LastError},
    migration::{LockHolder, SchemaVersions},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// Places before a job that are counted; more are "1000 or more".
pub const AHEAD_LIMIT: i64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The database's schema is older than this program: its workers wait.
    SchemaBehind,
    /// No process of the fleet takes jobs.
    NoLiveWorkers,
    /// The provider refuses the account's credentials.
    AccountSuspended,
    /// The provider is down, or asked to be left alone for a while.
    ProviderUnavailable,
    /// Recordings cannot be stored.
    StorageUnavailable,
    /// An operator paused the business.
    BusinessPaused,
    /// Every slot of the business is in use.
    SlotsFull,
    /// Nothing stands in its way: it is its turn as soon as a worker is free.
    Runnable,
    /// It is not its time yet.
    Scheduled,
    /// It runs.
    Running,
    /// It is over.
    Finished,
}

impl Reason {
    pub const ALL: [Self; 11] = [
        Self::SchemaBehind,
        Self::NoLiveWorkers,
        Self::AccountSuspended,
        Self::ProviderUnavailable,
        Self::StorageUnavailable,
        Self::BusinessPaused,
        Self::SlotsFull,
        Self::Runnable,
        Self::Scheduled,
        Self::Running,
        Self::Finished,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SchemaBehind => "schema_behind",
            Self::NoLiveWorkers => "no_live_workers",
            Self::AccountSuspended => "account_suspended",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::StorageUnavailable => "storage_unavailable",
            Self::BusinessPaused => "business_paused",
            Self::SlotsFull => "slots_full",
            Self::Runnable => "runnable",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Finished => "finished",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such reason")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or(UnknownReason)
    }
}

/// What `explain` answers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Explanation {
    pub job_id: JobId,
    pub state: JobState,
    pub reason: Reason,
    /// Since when this reason holds, where that is known.
    pub since: Option<DateTime<Utc>>,
    /// The reason in a sentence.
    pub text: String,
    /// What to do about it, where somebody has to do something.
    pub next: Option<String>,
    /// What else stands in its way, and would be the reason if the first did not.
    pub also: Vec<Reason>,
    pub detail: Detail,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Detail {
    SchemaBehind {
        #[serde(flatten)]
        versions: SchemaVersions,
        #[schema(required)]
        lock_holder: Option<LockHolder>,
    },
    NoLiveWorkers {
        /// When a process that takes jobs last said that it lives; `None`: never since the first migration.
        #[schema(required)]
        last_seen: Option<DateTime<Utc>>,
        /// The processes that live, none of which takes jobs.
        instances: Vec<LiveInstance>,
    },
    Held {
        hold: Hold,
    },
    BusinessPaused {
        #[schema(required)]
        paused_at: Option<DateTime<Utc>>,
        #[schema(required)]
        paused_by: Option<String>,
    },
    SlotsFull {
        max_slots: i32,
        running: i32,
        /// The jobs that have them, the longest first; at most 100.
        holders: Vec<SlotHolder>,
    },
    Runnable {
        /// Ready jobs of the same business that run before it, counted up to [`AHEAD_LIMIT`].
        ahead: i64,
        /// Processes that take jobs, the downloads that they do at a time, and those they do now.
        live_workers: i64,
        capacity: i64,
        in_use: i64,
        #[schema(required)]
        waiting_since: Option<DateTime<Utc>>,
    },
    Scheduled {
        run_at: DateTime<Utc>,
        due_in_ms: i64,
        why: ScheduledWhy,
        /// Attempts used, of how many.
        attempt: u16,
        max_attempts: u16,
        #[schema(required)]
        error: Option<LastError>,
        /// What the provider asked for, where the wait is its wish.
        #[schema(required)]
        retry_after_ms: Option<i64>,
    },
    Running {
        instance: InstanceId,
        #[schema(required)]
        host: Option<String>,
        worker: u16,
        started_at: DateTime<Utc>,
        deadline_at: DateTime<Utc>,
        /// Since the last beat of the process that has it.
        #[schema(required)]
        beat_age_ms: Option<i64>,
        cancel_requested: bool,
    },
    Finished {
        state: JobState,
        #[schema(required)]
        finished_at: Option<DateTime<Utc>>,
        #[schema(required)]
        error: Option<LastError>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledWhy {
    /// An attempt failed.
    Retry,
    /// Whoever enqueued it wanted it later.
    EnqueuedForLater,
}

/// A running job, as the one that waits for its slot sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlotHolder {
    pub job_id: JobId,
    pub call_sid: CallSid,
    pub since: DateTime<Utc>,
    pub instance: InstanceId,
    /// `None`: the process is gone, and the reaper takes the slot back.
    pub host: Option<String>,
    pub worker: u16,
    pub beat_age_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveInstance {
    pub instance: InstanceId,
    pub host: String,
    pub roles: Vec<String>,
    /// Downloads at a time; 0 for a process that takes no jobs.
    pub workers: i64,
    pub draining: bool,
}

/// What is known about a job at one moment, all from one snapshot of the database.
#[derive(Debug, Clone)]
pub struct JobFacts {
    pub job: JobView,
    /// The database's clock.
    pub now: DateTime<Utc>,
    pub retry_after_ms: Option<i64>,
    /// What it is parked for, or would be as soon as it is picked.
    pub hold: Option<Hold>,
    pub lease: Option<LeaseFacts>,
    /// `None`: no bell of it was read yet.
    pub business: Option<BusinessView>,
    pub holders: Vec<SlotHolder>,
    pub ahead: i64,
    pub live: Vec<LiveInstance>,
    pub worker_seen_at: Option<DateTime<Utc>>,
    pub in_use: i64,
    /// When its last attempt failed.
    pub failed_at: Option<DateTime<Utc>>,
    pub cancelled_by: Option<String>,
}

#[derive(Debug, Clone)]
pub struct LeaseFacts {
    pub instance: InstanceId,
    pub host: Option<String>,
    pub worker: u16,
    pub deadline_at: DateTime<Utc>,
    pub beat_age_ms: Option<i64>,
    pub cancel_requested: bool,
}

impl Explanation {
    /// Workers of this program wait for the schema, whatever the job.
    pub fn schema_behind(job: &JobView, versions: SchemaVersions, lock_holder: Option<LockHolder>) -> Self {
        let SchemaVersions { have, need, .. } = versions;
        Self {
            job_id: job.id,
            state: job.state,
            reason: Reason::SchemaBehind,
            since: None,
            text: format!(
                "the database's schema is at version {have}, and this release needs {need}: workers wait"
            ),
            next: Some(match &lock_holder {
                Some(holder) => format!("wait for the migration that {holder} is doing, or look at that session"),
                None => "run `callspool migrate run`, or start one process with RUN_MIGRATIONS=1".to_owned(),
            }),
            also: Vec::new(),
            detail: Detail::SchemaBehind { versions, lock_holder },
        }
    }

    pub fn of(facts: JobFacts) -> Self {
        let job = facts.job.clone();
        let (reason, also) = match job.state {
            JobState::Ready => facts.obstacles(),
            JobState::Scheduled => facts.obstacles_of_scheduled(),
            JobState::Running => (Reason::Running, Vec::new()),
            JobState::Done | JobState::Cancelled | JobState::Dead => (Reason::Finished, Vec::new()),
        };
        let (since, text, next, detail) = facts.told(reason);
        Self { job_id: job.id, state: job.state, reason, since, text, next, also, detail }
    }
}
