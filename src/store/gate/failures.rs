//! Errors of migrating, with whether a later try can end otherwise.

use super::super::errors::{can_pass, clean_error};
use crate::domain::migration::{MigrationFailure, MigrationSet, Version};
use sqlx::migrate::MigrateError;

/// Which migration an error belongs to.
pub(super) type Which = Option<(MigrationSet, Version)>;

/// What was cancelled, by a timeout mostly: a migration that took too long once does so again, and whoever cancels one
/// means it.
const CANCELLED: &str = "57014";

pub(super) fn failure(migration: Which, error: &sqlx::Error) -> MigrationFailure {
    let cleaned = clean_error(error);
    MigrationFailure {
        can_pass: can_pass(error) && cleaned.sqlstate.as_deref() != Some(CANCELLED),
        sqlstate: cleaned.sqlstate,
        ..MigrationFailure::lasting(migration, cleaned.message)
    }
}

/// The same for an error of `sql`, which begins in `line` of its file.
pub(super) fn script_failure(migration: Which, error: &sqlx::Error, sql: &str, line: usize) -> MigrationFailure {
    let told = failure(migration, error);
    match script_position(error) {
        Some(at) => {
            let line = line + sql.chars().take(at.saturating_sub(1)).filter(|c| *c == '\n').count();
            MigrationFailure { reason: format!("line {line}: {}", told.reason), ..told }
        }
        None => told,
    }
}

/// Where in the text that was sent PostgreSQL found a fault; counts characters from 1.
fn script_position(error: &sqlx::Error) -> Option<usize> {
    use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
    match error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.position()? {
        PgErrorPosition::Original(at) => Some(at),
        PgErrorPosition::Internal { .. } => None,
    }
}

pub(super) fn migrate_failure(migration: Which, error: &MigrateError) -> MigrationFailure {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failure(migration, error),
        other => MigrationFailure::lasting(migration, other.to_string()),
    }
}
