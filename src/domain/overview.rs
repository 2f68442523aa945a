//! The fleet as it is now and has been for the last hours: what the dashboard's first page and the metrics show.
//!
//! All of it is kept as it happens, in rows that are few: to look costs the same whatever the backlog, and however many
//! look.

use super::{
    business::BusinessView,
    explain::Reason,
    hold::HoldView,
    ids::BusinessId,
    job::{Achieved, Disposition},
    ports::Backlog,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use utoipa::ToSchema;

/// Upper bounds of the classes in which the times from enqueue to file are counted, in milliseconds; what is longer goes
/// into one more.
pub const LATENCY_BOUNDS_MS: [u64; 17] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000, 120_000, 600_000, 1_800_000, 7_200_000,
    86_400_000,
];

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Overview {
    /// When the queue was last looked at; `None`: never yet.
    pub at: Option<DateTime<Utc>>,
    /// Why ready jobs are not picked, the longest first. Empty: all goes well.
    pub stalls: Vec<Stall>,
    /// What many jobs wait for together, the oldest first.
    pub holds: Vec<HoldView>,
    /// Why jobs fail, the commonest first; at most 5.
    pub failing: Vec<Failing>,
    pub backlog: Backlog,
    pub slots_in_use: i64,
    pub oldest_ready: Option<DateTime<Utc>>,
    /// The busiest, at most 20.
    pub businesses: Vec<BusinessView>,
    /// Processes that live, and those of them that take jobs.
    pub instances: i32,
    pub workers: i32,
    pub pulse: Vec<PulsePoint>,
}

/// Jobs that failed for one reason, among the newest thousand that are to be tried again and that failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failing {
    /// As in a job's `last_error`.
    pub code: String,
    /// To be tried again.
    pub retrying: i64,
    /// Failed for good within the last hour.
    pub dead: i64,
}

/// Ready jobs that were not picked for a while, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stall {
    pub reason: Reason,
    pub since: DateTime<Utc>,
    /// How many businesses, and how many ready jobs of theirs; where no process takes jobs, the scheduled ones as well.
    pub businesses: i64,
    pub ready: i64,
    /// The one that has waited longest.
    pub business_id: BusinessId,
    pub text: String,
}

impl Stall {
    pub fn new(reason: Reason, since: DateTime<Utc>, businesses: i64, ready: i64, business_id: BusinessId) -> Self {
        let who = if (businesses, ready) == (1, 1) {
            format!("a job of business {business_id} waits")
        } else if businesses == 1 {
            format!("{ready} jobs of business {business_id} wait")
        } else {
            format!("{ready} jobs of {businesses} businesses wait, business {business_id} the longest")
        };
        let why = match reason {
            Reason::NoLiveWorkers => "no process takes jobs",
            Reason::AccountSuspended => "the provider refuses their account",
            Reason::ProviderUnavailable => "the provider is not available",
            Reason::StorageUnavailable => "recordings cannot be stored",
            Reason::BusinessPaused => "an operator paused them",
            Reason::SlotsFull => "every slot is in use, and no download ended",
            Reason::SchemaBehind => "workers wait for the schema",
            Reason::Runnable | Reason::Scheduled | Reason::Running | Reason::Finished => "all workers are busy",
        };
        Self { reason, since, businesses, ready, business_id, text: format!("{who}: {why}") }
    }
}

/// What one look at the queue found changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StallChange {
    Begun(Stall),
    Over(Stall),
}

/// Ten seconds of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PulsePoint {
    /// Their beginning.
    pub at: DateTime<Utc>,
    /// At that time; `None` where nobody looked.
    pub ready: Option<i64>,
    pub scheduled: Option<i64>,
    pub running: Option<i64>,
    /// Attempts that ended so in these seconds: stored, to be tried again, failed for good.
    pub done: i64,
    pub failed: i64,
    pub dead: i64,
    pub bytes: i64,
    /// From enqueue to file, of those that were stored; `None` where none was.
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
}

/// The value that `share` (0 to 1) of what is counted in `classes` does not exceed, from within its class.
pub fn quantile_ms(classes: &[i64], share: f64) -> Option<u64> {
    let total: i64 = classes.iter().sum();
    if total <= 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs within ten seconds")]
    let mut rank = share * total as f64;
    for (place, &count) in classes.iter().enumerate() {
        let (low, high) = (place.checked_sub(1).map_or(0, bound), bound(place));
        #[expect(clippy::cast_precision_loss, reason = "a count of jobs within ten seconds")]
        let count = count as f64;
        if count > 0.0 && rank <= count {
            #[expect(clippy::cast_precision_loss, reason = "at most a day in milliseconds")]
            let within = (high - low) as f64 * (rank / count);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bounds")]
            return Some(low + within as u64);
        }
        rank -= count;
    }
    LATENCY_BOUNDS_MS.last().copied()
}

