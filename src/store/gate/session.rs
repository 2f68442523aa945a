//! The dedicated connection: it holds the lock and applies migrations.

use super::{
    super::{ConnectOptions, Store, StoreConfig, fleet::HolderRow},
    apply,
    failures::{Which, failure, migrate_failure},
    history::{self, History},
    pooler,
    sources::{self, Source},
};
use crate::domain::{
    migration::{LockHolder, LockTry, MigrationFailure, MigrationSet, Version},
    ports::GateSession,
};
use async_trait::async_trait;
use sqlx::{ConnectOptions as _, Connection, PgConnection, migrate::Migrate, postgres::PgConnectOptions};
use std::time::Duration;

pub(super) struct Session {
    pub(super) store: Store,
    pub(super) connection: PgConnection,
    pid: i32,
    app: String,
    /// The schema and the history tables are there.
    prepared: bool,
    /// What `next` found.
    found: Option<Source>,
}

impl Session {
    pub(super) async fn open(store: Store) -> Result<Self, MigrationFailure> {
        let app = format!("callspool-migrator/{}", store.config().instance);
        let options = connect_options(&store.0.direct, &app);
        let open = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            pooler::refuse_shared_sessions(&mut connection, &options).await?;
            configure(&mut connection, store.config()).await?;
            let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
            Ok((connection, pid))
        };
        let opened: Result<_, sqlx::Error> = open.await;
        let (connection, pid) =
            opened.map_err(|error| pooler::told(&error).unwrap_or_else(|| failure(None, &error)))?;
        Ok(Self { store, connection, pid, app, prepared: false, found: None })
    }

    fn lock_id(&self) -> i64 {
        self.store.config().migration_lock_id
    }

    fn schema(&self) -> &str {
        &self.store.config().schema
    }

    /// The schema and what is remembered in it; under the lock.
    async fn prepare(&mut self) -> Result<(), MigrationFailure> {
        if self.prepared {
            return Ok(());
        }
        let quoted = format!("\"{}\"", self.schema().replace('"', "\"\""));
        let tables =
            [MigrationSet::Callspool, MigrationSet::Application].map(|set| history::table(set, self.schema()));
        let create = async {
            // Asked beforehand: IF NOT EXISTS wants the right to create one also where somebody made it for us.
            let exists: bool = sqlx::query_scalar("select to_regnamespace($1) is not null")
                .bind(&quoted)
                .fetch_one(&mut self.connection)
                .await?;
            if !exists {
                self.connection.create_schema_if_not_exists(&quoted).await?;
            }
            for table in &tables {
                self.connection.ensure_migrations_table(table).await?;
            }
            sqlx::query(self.store.sql().create_compatible.clone()).execute(&mut self.connection).await?;
            Ok(())
        };
        create.await.map_err(|error| migrate_failure(None, &error))?;
        self.prepared = true;
        Ok(())
    }

    async fn history(&mut self, which: Which) -> Result<History, MigrationFailure> {
        let read = history::applied_on(&mut self.connection, self.store.sql()).await;
        read.map_err(|error| failure(which, &error))
    }

    async fn still_locked(&mut self) -> Result<(), MigrationFailure> {
        let held: bool = sqlx::query_scalar(self.store.sql().holds_lock.clone())
            .bind(self.lock_id())
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| failure(None, &error))?;
        if held { Ok(()) } else { Err(MigrationFailure::passing(None, "the migration lock is no longer held")) }
    }

    /// A session of this very process that outlived its actor must not make us wait for ourselves.
    async fn end_if_ours(&mut self, holder: Option<&LockHolder>) -> Result<(), sqlx::Error> {
        if let Some(holder) = holder.filter(|holder| holder.app == self.app && holder.pid != self.pid) {
            tracing::warn!(
                pid = holder.pid,
                "an earlier session of this process still has the migration lock; ending it"
            );
            sqlx::query("select pg_terminate_backend($1)").bind(holder.pid).execute(&mut self.connection).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl GateSession for Session {
    fn pid(&self) -> i32 {
        self.pid
    }

    async fn try_lock(&mut self) -> Result<LockTry, MigrationFailure> {
        let lock_id = self.lock_id();
        let lock_try = async {
            let acquired: bool = sqlx::query_scalar(self.store.sql().try_lock.clone())
                .bind(lock_id)
                .fetch_one(&mut self.connection)
                .await?;
            if acquired {
                return Ok(LockTry::Acquired);
            }
            let holder: Option<HolderRow> = sqlx::query_as(self.store.sql().lock_holder.clone())
                .bind(lock_id)
                .fetch_optional(&mut self.connection)
                .await?;
            let holder = holder.map(LockHolder::from);
            self.end_if_ours(holder.as_ref()).await?;
            Ok(LockTry::Busy(holder))
        };
        lock_try.await.map_err(|error| failure(None, &error))
    }

    async fn next(&mut self) -> Result<Option<(MigrationSet, Version)>, MigrationFailure> {
        self.still_locked().await?;
        self.prepare().await?;
        let known = sources::all(self.store.config().application_dir.as_deref()).await?;
        let history = self.history(None).await?;
        self.found = next(&known, &history)?.cloned();
        Ok(self.found.as_ref().map(Source::id))
    }

    async fn apply(&mut self) -> Result<Duration, MigrationFailure> {
        let nothing = || MigrationFailure::lasting(None, "nothing was found to apply");
        let source = self.found.take().ok_or_else(nothing)?;
        apply::apply(self, &source).await.map_err(|failure| with_retries(failure, &source))
    }

    async fn baseline(&mut self, set: MigrationSet, version: Version) -> Result<u32, MigrationFailure> {
        self.still_locked().await?;
        self.prepare().await?;
        let known = sources::all(self.store.config().application_dir.as_deref()).await?;
        let history = self.history(None).await?;
        let table = history::table(set, self.schema());
        let mut marked = 0;
        for source in known.iter().filter(|source| source.set == set && source.version() <= version) {
            if !history.contains_key(&source.id()) {
                let skipped = self.connection.skip(&table, &source.migration).await;
                skipped.map_err(|error| migrate_failure(Some(source.id()), &error))?;
                marked += 1;
            }
        }
        Ok(marked)
    }

    async fn version(&mut self) -> Result<Version, MigrationFailure> {
        sqlx::query_scalar(self.store.sql().schema_version.clone())
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| failure(None, &error))
    }

    async fn close(mut self: Box<Self>) -> Result<(), MigrationFailure> {
        let (lock_id, channel) = (self.lock_id(), self.store.schema_channel());
        let unlock = async {
            sqlx::query(self.store.sql().ring.clone()).bind(channel).execute(&mut self.connection).await?;
            sqlx::query_scalar(self.store.sql().unlock.clone()).bind(lock_id).fetch_one(&mut self.connection).await
        };
        let unlocked: bool = unlock.await.map_err(|error: sqlx::Error| failure(None, &error))?;
        // The lock goes with the connection anyway; how it is closed changes nothing.
        let _ = self.connection.close().await;
        if unlocked {
            Ok(())
        } else {
            Err(MigrationFailure::passing(None, "the migration lock was lost on the way"))
        }
    }
}

/// The first migration that is not applied, after a check that those that are stand as we know them.
fn next<'a>(known: &'a [Source], history: &History) -> Result<Option<&'a Source>, MigrationFailure> {
    let records = history::compare(known, history);
    for record in &records {
        use crate::domain::migration::MigrationState::{Applied, Drifted, Incompatible, Missing, Newer, Pending};
        let id = Some((record.set, record.version));
        match record.state {
            Applied | Newer | Pending => {}
            Drifted => return Err(MigrationFailure::lasting(id, record.detail.as_deref().unwrap_or_default())),
            Missing => {
                return Err(MigrationFailure::lasting(
                    id,
                    format!("it was applied, and its file ({}) is missing", record.description),
                ));
            }
            Incompatible => {
                return Err(MigrationFailure::lasting(
                    id,
                    "it was applied by a newer release and is not marked compatible: deploy that release",
                ));
            }
        }
    }
    Ok(known.iter().find(|source| !history.contains_key(&source.id())))
}

