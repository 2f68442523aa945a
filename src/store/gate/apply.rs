//! One migration.

use super::{
    failures::{failure, migrate_failure, script_failure},
    history, index_builds,
    protected::run_watched,
    session::Session,
    session_settings::{AS_OURSELVES, configure},
    sources::Source,
};
use crate::domain::{
    migration::{MigrationFailure, MigrationSet, Version},
    migration_script::{
        IndexBuild, controls_transaction, index_build, may_lose_rows, needs_no_transaction, transaction_end,
    },
    sql_name::quoted,
    sql_script::{Statement, statements},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, SqlStr, migrate::Migrate};
use std::time::{Duration, Instant};

/// What a run needs besides the connection.
struct Run<'a> {
    source: &'a Source,
    id: (MigrationSet, Version),
    /// The history's table.
    table: String,
    protected: &'a [String],
    /// The mark `compatible=true`, where this migration has it.
    mark: Option<SqlStr>,
    statement_timeout: Duration,
}

/// Runs `source` with its own timeouts and remembers it.
pub(super) async fn apply(session: &mut Session, source: &Source) -> Result<Duration, MigrationFailure> {
    let begun = Instant::now();
    let (store, connection) = (&session.store, &mut session.connection);
    let config = store.config();
    let ours = source.set == MigrationSet::Callspool;
    let run = Run {
        source,
        id: source.id(),
        table: history::table(source.set, &config.schema),
        protected: if ours { &[] } else { &config.protected_tables },
        mark: (ours && source.header.compatible).then(|| store.sql().mark_compatible.clone()),
        statement_timeout: source.header.statement_timeout.unwrap_or(config.migration_statement_timeout),
    };
    let search_path = ours.then(|| quoted(&config.schema));
    let header = source.header;
    let prepared = configure(connection, config, header.statement_timeout, header.lock_timeout, search_path).await;
    prepared.map_err(|error| failure(Some(run.id), &error))?;
    if source.migration.no_tx {
        run.in_statements(connection).await?;
    } else {
        run.in_transaction(connection).await?;
    }

    let took = begun.elapsed();
    // For people only: when it is lost, nothing is.
    let remember = AssertSqlSafe(format!("update {} set execution_time = $1 where version = $2", run.table));
    let nanoseconds = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
    let _ = sqlx::query(remember).bind(nanoseconds).bind(source.version()).execute(&mut *connection).await;
    Ok(took)
}

