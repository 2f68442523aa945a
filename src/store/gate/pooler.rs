//! The proof that the migrator's connection is one session. Behind a pooler in transaction mode each statement may run
//! in another session of the server: a session lock is then taken in one and looked for in another.
//!
//! The check does not guess from names or ports. Our connection marks its session. Then other connections by the same
//! address each hold a transaction open, so that a pooler which shares sessions has to give away the idle, marked one.
//! When ours afterwards meets a session without its mark, or none at all, sessions are shared.

use crate::domain::migration::MigrationFailure;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use std::time::Duration;

/// Other connections: a pooler hands out the session that was idle last, so one is enough, were nobody else there.
const OTHERS: usize = 3;
/// A session of our own answers at once; in a pool that is used up, ours would wait for the others' transactions.
const PATIENCE: Duration = Duration::from_secs(2);

/// `connection` was opened with `options`.
pub(super) async fn refuse_shared_sessions(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<(), sqlx::Error> {
    let mark = format!("{:032x}", rand::random::<u128>());
    let setting = "select set_config('callspool.session', $1, false)";
    sqlx::query(setting).bind(&mark).persistent(false).execute(&mut *connection).await?;
    let mut others = Vec::with_capacity(OTHERS);
    for _ in 0..OTHERS {
        let mut other = PgConnection::connect_with(options).await?;
        let began = tokio::time::timeout(PATIENCE, sqlx::raw_sql("begin; select 1").execute(&mut other)).await;
        // One that does not begin waits for a session: there are fewer than connections.
        let waits = began.is_err();
        if let Ok(began) = began {
            began?;
        }
        others.push(other);
        if waits {
            break;
        }
    }
    let asked = sqlx::raw_sql("select coalesce(current_setting('callspool.session', true), '')");
    let answer = tokio::time::timeout(PATIENCE, sqlx::Executor::fetch_one(&mut *connection, asked)).await;
    let ours = match answer {
        Ok(row) => sqlx::Row::try_get::<String, _>(&row?, 0)? == mark,
        Err(_) => false,
    };
    for other in others {
        // Closing ends the transaction, which did nothing.
        let _ = tokio::time::timeout(PATIENCE, other.close()).await;
    }
    if ours { Ok(()) } else { Err(shared()) }
}

/// Carried as the driver's own kind of error, so that one path maps them all.
fn shared() -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(Shared))
}

#[derive(Debug, thiserror::Error)]
#[error("sessions are shared")]
struct Shared;

/// A failure in words, where `error` tells of a pooler: by our own check, or by a start-up that a pooler refuses.
pub(super) fn told(error: &sqlx::Error) -> Option<MigrationFailure> {
    let ours = matches!(error, sqlx::Error::Configuration(inner) if inner.is::<Shared>());
    let theirs = error.as_database_error().is_some_and(|answer| {
        answer.message().starts_with("unsupported startup parameter") || answer.message().contains("pgbouncer")
    });
    (ours || theirs).then(|| {
        MigrationFailure::lasting(
            None,
            "this address leads through a pooler that shares sessions, where a session lock does not hold: set \
             MIGRATION_DATABASE_URL to the database's direct address",
        )
    })
}
