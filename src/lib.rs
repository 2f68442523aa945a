//! callspool moves call recordings from a telephony provider into your own storage.

#[cfg(not(panic = "unwind"))]
compile_error!("callspool supervises actors that panic: build it with panic = \"unwind\"");

pub mod actors;
pub mod adapters;
pub mod domain;
pub mod settings;
pub mod store;
pub mod telemetry;
