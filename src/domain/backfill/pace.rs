//! How fast a backfill goes: the size of a batch, the pause after it, the wait after a failure, and how often its
//! progress is a line in the log.

use std::time::Duration;

/// A batch that took longer pauses as long as it took, so that a database which is slow already is left alone at least
/// half of the time.
const LONG_BATCH: Duration = Duration::from_millis(500);
/// Longest pause, and longest wait after a failure.
pub const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Wait after a first failure; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Batch size and waits. A timeout halves the batch; each batch that works gives it a tenth of its full size back.
#[derive(Debug, Clone)]
pub struct Pace {
    full: u32,
    batch: u32,
    pause: Duration,
    /// Failures in a row.
    failures: u32,
}

impl Pace {
    /// `batch` and `pause` as the file has them.
    pub fn new(batch: u32, pause: Duration) -> Self {
        Self { full: batch, batch, pause, failures: 0 }
    }

    /// Rows of the next batch.
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// A batch was committed after `took`: the pause before the next one.
    pub fn worked(&mut self, took: Duration) -> Duration {
        self.failures = 0;
        self.batch = self.batch.saturating_add((self.full / 10).max(1)).min(self.full);
        if took > LONG_BATCH { self.pause.max(took.min(MAX_PAUSE)) } else { self.pause }
    }

    /// A try failed in a way that can pass: the wait before the next one. `random`, from 0 to 1, shortens it by half at
    /// most.
    pub fn failed(&mut self, timed_out: bool, random: f64) -> Duration {
        if timed_out {
            self.batch = (self.batch / 2).max(1);
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(1.0 - 0.5 * random.clamp(0.0, 1.0))
    }
}

/// Progress lines: one after the first batch, then after 10 s, and ever more seldom.
#[derive(Debug, Clone)]
pub struct ProgressLines {
    next: Duration,
    step: Duration,
}

const FIRST_STEP: Duration = Duration::from_secs(10);
const LAST_STEP: Duration = Duration::from_mins(5);

impl Default for ProgressLines {
    fn default() -> Self {
        Self { next: Duration::ZERO, step: FIRST_STEP }
    }
}

impl ProgressLines {
    /// `elapsed`: since the backfill was taken up here.
    pub fn is_due(&mut self, elapsed: Duration) -> bool {
        let due = elapsed >= self.next;
        if due {
            self.next = elapsed + self.step;
            self.step = (self.step * 2).min(LAST_STEP);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(50);

    #[test]
    fn a_timeout_halves_the_batch_down_to_one_and_batches_that_work_give_it_back() {
        let mut pace = Pace::new(100, PAUSE);
        let sizes: Vec<_> = (0..8)
            .map(|_| {
                pace.failed(true, 0.0);
                pace.batch()
            })
            .collect();
        assert_eq!(sizes, [50, 25, 12, 6, 3, 1, 1, 1]);
        let sizes: Vec<_> = (0..11)
            .map(|_| {
                pace.worked(Duration::ZERO);
                pace.batch()
            })
            .collect();
        assert_eq!(sizes, [11, 21, 31, 41, 51, 61, 71, 81, 91, 100, 100]);
    }

    #[test]
    fn a_batch_of_one_stays_one() {
        let mut pace = Pace::new(1, PAUSE);
        pace.worked(Duration::ZERO);
        pace.failed(true, 0.0);
        assert_eq!(pace.batch(), 1);
    }

    #[test]
    fn another_failure_leaves_the_batch_as_it_is() {
        let mut pace = Pace::new(100, PAUSE);
        pace.failed(false, 0.0);
        assert_eq!(pace.batch(), 100);
    }

    #[test]
    fn the_wait_after_failures_doubles_is_bounded_and_forgotten() {
        let mut pace = Pace::new(100, PAUSE);
        let waits: Vec<_> = (0..9).map(|_| pace.failed(false, 0.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        pace.worked(Duration::ZERO);
        assert_eq!(pace.failed(false, 1.0), Duration::from_millis(125));
    }

    #[test]
    fn a_long_batch_pauses_as_long_as_it_took() {
        let mut pace = Pace::new(100, PAUSE);
        let pauses = [100, 2_000, 90_000].map(|ms| pace.worked(Duration::from_millis(ms)));
        assert_eq!(pauses, [PAUSE, Duration::from_secs(2), MAX_PAUSE]);
    }

    #[test]
    fn progress_is_told_at_once_and_then_ever_more_seldom() {
        let mut lines = ProgressLines::default();
        let told: Vec<_> = (0..1000).filter(|s| lines.is_due(Duration::from_secs(*s))).collect();
        assert_eq!(told, [0, 10, 30, 70, 150, 310, 610, 910]);
    }
}
