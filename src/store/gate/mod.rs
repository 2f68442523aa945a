//! The migration gate's side of the database.
//!
//! | file | what it holds |
//! |---|---|
//! | `session` | the dedicated connection: lock, the next migration, baseline |
//! | `pooler` | the proof that this connection is one session |
//! | `sources` | the migrations that we know: ours in the binary, the application's in a folder |
//! | `history` | those that are applied, and how the two compare |
//! | `apply` | one migration: in a transaction, or statement by statement |
//! | `protected` | tables whose rows no migration may lose |
//! | `index_builds` | leftovers of index builds that were cut off |
//! | `session_settings` | what the session is set to, anew for each migration |
//! | `failures` | errors, with whether they can pass |
//!
//! The connection is never in a pool, so the lock cannot be left behind on a pooled one (incident 2), and it is checked
//! to be held before each migration. Nothing here leaves a transaction open between two calls.

mod apply;
mod failures;
mod history;
mod index_builds;
mod pooler;
mod protected;
mod session;
mod session_settings;
mod sources;

use super::{Store, bells::Ear, errors::clean_error, fleet::HolderRow};
use crate::domain::{
    migration::{
        FailedMigration, MigrationFailure, MigrationProgress, MigrationRecord, MigrationState, SchemaVersions,
    },
    ports::{BellEar, Gate, GateSession, StoreResult},
};
use async_trait::async_trait;
use failures::failure;
use session::Session;

#[async_trait]
impl Gate for Store {
    async fn open(&self) -> Result<Box<dyn GateSession>, MigrationFailure> {
        Ok(Box::new(Session::open(self.clone()).await?))
    }

    async fn versions(&self) -> StoreResult<SchemaVersions> {
        let applied = history::applied_ours(self).await.map_err(|error| clean_error(&error))?;
        Ok(history::versions(&applied))
    }

    async fn listen(&self, migrates: bool) -> StoreResult<Box<dyn BellEar>> {
        // Told by the name, so that others can see that somebody will migrate.
        let role = if migrates { "migrator-watcher" } else { "watcher" };
        let ear = Ear::open(self, role, &self.schema_channel()).await;
        ear.map(|ear| Box::new(ear) as Box<dyn BellEar>).map_err(|error| clean_error(&error))
    }

    async fn somebody_migrates(&self) -> StoreResult<bool> {
        let asked = sqlx::query_scalar(self.sql().somebody_migrates.clone()).fetch_one(self.pool()).await;
        asked.map_err(|error| clean_error(&error))
    }

    async fn progress(&self, pid: i32) -> StoreResult<MigrationProgress> {
        let look = async {
            let seen: Option<(Option<String>, Option<String>)> =
                sqlx::query_as(self.sql().migration_progress.clone()).bind(pid).fetch_optional(self.pool()).await?;
            let gone = seen.is_none();
            let (waiting_for, index_build) = seen.unwrap_or_default();
            let blockers: Vec<HolderRow> =
                sqlx::query_as(self.sql().migration_blockers.clone()).bind(pid).fetch_all(self.pool()).await?;
            let blocked_by = blockers.into_iter().map(Into::into).collect();
            Ok(MigrationProgress { gone, waiting_for, blocked_by, index_build })
        };
        look.await.map_err(|error: sqlx::Error| clean_error(&error))
    }

    async fn records(&self) -> Result<Vec<MigrationRecord>, MigrationFailure> {
        let known = sources::all(self.config().application_dir.as_deref()).await?;
        let applied = history::applied(self).await.map_err(|error| failure(None, &error))?;
        let failed = history::failed(self).await.map_err(|error| failure(None, &error))?;
        let mut records = history::compare(&known, &applied);
        for record in records.iter_mut().filter(|record| record.state == MigrationState::Pending) {
            let last = failed.iter().find(|failed| (failed.set, failed.version) == (record.set, record.version));
            record.detail = last.map(FailedMigration::to_string);
        }
        Ok(records)
    }
}

impl Store {
    pub(super) async fn failed_migrations(&self) -> StoreResult<Vec<FailedMigration>> {
        history::failed(self).await.map_err(|error| clean_error(&error))
    }

    /// Rung when a schema changed.
    pub(super) fn schema_channel(&self) -> String {
        self.channel("schema")
    }
}
