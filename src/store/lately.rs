//! When the database carried out a write last: whoever asks whether it is there need not ask it while it answers others.

use crate::domain::ports::StoreError;
use sqlx::Error;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Shared by its clones.
#[derive(Debug, Clone)]
pub(super) struct Lately {
    since: Instant,
    /// Milliseconds after `since`, and one more; 0: it has not answered yet.
    last: Arc<AtomicU64>,
}

impl Lately {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), last: Arc::default() }
    }

    /// A connection that broke or could not be made, and a server that takes no writes, are doubts.
    pub(super) fn hear<T>(&self, answer: &Result<T, Error>) {
        match answer {
            Ok(_) => self.note(),
            Err(Error::Io(_)) => self.doubt(),
            Err(Error::Database(error)) if error.code().as_deref() == Some(StoreError::READ_ONLY) => self.doubt(),
            Err(_) => {}
        }
    }

    fn note(&self) {
        self.last.fetch_max(self.now() + 1, Relaxed);
    }

    /// The next who asks finds out.
    pub(super) fn doubt(&self) {
        self.last.store(0, Relaxed);
    }

    /// Whether an answer came within this time.
    pub(super) fn within(&self, time: Duration) -> bool {
        let last = self.last.load(Relaxed);
        last > 0 && Duration::from_millis((self.now() + 1).saturating_sub(last)) < time
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_as_long_as_it_is_new() {
        let mut answers = Lately::new();
        let hour = Duration::from_hours(1);
        assert!(!answers.within(hour), "none came yet");
        answers.clone().note();
        assert!(answers.within(hour));
        answers.since -= hour;
        assert!(!answers.within(hour));
        answers.note();
        answers.doubt();
        assert!(!answers.within(hour), "a connection broke since");
    }
}
