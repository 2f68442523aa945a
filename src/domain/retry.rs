//! When a failed job is tried again.

use super::failure::Failure;
use std::time::Duration;

/// Exponential backoff with jitter.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Wait before the second attempt.
    pub base: Duration,
    /// Longest wait, also for a provider's `Retry-After`.
    pub max: Duration,
    /// Growth from one attempt to the next, 1.0 or more.
    pub factor: f64,
    /// Share of the wait that is random, 0.0 to 1.0: with 0.5 a wait of 10 s becomes 5 to 10 s.
    pub jitter: f64,
    /// First wait where the provider says that the recording is not ready (404): it is usually a matter of seconds.
    pub not_ready_base: Duration,
    /// Longest wait between two such questions.
    pub not_ready_max: Duration,
    /// How long a recording may be not ready before its job is dead.
    pub not_ready_for: Duration,
    /// Attempts a job has when it names none.
    pub max_attempts: u16,
}

impl RetryPolicy {
    /// The wait after `attempt` (from 1) failed. `spread` is a random number from 0 to 1.
    ///
    /// A `Retry-After` is a lower bound that jitter only adds to: asking earlier costs the account.
    pub fn delay(&self, attempt: u16, failure: &Failure, spread: f64) -> Duration {
        let exponent = i32::from(attempt.saturating_sub(1));
        let grown = (self.base.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        let jittered = grown * (1.0 - self.jitter * spread.clamp(0.0, 1.0));
        let asked =
            failure.retry_after.map_or(0.0, |wait| wait.as_secs_f64() * (1.0 + 0.1 * spread.clamp(0.0, 1.0)));
        Duration::from_secs_f64(jittered.max(asked).min(self.max.as_secs_f64()))
    }

    /// The wait for a recording that has not been ready for `so_far`: as long again as it has taken, so that each wait is
    /// about twice the one before. `None`: it has taken too long.
    pub fn not_ready_delay(&self, so_far: Duration, failure: &Failure, spread: f64) -> Option<Duration> {
        if so_far >= self.not_ready_for {
            return None;
        }
        let wait = (so_far + self.not_ready_base).min(self.not_ready_max);
        let jittered = wait.mul_f64(1.0 - self.jitter * spread.clamp(0.0, 1.0));
        Some(jittered.max(failure.retry_after.unwrap_or_default()).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            base: Duration::from_secs(2),
            max: Duration::from_mins(1),
            factor: 2.0,
            jitter: 0.5,
            not_ready_base: Duration::from_millis(500),
            not_ready_max: Duration::from_secs(20),
            not_ready_for: Duration::from_mins(1),
            max_attempts: 8,
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let failure = Failure::new(FailureCode::HttpStatus, "500");
        let waits: Vec<u64> = (1..=7).map(|n| policy().delay(n, &failure, 0.0).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(policy().delay(u16::MAX, &failure, 0.0).as_secs(), 60);
    }

    #[test]
    fn jitter_only_shortens_within_its_share() {
        let failure = Failure::new(FailureCode::Network, "reset");
        assert_eq!(policy().delay(3, &failure, 1.0), Duration::from_secs(4));
    }

    #[test]
    fn retry_after_is_a_lower_bound() {
        let failure = Failure::new(FailureCode::RateLimited, "429").retry_after(Some(Duration::from_secs(30)));
        assert_eq!(policy().delay(1, &failure, 0.0), Duration::from_secs(30));
        assert!(policy().delay(1, &failure, 1.0) > Duration::from_secs(30));
    }

    #[test]
    fn a_recording_that_is_not_ready_has_a_schedule_of_its_own_with_an_end() {
        let failure = Failure::new(FailureCode::NotReady, "404");
        let wait = |so_far| policy().not_ready_delay(Duration::from_millis(so_far), &failure, 0.0);
        let waits = [0, 500, 1_500, 3_500, 59_999].map(wait);
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 20_000].map(|ms| Some(Duration::from_millis(ms))));
        assert_eq!(wait(60_000), None);
    }
}
