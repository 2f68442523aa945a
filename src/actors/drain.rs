//! What became of the jobs that ran when the process began to stop: the numbers of `DRAIN_DONE`.

use crate::domain::job::Disposition;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Each clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct DrainTally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    finished: AtomicU32,
    handed_back: AtomicU32,
}

impl DrainTally {
    pub(super) fn count(&self, disposition: &Disposition) {
        let count = match disposition {
            Disposition::HandBack => &self.0.handed_back,
            Disposition::Achieved(_)
            | Disposition::Wait { .. }
            | Disposition::NotReady { .. }
            | Disposition::Retry { .. }
            | Disposition::Dead { .. }
            | Disposition::Cancelled => &self.0.finished,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Jobs that ended by themselves, and jobs that were given back unburnt.
    pub fn counts(&self) -> (u32, u32) {
        (self.0.finished.load(Ordering::Relaxed), self.0.handed_back.load(Ordering::Relaxed))
    }
}
