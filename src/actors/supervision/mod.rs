//! Supervision for actix: monitors, child specs, generations, backoff, restart intensity, ordered stop.
//!
//! `actix::Supervisor` restarts an actor only after `ctx.stop()`, never after a panic, and keeps the same struct. Here
//! every child's context runs in a task of its own whose end is watched ([`launch`]); a child that ends is made anew by
//! its [`ChildSpec`], after all I/O of its last life has ended and what that life held was given back.
//!
//! | file | what it holds |
//! |---|---|
//! | `life` | which child, which generation of it, how it ended |
//! | `spec` | what a child is and when it is restarted |
//! | `child_context` | what a child gets: its life, its I/O, its drain |
//! | `child_ref` | addresses that stay right over restarts |
//! | `launch` | a context under watch |
//! | `restarts` | backoff and intensity, pure |
//! | `roster` | who is up, for `/readyz` and `status` |
//! | `supervisor` | the actor that does it |
//!
//! A child never uses: `ResponseFuture` (it outlives the actor and swallows a panic), `Running::Continue` (aborts the
//! process during unwinding), a bare `actix_rt::spawn` (nobody ends it), or work in `stopping` and `stopped`.

mod child_context;
mod child_ref;
mod launch;
mod life;
mod restarts;
mod roster;
mod spec;
mod supervisor;
#[cfg(test)]
mod tests;

pub(crate) use child_context::hooks_for_faults;
pub use child_context::{ChildContext, IoTask};
pub use child_ref::{ChildRef, Outbox};
pub use life::{ChildId, Exit, Life};
pub use restarts::RestartPolicy;
pub use roster::{ChildState, ChildStatus, Roster};
pub use spec::{ChildSpec, Restart};
pub use supervisor::{OpenGate, Reclaim, Shutdown, Supervisor, start_root};
