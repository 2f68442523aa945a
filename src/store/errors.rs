//! Errors of the database, made fit to be logged: no address, no credentials, no row's content.

use crate::domain::ports::StoreError;

/// PostgreSQL's own message is kept (its detail, which quotes values, is not); of anything else only the kind.
pub(super) fn clean_error(error: &sqlx::Error) -> StoreError {
    if let Some(answer) = error.as_database_error() {
        return StoreError::new(answer.code().map(Into::into), answer.message());
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

/// Whether trying again later can end otherwise.
pub(super) fn can_pass(error: &sqlx::Error) -> bool {
    let Some(answer) = error.as_database_error() else {
        return !matches!(error, sqlx::Error::Configuration(_));
    };
    let code = answer.code().unwrap_or_default();
    // 08 connection, 53 resources, 57P0x shutdown and 57014 timeout, 55P03 lock timeout, 40 serialisation and deadlock,
    // 25P03 a session that was frozen in its transaction, 25006 a standby that is not promoted yet (PostgreSQL
    // documentation, Appendix A).
    ["08", "53", "57P0", "40"].iter().any(|class| code.starts_with(class))
        || ["55P03", "57014", "25P03", "25006"].contains(&code.as_ref())
}
