//! A pool for each primary in turn: what was opened to the one before is closed, and whoever waits for an answer there
//! is told that it does not come.

use super::{
    super::lent::end_with_us,
    errors,
    known::{Hosts, Primary},
    look::is_read_only,
};
use sqlx::{Error, PgPool, Postgres, pool::PoolConnection, postgres::PgPoolOptions};
use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout_at};

/// A connection that takes longer to come lets the hosts be looked at, beside the wait.
const SUSPECT_AFTER: Duration = Duration::from_millis(500);
/// Between two tries to get a connection from a host that is said to be the primary.
const PAUSE: Duration = Duration::from_millis(50);

/// The primary that something was opened to, and a hand on what becomes of it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Seat {
    hosts: Hosts,
    primary: Primary,
}

impl Seat {
    pub(super) fn new(hosts: Hosts, primary: Primary) -> Self {
        Self { hosts, primary }
    }

    /// `answer`, unless the primary is another one before it comes. Its error is heeded.
    pub(in crate::store) async fn watch<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = self.hosts.left(self.primary) => return Err(Error::Io(io::ErrorKind::ConnectionAborted.into())),
        };
        answer.inspect_err(|error| self.hosts.judge(self.primary, error))
    }
}

#[derive(Debug)]
pub(in crate::store) struct Pools {
    hosts: Hosts,
    options: PgPoolOptions,
    behind_pooler: bool,
    /// That of the newest primary.
    current: Mutex<Option<(Primary, PgPool)>>,
}

impl Pools {
    pub(in crate::store) fn new(hosts: Hosts, options: PgPoolOptions, behind_pooler: bool) -> Self {
        Self { hosts, options, behind_pooler, current: Mutex::new(None) }
    }

    /// One connection to the primary. Waits as long as a pool of one host does.
    pub(in crate::store) async fn acquire(&self) -> Result<(PoolConnection<Postgres>, Seat), Error> {
        let deadline = Instant::now() + self.options.get_acquire_timeout();
        loop {
            let primary = self.hosts.primary_by(deadline).await?;
            let Some(pool) = self.pool(primary) else { continue };
            let wait = timeout_at(deadline.into(), pool.acquire());
            let acquired = tokio::select! {
                biased;
                acquired = wait => acquired.unwrap_or(Err(Error::PoolTimedOut)),
                () = self.hosts.left(primary) => continue,
                never = self.suspect() => match never {},
            };
            match acquired {
                Ok(connection) if self.hosts.is(primary) => {
                    return Ok((connection, Seat::new(self.hosts.clone(), primary)));
                }
                // The driver would ask it whether it lives, without a limit.
                Ok(connection) => drop(connection.detach()),
                // That of a primary which is none any more.
                Err(Error::PoolClosed) if !self.is_closed() => {}
                Err(error) => {
                    self.hosts.judge(primary, &error);
                    let passes = errors::of_statement(&error) == errors::Says::Gone && !self.is_closed();
                    if !passes || Instant::now() + PAUSE >= deadline {
                        return Err(error);
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Says at once where there is no primary, and waits for none.
    pub(in crate::store) async fn is_there(&self) -> Result<(), Error> {
        self.hosts.primary().await.map(|_| ())
    }

    async fn suspect(&self) -> std::convert::Infallible {
        loop {
            sleep(SUSPECT_AFTER).await;
            self.hosts.suspect();
        }
    }

    /// `None`: there is a newer primary by now.
    fn pool(&self, primary: Primary) -> Option<PgPool> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref() {
            Some((of, pool)) if *of == primary => return Some(pool.clone()),
            Some((of, _)) if of.term > primary.term => return None,
            // Closed for good.
            Some((_, pool)) if pool.is_closed() => return Some(pool.clone()),
            _ => {}
        }
        let pool = self.options_for(primary).connect_lazy_with(self.hosts.options(primary));
        if let Some((_, before)) = current.replace((primary, pool.clone())) {
            // Ends when the last of its connections is given back.
            tokio::spawn(async move { before.close().await });
        }
        Some(pool)
    }

    /// A new connection is asked once whether it leads to a primary; whoever gets it finds out by [`Hosts::is`].
    fn options_for(&self, primary: Primary) -> PgPoolOptions {
        let (hosts, behind_pooler) = (self.hosts.clone(), self.behind_pooler);
        self.options.clone().after_connect(move |connection, _| {
            let hosts = hosts.clone();
            Box::pin(async move {
                if is_read_only(connection).await? {
                    hosts.lost(primary);
                }
                if behind_pooler { Ok(()) } else { end_with_us(connection).await }
            })
        })
    }

    fn is_closed(&self) -> bool {
        self.with(PgPool::is_closed).unwrap_or(false)
    }

    /// Of the newest one, where there is one.
    pub(in crate::store) fn with<T>(&self, look: impl FnOnce(&PgPool) -> T) -> Option<T> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, pool)| look(pool))
    }

    pub(in crate::store) async fn close(&self) {
        if let Some(pool) = self.with(PgPool::clone) {
            pool.close().await;
        }
    }
}
