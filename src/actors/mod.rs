//! The actors.
pub mod supervision;
