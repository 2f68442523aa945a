//! A connection that a pool lends, and its way out and back.
//!
//! The driver asks a connection that is given back whether it lives, and waits for the answer for ever. One that passes
//! nothing any more and is not closed either would keep its place in the pool, and after some calls that were given up
//! such connections would have all places. So both questions are asked here, for a limited time. Nor is a transaction
//! left to the driver, whose version 0.9.0 forgets a BEGIN that nobody awaits any more (its issue 4385).

use sqlx::{
    Connection, Error, PgConnection, Postgres,
    pool::{PoolConnection, PoolConnectionMetadata},
    raw_sql,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

/// Longest wait for the answer of a connection to the question whether it lives.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// `wait`: of those who want a connection. The question ends before they give up, or it would tell nothing. Behind a pooler
/// it may stand in line for a session.
pub(super) fn answer_limit(wait: Duration, behind_pooler: bool) -> Duration {
    if behind_pooler { wait / 2 } else { ANSWER_LIMIT.min(wait / 2) }
}

/// One that somebody waited for goes on without being asked again: where all are in use, that is a third of the round
/// trips.
const JUST_BACK: Duration = Duration::from_millis(10);

/// When an idle connection of a pool last gave no answer. It speaks for all that are idle since before: with one way, all
/// go silent, and to wait for each of them would take too long. Shared by its clones.
#[derive(Debug, Clone)]
pub(super) struct Silence {
    last: Arc<Mutex<Option<Instant>>>,
    limit: Duration,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        Self { last: Arc::default(), limit }
    }

    fn since(&self, asked: Instant) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
    }

    fn covers(&self, used: Option<Instant>) -> bool {
        let asked = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| used.is_none_or(|used| used <= asked))
    }

    /// Whether an idle connection may be lent.
    pub(super) async fn passes(&self, connection: &mut PgConnection, is: PoolConnectionMetadata) -> bool {
        let asked = Instant::now();
        if is.idle_for <= JUST_BACK {
            return true;
        }
        if self.covers(asked.checked_sub(is.idle_for)) {
            return false;
        }
        let answer = timeout(self.limit, connection.ping()).await;
        if answer.is_err() {
            self.since(asked);
        }
        matches!(answer, Ok(Ok(())))
    }
}

/// The server looks whether a client that gave up is gone: what that one asked for would otherwise wait for its lock on a
/// connection that no pool counts any more. A platform that cannot look refuses the setting.
pub(super) async fn end_with_us(connection: &mut PgConnection) -> Result<(), Error> {
    let asked =
        "select set_config(name, '2s', false) from pg_settings where name = 'client_connection_check_interval'";
    match raw_sql(asked).execute(connection).await {
        Ok(_) | Err(Error::Database(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Goes back when it is dropped, also in the middle of a statement: a transaction that is open then is rolled back.
#[derive(Debug)]
pub(super) struct Lent {
    /// Until the drop.
    connection: Option<PoolConnection<Postgres>>,
    in_transaction: bool,
    /// Longest wait for its answer when it goes back.
    limit: Duration,
    /// Until the connection is back.
    turn: Option<OwnedSemaphorePermit>,
}

impl Lent {
    pub(super) fn new(
        connection: PoolConnection<Postgres>,
        limit: Duration,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { connection: Some(connection), in_transaction: false, limit, turn }
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is taken by the drop alone")
    }

    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        // Before the answer: it may be given up until then.
        self.in_transaction = true;
        raw_sql("begin").execute(self.connection()).await.map(|_| ())
    }

    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        raw_sql("commit").execute(self.connection()).await?;
        self.in_transaction = false;
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(connection), in_transaction) = (self.connection.take(), self.in_transaction) else { return };
        // Where nothing can be awaited any more it ends with its socket.
        let Ok(runtime) = Handle::try_current() else { return drop(connection.detach()) };
        let (turn, limit) = (self.turn.take(), self.limit);
        runtime.spawn(async move {
            // No answer in time is no silence: it may still be at the statement that was given up.
            let _ = timeout(limit, go_back(connection, in_transaction)).await;
            drop(turn);
        });
    }
}

/// Where this is given up, the connection is closed.
async fn go_back(connection: PoolConnection<Postgres>, in_transaction: bool) {
    let mut closing = Closing(Some(connection));
    if in_transaction {
        let Some(connection) = closing.0.as_mut() else { return };
        if raw_sql("rollback").execute(&mut **connection).await.is_err() {
            return;
        }
    }
    if let Some(mut connection) = closing.0.take() {
        connection.return_to_pool().await;
    }
}

/// A drop of the driver's own connection would begin to ask it again.
struct Closing(Option<PoolConnection<Postgres>>);

impl Drop for Closing {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}
