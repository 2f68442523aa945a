//! Errors of migrating, with whether a later try can end otherwise.

use super::super::errors::{can_pass, clean_error};
use crate::domain::migration::{MigrationFailure, MigrationSet, Version};
use sqlx::migrate::MigrateError;

/// Which migration an error belongs to.
pub(super) type Which = Option<(MigrationSet, Version)>;

pub(super) fn failure(migration: Which, error: &sqlx::Error) -> MigrationFailure {
    let cleaned = clean_error(error);
    let position = script_position(error).map(|at| format!(" at character {at} of the file")).unwrap_or_default();
    MigrationFailure {
        sqlstate: cleaned.sqlstate,
        can_pass: can_pass(error),
        ..MigrationFailure::lasting(migration, format!("{}{position}", cleaned.message))
    }
}

/// Where in the text that was sent PostgreSQL found a fault.
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
