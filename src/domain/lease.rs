//! Leases: who may work on a job until when.

use super::ids::InstanceId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The fencing token of one claim. Every claim draws a new one from a sequence, so a result that carries an older
/// one matches no row. The attempt's number cannot be the fence: a job that was handed back keeps its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of one worker: `generation` grows with every restart of the actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WorkerLife {
    /// Its place in the pool, from 0.
    pub worker: u16,
    /// Counts from 1.
    pub generation: u64,
}

impl fmt::Display for WorkerLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.worker, self.generation)
    }
}

/// Whose leases are meant when they are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub instance: InstanceId,
    pub life: WorkerLife,
}
