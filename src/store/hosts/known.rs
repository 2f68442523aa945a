//! What is known of the hosts of one URL: the primary, since which change, and whether it is doubted. Whoever asks while
//! nothing is certain waits for a look; whoever uses the primary is told when it is none any more.

use super::{
    Candidate,
    errors::{self, NoPrimary},
    look::{Outcome, look},
};
use crate::store::errors::can_pass;
use sqlx::{Error, postgres::PgConnectOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Between two looks while there is no primary.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two looks that nothing but a long wait asked for.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(1);

/// The host that is used, since a certain change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Primary {
    place: usize,
    /// 0: the server does not tell.
    timeline: u32,
    /// Counts the changes; what was opened before the last one is used no more.
    pub(super) term: u64,
}

/// The hosts of one URL. All clones look together.
#[derive(Clone)]
pub(in crate::store) struct Hosts(Arc<Inner>);

struct Inner {
    /// The variable, for the log.
    variable: &'static str,
    candidates: Vec<Candidate>,
    known: watch::Sender<Known>,
    looking: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    primary: Option<Primary>,
    /// The last of all changes.
    term: u64,
    newest_timeline: u32,
    /// How often the primary was doubted, and up to which of these a look has answered.
    doubts: u64,
    settled: u64,
    looks: u64,
    looked_at: Option<Instant>,
    /// Of the last look, where it found none.
    none: Option<NoPrimary>,
}

impl Known {
    fn trusted(&self) -> Option<Primary> {
        self.primary.filter(|_| self.doubts == self.settled)
    }
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} hosts of {}", self.0.candidates.len(), self.0.variable)
    }
}

impl Hosts {
    pub(super) fn new(variable: &'static str, options: Vec<PgConnectOptions>) -> Self {
        let candidate = |options: PgConnectOptions| {
            let host = if options.get_socket().is_some() { "socket" } else { options.get_host() };
            Candidate { name: format!("{host}:{}", options.get_port()), options }
        };
        let candidates = options.into_iter().map(candidate).collect();
        Self(Arc::new(Inner {
            variable,
            candidates,
            known: watch::Sender::default(),
            looking: AtomicBool::new(false),
        }))
    }

    pub(super) fn options(&self, primary: Primary) -> PgConnectOptions {
        self.0.candidates[primary.place].options.clone()
    }

    /// The primary; where none is known for certain, that of a look that begins or is under way.
    pub(super) async fn primary(&self) -> Result<Primary, Error> {
        let mut known = self.0.known.subscribe();
        let asked_at = {
            let now = known.borrow_and_update();
            if let Some(primary) = now.trusted() {
                return Ok(primary);
            }
            now.looks
        };
        self.look_again();
        loop {
            if tokio::time::timeout(LOOK_EVERY, known.changed()).await.is_err() {
                // The one under way may have ended just before.
                self.look_again();
                continue;
            }
            let now = known.borrow_and_update();
            match now.trusted().or(now.primary.filter(|_| now.looks > asked_at + 1)) {
                Some(primary) => return Ok(primary),
                None if now.looks > asked_at && now.primary.is_none() => {
                    return Err(now.none.clone().unwrap_or_default().into());
                }
                None => {}
            }
        }
    }

    /// The same, waiting for one until `deadline`; what cannot pass is not waited for.
    pub(super) async fn primary_by(&self, deadline: Instant) -> Result<Primary, Error> {
        loop {
            let found = tokio::time::timeout_at(deadline.into(), self.primary()).await;
            let found = found.unwrap_or(Err(Error::PoolTimedOut));
            match found {
                Err(error) if can_pass(&error) && Instant::now() + LOOK_EVERY < deadline => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                found => return found,
            }
        }
    }

    pub(super) fn is(&self, primary: Primary) -> bool {
        self.0.known.borrow().primary == Some(primary)
    }

    /// Waits until another one is the primary, or none.
    pub(super) async fn left(&self, primary: Primary) {
        let mut known = self.0.known.subscribe();
        // The sender lives as long as this.
        let _ = known.wait_for(|known| known.primary != Some(primary)).await;
    }

    /// Whoever asks next waits for a look.
    fn doubt(&self, primary: Primary) {
        self.change(primary, |known| known.doubts += 1);
    }

    /// It is none: nothing that was opened there is used any more.
    pub(super) fn lost(&self, primary: Primary) {
        self.change(primary, |known| (known.primary, known.doubts) = (None, known.doubts + 1));
    }

    fn change(&self, primary: Primary, change: impl FnOnce(&mut Known)) {
        let changed = self.0.known.send_if_modified(|known| {
            let is_current = known.primary == Some(primary);
            if is_current {
                change(known);
            }
            is_current
        });
        if changed {
            self.look_again();
        }
    }

    /// What an error of a statement there says of the host.
    pub(super) fn judge(&self, primary: Primary, error: &Error) {
        match errors::of_statement(error) {
            errors::Says::ReadOnly => self.lost(primary),
            errors::Says::Gone => self.doubt(primary),
            errors::Says::Nothing => {}
        }
    }

    /// A connection does not come: the host may be gone without a word, or merely busy.
    pub(super) fn suspect(&self) {
        let due = self.0.known.borrow().looked_at.is_none_or(|at| at.elapsed() >= IDLE_LOOK_EVERY);
        if due {
            self.look_again();
        }
    }

    /// A task of its own, so that no caller who gives up ends it. One at a time.
    fn look_again(&self) {
        if self.0.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let hosts = self.clone();
        tokio::spawn(async move {
            loop {
                let (answered, newest, current) = {
                    let known = hosts.0.known.borrow();
                    (known.doubts, known.newest_timeline, known.primary.map(|primary| primary.place))
                };
                let outcome = look(&hosts.0.candidates, newest, current).await;
                hosts.publish(outcome, answered);
                hosts.0.looking.store(false, Ordering::Release);
                // Who doubted since then found the look under way, and waits for an answer to that doubt.
                if !hosts.is_doubted() || hosts.0.looking.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }

    fn is_doubted(&self) -> bool {
        let known = self.0.known.borrow();
        known.doubts != known.settled
    }

    fn publish(&self, outcome: Outcome, answered: u64) {
        let name = |place: usize| self.0.candidates[place].name.as_str();
        self.0.known.send_modify(|known| {
            (known.looks, known.looked_at, known.settled) = (known.looks + 1, Some(Instant::now()), answered);
            match outcome {
                Outcome::Primary { place, timeline } => {
                    let is_same = known.primary.is_some_and(|p| (p.place, p.timeline) == (place, timeline));
                    known.none = None;
                    known.newest_timeline = known.newest_timeline.max(timeline);
                    if is_same {
                        return;
                    }
                    known.term += 1;
                    known.primary = Some(Primary { place, timeline, term: known.term });
                    tracing::info!(
                        marker = "DATABASE_PRIMARY",
                        host = name(place),
                        place = place + 1,
                        timeline,
                        url = self.0.variable,
                        "the primary is used"
                    );
                }
                // Nothing better is known: what is open there may still do.
                Outcome::Unsure if known.primary.is_some() => {}
                Outcome::Unsure => known.none = Some(NoPrimary::default()),
                Outcome::None(none) => {
                    if known.none.as_ref() != Some(&none) {
                        tracing::warn!(
                            marker = "DATABASE_NO_PRIMARY",
                            hosts = self.0.candidates.len(),
                            standbys = none.standbys,
                            reason = none.message,
                            url = self.0.variable,
                            "no host takes writes: nothing is claimed until one does"
                        );
                    }
                    (known.primary, known.none) = (None, Some(none));
                }
            }
        });
    }
}
