//! Protected tables: rows of customers that no migration may lose.
//!
//! Who deleted is told by PostgreSQL's own counters of the running transaction. So what the application deletes
//! meanwhile is not blamed on the migration, and what it inserts hides nothing. (A count before and one after on the
//! same snapshot would do that too, but an old snapshot makes a migration fail on every row that the application
//! changed meanwhile, and copy a table without its newest rows.) TRUNCATE, DROP and tables that change places are in
//! no counter; after them the table is another one on disk, and then the rows are counted.

use super::session_settings::{AS_OURSELVES, milliseconds};
use crate::domain::{
    migration::{MigrationFailure, MigrationSet, Version},
    sql_name::quoted_table,
};
use sqlx::{AssertSqlSafe, Executor, PgTransaction, SqlStr};
use std::time::Duration;

/// A protected table as it is seen at one point of the transaction, with its partitions and heirs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// Quoted, with its schema: the script may change where names are looked for.
    qualified: String,
    /// Which files on disk hold it.
    storage: String,
    /// Rows that this transaction deleted, less those that it inserted.
    deleted: i64,
    rows: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loss {
    what: String,
    /// Told from two counts between which others may have deleted.
    by_count: bool,
}

impl Loss {
    pub(super) fn failure(self, migration: (MigrationSet, Version)) -> MigrationFailure {
        let failure = MigrationFailure::lasting(Some(migration), format!("rolled back: {}", self.what));
        // Once more: it is told again where it was the migration.
        if self.by_count { MigrationFailure { can_pass: true, retries: Some(1), ..failure } } else { failure }
    }
}

/// Runs `sql` inside `transaction`, which is to be rolled back where rows of `tables` would be lost.
pub(super) async fn run_watched(
    transaction: &mut PgTransaction<'_>,
    tables: &[String],
    statement_timeout: Duration,
    sql: SqlStr,
) -> Result<Option<Loss>, sqlx::Error> {
    let mut before = Vec::with_capacity(tables.len());
    for table in tables {
        let quoted = quoted_table(table);
        before.push(see(transaction, &quoted, statement_timeout).await?);
    }
    transaction.execute(sql).await?;
    if !tables.is_empty() {
        transaction.execute(AS_OURSELVES).await?;
    }
    for (table, before) in tables.iter().zip(before) {
        let Some(before) = before else { continue };
        let after = see(transaction, &before.qualified, statement_timeout).await?;
        if let Some(loss) = loss(table, &before, after.as_ref()) {
            return Ok(Some(loss));
        }
    }
    Ok(None)
}

/// `None`: there is no such table.
async fn see(
    transaction: &mut PgTransaction<'_>,
    table: &str,
    statement_timeout: Duration,
) -> Result<Option<Seen>, sqlx::Error> {
    let seen: Option<(String, String, i64)> = sqlx::query_as(
        "with recursive tree (oid) as (
             select to_regclass($1)::oid
             union select i.inhrelid from pg_inherits i join tree t on i.inhparent = t.oid
         )
         select (select format('%I.%I', n.nspname, c.relname) from pg_class c
                   join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1)),
                string_agg(concat(oid, ':', pg_relation_filenode(oid)), ',' order by oid),
                sum(pg_stat_get_xact_tuples_deleted(oid) - pg_stat_get_xact_tuples_inserted(oid))::bigint
           from tree where oid is not null having count(*) > 0",
    )
    .bind(table)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some((qualified, storage, deleted)) = seen else { return Ok(None) };
    // Counting is ours, not the migration's: a big table takes its time.
    let timeout = "select set_config('statement_timeout', $1, true)";
    sqlx::query(timeout).bind("0").execute(&mut **transaction).await?;
    let count = AssertSqlSafe(format!("select count(*) from {qualified}"));
    let rows = sqlx::query_scalar(count).fetch_one(&mut **transaction).await?;
    sqlx::query(timeout).bind(milliseconds(statement_timeout)).execute(&mut **transaction).await?;
    Ok(Some(Seen { qualified, storage, deleted, rows }))
}

fn loss(table: &str, before: &Seen, after: Option<&Seen>) -> Option<Loss> {
    let by_count = |what| Some(Loss { what, by_count: true });
    match after {
        None if before.rows > 0 => {
            let what = format!("it would take away the protected table {table}, which has {} rows", before.rows);
            Some(Loss { what, by_count: false })
        }
        Some(after) if after.storage != before.storage && after.rows < before.rows => by_count(format!(
            "it would leave {} of {} rows in the protected table {table}",
            after.rows, before.rows
        )),
        Some(after) if after.storage == before.storage && after.deleted > before.deleted => {
            let deleted = after.deleted - before.deleted;
            let what =
                format!("it would leave {deleted} rows less than {} in the protected table {table}", before.rows);
            Some(Loss { what, by_count: false })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(storage: &str, deleted: i64, rows: i64) -> Seen {
        Seen { qualified: "\"public\".\"leads\"".to_owned(), storage: storage.to_owned(), deleted, rows }
    }

    fn told(before: &Seen, after: Option<&Seen>) -> Option<String> {
        loss("leads", before, after).map(|loss| loss.what)
    }

    #[test]
    fn rows_that_the_migration_deleted_are_a_loss_and_those_of_others_are_none() {
        let before = seen("1:1", 0, 10);
        assert_eq!(told(&before, Some(&seen("1:1", 0, 7))), None, "the application deleted");
        assert_eq!(told(&before, Some(&seen("1:1", -2, 12))), None);
        let hidden = told(&before, Some(&seen("1:1", 3, 10))).unwrap();
        assert!(hidden.contains("3 rows less than 10 in the protected table leads"), "{hidden}");
    }

    #[test]
    fn another_table_on_disk_is_counted() {
        let before = seen("1:1", 0, 10);
        assert_eq!(told(&before, Some(&seen("1:2", 0, 10))), None, "rewritten");
        assert!(told(&before, Some(&seen("2:2", -9, 9))).unwrap().contains("9 of 10 rows"));
        assert!(told(&before, None).unwrap().contains("take away the protected table leads, which has 10 rows"));
        assert_eq!(told(&seen("1:1", 0, 0), None), None, "an empty one may go");
    }
}
