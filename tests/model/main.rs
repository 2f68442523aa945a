//! The queue's protocol: all that its model can do, and whether what the database does is something that the model can do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]
#![allow(clippy::print_stdout, reason = "the figures of the model are what is asked for")]

#[allow(dead_code, reason = "shared with the other tests")]
#[path = "../it/queue_law.rs"]
mod queue_law;

/// As the crate has it, but for the locks.
mod domain {
    pub use callspool::domain::hold;
    pub mod locks {
        pub use shuttle::sync::{Mutex, MutexGuard};
    }
}
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

mod behaviour;
mod every_state;
mod fleet;
mod interleaved;
mod mutants;
mod recorded;
mod replay;
