//! The question before a file gets its name: has this attempt still its lease?
//!
//! The storage compares what stands under the name with what stood there when the file was begun. That is not enough for
//! an attempt that was frozen before it began the file: what stood there then was a newer attempt's, or nothing, since
//! that one's recording had been deleted, or has another extension. Whoever has the lease after the file was begun knows
//! that all newer attempts come later, and with them whatever the storage is to find under the name. What happens between
//! that answer and the name is the storage's to see, and it sees a file that came, not one that came and was deleted.

use crate::{
    actors::answer::answered,
    domain::{
        failure::{Failure, FailureCode},
        job::ClaimedJob,
        ports::Leases,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two tries to ask.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct Fence {
    leases: Arc<dyn Leases>,
    trusted_for: Duration,
}

impl Fence {
    /// `trusted_for`: an attempt that began so lately was not frozen since for so long that others took its job; at most
    /// `queue.beat_ttl`. It costs no question, unless it replaces a file. What came before, between the claim and here, is
    /// the slot manager's to know.
    pub fn new(leases: Arc<dyn Leases>, trusted_for: Duration) -> Self {
        Self { leases, trusted_for }
    }

    /// To be asked between the file's beginning and its name. `since`: when the attempt began. Fails with `superseded`.
    /// While the database is away it waits: the attempt's own limits end it.
    pub(super) async fn pass(&self, job: &ClaimedJob, replaces: bool, since: Instant) -> Result<(), Failure> {
        if !replaces && since.elapsed() < self.trusted_for {
            return Ok(());
        }
        loop {
            match answered(self.leases.is_held(job.id, job.lease)).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Failure::new(FailureCode::Superseded, "the attempt's lease has ended")),
                Err(error) => {
                    tracing::debug!(%error, call_sid = %job.call_sid, "whether the lease is held could not be asked");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
