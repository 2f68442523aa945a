//! The dedicated connection: it holds the lock and applies migrations.

use super::{
    super::{Store, fleet::HolderRow},
    apply,
    failures::{Which, failure, migrate_failure},
    history::{self, History},
    pooler,
    session_settings::configure,
    sources::{self, Source},
};
use crate::domain::{
    migration::{LockHolder, LockTry, MigrationFailure, MigrationRecord, MigrationSet, MigrationState, Version},
    ports::GateSession,
};
use async_trait::async_trait;
use sqlx::{
    ConnectOptions as _, Connection, PgConnection,
    migrate::{Migrate, MigrateError},
    postgres::PgConnectOptions,
};
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
        let open = async {
            let change = |options| connect_options(options, &app);
            let (mut connection, options) = store.0.direct.connect(change).await?;
            pooler::refuse_shared_sessions(&mut connection, &options).await?;
            configure(&mut connection, store.config(), None, None, None).await?;
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

    /// The schema and what is remembered in it; under the lock. What is there is not asked for again: the right to make
    /// a schema may be somebody else's.
    async fn prepare(&mut self) -> Result<(), MigrationFailure> {
        if self.prepared {
            return Ok(());
        }
        let sql = self.store.sql();
        let tables =
            [MigrationSet::Callspool, MigrationSet::Application].map(|set| history::table(set, self.schema()));
        let prepare = async {
            let exists: bool =
                sqlx::query_scalar(sql.history_exists.clone()).fetch_one(&mut self.connection).await?;
            if exists {
                return Ok(());
            }
            let exists: bool =
                sqlx::query_scalar(sql.schema_exists.clone()).fetch_one(&mut self.connection).await?;
            if !exists {
                sqlx::query(sql.create_schema.clone()).execute(&mut self.connection).await?;
            }
            for table in &tables {
                self.connection.ensure_migrations_table(table).await?;
            }
            for create in [&sql.create_compatible, &sql.create_failed] {
                sqlx::query(create.clone()).execute(&mut self.connection).await?;
            }
            Ok(())
        };
        prepare.await.map_err(|error: MigrateError| migrate_failure(None, &error))?;
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

    /// Ours are judged by themselves: a fault in the application's folder must not keep our schema back.
    async fn next_of(&self, history: &History) -> Result<Option<Source>, MigrationFailure> {
        if let Some(ours) = next(&sources::ours()?, history, MigrationSet::Callspool)? {
            return Ok(Some(ours.clone()));
        }
        let Some(dir) = self.store.config().application_dir.as_deref() else { return Ok(None) };
        let application = sources::application(dir).await?;
        Ok(next(&application, history, MigrationSet::Application)?.cloned())
    }

    /// Forgets that it failed once, and wakes whoever waits for it. The migration is applied, whatever comes of this:
    /// the waiting look for themselves now and then.
    async fn tell(&mut self, source: &Source) {
        let sql = self.store.sql();
        let (set, version) = source.id();
        let forget = sqlx::query(sql.forget_failure.clone()).bind(set.as_str()).bind(version);
        let _ = forget.execute(&mut self.connection).await;
        if set == MigrationSet::Callspool {
            let ring = sqlx::query(sql.ring.clone()).bind(self.store.schema_channel());
            let _ = ring.execute(&mut self.connection).await;
        }
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
        let history = self.history(None).await?;
        let found = self.next_of(&history).await;
        if let Err(failure) = &found {
            history::remember_failure(&self.store, failure).await;
        }
        self.found = found?;
        Ok(self.found.as_ref().map(Source::id))
    }

    async fn apply(&mut self) -> Result<Duration, MigrationFailure> {
        let nothing = || MigrationFailure::lasting(None, "nothing was found to apply");
        let source = self.found.take().ok_or_else(nothing)?;
        let applied = apply::apply(self, &source).await.map_err(|failure| with_retries(failure, &source));
        match &applied {
            Ok(_) => self.tell(&source).await,
            Err(failure) => history::remember_failure(&self.store, failure).await,
        }
        applied
    }

    async fn baseline(&mut self, set: MigrationSet, version: Version) -> Result<u32, MigrationFailure> {
        self.still_locked().await?;
        self.prepare().await?;
        let known = sources::all(self.store.config().application_dir.as_deref()).await?;
        let history = self.history(None).await?;
        let table = history::table(set, self.schema());
        let newest = known.iter().filter(|source| source.set == set).map(Source::version).max();
        if newest.is_none_or(|newest| newest < version) {
            let newest =
                newest.map_or_else(|| "there are none".to_owned(), |newest| format!("the newest is {newest}"));
            let reason = format!("no migration of the {set}'s has this version or a newer one ({newest})");
            return Err(MigrationFailure::lasting(Some((set, version)), reason));
        }
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
            sqlx::query(self.store.sql().ring.clone()).bind(channel).bind("").execute(&mut self.connection).await?;
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

/// The first migration of `set` that is not applied, after a check that those that are stand as we know them.
fn next<'a>(
    known: &'a [Source],
    history: &History,
    set: MigrationSet,
) -> Result<Option<&'a Source>, MigrationFailure> {
    for record in history::compare(known, history).iter().filter(|record| record.set == set) {
        if let Some(fault) = fault(record) {
            return Err(MigrationFailure::lasting(Some((record.set, record.version)), fault));
        }
    }
    Ok(known.iter().find(|source| !history.contains_key(&source.id())))
}

/// What has to be mended by a human before anything is applied.
fn fault(record: &MigrationRecord) -> Option<String> {
    match record.state {
        MigrationState::Applied | MigrationState::Newer | MigrationState::Pending => None,
        MigrationState::Drifted | MigrationState::Missing | MigrationState::Incompatible => record.detail.clone(),
    }
}

fn with_retries(failure: MigrationFailure, source: &Source) -> MigrationFailure {
    MigrationFailure { retries: failure.retries.or(source.header.retries), ..failure }
}

/// Nothing but what a pooler lets through: the rest is set when the session has been proved to be one.
fn connect_options(direct: PgConnectOptions, app: &str) -> PgConnectOptions {
    // A migration is slow by nature, and its text may be long: nobody wants it in the log.
    direct.application_name(app).extra_float_digits(None).disable_statement_logging()
}
