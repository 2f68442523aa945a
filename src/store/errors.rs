//! Errors of the database, made fit to be logged: no address, no credentials, no row's content.

use super::hosts::NoPrimary;
use crate::domain::ports::StoreError;

/// PostgreSQL's own message is kept (its detail, which quotes values, is not); of anything else only the kind.
pub(super) fn clean_error(error: &sqlx::Error) -> StoreError {
    if let Some(answer) = error.as_database_error() {
        let (code, message) = (answer.code(), answer.message());
        if is_of_a_pooler(code.as_deref().unwrap_or_default(), message) {
            // First, so that no long message cuts it off.
            return StoreError::new(code.map(Into::into), format!("{POOLER_HINT}: {message}"));
        }
        return StoreError::new(code.map(Into::into), message);
    }
    if let Some(none) = NoPrimary::of(error) {
        return StoreError::new(none.sqlstate.clone(), &none.message);
    }
    let text = match error {
        sqlx::Error::Io(io) => format!("not reached: {}", io.kind()),
        sqlx::Error::Tls(_) => "TLS could not be agreed on".to_owned(),
        sqlx::Error::PoolTimedOut => {
            "no connection in time: the database does not answer, or every connection of the pool is busy"
                .to_owned()
        }
        sqlx::Error::PoolClosed => "the pool is closed".to_owned(),
        sqlx::Error::Configuration(_) => "the address is not a postgres:// URL".to_owned(),
        sqlx::Error::RowNotFound => "an answer had no row".to_owned(),
        sqlx::Error::ColumnDecode { index, .. } => format!("column {index} is not of the expected type"),
        sqlx::Error::ColumnNotFound(name) => format!("column {name} is missing"),
        sqlx::Error::Protocol(_) => "the connection broke or spoke out of turn".to_owned(),
        _ => "the driver gave up".to_owned(),
    };
    StoreError::new(None, text)
}

const POOLER_HINT: &str =
    "DATABASE_URL seems to be a transaction-mode pooler's; then database.pooler=transaction has to be set";

/// A statement's name that another session knows or knows not, or a start-up with more than a pooler lets through.
/// Where `database.pooler` says that one is there, neither is met.
fn is_of_a_pooler(code: &str, message: &str) -> bool {
    let no_such_name = ["26000", "42P05"].contains(&code);
    // PgBouncer's own; and PostgreSQL's, when another session has another statement under that name.
    let out_of_turn = code == "08P01"
        && (message.starts_with("unsupported startup parameter") || message.contains("prepared statement"));
    no_such_name || out_of_turn
}

/// Whether trying again later can end otherwise.
pub(super) fn can_pass(error: &sqlx::Error) -> bool {
    let code = match (NoPrimary::of(error), error.as_database_error()) {
        (Some(NoPrimary { sqlstate: Some(code), .. }), _) => code.into(),
        (None, Some(answer)) => answer.code().unwrap_or_default(),
        _ => return !matches!(error, sqlx::Error::Configuration(_)),
    };
    // 08 connection, 53 resources, 57P0x shutdown and 57014 timeout, 55P03 lock timeout, 40 serialisation and deadlock,
    // 25P03 a session that was frozen in its transaction, 25006 a standby that is not promoted yet (PostgreSQL
    // documentation, Appendix A).
    ["08", "53", "57P0", "40"].iter().any(|class| code.starts_with(class))
        || ["55P03", "57014", "25P03", StoreError::READ_ONLY].contains(&code.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_pooler_does_is_told_from_other_errors() {
        for (code, message) in [
            ("26000", "prepared statement \"sqlx_s_1\" does not exist"),
            ("42P05", "prepared statement \"sqlx_s_1\" already exists"),
            ("08P01", "bind message supplies 9 parameters, but prepared statement \"sqlx_s_1\" requires 1"),
            ("08P01", "unsupported startup parameter: extra_float_digits"),
        ] {
            assert!(is_of_a_pooler(code, message), "{message}");
        }
        for (code, message) in [("08P01", "query_wait_timeout"), ("23505", "a prepared statement"), ("", "")] {
            assert!(!is_of_a_pooler(code, message), "{message}");
        }
    }
}
