//! Why this process is not ready: written by the actor that knows, read by `/readyz`.

use std::sync::{Arc, Mutex, PoisonError};

/// One thing that may stand in the way. Each clone is the same thing.
#[derive(Debug, Clone, Default)]
pub struct Obstacle(Arc<Mutex<Option<String>>>);

impl Obstacle {
    /// `None`: nothing stands in the way.
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, obstacle: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = obstacle;
    }
}
