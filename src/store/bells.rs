//! Bells by LISTEN, on a connection of their own: behind a transaction-mode PgBouncer nobody hears them.

use super::{Store, errors::clean_error, hosts::Seat};
use crate::domain::ports::{Bell, BellEar, Bells, StoreResult};
use async_trait::async_trait;
use sqlx::postgres::{PgListener, PgPoolOptions};

impl Store {
    pub(super) fn bell_channel(&self) -> String {
        self.channel("doorbell")
    }

    /// One for each schema; a channel's name is an identifier of at most 63 bytes.
    pub(super) fn channel(&self, what: &str) -> String {
        let schema: String = self.config().schema.chars().take(50).collect();
        format!("{schema}_{what}")
    }
}

#[async_trait]
impl Bells for Store {
    async fn listen(&self) -> StoreResult<Box<dyn BellEar>> {
        let ear = Ear::open(self, "listener", &self.bell_channel()).await;
        ear.map(|ear| Box::new(ear) as Box<dyn BellEar>).map_err(|error| clean_error(&error))
    }
}

/// What a bell for cancelled jobs carries; the others carry nothing.
pub(super) const CANCEL: &str = "cancel";

pub(super) struct Ear {
    listener: PgListener,
    /// Where there are several hosts.
    seat: Option<Seat>,
}

impl Ear {
    /// `role`: what this connection is for, as `pg_stat_activity` shows it.
    pub(super) async fn open(store: &Store, role: &str, channel: &str) -> Result<Self, sqlx::Error> {
        let (options, seat) = store.0.direct.options().await?;
        let options = options.application_name(&format!("callspool-{role}/{}", store.config().instance));
        // A pool of one: the listener takes its connection for good.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(store.config().acquire_timeout)
            .connect_lazy_with(options);
        let open = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            // A standby refuses it.
            listener.listen(channel).await?;
            Ok(listener)
        };
        let listener = match &seat {
            None => open.await?,
            Some(seat) => seat.watch(open).await?,
        };
        Ok(Self { listener, seat })
    }
}

#[async_trait]
impl BellEar for Ear {
    async fn hear(&mut self) -> StoreResult<Bell> {
        // `try_recv` answers `None` when the connection broke; `recv` would reconnect without a word.
        let heard = match &self.seat {
            None => self.listener.try_recv().await,
            // One that ends is the first sign of a primary that does.
            Some(seat) => {
                let hear = async { self.listener.try_recv().await?.map(Some).ok_or_else(broken) };
                seat.watch(hear).await
            }
        };
        match heard {
            Ok(Some(first)) => {
                let mut cancel = first.payload() == CANCEL;
                while let Some(next) = self.listener.next_buffered() {
                    cancel |= next.payload() == CANCEL;
                }
                Ok(Bell { cancel })
            }
            Ok(None) => Err(clean_error(&sqlx::Error::PoolClosed)),
            Err(error) => Err(clean_error(&error)),
        }
    }
}

fn broken() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into())
}