impl Run<'_> {
    fn lasting(&self, reason: impl AsRef<str>) -> MigrationFailure {
        MigrationFailure::lasting(Some(self.id), reason)
    }

    fn failure(&self, error: &sqlx::Error) -> MigrationFailure {
        failure(Some(self.id), error)
    }

    /// The script, its row in the history and the check of the protected tables are one transaction.
    async fn in_transaction(&self, connection: &mut PgConnection) -> Result<(), MigrationFailure> {
        match transaction_end(self.source.sql()) {
            Ok(None) => {}
            Ok(Some((line, word))) => {
                return Err(self.lasting(format!(
                    "line {line}: {word} would end the transaction that the file runs in; take it out, or begin the file \
                     with -- no-transaction. Nothing was run"
                )));
            }
            Err(error) => return Err(self.lasting(error.to_string())),
        }
        let mut transaction = connection.begin().await.map_err(|error| self.failure(&error))?;
        let script = self.source.migration.sql.clone();
        let lost = run_watched(&mut transaction, self.protected, self.statement_timeout, script).await;
        let lost = lost.map_err(|error| script_failure(Some(self.id), &error, self.source.sql(), 1))?;
        if let Some(loss) = lost {
            // Ends with the connection where this does not come through.
            let _ = transaction.rollback().await;
            return Err(loss.failure(self.id));
        }
        self.remember(&mut transaction).await?;
        transaction.commit().await.map_err(|error| self.failure(&error))
    }

    async fn remember(&self, connection: &mut PgConnection) -> Result<(), MigrationFailure> {
        // The history is ours, whoever the script became.
        connection.execute(AS_OURSELVES).await.map_err(|error| self.failure(&error))?;
        let skipped = connection.skip(&self.table, &self.source.migration).await;
        skipped.map_err(|error| migrate_failure(Some(self.id), &error))?;
        if let Some(mark) = &self.mark {
            let marked = sqlx::query(mark.clone()).bind(self.source.version()).execute(connection).await;
            marked.map_err(|error| self.failure(&error))?;
        }
        Ok(())
    }

    /// Outside a transaction: each statement by itself, since an index may not be built concurrently in company.
    async fn in_statements(&self, connection: &mut PgConnection) -> Result<(), MigrationFailure> {
        let script = statements(self.source.sql()).map_err(|error| self.lasting(error.to_string()))?;
        for statement in &script {
            self.allowed(*statement)?;
        }
        for statement in &script {
            match index_build(statement.text) {
                Some(build) => self.build_index(connection, *statement, &build).await?,
                None => self.statement(connection, *statement).await?,
            }
        }
        // One transaction: the history and the mark belong together.
        let mut transaction = connection.begin().await.map_err(|error| self.failure(&error))?;
        self.remember(&mut transaction).await?;
        transaction.commit().await.map_err(|error| self.failure(&error))
    }

    /// What cannot be undone is refused before the first statement runs.
    fn allowed(&self, Statement { line, text }: Statement<'_>) -> Result<(), MigrationFailure> {
        if let Some(table) = self.protected.iter().find(|table| may_lose_rows(text, table)) {
            return Err(self.lasting(format!(
                "line {line}: outside a transaction it may not touch the protected table {table}. Nothing was run"
            )));
        }
        if !self.protected.is_empty() && controls_transaction(text) {
            return Err(self.lasting(format!(
                "line {line}: with protected tables each statement of this file is a transaction of its own. Nothing was run"
            )));
        }
        if let Some(IndexBuild::Create { name: None, .. }) = index_build(text) {
            return Err(self.lasting(format!(
                "line {line}: give the index a name, so that what a build leaves that is cut off can be found"
            )));
        }
        Ok(())
    }

    async fn build_index(
        &self,
        connection: &mut PgConnection,
        Statement { line, text }: Statement<'_>,
        build: &IndexBuild,
    ) -> Result<(), MigrationFailure> {
        let at_line = |error: &sqlx::Error| script_failure(Some(self.id), error, text, line);
        index_builds::drop_leftovers(connection, build).await.map_err(|error| at_line(&error))?;
        let sent = connection.execute(AssertSqlSafe(text.to_owned())).await;
        sent.map_err(|error| at_line(&error))?;
        let invalid = index_builds::invalid(connection, build).await.map_err(|error| at_line(&error))?;
        match invalid.first() {
            None => Ok(()),
            Some(index) => {
                let reason = format!("line {line}: the index {index} is invalid after its build");
                Err(MigrationFailure::passing(Some(self.id), reason))
            }
        }
    }

    /// In a transaction of its own where that is possible and there are tables to protect: what a function or a cascade
    /// does is seen only there.
    async fn statement(
        &self,
        connection: &mut PgConnection,
        Statement { line, text }: Statement<'_>,
    ) -> Result<(), MigrationFailure> {
        let at_line = |error: &sqlx::Error| script_failure(Some(self.id), error, text, line);
        let sql = AssertSqlSafe(text.to_owned()).into_sql_str();
        if self.protected.is_empty() || needs_no_transaction(text) {
            return connection.execute(sql).await.map(|_| ()).map_err(|error| at_line(&error));
        }
        let watched = async {
            let mut transaction = connection.begin().await?;
            let lost = run_watched(&mut transaction, self.protected, self.statement_timeout, sql).await?;
            match lost {
                None => transaction.commit().await.map(|()| None),
                lost => transaction.rollback().await.map(|()| lost),
            }
        };
        match watched.await.map_err(|error| at_line(&error))? {
            None => Ok(()),
            Some(loss) => Err(loss.failure(self.id)),
        }
    }
}
