//! The one way of all statements to the pool, also where the pool's address is a transaction-mode pooler's.
//!
//! Such a pooler gives a connection another session of the server with every transaction, and the driver prepares and
//! executes in two round trips. So behind one (`database.pooler`) a statement has no name, which would be another
//! session's, and runs in an explicit transaction, which keeps both round trips in one session. Elsewhere statements
//! are prepared once for each connection and run as they are.
//!
//! Where a URL names several hosts, the connection is one to the primary, and what its errors say of that is heeded: see
//! [`super::hosts`].
//!
//! The driver also asks for types that it does not know in between, which would end an unnamed statement. So no
//! statement of ours takes or gives a type that is not PostgreSQL's own; a test holds that.

use super::{
    hosts::{Address, Pools, Seat},
    lately::Lately,
    lent::{Lent, Silence, answer_limit, end_with_us},
};
use crate::domain::observation::PoolUse;
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, future, stream};
use sqlx::{
    Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    error::BoxDynError,
    postgres::{PgArguments, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

type BoxFuture<'e, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'e>>;
type BoxStream<'e> = Pin<Box<dyn stream::Stream<Item = Result<Either<PgQueryResult, PgRow>, Error>> + Send + 'e>>;

/// A statement that is given to `&Pool` is one transaction; for several in one there is [`Pool::begin`].
#[derive(Debug)]
pub(super) struct Pool {
    hosts: PoolHosts,
    sessions: Sessions,
    /// Longest wait for a connection's answer whether it lives.
    answer_limit: Duration,
    /// Told of each answer, where what it sends are writes.
    answers: Option<Lately>,
    /// Who takes one of its connections takes a turn first.
    turns: Option<Arc<Semaphore>>,
}

/// Clones share their connections.
#[derive(Debug, Clone)]
enum PoolHosts {
    One(PgPool),
    Several(Arc<Pools>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sessions {
    /// A connection is one session of the server, for as long as it lasts.
    Kept,
    /// A pooler stands between, and only a transaction is sure to stay in one session.
    Shared,
}

impl Pool {
    /// Opens no connection yet. `behind_pooler`: a transaction-mode pooler's address. `answers` is told of each answer;
    /// for a pool that sends writes, because a standby answers what only reads.
    pub(super) fn new(pool: PgPoolOptions, address: Address, behind_pooler: bool, answers: Option<Lately>) -> Self {
        let answer_limit = answer_limit(pool.get_acquire_timeout(), behind_pooler);
        let silence = Silence::new(answer_limit);
        let pool = pool.test_before_acquire(false).before_acquire(move |connection, is| {
            let silence = silence.clone();
            Box::pin(async move { Ok(silence.passes(connection, is).await) })
        });
        let sessions = if behind_pooler { Sessions::Shared } else { Sessions::Kept };
        let hosts = match address {
            // Behind a pooler the session is another's with the next transaction.
            Address::One(options) if behind_pooler => PoolHosts::One(pool.connect_lazy_with(*options)),
            Address::One(options) => {
                let pool = pool.after_connect(|connection, _| Box::pin(end_with_us(connection)));
                PoolHosts::One(pool.connect_lazy_with(*options))
            }
            Address::Several(hosts) => PoolHosts::Several(Arc::new(Pools::new(hosts, pool, behind_pooler))),
        };
        Self { hosts, sessions, answer_limit, answers, turns: None }
    }

    /// The same connections for what can wait: at most so many of them at a time.
    pub(super) fn with_turns(&self, turns: u32) -> Self {
        let turns = Some(Arc::new(Semaphore::new(turns as usize)));
        let (hosts, answers) = (self.hosts.clone(), self.answers.clone());
        Self { hosts, sessions: self.sessions, answer_limit: self.answer_limit, answers, turns }
    }

    /// It waits without a limit: callers have theirs.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.turns.as_ref()?).acquire_owned().await.ok()
    }

    fn hear<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if let Some(answers) = &self.answers {
            answers.hear(&answer);
        }
        answer
    }

    async fn acquire(&self) -> Result<(Lent, Option<Seat>), Error> {
        let turn = self.turn().await;
        let acquired = match &self.hosts {
            PoolHosts::One(pool) => pool.acquire().await.map(|connection| (connection, None)),
            PoolHosts::Several(pools) => pools.acquire().await.map(|(connection, seat)| (connection, Some(seat))),
        };
        match acquired {
            // That one is lent is no answer yet.
            Ok((connection, seat)) => Ok((Lent::new(connection, self.answer_limit, turn), seat)),
            Err(error) => self.hear(Err(error)),
        }
    }

    /// Says at once where several hosts have no primary; a single host is not asked.
    pub(super) async fn has_primary(&self) -> Result<(), Error> {
        match &self.hosts {
            PoolHosts::One(_) => Ok(()),
            PoolHosts::Several(pools) => pools.is_there().await,
        }
    }

    /// Whoever waits for it may give up at any moment: nothing is left open.
    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        let (mut lent, seat) = self.acquire().await?;
        if let Err(error) = watched(seat.as_ref(), lent.begin()).await {
            return self.hear(Err(error));
        }
        Ok(Transaction { lent, sessions: self.sessions, seat })
    }

    /// `limit`: what it was made with.
    pub(super) fn connections(&self, limit: u32) -> PoolUse {
        let count = |pool: &PgPool| {
            // Two looks at what changes: never less than none.
            let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            (pool.size().saturating_sub(idle), idle)
        };
        let (in_use, idle) = match &self.hosts {
            PoolHosts::One(pool) => count(pool),
            PoolHosts::Several(pools) => pools.with(count).unwrap_or_default(),
        };
        PoolUse { in_use, idle, limit }
    }

    pub(super) async fn close(&self) {
        match &self.hosts {
            PoolHosts::One(pool) => pool.close().await,
            PoolHosts::Several(pools) => pools.close().await,
        }
    }
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answered = async move {
            let answers: Vec<_> = if self.sessions == Sessions::Kept {
                let (mut lent, seat) = self.acquire().await?;
                self.hear(watched(seat.as_ref(), lent.connection().fetch_many(query).try_collect()).await)?
            } else {
                let committed = async {
                    let mut transaction = self.begin().await?;
                    let answers = transaction.fetch_many(query).try_collect().await?;
                    transaction.commit().await?;
                    Ok(answers)
                };
                self.hear(committed.await)?
            };
            Ok(stream::iter(answers).map(Ok))
        };
        answered.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Option<PgRow>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answered = async move {
            if self.sessions == Sessions::Kept {
                let (mut lent, seat) = self.acquire().await?;
                return self.hear(watched(seat.as_ref(), lent.connection().fetch_optional(query)).await);
            }
            let committed = async {
                let mut transaction = self.begin().await?;
                let row = transaction.fetch_optional(query).await?;
                transaction.commit().await?;
                Ok(row)
            };
            self.hear(committed.await)
        };
        answered.boxed()
    }

    fn prepare_with<'e>(self, _: SqlStr, _: &'e [PgTypeInfo]) -> BoxFuture<'e, PgStatement>
    where
        'p: 'e,
    {
        refuse_handle()
    }

    fn describe<'e>(self, _: SqlStr) -> BoxFuture<'e, sqlx::Describe<Postgres>>
    where
        'p: 'e,
    {
        refuse_handle()
    }
}

