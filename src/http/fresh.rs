//! Answers of the database that are the same for everybody who asks within a moment: however many probes and pages ask,
//! and however often, the database is asked once in that time.

use crate::domain::ports::{FleetStatus, StoreResult};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// The probe's own wait comes on top: after both a probe knows of a database that is away.
const PING_FOR: Duration = Duration::from_millis(500);
const STATUS_FOR: Duration = Duration::from_secs(1);

/// Those of this process. Cheap to clone; each clone is the same.
#[derive(Clone)]
pub struct FreshAnswers {
    /// Whether the database answers; `None`: not in time.
    pub(super) ping: Fresh<Option<StoreResult<()>>>,
    pub(super) status: Fresh<StoreResult<FleetStatus>>,
}

impl Default for FreshAnswers {
    fn default() -> Self {
        Self { ping: Fresh::new(PING_FOR), status: Fresh::new(STATUS_FOR) }
    }
}

#[derive(Clone)]
pub(super) struct Fresh<T> {
    keep: Duration,
    last: Arc<Mutex<Option<(Instant, T)>>>,
}

impl<T: Clone> Fresh<T> {
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, last: Arc::default() }
    }

    /// The last answer where it is fresh, else that of `ask`. Who comes while somebody asks waits for the same answer;
    /// where that one gives up, the next in line asks.
    pub(super) async fn get(&self, ask: impl Future<Output = T>) -> T {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < self.keep
        {
            return answer.clone();
        }
        let answer = ask.await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    /// As if its time had passed.
    #[cfg(test)]
    pub(super) async fn grow_stale(&self) {
        if let Some((at, _)) = self.last.lock().await.as_mut() {
            *at -= self.keep;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Answers with how often it was asked, after everybody has asked.
    async fn count(asked: &AtomicU32) -> u32 {
        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        number
    }

    #[tokio::test]
    async fn however_many_ask_there_is_one_question_in_the_time() {
        let (fresh, asked) = (Fresh::new(Duration::from_hours(1)), AtomicU32::new(0));
        let answers = futures_util::future::join_all((0..100).map(|_| fresh.get(count(&asked)))).await;
        assert_eq!(answers, [1; 100]);
        fresh.grow_stale().await;
        assert_eq!(fresh.get(count(&asked)).await, 2);
    }

    #[tokio::test]
    async fn one_who_gives_up_leaves_the_question_to_the_next() {
        let (fresh, asked) = (Fresh::new(Duration::from_hours(1)), AtomicU32::new(0));
        let silent = fresh.get(std::future::pending());
        let gave_up = tokio::time::timeout(Duration::from_millis(1), silent).await;
        assert!(gave_up.is_err());
        assert_eq!(fresh.get(count(&asked)).await, 1);
    }
}