fn bound(place: usize) -> u64 {
    LATENCY_BOUNDS_MS[place.min(LATENCY_BOUNDS_MS.len() - 1)]
}

/// What ended in this process since it last told the fleet. Each clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<PulseCounts>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PulseCounts {
    pub done: i64,
    pub failed: i64,
    pub dead: i64,
    pub bytes: i64,
    /// By [`LATENCY_BOUNDS_MS`]; empty while nothing was stored.
    pub latency: Vec<i64>,
}

impl Pulse {
    /// `latency`: since the job was enqueued.
    pub fn count(&self, disposition: &Disposition, latency: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match disposition {
            Disposition::Achieved(Achieved::Advanced(stored)) => counts.bytes += stored.bytes.cast_signed(),
            Disposition::Achieved(achieved) => {
                counts.done += 1;
                if let Achieved::Stored(stored) = achieved {
                    counts.bytes += stored.bytes.cast_signed();
                }
                let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
                let class = LATENCY_BOUNDS_MS.partition_point(|bound| *bound < ms);
                counts.latency.resize(LATENCY_BOUNDS_MS.len() + 1, 0);
                counts.latency[class] += 1;
            }
            Disposition::Retry { .. } => counts.failed += 1,
            Disposition::Dead { .. } => counts.dead += 1,
            Disposition::Wait { .. }
            | Disposition::NotReady { .. }
            | Disposition::HandBack
            | Disposition::Cancelled => {}
        }
    }

    /// What was counted, from now on counted anew; `None` for nothing.
    pub fn take(&self) -> Option<PulseCounts> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *counts);
        (taken != PulseCounts::default()).then_some(taken)
    }

    /// Gives back what could not be told.
    pub fn put_back(&self, untold: &PulseCounts) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.done += untold.done;
        counts.failed += untold.failed;
        counts.dead += untold.dead;
        counts.bytes += untold.bytes;
        let classes = counts.latency.len().max(untold.latency.len());
        counts.latency.resize(classes, 0);
        for (count, more) in counts.latency.iter_mut().zip(&untold.latency) {
            *count += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{job::StoredRecording, media::Form};

    fn stored(bytes: u64) -> Disposition {
        let (storage_key, content_type) = ("1/CA1.mp3".to_owned(), "audio/mpeg");
        let (sha256, form) = ([0; 32], Form::Mp3);
        let recording = StoredRecording { storage_key, bytes, sha256, content_type, duration_ms: None, form };
        Disposition::Achieved(Achieved::Stored(recording))
    }

    #[test]
    fn a_quantile_lies_within_the_class_of_its_rank() {
        let pulse = Pulse::default();
        for ms in [5, 5, 5, 15, 15, 30, 30, 30, 30, 700] {
            pulse.count(&stored(10), Duration::from_millis(ms));
        }
        let counts = pulse.take().unwrap();
        assert_eq!((counts.done, counts.bytes), (10, 100));
        assert_eq!(quantile_ms(&counts.latency, 0.5), Some(20));
        assert!((20..=50).contains(&quantile_ms(&counts.latency, 0.9).unwrap()));
        assert!((500..=1_000).contains(&quantile_ms(&counts.latency, 0.95).unwrap()));
        assert_eq!(quantile_ms(&[], 0.5), None);
        assert_eq!(quantile_ms(&[0, 0], 0.5), None);
    }

    #[test]
    fn a_time_longer_than_every_bound_has_a_class_of_its_own() {
        let pulse = Pulse::default();
        pulse.count(&stored(1), Duration::from_hours(1_000));
        let counts = pulse.take().unwrap();
        assert_eq!(counts.latency.last(), Some(&1));
        assert_eq!(quantile_ms(&counts.latency, 0.5), Some(86_400_000));
    }

    #[test]
    fn what_could_not_be_told_is_told_the_next_time() {
        let pulse = Pulse::default();
        pulse.count(&stored(3), Duration::ZERO);
        let untold = pulse.take().unwrap();
        assert_eq!(pulse.take(), None);
        pulse.put_back(&untold);
        pulse.count(&stored(4), Duration::ZERO);
        let told = pulse.take().unwrap();
        assert_eq!((told.done, told.bytes, told.latency[0]), (2, 7, 2));
    }
}