/// Several statements in one transaction. It is rolled back where it is dropped before [`Transaction::commit`].
#[derive(Debug)]
pub(super) struct Transaction {
    lent: Lent,
    sessions: Sessions,
    /// Where there are several hosts.
    seat: Option<Seat>,
}

impl Transaction {
    pub(super) async fn commit(mut self) -> Result<(), Error> {
        watched(self.seat.as_ref(), self.lent.commit()).await
    }
}

/// `answer`, unless its host is none any more before it comes.
async fn watched<T>(seat: Option<&Seat>, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match seat {
        None => answer.await,
        Some(seat) => seat.watch(answer).await,
    }
}

impl<'c> Executor<'c> for &'c mut Transaction {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let seat = self.seat.as_ref();
        let connection: &'c mut PgConnection = self.lent.connection();
        let answers = match self.sessions {
            Sessions::Kept => connection.fetch_many(query),
            Sessions::Shared => connection.fetch_many(Unnamed(query)),
        };
        let Some(seat) = seat else { return answers };
        let collected = seat.watch(answers.try_collect::<Vec<_>>());
        collected.map_ok(|answers| stream::iter(answers).map(Ok)).try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Option<PgRow>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let seat = self.seat.as_ref();
        let connection: &'c mut PgConnection = self.lent.connection();
        let answer = match self.sessions {
            Sessions::Kept => connection.fetch_optional(query),
            Sessions::Shared => connection.fetch_optional(Unnamed(query)),
        };
        watched(seat, answer).boxed()
    }

    fn prepare_with<'e>(self, _: SqlStr, _: &'e [PgTypeInfo]) -> BoxFuture<'e, PgStatement>
    where
        'c: 'e,
    {
        refuse_handle()
    }

    fn describe<'e>(self, _: SqlStr) -> BoxFuture<'e, sqlx::Describe<Postgres>>
    where
        'c: 'e,
    {
        refuse_handle()
    }
}

/// A prepared statement that the caller keeps would outlive its session.
fn refuse_handle<'e, T: Send + 'e>() -> BoxFuture<'e, T> {
    future::err(Error::Protocol("a statement is given whole here, not prepared first".to_owned())).boxed()
}

/// A statement that leaves nothing in the session.
struct Unnamed<E>(E);

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Unnamed<E> {
    fn sql(self) -> SqlStr {
        self.0.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.0.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.0.take_arguments()
    }

    fn persistent(&self) -> bool {
        false
    }
}
