//! How long to wait before a restart, and when to give up.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

#[derive(Debug, Clone, PartialEq)]
pub struct RestartPolicy {
    /// Wait before the first restart; doubles with each further one.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// Restarts of one child within `window` that are borne; one more escalates.
    pub max_restarts: u32,
    /// A child that ran this long starts again from `backoff_min`.
    pub window: Duration,
}

/// What to do about a child that ended and is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    RestartIn(Duration),
    GiveUp,
}

/// The restarts of one child.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Of the deaths within the window.
    deaths: VecDeque<Instant>,
    /// Deaths in a row, none of which came after a whole window of life.
    streak: u32,
}

impl History {
    /// `ran`: how long the life lasted that ended `now`. `spread`: a random number from 0 to 1, for jitter.
    pub(super) fn died(&mut self, now: Instant, ran: Duration, policy: &RestartPolicy, spread: f64) -> Verdict {
        self.streak = if ran >= policy.window { 1 } else { self.streak.saturating_add(1) };
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|death| now.duration_since(*death) > policy.window) {
            self.deaths.pop_front();
        }
        if self.deaths.len() > policy.max_restarts as usize {
            return Verdict::GiveUp;
        }
        let doublings = (self.streak - 1).min(16);
        let wait = policy.backoff_min.saturating_mul(1 << doublings).min(policy.backoff_max);
        Verdict::RestartIn(wait.mul_f64(1.0 - 0.5 * spread.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RestartPolicy {
        RestartPolicy {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            max_restarts: 5,
            window: Duration::from_mins(1),
        }
    }

    #[test]
    fn the_wait_doubles_and_then_the_child_is_given_up() {
        let (mut history, now) = (History::default(), Instant::now());
        let verdicts: Vec<_> = (0..6).map(|_| history.died(now, Duration::ZERO, &policy(), 0.0)).collect();
        let waits = [100, 200, 400, 800, 1000].map(|ms| Verdict::RestartIn(Duration::from_millis(ms)));
        assert_eq!(verdicts[..5], waits);
        assert_eq!(verdicts[5], Verdict::GiveUp);
    }

    #[test]
    fn a_long_life_forgives() {
        let (mut history, now) = (History::default(), Instant::now());
        for _ in 0..3 {
            history.died(now, Duration::ZERO, &policy(), 0.0);
        }
        let later = now + Duration::from_mins(10);
        let verdict = history.died(later, Duration::from_mins(10), &policy(), 0.0);
        assert_eq!(verdict, Verdict::RestartIn(Duration::from_millis(100)));
    }

    #[test]
    fn jitter_shortens_by_half_at_most() {
        let verdict = History::default().died(Instant::now(), Duration::ZERO, &policy(), 1.0);
        assert_eq!(verdict, Verdict::RestartIn(Duration::from_millis(50)));
    }
}
