//! Who is up: written by the supervisor, read by `/readyz`, `status` and the beat.

use super::life::ChildId;
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// Not started yet: the schema does not fit.
    Waiting,
    Up,
    /// Ended, and to be started again.
    Down,
    /// Ended for good.
    Stopped,
}

impl ChildState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Up => "up",
            Self::Down => "restarting",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildStatus {
    pub id: ChildId,
    pub generation: u64,
    pub state: ChildState,
    /// The place of its last panic, in whichever life.
    pub last_panic: Option<String>,
}

/// A shared list of the children, in start order.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<RwLock<Vec<ChildStatus>>>);

impl Roster {
    pub fn children(&self) -> Vec<ChildStatus> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn enlist(&self, ids: impl Iterator<Item = ChildId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            ids.map(|id| ChildStatus { id, generation: 0, state: ChildState::Waiting, last_panic: None }).collect();
    }

    pub(super) fn panicked(&self, place: usize, at: String) {
        if let Some(child) = self.0.write().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            child.last_panic = Some(at);
        }
    }

    pub(super) fn set(&self, place: usize, generation: u64, state: ChildState) {
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = list.get_mut(place) {
            child.generation = generation;
            child.state = state;
        }
    }
}
