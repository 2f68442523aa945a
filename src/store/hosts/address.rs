//! Where a connection goes: to the only host, or to the primary of several.

use super::{
    NoPrimary, Seat,
    known::Hosts,
    look::{in_time, is_read_only},
};
use crate::domain::{
    database_url,
    ports::{StoreError, StoreResult},
};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{ConnectOptions as _, Error, PgConnection, postgres::PgConnectOptions};

/// Where one connection beside the pool goes: to the only host, or to the primary of several.
#[derive(Clone)]
pub(in crate::store) enum Address {
    One(Box<PgConnectOptions>),
    Several(Hosts),
}

/// `PgConnectOptions` prints its password in `Debug`.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(_) => f.write_str("one host"),
            Self::Several(hosts) => hosts.fmt(f),
        }
    }
}

impl Address {
    /// `variable`: where `url` is from, for the log. `change`: what is the same for all connections.
    pub(in crate::store) fn of(
        variable: &'static str,
        url: &SecretString,
        change: impl Fn(PgConnectOptions) -> PgConnectOptions,
    ) -> StoreResult<Self> {
        let no_url = |_| StoreError::new(None, "the address is not a postgres:// URL");
        let named = database_url::Hosts::of(url.expose_secret())
            .map_err(|fault| StoreError::new(None, fault.to_string()))?;
        let options = named.urls.iter().map(|url| url.parse().map(without_brackets).map(&change));
        let mut options = options.collect::<Result<Vec<_>, Error>>().map_err(no_url)?;
        match options.pop() {
            Some(only) if options.is_empty() && !named.primary_only => Ok(Self::One(Box::new(only))),
            last => {
                options.extend(last);
                Ok(Self::Several(Hosts::new(variable, options)))
            }
        }
    }

    /// What leads to the host now, and the primary where there are several.
    pub(in crate::store) async fn options(&self) -> Result<(PgConnectOptions, Option<Seat>), Error> {
        match self {
            Self::One(options) => Ok((options.as_ref().clone(), None)),
            Self::Several(hosts) => {
                let primary = hosts.primary().await?;
                Ok((hosts.options(primary), Some(Seat::new(hosts.clone(), primary))))
            }
        }
    }

    /// One connection, to a server that takes writes where there are several hosts. `change`: what is particular to it.
    pub(in crate::store) async fn connect(
        &self,
        change: impl Fn(PgConnectOptions) -> PgConnectOptions,
    ) -> Result<(PgConnection, PgConnectOptions), Error> {
        let (options, seat) = self.options().await?;
        let options = change(options);
        let Some(seat) = seat else { return Ok((options.connect().await?, options)) };
        let connect = seat.watch(async {
            let mut connection = in_time(options.connect()).await?;
            if in_time(is_read_only(&mut connection)).await? {
                return Err(NoPrimary::a_standby().into());
            }
            Ok(connection)
        });
        Ok((connect.await?, options))
    }
}

/// sqlx 0.9.0 looks an IPv6 address up with the brackets that a URL has around it.
fn without_brackets(options: PgConnectOptions) -> PgConnectOptions {
    let address =
        options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(ToOwned::to_owned);
    match address {
        Some(address) => options.host(&address),
        None => options,
    }
}
