//! The peak: how many recordings a second the fleet stores, and how many requests a second its door accepts.

use super::{figures::float, member::Member, senders::Senders};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Recordings under way at a time, and who brings them in.
const UNDER_WAY: usize = 1_000;
const SENDERS: usize = 24;
/// Connections, caches and plans are warm after this.
const WARM: Duration = Duration::from_secs(5);

/// Stored recordings a second: a closed loop, in which a recording that is stored makes room for the next.
pub async fn of_recordings(door: &Senders, worker: &Member, time: Duration) -> f64 {
    let (room, ends) = (Arc::new(Semaphore::new(UNDER_WAY)), Arc::new(AtomicBool::new(false)));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (door, room, ends) = (door.clone(), Arc::clone(&room), Arc::clone(&ends));
        senders.spawn(async move {
            while !ends.load(Relaxed) {
                let Ok(Ok(place)) = tokio::time::timeout(Duration::from_millis(200), room.acquire()).await else {
                    continue;
                };
                if door.send().await {
                    place.forget();
                }
            }
        });
    }
    let (mut seen, began) = (worker.stored().await, Instant::now());
    let mut warm: Option<(f64, Instant)> = None;
    while began.elapsed() < WARM + time {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stored = worker.stored().await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        room.add_permits((stored - seen).max(0.0) as usize);
        seen = seen.max(stored);
        if began.elapsed() >= WARM && warm.is_none() {
            warm = Some((seen, Instant::now()));
        }
    }
    ends.store(true, Relaxed);
    while senders.join_next().await.is_some() {}
    let (first, since) = warm.expect("it was warm");
    (seen - first) / since.elapsed().as_secs_f64()
}

/// Accepted requests a second: a closed loop without a bound on what is under way.
pub async fn of_requests(door: &Senders, time: Duration) -> f64 {
    let door = door.again();
    let began = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let door = door.clone();
        senders.spawn(async move {
            while began.elapsed() < time {
                door.send().await;
            }
        });
    }
    while senders.join_next().await.is_some() {}
    float(door.tally.accepted.load(Relaxed).into()) / began.elapsed().as_secs_f64()
}
