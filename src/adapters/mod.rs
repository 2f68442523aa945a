//! The edges of the process: the provider over HTTP, object storage, the clock, and the embedded PostgreSQL.

pub mod clock;
pub mod embedded_postgres;
pub mod storage;
pub mod twilio;
