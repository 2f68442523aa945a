//! Leftovers of concurrent index builds. A build that is cut off leaves an index that is kept up to date, never used,
//! and skipped for ever by IF NOT EXISTS (PostgreSQL documentation, CREATE INDEX, "Building Indexes Concurrently").

use crate::domain::migration_script::IndexBuild;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

/// The invalid indexes that `build` is to replace, as `schema.name`. One that somebody builds just now is none.
pub(super) async fn invalid(connection: &mut PgConnection, build: &IndexBuild) -> Result<Vec<String>, sqlx::Error> {
    let (index, table, name) = match build {
        IndexBuild::Create { name, table } => (None, Some(table), name.as_ref()),
        IndexBuild::Rebuild { index } => (Some(index), None, None),
    };
    sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname)
           from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
          where not i.indisvalid and c.relkind = 'i'
            and (i.indrelid = to_regclass($1) and c.relname = left($2, 63)
                 or exists (select 1 from pg_class old join pg_index o on o.indexrelid = old.oid
                             where old.oid = to_regclass($3) and o.indrelid = i.indrelid
                               and c.relname ~ '_ccnew[0-9]*$'
                               and starts_with(old.relname, regexp_replace(c.relname, '_ccnew[0-9]*$', ''))))
            and not exists (select 1 from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)",
    )
    .bind(table)
    .bind(name)
    .bind(index)
    .fetch_all(connection)
    .await
}

/// Drops those that `build` is to make anew.
pub(super) async fn drop_leftovers(connection: &mut PgConnection, build: &IndexBuild) -> Result<(), sqlx::Error> {
    for index in invalid(connection, build).await? {
        tracing::warn!(index, "dropping an invalid index that a build left, to build it again");
        connection.execute(AssertSqlSafe(format!("drop index concurrently if exists {index}"))).await?;
    }
    Ok(())
}