fn with_retries(failure: MigrationFailure, source: &Source) -> MigrationFailure {
    MigrationFailure { retries: source.header.retries.or(failure.retries), ..failure }
}

/// Nothing but what a pooler lets through: the rest is set when the session has been proved to be one.
fn connect_options(direct: &ConnectOptions, app: &str) -> PgConnectOptions {
    // A migration is slow by nature, and its text may be long: nobody wants it in the log.
    direct.0.clone().application_name(app).extra_float_digits(None).disable_statement_logging()
}

/// Timeouts, a server that notices a dead client within seconds, also one whose host is gone.
async fn configure(connection: &mut PgConnection, config: &StoreConfig) -> Result<(), sqlx::Error> {
    for (name, value) in [
        ("statement_timeout", apply::setting(config.migration_statement_timeout)),
        ("lock_timeout", apply::setting(config.migration_lock_timeout)),
        ("idle_in_transaction_session_timeout", "60s".to_owned()),
        ("client_connection_check_interval", "1s".to_owned()),
        ("tcp_keepalives_idle", "10".to_owned()),
        ("tcp_keepalives_interval", "5".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
        ("tcp_user_timeout", "20s".to_owned()),
    ] {
        // A setting that this server does not have is left alone.
        let set = "select set_config(name, $2, false) from pg_settings where name = $1";
        sqlx::query(set).bind(name).bind(value).execute(&mut *connection).await?;
    }
    Ok(())
}
