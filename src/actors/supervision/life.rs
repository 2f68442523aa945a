//! Which child, which generation of it, how it ended.

use std::{any::Any, borrow::Cow, fmt};

/// A child's name in the tree and in the log, such as `slot_manager` or `recording_worker-3`.
pub type ChildId = Cow<'static, str>;

/// One life of one child. The generation counts from 1 and is part of the fencing token under which the child takes
/// leases: what an earlier life still tries to write meets no row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
    pub child: ChildId,
    pub generation: u64,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.child, self.generation)
    }
}

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It stopped by itself.
    Normal,
    /// It gave up, and says why.
    Error(String),
    Panic(String),
    /// It did not stop within its grace and was aborted.
    Killed,
}

impl Exit {
    /// A panic's literal message; a formatted one may carry data and is withheld (the panic hook does the same).
    pub(super) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        Self::Panic(payload.downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)").to_owned())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("stopped"),
            Self::Error(why) => write!(f, "error: {why}"),
            Self::Panic(why) => write!(f, "panic: {why}"),
            Self::Killed => f.write_str("killed"),
        }
    }
}
