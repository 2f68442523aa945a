//! An error together with what to do about it.

use crate::domain::ports::StoreError;
use std::fmt;

/// Shown by the command line as the error, and below it a line `next: …`.
#[derive(Debug)]
pub struct Advised {
    error: anyhow::Error,
    /// One sentence or command, for whoever sits there.
    pub next: String,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Its causes are in its text.
impl std::error::Error for Advised {}

pub fn advised(error: anyhow::Error, next: String) -> anyhow::Error {
    Advised { error, next }.into()
}

pub trait OrNext<T> {
    /// Adds what to do next to an error; one that says so already keeps its own.
    fn or_next(self, next: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrNext<T> for Result<T, E> {
    fn or_next(self, next: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            if next_step(&error).is_some() { error } else { advised(error, next()) }
        })
    }
}

/// What an error, or one of its causes, says to do.
pub fn next_step(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|cause| cause.downcast_ref::<Advised>()).map(|advised| advised.next.as_str())
}

/// What to do when the database does not do what it is asked, by SQLSTATE (PostgreSQL documentation, Appendix A).
pub fn about_database(error: &StoreError) -> String {
    let message = error.message.as_str();
    let next = match error.sqlstate.as_deref() {
        Some("28P01" | "28000") => "check the user and the password of DATABASE_URL, and pg_hba.conf of the server",
        Some("3D000") => "create the database, or correct its name in DATABASE_URL",
        Some("42501") => "give the role of DATABASE_URL the rights on the schema, or name another role",
        Some("42P01" | "42883" | "3F000") => "`callspool migrate run` brings the schema there",
        Some("53300") => "close other connections, or raise max_connections of the server; then try again",
        Some("57P03" | "57P01") => "the server starts or stops: try again in a moment",
        Some(StoreError::READ_ONLY) => {
            "DATABASE_URL leads to a standby: name the primary, or all hosts, separated by commas"
        }
        _ if message.contains("database.pooler=transaction") => "set CALLSPOOL__DATABASE__POOLER=transaction",
        None if message.starts_with("TLS") => "check sslmode and the certificates in DATABASE_URL",
        None if message.starts_with("the address") => {
            "DATABASE_URL is like postgres://USER:PASSWORD@HOST:5432/DATABASE"
        }
        None => "see that PostgreSQL is up, and that host and port of DATABASE_URL are reached from here",
        Some(_) => "see the server's log; `callspool status` tells whether schema and binary fit",
    };
    next.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn advice_is_found_below_more_context_and_the_first_is_kept() {
        let failed: anyhow::Result<()> = Err(anyhow!("no such file")).context("x cannot be read");
        let error = failed.or_next(|| "make it".to_owned()).context("outside").or_next(|| "give up".to_owned());
        let error = error.unwrap_err();
        assert_eq!(format!("{error:#}"), "outside: x cannot be read: no such file");
        assert_eq!(next_step(&error), Some("make it"));
        assert_eq!(next_step(&anyhow!("plain")), None);
    }
}
