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
/// Of the pulse that goes with each overview.
const MINUTES: u16 = 15;
/// Streams of one process; each has a connection and no more.
pub const MOST_VIEWERS: usize = 200;

/// Cheap to clone; each clone is the same.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    fleet: Arc<dyn FleetView>,
    io: Handle,
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
        let (newest, looking) = (watch::Sender::new(None), Mutex::default());
        Self(Arc::new(Shared { fleet, io, newest, looking, ended: CancellationToken::new() }))
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
        if looking.sampler.is_none() {
            // What the last viewer saw is old.
            self.0.newest.send_replace(None);
            looking.sampler = Some(AbortOnDropHandle::new(self.0.io.spawn(sample(self.clone()))));
        }
        let mut newest = self.0.newest.subscribe();
        newest.mark_changed();
        Ok(Viewer { live: self.clone(), newest })
    }

    fn looking(&self) -> MutexGuard<'_, Looking> {
        self.0.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sample(live: Live) {
    let mut pace = tokio::time::interval(EVERY);
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
