//! Why a job does not run now: the one place where facts become a reason, for the API, the command line, the dashboard
//! and the log's `QUEUE_STALLED`.
//!
//! Several things may stand in the way of a ready job. The reason is the one to look at first; the others are named in
//! [`Explanation::also`].

use super::{
    business::BusinessView,
    ids::{CallSid, InstanceId, JobId},
    job::{JobState, JobView, LastError},
    migration::{LockHolder, SchemaVersions},
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
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
    pub const ALL: [Self; 8] = [
        Self::SchemaBehind,
        Self::NoLiveWorkers,
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
        lock_holder: Option<LockHolder>,
    },
    NoLiveWorkers {
        /// When a process that takes jobs last said that it lives; `None`: never since the first migration.
        last_seen: Option<DateTime<Utc>>,
        /// The processes that live, none of which takes jobs.
        instances: Vec<LiveInstance>,
    },
    BusinessPaused {
        paused_at: Option<DateTime<Utc>>,
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
        waiting_since: Option<DateTime<Utc>>,
    },
    Scheduled {
        run_at: DateTime<Utc>,
        due_in_ms: i64,
        why: ScheduledWhy,
        /// Attempts used, of how many.
        attempt: u16,
        max_attempts: u16,
        error: Option<LastError>,
        /// What the provider asked for, where the wait is its wish.
        retry_after_ms: Option<i64>,
    },
    Running {
        instance: InstanceId,
        host: Option<String>,
        worker: u16,
        started_at: DateTime<Utc>,
        deadline_at: DateTime<Utc>,
        /// Since the last beat of the process that has it.
        beat_age_ms: Option<i64>,
        cancel_requested: bool,
    },
    Finished {
        state: JobState,
        finished_at: Option<DateTime<Utc>>,
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
    pub lease: Option<LeaseFacts>,
    /// `None`: no bell of it was read yet.
    pub business: Option<BusinessView>,
    pub holders: Vec<SlotHolder>,
    pub ahead: i64,
    pub live: Vec<LiveInstance>,
    pub worker_seen_at: Option<DateTime<Utc>>,
    pub in_use: i64,
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
            JobState::Scheduled => (Reason::Scheduled, Vec::new()),
            JobState::Running => (Reason::Running, Vec::new()),
            JobState::Done | JobState::Cancelled | JobState::Dead => (Reason::Finished, Vec::new()),
        };
        let (since, text, next, detail) = facts.told(reason);
        Self { job_id: job.id, state: job.state, reason, since, text, next, also, detail }
    }
}

type Told = (Option<DateTime<Utc>>, String, Option<String>, Detail);

impl JobFacts {
    fn takes_jobs(instance: &LiveInstance) -> bool {
        instance.workers > 0 && !instance.draining
    }

    /// What stands in the way of a ready job, the first thing to look at first. The watch in SQL keeps the same order.
    fn obstacles(&self) -> (Reason, Vec<Reason>) {
        let business = self.business.as_ref();
        let mut found = Vec::new();
        if !self.live.iter().any(Self::takes_jobs) {
            found.push(Reason::NoLiveWorkers);
        }
        if business.is_some_and(|business| business.paused) {
            found.push(Reason::BusinessPaused);
        }
        if business.is_some_and(|business| business.running >= business.max_slots) {
            found.push(Reason::SlotsFull);
        }
        if found.is_empty() { (Reason::Runnable, found) } else { (found.remove(0), found) }
    }

    fn told(self, reason: Reason) -> Told {
        match reason {
            Reason::NoLiveWorkers | Reason::SchemaBehind => self.no_live_workers(),
            Reason::BusinessPaused => self.business_paused(),
            Reason::SlotsFull => self.slots_full(),
            Reason::Runnable => self.runnable(),
            Reason::Scheduled => self.scheduled(),
            Reason::Running => self.running(),
            Reason::Finished => self.finished(),
        }
    }

    fn no_live_workers(self) -> Told {
        let last_seen = self.worker_seen_at;
        let seen = last_seen
            .map_or_else(|| "none was ever seen".to_owned(), |at| format!("the last was seen {}", time(at)));
        let draining = self.live.iter().any(|instance| instance.workers > 0);
        let text = match self.live.len() {
            0 => format!("no process lives that takes jobs; {seen}"),
            _ if draining => format!("every process that takes jobs is draining; {seen}"),
            live => format!("{live} processes live, none of them with the role worker; {seen}"),
        };
        let next = "start a process with `worker` in CALLSPOOL_ROLES on this database".to_owned();
        (last_seen, text, Some(next), Detail::NoLiveWorkers { last_seen, instances: self.live })
    }

    fn business_paused(self) -> Told {
        let id = self.job.business_id;
        let (paused_at, paused_by) = self.business.map_or((None, None), |b| (b.paused_at, b.paused_by));
        let by = paused_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let at = paused_at.map(|at| format!(" {}", time(at))).unwrap_or_default();
        let text = format!("business {id} was paused{by}{at}");
        let next = format!("callspool businesses set {id} --resume");
        (paused_at, text, Some(next), Detail::BusinessPaused { paused_at, paused_by })
    }

