//! The migration gate's side of the database: one dedicated connection that holds the lock and applies migrations.
//!
//! The connection is never in a pool, so the lock cannot be left behind on a pooled one (incident 2), and it is checked
//! to be held before each migration. Nothing here leaves a transaction open between two calls.

use super::{
    ConnectOptions, Store, StoreConfig,
    errors::{can_pass, clean_error},
    fleet::HolderRow,
};
use crate::domain::{
    migration::{AppliedMigration, LockTry, MigrationFailure, SchemaVersions, Version},
    ports::{Gate, GateSession, StoreResult},
};
use async_trait::async_trait;
use sqlx::{
    Connection, PgConnection,
    migrate::{Migrate, MigrateError, Migration, Migrator},
    postgres::PgConnectOptions,
};
use std::collections::HashMap;

/// Our migrations, in the binary.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");
/// Its history table; the search path says in which schema.
const HISTORY: &str = "_sqlx_migrations";

/// The newest migration that this binary knows.
fn newest() -> Version {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

#[async_trait]
impl Gate for Store {
    async fn open(&self) -> Result<Box<dyn GateSession>, MigrationFailure> {
        let options = session_options(&self.0.direct, self.config());
        let connection = PgConnection::connect_with(&options).await.map_err(|error| failure(None, &error))?;
        Ok(Box::new(Session { store: self.clone(), connection, prepared: false }))
    }

    async fn versions(&self) -> StoreResult<SchemaVersions> {
        let look = async {
            let exists: bool = sqlx::query_scalar(self.sql().schema_exists.clone()).fetch_one(self.pool()).await?;
            if !exists {
                return Ok(0);
            }
            sqlx::query_scalar(self.sql().schema_version.clone()).fetch_one(self.pool()).await
        };
        let have = look.await.map_err(|error| clean_error(&error))?;
        Ok(SchemaVersions { have, need: newest() })
    }
}

/// The dedicated connection's settings, from its first moment: timeouts, a server that notices a dead client within a
/// second, and the schema as the only place that names are looked for.
fn session_options(direct: &ConnectOptions, config: &StoreConfig) -> PgConnectOptions {
    let ms = |duration: std::time::Duration| format!("{}ms", duration.as_millis());
    direct.0.clone().application_name(&format!("callspool-migrator/{}", config.instance)).options([
        ("statement_timeout", ms(config.migration_statement_timeout)),
        ("lock_timeout", ms(config.migration_lock_timeout)),
        ("idle_in_transaction_session_timeout", "60s".to_owned()),
        ("client_connection_check_interval", "1s".to_owned()),
        ("tcp_keepalives_idle", "10".to_owned()),
        ("tcp_keepalives_interval", "5".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
    ])
}

struct Session {
    store: Store,
    connection: PgConnection,
    /// The schema, the search path and the history table are there.
    prepared: bool,
}

impl Session {
    fn lock_id(&self) -> i64 {
        self.store.config().migration_lock_id
    }

    async fn prepare(&mut self) -> Result<(), MigrateError> {
        if !self.prepared {
            let quoted = format!("\"{}\"", self.store.config().schema.replace('"', "\"\""));
            // Asked beforehand: IF NOT EXISTS wants the right to create one also where somebody made it for us.
            let exists: bool = sqlx::query_scalar("select to_regnamespace($1) is not null")
                .bind(&quoted)
                .fetch_one(&mut self.connection)
                .await?;
            if !exists {
                self.connection.create_schema_if_not_exists(&quoted).await?;
            }
            sqlx::query("select set_config('search_path', $1, false)")
                .bind(&quoted)
                .execute(&mut self.connection)
                .await?;
            self.connection.ensure_migrations_table(HISTORY).await?;
            self.prepared = true;
        }
        Ok(())
    }

    /// The next migration that is not applied, after a check that those that are stand as this binary knows them.
    async fn pending(&mut self) -> Result<Option<&'static Migration>, MigrateError> {
        if let Some(version) = self.connection.dirty_version(HISTORY).await? {
            return Err(MigrateError::Dirty(version));
        }
        let applied: HashMap<Version, _> = self
            .connection
            .list_applied_migrations(HISTORY)
            .await?
            .into_iter()
            .map(|migration| (migration.version, migration.checksum))
            .collect();
        for migration in MIGRATIONS.iter() {
            match applied.get(&migration.version) {
                None => return Ok(Some(migration)),
                Some(checksum) if *checksum != migration.checksum => {
                    return Err(MigrateError::VersionMismatch(migration.version));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    async fn still_locked(&mut self) -> Result<(), MigrationFailure> {
        let held: bool = sqlx::query_scalar(self.store.sql().holds_lock.clone())
            .bind(self.lock_id())
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| failure(None, &error))?;
        if held { Ok(()) } else { Err(MigrationFailure::new(None, "the migration lock is no longer held", true)) }
    }
}

#[async_trait]
impl GateSession for Session {
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
            Ok(LockTry::Busy(holder.map(Into::into)))
        };
        lock_try.await.map_err(|error| failure(None, &error))
    }

    async fn apply_next(&mut self) -> Result<Option<AppliedMigration>, MigrationFailure> {
        self.still_locked().await?;
        self.prepare().await.map_err(|error| migrate_failure(&error))?;
        let Some(migration) = self.pending().await.map_err(|error| migrate_failure(&error))? else {
            return Ok(None);
        };
        let took = self.connection.apply(HISTORY, migration).await.map_err(|error| migrate_failure(&error))?;
        Ok(Some(AppliedMigration { version: migration.version, took }))
    }

    async fn version(&mut self) -> Result<Version, MigrationFailure> {
        sqlx::query_scalar(self.store.sql().schema_version.clone())
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| failure(None, &error))
    }

    async fn close(mut self: Box<Self>) -> Result<(), MigrationFailure> {
        let lock_id = self.lock_id();
        let unlocked: bool = sqlx::query_scalar(self.store.sql().unlock.clone())
            .bind(lock_id)
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| failure(None, &error))?;
        // The lock goes with the connection anyway; how it is closed changes nothing.
        let _ = self.connection.close().await;
        if unlocked {
            Ok(())
        } else {
            Err(MigrationFailure::new(None, "the migration lock was lost on the way", true))
        }
    }
}

fn failure(version: Option<Version>, error: &sqlx::Error) -> MigrationFailure {
    let cleaned = clean_error(error);
    let state = cleaned.sqlstate.map(|state| format!(" (SQLSTATE {state})")).unwrap_or_default();
    MigrationFailure::new(version, format!("{}{state}", cleaned.message), can_pass(error))
}

fn migrate_failure(error: &MigrateError) -> MigrationFailure {
    match error {
        MigrateError::Execute(error) => failure(None, error),
        MigrateError::ExecuteMigration(error, version) => failure(Some(*version), error),
        MigrateError::VersionMismatch(version) => MigrationFailure::new(
            Some(*version),
            "it was applied with another content than this binary has (checksum mismatch)",
            false,
        ),
        MigrateError::Dirty(version) => MigrationFailure::new(
            Some(*version),
            "it is recorded as half applied; repair the schema and its row in _sqlx_migrations",
            false,
        ),
        other => MigrationFailure::new(None, other.to_string(), false),
    }
}
