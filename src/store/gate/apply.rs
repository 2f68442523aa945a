//! One migration.

use super::{
    failures::{failure, migrate_failure},
    history, index_builds,
    session::Session,
    sources::Source,
};
use crate::domain::migration::{MigrationFailure, MigrationSet};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgTransaction, SqlStr, migrate::Migrate};
use std::time::{Duration, Instant};

/// As PostgreSQL takes it; zero is "no limit" there too.
pub(super) fn setting(timeout: Duration) -> String {
    format!("{}ms", timeout.as_millis())
}

/// Runs `source` with its own timeouts and remembers it.
pub(super) async fn apply(session: &mut Session, source: &Source) -> Result<Duration, MigrationFailure> {
    let begun = Instant::now();
    let config = session.store.config();
    let timeouts = [
        ("statement_timeout", source.header.statement_timeout.unwrap_or(config.migration_statement_timeout)),
        ("lock_timeout", source.header.lock_timeout.unwrap_or(config.migration_lock_timeout)),
    ];
    let search_path = match source.set {
        MigrationSet::Callspool => Some(format!("\"{}\"", config.schema.replace('"', "\"\""))),
        // As the database or the role has it.
        MigrationSet::Application => None,
    };
    let table = history::table(source.set, &config.schema);
    let protected =
        if source.set == MigrationSet::Application { config.protected_tables.clone() } else { Vec::new() };
    let mark_compatible = (source.set == MigrationSet::Callspool && source.header.compatible)
        .then(|| session.store.sql().mark_compatible.clone());

    let id = Some(source.id());
    let connection = &mut session.connection;
    prepare_session(connection, &timeouts, search_path).await.map_err(|error| failure(id, &error))?;
    if source.migration.no_tx {
        in_statements(connection, source, &protected).await?;
        let skipped = connection.skip(&table, &source.migration).await;
        skipped.map_err(|error| migrate_failure(id, &error))?;
        if let Some(mark) = mark_compatible {
            let marked = sqlx::query(mark).bind(source.version()).execute(&mut *connection).await;
            marked.map_err(|error| failure(id, &error))?;
        }
    } else {
        in_transaction(connection, source, &table, &protected, mark_compatible).await?;
    }

    let took = begun.elapsed();
    // For people only: when it is lost, nothing is.
    let remember = AssertSqlSafe(format!("update {table} set execution_time = $1 where version = $2"));
    let nanoseconds = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
    let _ = sqlx::query(remember).bind(nanoseconds).bind(source.version()).execute(&mut *connection).await;
    Ok(took)
}

async fn prepare_session(
    connection: &mut PgConnection,
    timeouts: &[(&str, Duration)],
    search_path: Option<String>,
) -> Result<(), sqlx::Error> {
    for (name, timeout) in timeouts {
        let set = "select set_config($1, $2, false)";
        sqlx::query(set).bind(name).bind(setting(*timeout)).execute(&mut *connection).await?;
    }
    match search_path {
        Some(path) => {
            let set = "select set_config('search_path', $1, false)";
            sqlx::query(set).bind(path).execute(&mut *connection).await.map(|_| ())
        }
        None => connection.execute("reset search_path").await.map(|_| ()),
    }
}

/// The script, its row in the history and the check of the protected tables are one transaction.
async fn in_transaction(
    connection: &mut PgConnection,
    source: &Source,
    table: &str,
    protected: &[String],
    mark_compatible: Option<SqlStr>,
) -> Result<(), MigrationFailure> {
    let id = Some(source.id());
    let run = async {
        let mut transaction = connection.begin().await?;
        if !protected.is_empty() {
            // One snapshot for both counts: what others delete meanwhile is not this migration's doing.
            transaction.execute("set transaction isolation level repeatable read").await?;
        }
        let before = rows(&mut transaction, protected).await?;
        let began: String = sqlx::query_scalar(CURRENT).fetch_one(&mut *transaction).await?;
        transaction.execute(source.migration.sql.clone()).await?;
        let ends: String = sqlx::query_scalar(CURRENT).fetch_one(&mut *transaction).await?;
        if began != ends {
            return Ok(Err(MigrationFailure::lasting(
                id,
                "the file ends the transaction that it runs in; take COMMIT out, or begin it with -- no-transaction",
            )));
        }
        let after = rows(&mut transaction, protected).await?;
        if let Some(loss) = loss(protected, &before, &after) {
            transaction.rollback().await?;
            return Ok(Err(MigrationFailure::lasting(id, format!("rolled back: {loss}"))));
        }
        if let Some(mark) = mark_compatible {
            sqlx::query(mark).bind(source.version()).execute(&mut *transaction).await?;
        }
        Ok(Ok(transaction))
    };
    let run: Result<_, sqlx::Error> = run.await;
    let mut transaction = run.map_err(|error| failure(id, &error))??;
    transaction.skip(table, &source.migration).await.map_err(|error| migrate_failure(id, &error))?;
    transaction.commit().await.map_err(|error| failure(id, &error))
}

