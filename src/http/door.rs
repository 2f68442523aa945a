//! How many requests may be under way at the database. Beyond that a request is refused at once, before anything of it
//! is kept: whoever is told 503 sends it again, whoever waits for an answer that comes too late does so as well, and
//! then both are work.
//!
//! Taken where the database is asked, not where a request comes in: a body that comes slowly, a signature that is wrong
//! and a probe take no place from anybody.

use super::problem::Problem;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Cheap to clone; each clone is the same door.
#[derive(Clone)]
pub struct Door {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    size: u32,
    shed: Arc<AtomicU64>,
}

/// It was not begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoTurn;

/// A place at the door, until it is dropped.
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    turns: Arc<Semaphore>,
}

impl Door {
    /// `places`: requests under way at a time. `connections`: so many of them have one of the database's at a time; the
    /// others of the pool are kept for what the process does beside answering.
    pub fn new(places: u32, connections: u32) -> Self {
        let semaphore = |size: u32| Arc::new(Semaphore::new(size as usize));
        Self { places: semaphore(places), turns: semaphore(connections), size: places, shed: Arc::default() }
    }

    /// Requests that have a place now.
    pub fn in_flight(&self) -> u32 {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        self.size.saturating_sub(free)
    }

    /// Requests that were refused since the start.
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// For what only reads: it leaves a quarter of the places to what brings jobs in, since a provider may not come again.
    pub(super) fn enter_to_read(&self) -> Result<Place, Problem> {
        if self.places.available_permits() <= (self.size / 4) as usize {
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::overloaded());
        }
        self.enter()
    }

    /// Refuses where there is no place: nobody waits for one.
    pub(super) fn enter(&self) -> Result<Place, Problem> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.shed.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::overloaded());
        };
        Ok(Place { _place: place, turns: Arc::clone(&self.turns) })
    }
}

impl Place {
    /// Runs `call` when it is its turn, and keeps the place as long as it runs, also when nobody waits for it any more.
    /// What has no turn within `limit` is not begun: its caller has been told so by then.
    pub(super) async fn ask<T>(self, limit: Duration, call: impl Future<Output = T>) -> Result<T, NoTurn> {
        let Ok(Ok(_turn)) = tokio::time::timeout(limit, self.turns.acquire()).await else { return Err(NoTurn) };
        Ok(call.await)
    }
}

/// How many of a pool's connections requests may have: all but one, which is for what comes round by itself.
pub fn connections_for_requests(pool: u32) -> u32 {
    pool.saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_kept_to_the_end_of_its_call_and_given_back_then() {
        let door = Door::new(1, 1);
        let place = door.enter().unwrap();
        assert_eq!((door.in_flight(), door.enter().err().map(|problem| problem.code())), (1, Some("overloaded")));
        assert_eq!(place.ask(Duration::from_secs(1), async { 7 }).await, Ok(7));
        assert_eq!((door.in_flight(), door.shed()), (0, 1));
        let dropped = door.enter().unwrap().ask(Duration::from_secs(1), std::future::pending::<()>());
        drop(dropped);
        assert!(door.enter().is_ok());
    }

    #[test]
    fn readers_leave_places_to_what_brings_jobs_in() {
        let door = Door::new(4, 1);
        let readers: Vec<_> = std::iter::from_fn(|| door.enter_to_read().ok()).collect();
        assert_eq!(readers.len(), 3);
        let _last = door.enter().map_err(|problem| problem.code()).expect("a place for a callback");
        assert!(door.enter().is_err());
        assert_eq!(door.shed(), 2);
        assert!(Door::new(1, 1).enter_to_read().is_ok());
    }

    #[tokio::test]
    async fn what_has_no_turn_in_its_time_is_not_begun() {
        let door = Door::new(2, 1);
        let first = tokio::spawn(door.enter().unwrap().ask(Duration::from_secs(1), std::future::pending::<()>()));
        tokio::task::yield_now().await;
        let mut begun = false;
        let second = door.enter().unwrap().ask(Duration::from_millis(1), async {
            begun = true;
        });
        assert_eq!(second.await, Err(NoTurn));
        assert!(!begun);
        assert_eq!(door.in_flight(), 1);
        first.abort();
    }

    #[test]
    fn requests_leave_connections_for_the_rest_of_the_process() {
        for (pool, requests) in [(10, 9), (2, 1), (1, 1)] {
            assert_eq!(connections_for_requests(pool), requests, "{pool}");
        }
    }
}
