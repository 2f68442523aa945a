//! Leftovers of concurrent index builds. A build that is cut off leaves an index that is kept up to date, never used,
//! and skipped for ever by IF NOT EXISTS (PostgreSQL documentation, CREATE INDEX, "Building Indexes Concurrently").

use super::apply::names;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct InvalidIndex {
    pub(super) name: String,
    /// Quoted, with its schema.
    qualified: String,
}

/// Of the invalid indexes that nobody builds just now, those that `sql` names.
pub(super) async fn invalid(connection: &mut PgConnection, sql: &str) -> Result<Vec<InvalidIndex>, sqlx::Error> {
    let all: Vec<InvalidIndex> = sqlx::query_as(
        "select c.relname::text as name, format('%I.%I', n.nspname, c.relname) as qualified
           from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
          where not i.indisvalid and c.relkind = 'i'
            and not exists (select 1 from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)",
    )
    .fetch_all(connection)
    .await?;
    let text = sql.to_lowercase();
    Ok(all.into_iter().filter(|index| names(&text, &index.name.to_lowercase())).collect())
}

/// Drops those that `sql` is to build anew.
pub(super) async fn drop_leftovers(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    for index in invalid(connection, sql).await? {
        tracing::warn!(index = index.name, "dropping an invalid index that a build left, to build it again");
        let drop = format!("drop index concurrently if exists {}", index.qualified);
        connection.execute(AssertSqlSafe(drop)).await?;
    }
    Ok(())
}
