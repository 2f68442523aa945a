//! The one sampler behind all streams: the overview is asked for every two seconds while anybody looks, once for all of
//! them, and never while nobody does.

use crate::{
    domain::ports::{FleetView, StoreError},
    http::problem::Problem,
};
use bytes::Bytes;
use chrono::Utc;
use serde::Serialize;
use serde_json::json;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the database's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of the pulse that goes with each overview: one more than the page shows.
const MINUTES: u16 = 16;
/// So many times the pace, which is longer than [`PATIENCE`]: a sampler that has said nothing for that long may be gone.
const SILENCE: u32 = 5;
/// Streams of one process; each has a connection and no more.
pub const MOST_VIEWERS: usize = 200;

/// Cheap to clone; each clone is the same.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    fleet: Arc<dyn FleetView>,
    io: Handle,
    every: Duration,
    /// The newest event, as it is sent; `None` before the first.
    newest: watch::Sender<Option<Bytes>>,
    looking: Mutex<Looking>,
    ended: CancellationToken,
}

#[derive(Default)]
struct Looking {
    viewers: usize,
    /// While there are viewers.
    sampler: Option<AbortOnDropHandle<()>>,
}

impl Live {
    /// `io`: where the database is asked.
    pub fn new(fleet: Arc<dyn FleetView>, io: Handle) -> Self {
        Self::with_pace(fleet, io, EVERY)
    }

    fn with_pace(fleet: Arc<dyn FleetView>, io: Handle, every: Duration) -> Self {
        let (newest, looking) = (watch::Sender::new(None), Mutex::default());
        Self(Arc::new(Shared { fleet, io, every, newest, looking, ended: CancellationToken::new() }))
    }

    /// Ends every stream, and begins no other: the process drains.
    pub fn end(&self) {
        self.0.ended.cancel();
    }

    /// One more who looks; the first starts the sampler.
    pub(super) fn viewer(&self) -> Result<Viewer, Problem> {
        let mut looking = self.looking();
        if self.0.ended.is_cancelled() {
            return Err(Problem::draining());
        }
        if looking.viewers >= MOST_VIEWERS {
            return Err(Problem::too_many_viewers(MOST_VIEWERS));
        }
        looking.viewers += 1;
        self.keep_sampling(&mut looking);
        let mut newest = self.0.newest.subscribe();
        newest.mark_changed();
        Ok(Viewer { live: self.clone(), newest })
    }

