//! The proof that the migrator's connection is one session. Behind a pooler in transaction mode each statement may run
//! in another session of the server: a session lock is then taken in one and looked for in another.
//!
//! The check does not guess from names or ports. Our connection marks its session. Then other connections by the same
//! address each hold a transaction open, so that a pooler which shares sessions has to give away the idle, marked one.
//! When one of them meets our mark, or ours afterwards a session without it, sessions are shared. Nothing else proves
//! it: an answer that does not come may be a busy server, and then the connection is tried again later.

use crate::domain::migration::MigrationFailure;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, postgres::PgConnectOptions};
use std::time::Duration;

/// Other connections: a pooler hands out the session that was idle last, so one is enough, were nobody else there.
const OTHERS: usize = 3;
/// How often ours is asked for its mark: in a busy pool it may meet the marked session by chance.
const ASKS: usize = 4;
/// In a pool that is used up, a connection waits for the others' transactions.
const PATIENCE: Duration = Duration::from_secs(2);

/// `connection` was opened with `options`. Simple queries only: a prepared statement may be lost in such a pool before
/// it runs.
pub(super) async fn refuse_shared_sessions(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<(), sqlx::Error> {
    let mark = format!("{:032x}", rand::random::<u128>());
    connection.execute(AssertSqlSafe(format!("set callspool.session = '{mark}'"))).await?;
    let mut others = Vec::with_capacity(OTHERS);
    let shared = meet(connection, &mark, options, &mut others).await;
    for other in others {
        // Closing ends the transaction, which did nothing.
        let _ = tokio::time::timeout(PATIENCE, other.close()).await;
    }
    if shared? { Err(sqlx::Error::Configuration(Box::new(Shared))) } else { Ok(()) }
}

/// Whether sessions are shared for certain.
async fn meet(
    connection: &mut PgConnection,
    mark: &str,
    options: &PgConnectOptions,
    others: &mut Vec<PgConnection>,
) -> Result<bool, sqlx::Error> {
    for _ in 0..OTHERS {
        let mut other = PgConnection::connect_with(options).await?;
        let began = tokio::time::timeout(PATIENCE, async {
            other.execute("begin").await?;
            mark_of(&mut other).await
        });
        let began = began.await;
        others.push(other);
        match began {
            Ok(met) => {
                if met? == mark {
                    return Ok(true);
                }
            }
            // There are fewer sessions than connections; that is so in session mode, too.
            Err(_) => break,
        }
    }
    let asks = async {
        for _ in 0..ASKS {
            if mark_of(connection).await? != mark {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let slow = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(PATIENCE, asks).await.unwrap_or_else(slow)
}

async fn mark_of(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let asked = "select coalesce(current_setting('callspool.session', true), '')";
    connection.fetch_one(sqlx::raw_sql(asked)).await?.try_get(0)
}

/// Carried as the driver's own kind of error, so that one path maps them all.
#[derive(Debug, thiserror::Error)]
#[error("sessions are shared")]
struct Shared;

/// A failure in words, where `error` tells of a pooler: by our own check, by a start-up that a pooler refuses, or by
/// one that allows no transactions at all.
pub(super) fn told(error: &sqlx::Error) -> Option<MigrationFailure> {
    let ours = matches!(error, sqlx::Error::Configuration(inner) if inner.is::<Shared>());
    let theirs = error.as_database_error().is_some_and(|answer| {
        let message = answer.message();
        message.starts_with("unsupported startup parameter") || message.contains("statement pooling mode")
    });
    (ours || theirs).then(|| {
        MigrationFailure::lasting(
            None,
            "this address leads through a pooler that shares sessions, where a session lock does not hold: set \
             MIGRATION_DATABASE_URL to the database's direct address",
        )
    })
}
