//! The actors: a control plane of messages and decisions. All of them live on the System's thread.
//!
//! ```text
//! supervisor ─┬─ migration              tries the lock, migrates or skips, opens the gate
//!             ├─ backfill               the application's backfills, where this process migrates ┐
//!             ├─ watcher                says why ready jobs are not picked                       │
//!             ├─ hold_keeper            what many jobs wait for together; where there are workers     │
//!             ├─ retention              deletes recordings that were kept long enough (with workers)    │
//!             ├─ follow_up              tells businesses, deletes at the provider (with workers)         │
//!             ├─ slot_manager           claims, settles, beats                                   │
//!             ├─ recording_worker-0…n   one download at a time each                              │ behind
//!             ├─ listener               hears and rings bells                                    │ the gate
//!             ├─ maintenance            due retries, dead instances, history                     │
//!             ├─ reconcile              what the provider has and no webhook told of, where it is on ┘
//!             └─ http                   routes, webhooks, health (in `crate::http`)
//! ```
//!
//! | from | to | message |
//! |---|---|---|
//! | `migration` | `supervisor` | `OpenGate`: the schema fits |
//! | `slot_manager` | `recording_worker` | `Assign`, `Settled`, `Cancel`, `Announce`, `Interrupt` |
//! | `recording_worker` | `slot_manager` | `WorkerReport` |
//! | `listener`, `maintenance`, `reconcile`, `hold_keeper`, `http` | `slot_manager` | `Rung`: jobs may have come in, or can be claimed again |
//! | `listener` | `slot_manager` | `CancelAsked`: running jobs are to be cancelled |
//! | `http`, `reconcile` | `listener` | `JobsCameIn`: tell the others |
//! | the process | `supervisor` | `Shutdown` |
//!
//! A message stands right above its handler, in the receiver's file; a report stands with its sender and travels
//! through an `Outbox`, so a worker never imports its pool.
//!
//! No actor does I/O: no SQL, no file, no hashing. `ChildContext::spawn_io` runs it on the I/O runtime, where the pool,
//! the HTTP client and the storage were made, and calls the actor back. A connection is bound to the runtime that
//! opened it, and a runtime that goes takes its connections along.

mod answer;
mod attempt_span;
pub mod backfill;
pub mod drain;
pub mod follow_up;
pub mod hold_board;
#[cfg(test)]
mod hold_board_tests;
pub mod hold_keeper;
pub mod job_types;
pub mod listener;
pub mod maintenance;
pub mod migration;
pub mod obstacle;
pub mod reconcile;
pub mod recording_worker;
pub mod retention;
pub mod slot_manager;
pub mod supervision;
pub mod supervisor;
pub mod watcher;