/// The transaction that this is.
const CURRENT: &str = "select pg_current_xact_id()::text";

/// Rows of each protected table; `None` for one that does not exist.
async fn rows(transaction: &mut PgTransaction<'_>, tables: &[String]) -> Result<Vec<Option<i64>>, sqlx::Error> {
    let mut counts = Vec::with_capacity(tables.len());
    for table in tables {
        let quoted = table.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(".");
        let known: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(&quoted)
            .fetch_one(&mut **transaction)
            .await?;
        let count = AssertSqlSafe(format!("select count(*) from {quoted}"));
        counts.push(if known {
            Some(sqlx::query_scalar(count).fetch_one(&mut **transaction).await?)
        } else {
            None
        });
    }
    Ok(counts)
}

/// Which protected table would have fewer rows.
fn loss(tables: &[String], before: &[Option<i64>], after: &[Option<i64>]) -> Option<String> {
    tables.iter().zip(before.iter().zip(after)).find_map(|(table, counts)| match counts {
        (Some(before), Some(after)) if after < before => {
            Some(format!("it would leave {after} of {before} rows in the protected table {table}"))
        }
        (Some(before), None) if *before > 0 => {
            Some(format!("it would take away the protected table {table}, which has {before} rows"))
        }
        _ => None,
    })
}

/// Outside a transaction: each statement by itself, since an index may not be built concurrently in company.
async fn in_statements(
    connection: &mut PgConnection,
    source: &Source,
    protected: &[String],
) -> Result<(), MigrationFailure> {
    use crate::domain::sql_script::statements;
    let id = Some(source.id());
    let script = statements(source.sql()).map_err(|error| MigrationFailure::lasting(id, error.to_string()))?;
    for statement in &script {
        if let Some(table) = protected.iter().find(|table| may_lose_rows(statement.text, table)) {
            let line = statement.line;
            return Err(MigrationFailure::lasting(
                id,
                format!("line {line}: outside a transaction it may not touch the protected table {table}"),
            ));
        }
    }
    index_builds::drop_leftovers(connection, source.sql()).await.map_err(|error| failure(id, &error))?;
    for statement in &script {
        let sent = connection.execute(AssertSqlSafe(statement.text.to_owned())).await;
        sent.map_err(|error| failure(id, &error))?;
    }
    let invalid = index_builds::invalid(connection, source.sql()).await.map_err(|error| failure(id, &error))?;
    match invalid.first() {
        None => Ok(()),
        Some(index) => {
            Err(MigrationFailure::passing(id, format!("the index {} is invalid after its build", index.name)))
        }
    }
}

/// Whether a statement names a table and is more than one about an index or statistics.
fn may_lose_rows(statement: &str, table: &str) -> bool {
    let text = statement.to_lowercase();
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    let harmless = match words.next() {
        Some("create" | "drop" | "reindex" | "alter") => {
            words.find(|word| !["unique", "concurrently"].contains(word)) == Some("index")
        }
        Some("analyze" | "comment") => true,
        _ => false,
    };
    let name = table.rsplit('.').next().unwrap_or(table);
    !harmless && names(&text, name)
}

/// Whether `name` stands in `text` as a word.
pub(super) fn names(text: &str, name: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_fewer_rows_or_none_is_a_loss() {
        let tables = ["faqs".to_owned(), "leads".to_owned()];
        assert_eq!(loss(&tables, &[Some(3), Some(1)], &[Some(3), Some(2)]), None);
        assert_eq!(loss(&tables, &[None, Some(0)], &[Some(1), None]), None);
        assert!(
            loss(&tables, &[Some(3), Some(1)], &[Some(2), Some(1)])
                .unwrap()
                .contains("2 of 3 rows in the protected table faqs")
        );
        assert!(
            loss(&tables, &[Some(3), Some(1)], &[Some(3), None])
                .unwrap()
                .contains("take away the protected table leads")
        );
    }

    #[test]
    fn an_index_on_a_protected_table_loses_no_rows() {
        for harmless in [
            "create unique index concurrently if not exists i on crm.leads (id)",
            "DROP INDEX CONCURRENTLY leads_i",
            "reindex index concurrently leads_i",
            "analyze leads",
            "delete from leads_archive",
        ] {
            assert!(!may_lose_rows(harmless, "crm.leads"), "{harmless}");
        }
        for harmful in
            ["delete from leads", "truncate crm.leads, x", "DROP TABLE Leads", "alter table leads drop column x"]
        {
            assert!(may_lose_rows(harmful, "leads"), "{harmful}");
        }
    }
}
