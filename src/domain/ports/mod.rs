//! What the actors, routes and commands need from the edges. Each trait has one real implementation, in `store/` or
//! `adapters/`; all of them are called on the I/O runtime only (see `actors/mod.rs`).
//!
//! A method is one atomic step: it happens wholly or not at all, and may be called again after any error.

mod after;
mod edges;
mod gate;
mod holds;
mod intake;
mod operators;
mod queue;
mod transcripts;

pub use after::*;
pub use edges::*;
pub use gate::*;
pub use holds::*;
pub use intake::*;
pub use operators::*;
pub use queue::*;
pub use transcripts::*;

use super::text::clean;

/// The database did not do what was asked. The text is clean: no address, no credentials, no row's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("database: {message}")]
pub struct StoreError {
    /// PostgreSQL's five characters, where it answered at all.
    pub sqlstate: Option<String>,
    pub message: String,
}

impl StoreError {
    pub fn new(sqlstate: Option<String>, message: impl AsRef<str>) -> Self {
        Self { sqlstate, message: clean(message.as_ref()) }
    }

    /// `read_only_sql_transaction`: a standby (PostgreSQL documentation, Appendix A).
    pub const READ_ONLY: &str = "25006";
}

pub type StoreResult<T> = Result<T, StoreError>;
