//! What is shared with the other tests of a real database.

#[path = "../it/support/postgres.rs"]
pub mod postgres;

pub use postgres::Database;
