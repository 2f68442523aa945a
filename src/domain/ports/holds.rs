//! Holds, as the fleet keeps them.

use super::StoreResult;
use crate::domain::{
    hold::{Blame, EndedBy, Hold, HoldKey, HoldRules, HoldView},
    ids::JobId,
    operate::Operator,
};
use async_trait::async_trait;
use std::time::Duration;

/// A failure that is not its job's fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Blamed<'a> {
    pub blame: &'a Blame,
    /// Clean.
    pub message: &'a str,
    pub job: JobId,
    /// The job has no other attempt.
    pub is_last: bool,
    /// What the same key answered well in this process, and was not told yet.
    pub ok: u32,
}

/// What a failure met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    pub hold: Hold,
    /// It begins with this failure.
    pub began: bool,
    /// The attempt counts all the same: this job began the same hold before, and a probe has contradicted it.
    pub counts: bool,
}

/// A hold that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedHold {
    pub hold: Hold,
    pub by: EndedBy,
    pub lasted: Duration,
    /// Jobs that were parked for it, counted up to 1,000.
    pub waiting: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub holds: Vec<Hold>,
    /// One is over, or a probe is due: see [`Holds::tend`].
    pub is_due: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tended {
    /// Taken away by this call, and by no other.
    pub ended: Vec<EndedHold>,
    /// Whose probes are this process's now.
    pub probes: Vec<Hold>,
}

#[async_trait]
pub trait Holds: Send + Sync {
    /// All of them: one cheap query.
    async fn standing(&self) -> StoreResult<Standing>;
    /// Whether a hold stands after this failure; `None`: it does not, and the failure is the job's own.
    async fn blame(&self, blamed: &Blamed<'_>, rules: &HoldRules) -> StoreResult<Option<Met>>;
    /// So often each host answered well.
    async fn credit(&self, answers: &[(HoldKey, u32)], rules: &HoldRules) -> StoreResult<()>;
    /// Takes away what is over, and takes the probes that are due.
    async fn tend(&self, rules: &HoldRules) -> StoreResult<Tended>;
    /// A probe of this hold succeeded. `None`: somebody else has ended it.
    async fn end(&self, hold: &Hold) -> StoreResult<Option<EndedHold>>;
    /// An operator lifts a hold; `false`: there is none.
    async fn lift(&self, key: &HoldKey, operator: &Operator) -> StoreResult<bool>;
    /// All of them with the jobs that wait, the oldest first.
    async fn holds(&self) -> StoreResult<Vec<HoldView>>;
}