    /// Starts the sampler where there is none, or where it panicked.
    fn keep_sampling(&self, looking: &mut Looking) {
        if looking.sampler.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            // What the last viewer saw is old.
            self.0.newest.send_replace(None);
            looking.sampler = Some(AbortOnDropHandle::new(self.0.io.spawn(sample(self.clone()))));
        }
    }

    fn looking(&self) -> MutexGuard<'_, Looking> {
        self.0.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sample(live: Live) {
    let mut pace = tokio::time::interval(live.0.every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    loop {
        pace.tick().await;
        let answer = tokio::time::timeout(PATIENCE, live.0.fleet.overview(MINUTES)).await;
        let event = match answer.unwrap_or_else(|_| Err(StoreError::new(None, "no answer in time"))) {
            Ok(overview) => {
                trouble = None;
                event("overview", &Told { now: Utc::now(), viewers: live.looking().viewers, overview })
            }
            Err(error) => {
                let code = Problem::code_of(&error);
                // Said once, and not every two seconds for as long as it lasts.
                if trouble.replace(code) != Some(code) {
                    tracing::warn!(%error, sqlstate = error.sqlstate, "the dashboard has no data");
                }
                event("trouble", &json!({ "code": code }))
            }
        };
        live.0.newest.send_replace(Some(event));
    }
}

/// What browsers are told: the overview, the time by which its ages are counted, and how many share this process.
#[derive(Serialize)]
struct Told<T> {
    now: chrono::DateTime<Utc>,
    viewers: usize,
    #[serde(flatten)]
    overview: T,
}

/// One event of a stream (HTML Living Standard, section 9.2). JSON has no raw line breaks.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_else(|_| unreachable!("texts, numbers and times are JSON"));
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// Somebody who looks. The last one to go stops the sampler.
pub struct Viewer {
    live: Live,
    newest: watch::Receiver<Option<Bytes>>,
}

impl Viewer {
    /// The next event; `None` when the process drains.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                () = self.live.0.ended.cancelled() => return None,
                changed = self.newest.changed() => changed.ok()?,
                () = tokio::time::sleep(self.live.0.every * SILENCE) => {
                    self.live.keep_sampling(&mut self.live.looking());
                }
            }
            if let Some(event) = self.newest.borrow_and_update().clone() {
                return Some(event);
            }
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut looking = self.live.looking();
        looking.viewers -= 1;
        if looking.viewers == 0 {
            looking.sampler = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        overview::Overview,
        ports::{Backlog, FleetStatus, StoreResult},
    };
    use async_trait::async_trait;
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicUsize, Ordering},
    };

    const PACE: Duration = Duration::from_millis(100);

    /// Counts how often it is asked.
    #[derive(Default)]
    struct Fleet {
        asked: AtomicUsize,
        is_away: bool,
        /// Panics when it is asked for the first time.
        panics: bool,
    }

    #[async_trait]
    impl FleetView for Fleet {
        async fn fleet_status(&self) -> StoreResult<FleetStatus> {
            unreachable!("nobody asks for it here")
        }

        async fn overview(&self, _minutes: u16) -> StoreResult<Overview> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics || asked > 0, "on purpose");
            if self.is_away {
                return Err(StoreError::new(None, "away"));
            }
            Ok(Overview {
                at: None,
                stalls: Vec::new(),
                failing: Vec::new(),
                holds: Vec::new(),
                backlog: Backlog::default(),
                slots_in_use: 0,
                oldest_ready: None,
                businesses: Vec::new(),
                instances: 1,
                workers: 1,
                pulse: Vec::new(),
            })
        }
    }

    fn live(fleet: &Arc<Fleet>) -> Live {
        Live::with_pace(fleet.clone(), Handle::current(), PACE)
    }

    fn text(event: Option<Bytes>) -> String {
        String::from_utf8(event.expect("an event").to_vec()).unwrap()
    }

    #[tokio::test]
    async fn many_viewers_cost_the_database_what_one_costs() {
        let fleet = Arc::new(Fleet::default());
        let live = live(&fleet);
        let began = std::time::Instant::now();
        let mut viewers: Vec<Viewer> = (0..50).map(|_| live.viewer().expect("a place")).collect();
        let mut samples = BTreeSet::new();
        for _ in 0..5 {
            for viewer in &mut viewers {
                let event = text(viewer.next().await);
                assert!(
                    event.starts_with("event: overview\ndata: {\"now\":") && event.ends_with("}\n\n"),
                    "{event}"
                );
                assert!(event.contains("\"viewers\":50,"), "{event}");
                samples.insert(event);
            }
        }
        let asked = fleet.asked.load(Ordering::Relaxed);
        assert!(samples.len() <= asked, "250 events are {} samples", samples.len());
        let paces = began.elapsed().as_millis() / PACE.as_millis();
        assert!(asked as u128 <= paces + 1, "asked {asked} times in {paces} times the pace");
    }

    #[tokio::test]
    async fn nobody_asks_the_database_while_nobody_looks() {
        let fleet = Arc::new(Fleet::default());
        let live = live(&fleet);
        let (mut first, second) = (live.viewer().expect("a place"), live.viewer().expect("a place"));
        first.next().await;
        drop(first);
        drop(second);
        let asked = fleet.asked.load(Ordering::Relaxed);
        // For silence there is no event to wait for.
        tokio::time::sleep(PACE * 5).await;
        assert_eq!(fleet.asked.load(Ordering::Relaxed), asked);
        // Who comes then is not told what is old.
        let mut next = live.viewer().expect("a place");
        assert!(text(next.next().await).contains("\"viewers\":1,"));
        assert_eq!(fleet.asked.load(Ordering::Relaxed), asked + 1);
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_told_with_its_code_and_the_stream_goes_on() {
        let fleet = Arc::new(Fleet { is_away: true, ..Fleet::default() });
        let mut viewer = live(&fleet).viewer().expect("a place");
        for _ in 0..3 {
            assert_eq!(text(viewer.next().await), "event: trouble\ndata: {\"code\":\"unavailable\"}\n\n");
        }
    }

    #[tokio::test]
    async fn a_sampler_that_panics_is_replaced_and_the_stream_goes_on() {
        let fleet = Arc::new(Fleet { panics: true, ..Fleet::default() });
        let mut viewer = live(&fleet).viewer().expect("a place");
        assert!(text(viewer.next().await).starts_with("event: overview"));
        assert_eq!(fleet.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn there_are_so_many_places_and_a_drain_ends_them_all() {
        let live = live(&Arc::new(Fleet::default()));
        let mut viewers: Vec<Viewer> = (0..MOST_VIEWERS).map(|_| live.viewer().expect("a place")).collect();
        assert!(live.viewer().is_err());
        viewers.pop();
        viewers.push(live.viewer().expect("the place that became free"));
        live.end();
        for viewer in &mut viewers {
            assert_eq!(viewer.next().await, None);
        }
        assert!(live.viewer().is_err());
    }
}
