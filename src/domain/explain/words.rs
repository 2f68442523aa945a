//! What stands in a job's way, told in a sentence and in its detail.

use super::{AHEAD_LIMIT, Detail, JobFacts, LeaseFacts, LiveInstance, Reason, ScheduledWhy};
use crate::domain::{
    hold::HoldKind,
    job::{JobState, JobView, LastError},
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// Since when, the sentence, what to do, the detail.
type Told = (Option<DateTime<Utc>>, String, Option<String>, Detail);

impl JobFacts {
    fn takes_jobs(instance: &LiveInstance) -> bool {
        instance.workers > 0 && !instance.draining
    }

    /// What stands in the way of a ready job, the first thing to look at first. The watch in SQL keeps the same order.
    pub(super) fn obstacles(&self) -> (Reason, Vec<Reason>) {
        let business = self.business.as_ref();
        let mut found = Vec::new();
        if !self.live.iter().any(Self::takes_jobs) {
            found.push(Reason::NoLiveWorkers);
        }
        if let Some(hold) = &self.hold {
            found.push(hold.kind.reason());
        }
        if business.is_some_and(|business| business.paused) {
            found.push(Reason::BusinessPaused);
        }
        if business.is_some_and(|business| business.running >= business.max_slots) {
            found.push(Reason::SlotsFull);
        }
        if found.is_empty() { (Reason::Runnable, found) } else { (found.remove(0), found) }
    }

    /// One that is due is made ready by any process; where none takes jobs, nothing comes of it.
    pub(super) fn obstacles_of_scheduled(&self) -> (Reason, Vec<Reason>) {
        let waits = self.hold.as_ref().map_or(Reason::Scheduled, |hold| hold.kind.reason());
        if self.live.iter().any(Self::takes_jobs) {
            return (waits, Vec::new());
        }
        match self.job.run_at {
            Some(run_at) if run_at > self.now => (Reason::Scheduled, vec![Reason::NoLiveWorkers]),
            _ => (Reason::NoLiveWorkers, vec![waits]),
        }
    }

    pub(super) fn told(self, reason: Reason) -> Told {
        match reason {
            Reason::NoLiveWorkers | Reason::SchemaBehind => self.no_live_workers(),
            Reason::AccountSuspended | Reason::ProviderUnavailable | Reason::StorageUnavailable => self.held(),
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
            1 => format!("one process lives, without the role worker; {seen}"),
            live => format!("{live} processes live, none of them with the role worker; {seen}"),
        };
        let next = "start a process with `worker` in CALLSPOOL_ROLES on this database".to_owned();
        let since = last_seen.or(self.business.map(|business| business.waiting_since));
        (since, text, Some(next), Detail::NoLiveWorkers { last_seen, instances: self.live })
    }

    fn held(self) -> Told {
        let Some(hold) = self.hold.clone() else { return self.scheduled() };
        let (since, message) = (time(hold.since), &hold.message);
        let subject = hold.key.subject();
        let text = match hold.kind {
            HoldKind::Account => format!("account {subject} is suspended since {since}: {message}"),
            HoldKind::Rate => format!("account {subject} is to be left alone since {since}: {message}"),
            HoldKind::Host => format!("{subject} fails since {since}: {message}"),
            HoldKind::Storage => format!("recordings cannot be stored since {since}: {message}"),
        };
        let text = text.replace("since at ", "since ");
        let lift = format!("callspool holds lift {}", hold.key);
        let next = match (hold.kind, hold.until) {
            (_, Some(until)) => format!("it goes on by itself {}", time(until)),
            (HoldKind::Account, None) => {
                format!("put the account's credentials right; it is tried again by itself, or by {lift}")
            }
            (HoldKind::Storage, None) => {
                "make room or put the storage's rights right; it goes on by itself".to_owned()
            }
            (_, None) => format!("it is tried again by itself, or by {lift}"),
        };
        (Some(hold.since), text, Some(next), Detail::Held { hold })
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
            None => {
                (ScheduledWhy::EnqueuedForLater, format!("it was enqueued to run {}, and {when}", time(run_at)))
            }
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
        // Since its last attempt ended; a job that waits for its time does so from the start.
        let since = if why == ScheduledWhy::Retry { self.failed_at } else { Some(enqueued_at) };
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
        let by = self.cancelled_by.map(|by| format!(" by {by}")).unwrap_or_default();
        let (text, next) = match state {
            JobState::Dead => (format!("it failed for good{at}{why}"), Some(format!("callspool jobs retry {id}"))),
            JobState::Cancelled => {
                (format!("it was cancelled{by}{at}"), Some(format!("callspool jobs retry {id}")))
            }
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