    fn slots_full(self) -> Told {
        let id = self.job.business_id;
        let (running, max_slots, since) =
            self.business.map_or((0, 0, None), |b| (b.running, b.max_slots, Some(b.waiting_since)));
        let longest = self
            .holders
            .first()
            .map(|holder| format!("; job {} has had one for {}", holder.job_id, span(self.now - holder.since)));
        let text =
            format!("{running} of {max_slots} slots of business {id} are in use{}", longest.unwrap_or_default());
        let next = if max_slots == 0 {
            format!("callspool businesses set {id} --max-slots 5")
        } else {
            format!(
                "wait for one of them, cancel one, or callspool businesses set {id} --max-slots {}",
                max_slots + 1
            )
        };
        (since, text, Some(next), Detail::SlotsFull { max_slots, running, holders: self.holders })
    }

    fn runnable(self) -> Told {
        let capacity =
            self.live.iter().filter(|instance| Self::takes_jobs(instance)).map(|i| i.workers).sum::<i64>();
        let live_workers = self.live.iter().filter(|instance| Self::takes_jobs(instance)).count();
        let (ahead, in_use) = (self.ahead, self.in_use);
        let waiting_since = self.business.map(|business| business.waiting_since);
        let before = match ahead {
            0 => "it is the next of its business".to_owned(),
            AHEAD_LIMIT.. => format!("{AHEAD_LIMIT} or more jobs of its business are before it"),
            _ => format!("{ahead} jobs of its business are before it"),
        };
        let busy = if in_use >= capacity { "all workers are busy" } else { "workers are free" };
        let text = format!("nothing stands in its way: {before}, and {busy} ({in_use} of {capacity})");
        let next = (in_use >= capacity).then(|| "start another worker, or raise worker.count".to_owned());
        let live_workers = i64::try_from(live_workers).unwrap_or(i64::MAX);
        (waiting_since, text, next, Detail::Runnable { ahead, live_workers, capacity, in_use, waiting_since })
    }

    fn scheduled(self) -> Told {
        let JobView { id, run_at, attempt, max_attempts, enqueued_at, last_error, .. } = self.job;
        let run_at = run_at.unwrap_or(self.now);
        let due_in = run_at - self.now;
        let when =
            if due_in > TimeDelta::zero() { format!("runs in {}", span(due_in)) } else { "is due".to_owned() };
        let (why, text) = match &last_error {
            Some(error) => {
                let asked = self.retry_after_ms.map(TimeDelta::milliseconds);
                let asked = asked.map(|wait| format!(", whose Retry-After is {}", span(wait))).unwrap_or_default();
                let next = attempt + 1;
                let LastError { code, message } = error;
                let text = format!("attempt {next} of {max_attempts} {when}, after {code} ({message}){asked}");
                (ScheduledWhy::Retry, text)
            }
            None => (ScheduledWhy::EnqueuedForLater, format!("it was enqueued for {}, and {when}", time(run_at))),
        };
        let detail = Detail::Scheduled {
            run_at,
            due_in_ms: due_in.num_milliseconds(),
            why,
            attempt,
            max_attempts,
            error: last_error,
            retry_after_ms: self.retry_after_ms,
        };
        let next = format!("callspool jobs retry {id} runs it now");
        // Since its last attempt ended, which is nowhere kept; a job that waits for its time does so from the start.
        let since = (why == ScheduledWhy::EnqueuedForLater).then_some(enqueued_at);
        (since, text, Some(next), detail)
    }

    fn running(self) -> Told {
        let started_at = self.job.started_at.unwrap_or(self.now);
        let Some(lease) = self.lease else {
            // The lease ended between two tables of one look; it cannot, in one snapshot.
            return self.finished();
        };
        let LeaseFacts { instance, host, worker, deadline_at, beat_age_ms, cancel_requested } = lease;
        let at = host.clone().unwrap_or_else(|| format!("a process that is gone ({instance})"));
        let stops = if cancel_requested { "; it is asked to stop" } else { "" };
        let took = span(self.now - started_at);
        let text = format!("worker {worker} at {at} has worked on it for {took}{stops}");
        let detail =
            Detail::Running { instance, host, worker, started_at, deadline_at, beat_age_ms, cancel_requested };
        (Some(started_at), text, None, detail)
    }

    fn finished(self) -> Told {
        let JobView { id, state, finished_at, last_error, .. } = self.job;
        let at = finished_at.map(|at| format!(" {}", time(at))).unwrap_or_default();
        let why = last_error.as_ref().map(|e| format!(": {} ({})", e.code, e.message)).unwrap_or_default();
        let (text, next) = match state {
            JobState::Dead => (format!("it failed for good{at}{why}"), Some(format!("callspool jobs retry {id}"))),
            JobState::Cancelled => (format!("it was cancelled{at}"), Some(format!("callspool jobs retry {id}"))),
            _ => (format!("its recording was stored{at}"), None),
        };
        (finished_at, text, next, Detail::Finished { state, finished_at, error: last_error })
    }
}

fn time(at: DateTime<Utc>) -> String {
    format!("at {}", at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// A length of time for a person: two units at most.
pub fn span(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, 0) => format!("{} ms", length.num_milliseconds().max(0)),
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}
