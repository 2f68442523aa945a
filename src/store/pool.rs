//! The one way of all statements to the pool, also where the pool's address is a transaction-mode pooler's.
//!
//! Such a pooler gives a connection another session of the server with every transaction, and the driver prepares and
//! executes in two round trips. So behind one (`database.pooler`) a statement has no name, which would be another
//! session's, and runs in an explicit transaction, which keeps both round trips in one session. Elsewhere statements
//! are prepared once for each connection and run as they are.
//!
//! The driver also asks for types that it does not know in between, which would end an unnamed statement. So no
//! statement of ours takes or gives a type that is not PostgreSQL's own; a test holds that.

use crate::domain::observation::PoolUse;
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, future, stream};
use sqlx::{
    Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    error::BoxDynError,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use std::{future::Future, pin::Pin};

type BoxFuture<'e, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'e>>;
type BoxStream<'e> = Pin<Box<dyn stream::Stream<Item = Result<Either<PgQueryResult, PgRow>, Error>> + Send + 'e>>;

/// A statement that is given to `&Pool` is one transaction; for several in one there is [`Pool::begin`].
#[derive(Debug)]
pub(super) struct Pool {
    pool: PgPool,
    sessions: Sessions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sessions {
    /// A connection is one session of the server, for as long as it lasts.
    Kept,
    /// A pooler stands between, and only a transaction is sure to stay in one session.
    Shared,
}

impl Pool {
    /// Opens no connection yet. `behind_pooler`: a transaction-mode pooler's address.
    pub(super) fn new(pool: PgPoolOptions, options: PgConnectOptions, behind_pooler: bool) -> Self {
        if behind_pooler {
            // A pooler refuses what it cannot set again for each transaction. No statement here is a float's.
            let options = options.extra_float_digits(None).statement_cache_capacity(0);
            return Self { pool: pool.connect_lazy_with(options), sessions: Sessions::Shared };
        }
        Self { pool: pool.connect_lazy_with(options), sessions: Sessions::Kept }
    }

    /// Whoever waits for it may give up at any moment: nothing is left open.
    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        let connection = self.pool.acquire().await?;
        // A task of its own, because sqlx 0.9.0 forgets a BEGIN whose answer nobody awaits any more (its issue 4385):
        // the connection would go back into the pool with an open transaction, and keep a session of the pooler's.
        let begun = tokio::spawn(sqlx::Transaction::begin(connection, None)).await;
        let inner = begun.map_err(|_| Error::WorkerCrashed)??;
        Ok(Transaction { inner, sessions: self.sessions })
    }

    /// `limit`: what it was made with.
    pub(super) fn connections(&self, limit: u32) -> PoolUse {
        // Two looks at what changes: never less than none.
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        PoolUse { in_use: self.pool.size().saturating_sub(idle), idle, limit }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if self.sessions == Sessions::Kept {
            return self.pool.fetch_many(query);
        }
        let committed = async move {
            let mut transaction = self.begin().await?;
            let answers: Vec<_> = transaction.fetch_many(query).try_collect().await?;
            transaction.commit().await?;
            Ok(stream::iter(answers).map(Ok))
        };
        committed.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Option<PgRow>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if self.sessions == Sessions::Kept {
            return self.pool.fetch_optional(query);
        }
        let committed = async move {
            let mut transaction = self.begin().await?;
            let row = transaction.fetch_optional(query).await?;
            transaction.commit().await?;
            Ok(row)
        };
        committed.boxed()
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
    inner: sqlx::Transaction<'static, Postgres>,
    sessions: Sessions,
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), Error> {
        self.inner.commit().await
    }
}

impl<'c> Executor<'c> for &'c mut Transaction {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let connection: &'c mut PgConnection = &mut self.inner;
        match self.sessions {
            Sessions::Kept => connection.fetch_many(query),
            Sessions::Shared => connection.fetch_many(Unnamed(query)),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Option<PgRow>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let connection: &'c mut PgConnection = &mut self.inner;
        match self.sessions {
            Sessions::Kept => connection.fetch_optional(query),
            Sessions::Shared => connection.fetch_optional(Unnamed(query)),
        }
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
