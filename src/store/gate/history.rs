//! What is applied, and how it compares with what we know.

use super::{
    super::{Store, statements::Statements},
    sources::{self, Source},
};
use crate::domain::{
    migration::{
        FailedMigration, MigrationFailure, MigrationRecord, MigrationSet, MigrationState, SchemaVersions, Version,
    },
    sql_name::quoted,
};
use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, SqlStr};
use std::collections::{BTreeMap, BTreeSet};

/// A row of a history table.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Applied {
    pub(super) version: Version,
    description: String,
    installed_on: DateTime<Utc>,
    success: bool,
    checksum: Vec<u8>,
    /// Nanoseconds; -1 where it is not known.
    execution_time: i64,
    /// Marked so by the release that applied it.
    compatible: bool,
}

/// By set and version: the order in which they run.
pub(super) type History = BTreeMap<(MigrationSet, Version), Applied>;

/// The history table of a set, with its schema.
pub(super) fn table(set: MigrationSet, schema: &str) -> String {
    let name = match set {
        MigrationSet::Callspool => "_sqlx_migrations",
        MigrationSet::Application => "application_migrations",
    };
    format!("{}.{name}", quoted(schema))
}

/// Both histories by the pool; empty where the tables are not there yet.
pub(super) async fn applied(store: &Store) -> Result<History, sqlx::Error> {
    let mut transaction = store.pool().begin().await?;
    let history = applied_on(&mut transaction, store.sql()).await?;
    transaction.commit().await?;
    Ok(history)
}

pub(super) async fn applied_on<C>(connection: &mut C, sql: &Statements) -> Result<History, sqlx::Error>
where
    for<'c> &'c mut C: PgExecutor<'c>,
{
    let exists: bool = sqlx::query_scalar(sql.history_exists.clone()).fetch_one(&mut *connection).await?;
    if !exists {
        return Ok(History::new());
    }
    let mut history = History::new();
    for (set, statement) in
        [(MigrationSet::Callspool, &sql.our_history), (MigrationSet::Application, &sql.application_history)]
    {
        history.extend(rows(&mut *connection, statement).await?.into_iter().map(|row| ((set, row.version), row)));
    }
    Ok(history)
}

#[derive(sqlx::FromRow)]
struct FailedRow {
    migration_set: String,
    version: Version,
    failed_at: DateTime<Utc>,
    reason: String,
    sqlstate: Option<String>,
}

/// Migrations whose last try failed.
pub(super) async fn failed(store: &Store) -> Result<Vec<FailedMigration>, sqlx::Error> {
    let exists: bool = sqlx::query_scalar(store.sql().history_exists.clone()).fetch_one(store.pool()).await?;
    if !exists {
        return Ok(Vec::new());
    }
    let rows: Vec<FailedRow> = sqlx::query_as(store.sql().failed.clone()).fetch_all(store.pool()).await?;
    let known = rows.into_iter().filter_map(|row| {
        let FailedRow { migration_set, version, failed_at, reason, sqlstate } = row;
        Some(FailedMigration { set: MigrationSet::parse(&migration_set)?, version, failed_at, reason, sqlstate })
    });
    Ok(known.collect())
}

/// By the pool: the migrator's own connection may be what broke. Where it does not work, the log has the failure.
pub(super) async fn remember_failure(store: &Store, failure: &MigrationFailure) {
    let Some((set, version)) = failure.migration else { return };
    let remember = sqlx::query(store.sql().remember_failure.clone())
        .bind(set.as_str())
        .bind(version)
        .bind(&failure.reason)
        .bind(&failure.sqlstate);
    if let Err(error) = remember.execute(store.pool()).await {
        tracing::debug!(%error, "a failed migration is not shown by status");
    }
}

/// Our own history only: what the schema gate looks at.
pub(super) async fn applied_ours(store: &Store) -> Result<Vec<Applied>, sqlx::Error> {
    let mut transaction = store.pool().begin().await?;
    let exists: bool = sqlx::query_scalar(store.sql().history_exists.clone()).fetch_one(&mut transaction).await?;
    let rows = if exists { rows(&mut transaction, &store.sql().our_history).await? } else { Vec::new() };
    transaction.commit().await?;
    Ok(rows)
}

async fn rows(connection: impl PgExecutor<'_>, statement: &SqlStr) -> Result<Vec<Applied>, sqlx::Error> {
    sqlx::query_as(statement.clone()).fetch_all(connection).await
}

pub(super) fn versions(applied: &[Applied]) -> SchemaVersions {
    let done: BTreeSet<Version> = applied.iter().filter(|row| row.success).map(|row| row.version).collect();
    let need = sources::our_versions().max().unwrap_or(0);
    let pending = sources::our_versions().filter(|version| !done.contains(version)).count();
    SchemaVersions {
        have: done.last().copied().unwrap_or(0),
        need,
        pending: u32::try_from(pending).unwrap_or(u32::MAX),
        incompatible: applied
            .iter()
            .filter(|row| row.version > need && !row.compatible)
            .map(|row| row.version)
            .min(),
    }
}

/// Every migration that is known or applied.
pub(super) fn compare(known: &[Source], history: &History) -> Vec<MigrationRecord> {
    let mut records: BTreeMap<(MigrationSet, Version), MigrationRecord> = BTreeMap::new();
    for source in known {
        let row = history.get(&source.id());
        let drift = row.and_then(|row| drift(source, row));
        let state = match (row, &drift) {
            (None, _) => MigrationState::Pending,
            (Some(_), None) => MigrationState::Applied,
            (Some(_), Some(_)) => MigrationState::Drifted,
        };
        records.insert(
            source.id(),
            MigrationRecord {
                sql: Some(source.sql().to_owned()),
                no_transaction: source.migration.no_tx,
                ..record(source.id(), &source.migration.description, state, row, drift)
            },
        );
    }
    for (id, row) in history.iter().filter(|(id, _)| !records.contains_key(id)).collect::<Vec<_>>() {
        let (set, version) = *id;
        let newest = known.iter().filter(|source| source.set == set).map(Source::version).max();
        let when = when(row);
        let (state, detail) = match newest {
            Some(newest) if version < newest => {
                let detail = format!("it was applied on {when}, and its file ({}) is missing", row.description);
                (MigrationState::Missing, Some(detail))
            }
            // The application's own code is not ours to judge.
            _ if row.compatible || set == MigrationSet::Application => (MigrationState::Newer, None),
            _ => {
                let detail = format!(
                    "it was applied on {when} by a newer release and is not marked compatible: deploy that release"
                );
                (MigrationState::Incompatible, Some(detail))
            }
        };
        records.insert(*id, record(*id, &row.description, state, Some(row), detail));
    }
    records.into_values().collect()
}

fn record(
    (set, version): (MigrationSet, Version),
    description: &str,
    state: MigrationState,
    row: Option<&Applied>,
    detail: Option<String>,
) -> MigrationRecord {
    MigrationRecord {
        set,
        version,
        description: description.to_owned(),
        state,
        applied_at: row.map(|row| row.installed_on),
        ms: row.and_then(|row| u64::try_from(row.execution_time).ok()).map(|nanoseconds| nanoseconds / 1_000_000),
        detail,
        sql: None,
        no_transaction: false,
    }
}

fn when(row: &Applied) -> String {
    row.installed_on.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What differs between a migration and what was applied under its version.
pub(super) fn drift(source: &Source, row: &Applied) -> Option<String> {
    let when = when(row);
    if !row.success {
        return Some(format!("it is recorded as half applied on {when}; repair the schema, then its row"));
    }
    if row.checksum == *source.migration.checksum {
        return None;
    }
    let renamed = if row.description == *source.migration.description {
        String::new()
    } else {
        format!(", its name then was {:?}", row.description)
    };
    Some(format!("it was applied on {when} with another content (checksum mismatch){renamed}"))
}
