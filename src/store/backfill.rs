//! Backfills: a batch of the application's rows and its position in one transaction.
//!
//! The application's statement is the only SQL that is not ours. It finds its tables by the search path that the
//! application's role and database have, and runs unnamed, so that no pooler has to know it.

use super::{
    Store,
    backfill_rows::{KeyRow, Range, StandingRow, StatusRow},
    errors::{can_pass, clean_error},
    millis,
    pool::Transaction,
};
use crate::domain::{
    backfill::{Backfill, BackfillKind, BackfillName, BackfillStatus, BackfillTrouble, Batch, Standing, Verdict},
    ports::{Backfills, StoreResult},
    sql_name::{quoted, quoted_table},
};
use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use std::time::Duration;

/// A holder that lives but has given no sign for so long is left: longer than any pause, and than any wait after a
/// failure.
const HOLD: Duration = Duration::from_mins(1);

#[async_trait]
impl Backfills for Store {
    async fn announce(&self, backfills: &[Backfill]) -> StoreResult<()> {
        let column = |of: fn(&Backfill) -> &str| {
            backfills.iter().map(|backfill| of(backfill).to_owned()).collect::<Vec<_>>()
        };
        sqlx::query(self.sql().backfill_announce.clone())
            .bind(column(|backfill| backfill.name.as_str()))
            .bind(column(|backfill| &backfill.checksum))
            .bind(column(|backfill| backfill.kind.as_str()))
            .execute(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(())
    }

    async fn begin(
        &self,
        backfill: &Backfill,
        again: bool,
        beat_ttl: Duration,
    ) -> Result<Verdict, BackfillTrouble> {
        // Without the lock first: who waits for another process must not be in its way.
        let mut looking = self.pool().begin().await?;
        let Some(standing) = self.standing(&mut looking, backfill, beat_ttl).await? else {
            return Err(BackfillTrouble::lasting("its row in the table backfill is gone; start again"));
        };
        drop(looking);
        match standing.verdict(backfill, again) {
            Verdict::Run { .. } => {}
            other => return Ok(other),
        }
        let mut transaction = self.pool().begin().await?;
        let locked: Option<bool> = sqlx::query_scalar(self.sql().backfill_lock.clone())
            .bind(backfill.name.as_str())
            .fetch_optional(&mut transaction)
            .await?;
        if locked.is_none() {
            return Ok(Verdict::Busy);
        }
        // Once more, in a snapshot that is younger than the lock.
        let standing = self.standing(&mut transaction, backfill, beat_ttl).await?;
        let verdict = standing.map_or(Verdict::Busy, |standing| standing.verdict(backfill, again));
        match verdict {
            Verdict::Run { resumed: true } => self.resume(&mut transaction, backfill).await?,
            Verdict::Run { resumed: false } => self.start(&mut transaction, backfill).await?,
            _ => return Ok(verdict),
        }
        transaction.commit().await?;
        Ok(verdict)
    }

    async fn run_batch(&self, backfill: &Backfill, rows: u32) -> Result<Option<Batch>, BackfillTrouble> {
        let mut transaction = self.pool().begin().await?;
        let range: Option<Range> = sqlx::query_as(self.sql().backfill_held.clone())
            .bind(backfill.name.as_str())
            .bind(&backfill.checksum)
            .bind(self.config().instance.0)
            .fetch_optional(&mut transaction)
            .await?;
        let Some(range) = range else { return Ok(None) };
        self.limit(&mut transaction, backfill).await?;
        let step = match &backfill.kind {
            BackfillKind::KeyRange { table, key } => {
                range_batch(&mut transaction, backfill, &quoted_table(table), &quoted(key), &range, rows).await?
            }
            BackfillKind::UntilEmpty => next_rows(&mut transaction, backfill, rows).await?,
        };
        let (rows, took_ms): (i64, i64) = sqlx::query_as(self.sql().backfill_moved.clone())
            .bind(backfill.name.as_str())
            .bind(step.position)
            .bind(step.rows.cast_signed())
            .bind(step.is_last)
            .fetch_one(&mut transaction)
            .await?;
        transaction.commit().await?;
        let took = Duration::from_millis(u64::try_from(took_ms).unwrap_or(0));
        let percent = Range { position: step.position, ..range }.percent();
        let changed = step.rows.cast_signed();
        Ok(Some(Batch { rows, changed, percent, took: step.is_last.then_some(took) }))
    }

    async fn note_trouble(&self, name: &BackfillName, reason: &str) -> StoreResult<()> {
        sqlx::query(self.sql().backfill_trouble.clone())
            .bind(name.as_str())
            .bind(self.config().instance.0)
            .bind(reason)
            .execute(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(())
    }

    async fn fail(&self, name: &BackfillName, checksum: &str, reason: &str) -> StoreResult<()> {
        sqlx::query(self.sql().backfill_fail.clone())
            .bind(name.as_str())
            .bind(checksum)
            .bind(reason)
            .bind(self.config().instance.0)
            .execute(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(())
    }

    async fn release(&self) -> StoreResult<()> {
        sqlx::query(self.sql().backfill_release.clone())
            .bind(self.config().instance.0)
            .execute(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(())
    }
}

impl Store {
    async fn standing(
        &self,
        transaction: &mut Transaction,
        backfill: &Backfill,
        beat_ttl: Duration,
    ) -> Result<Option<Standing>, BackfillTrouble> {
        let row: Option<StandingRow> = sqlx::query_as(self.sql().backfill_standing.clone())
            .bind(backfill.name.as_str())
            .bind(self.config().instance.0)
            .bind(millis(beat_ttl))
            .bind(millis(HOLD))
            .fetch_optional(transaction)
            .await?;
        row.map(StandingRow::standing).transpose()
    }

    async fn resume(&self, transaction: &mut Transaction, backfill: &Backfill) -> Result<(), BackfillTrouble> {
        sqlx::query(self.sql().backfill_resume.clone())
            .bind(backfill.name.as_str())
            .bind(self.config().instance.0)
            .execute(transaction)
            .await?;
        Ok(())
    }

    /// From the beginning: nothing was committed yet, so the file may be another one than before.
    async fn start(&self, transaction: &mut Transaction, backfill: &Backfill) -> Result<(), BackfillTrouble> {
        self.limit(transaction, backfill).await?;
        let (origin, target) = match &backfill.kind {
            BackfillKind::KeyRange { table, key } => {
                self.check_key(transaction, table, key).await?;
                bounds(transaction, &quoted_table(table), &quoted(key)).await?
            }
            BackfillKind::UntilEmpty => (None, None),
        };
        sqlx::query(self.sql().backfill_start.clone())
            .bind(backfill.name.as_str())
            .bind(&backfill.checksum)
            .bind(backfill.kind.as_str())
            .bind(self.config().instance.0)
            .bind(origin)
            .bind(target)
            .execute(transaction)
            .await?;
        Ok(())
    }

    /// Beforehand, so that what is wrong has a clear text, and no table is read from its beginning for every batch.
    async fn check_key(
        &self,
        transaction: &mut Transaction,
        table: &str,
        key: &str,
    ) -> Result<(), BackfillTrouble> {
        let found: Option<KeyRow> = sqlx::query_as(self.sql().backfill_key.clone())
            .bind(quoted_table(table))
            .bind(key)
            .fetch_optional(transaction)
            .await?;
        let wrong = match found {
            None => format!("there is no table {table}"),
            Some(KeyRow { key_type: None, .. }) => format!("{table} has no column {key}"),
            Some(KeyRow { key_type: Some(found), .. })
                if !["bigint", "integer", "smallint"].contains(&found.as_str()) =>
            {
                format!("{table}.{key} is of type {found}; a key range needs bigint, integer or smallint")
            }
            Some(KeyRow { is_not_null: false, .. }) => {
                format!("{table}.{key} may be null: a key range would leave such rows out")
            }
            Some(KeyRow { is_indexed: false, .. }) => {
                format!("no index of {table} begins with {key}: every batch would read the whole table")
            }
            Some(_) => return Ok(()),
        };
        Err(BackfillTrouble::lasting(wrong))
    }

    /// For this transaction only. Its server notices within a second that we are dead, and ends it when we are frozen:
    /// the row's lock does not outlive its holder.
    async fn limit(&self, transaction: &mut Transaction, backfill: &Backfill) -> Result<(), BackfillTrouble> {
        let ms = |timeout: Duration| format!("{}ms", timeout.as_micros().div_ceil(1_000));
        sqlx::query(self.sql().backfill_limits.clone())
            .bind(ms(backfill.statement_timeout))
            .bind(ms(backfill.lock_timeout))
            .execute(transaction)
            .await?;
        Ok(())
    }

    pub(super) async fn backfill_statuses(&self) -> StoreResult<Vec<BackfillStatus>> {
        let rows: Vec<StatusRow> = sqlx::query_as(self.sql().backfills.clone())
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(StatusRow::status).collect()
    }
}

/// What one batch did.
struct Step {
    position: Option<i64>,
    rows: u64,
    is_last: bool,
}

/// The keys before the first row and of the last one; none of an empty table.
async fn bounds(
    transaction: &mut Transaction,
    table: &str,
    key: &str,
) -> Result<(Option<i64>, Option<i64>), BackfillTrouble> {
    let sql = format!("select min({key})::bigint - 1, max({key})::bigint from {table}");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_one(transaction).await?)
}

/// The next `rows` rows by their keys, however far apart these are.
async fn range_batch(
    transaction: &mut Transaction,
    backfill: &Backfill,
    table: &str,
    key: &str,
    range: &Range,
    rows: u32,
) -> Result<Step, BackfillTrouble> {
    let Range { position: Some(after), target: Some(target), .. } = *range else {
        return Ok(Step { position: range.position, rows: 0, is_last: true });
    };
    let next = format!(
        "select {key}::bigint from {table} where {key} > $1 and {key} <= $2 order by {key} offset $3 limit 1"
    );
    let next: Option<i64> = sqlx::query_scalar(AssertSqlSafe(next))
        .persistent(false)
        .bind(after)
        .bind(target)
        .bind(i64::from(rows.saturating_sub(1)))
        .fetch_optional(&mut *transaction)
        .await?;
    let upto = next.unwrap_or(target);
    let changed = sqlx::query(AssertSqlSafe(backfill.statement.clone()))
        .persistent(false)
        .bind(after)
        .bind(upto)
        .execute(transaction)
        .await?
        .rows_affected();
    Ok(Step { position: Some(upto), rows: changed, is_last: upto == target })
}

/// The next rows, whichever they are; the last look when there seem to be none.
async fn next_rows(transaction: &mut Transaction, backfill: &Backfill, rows: u32) -> Result<Step, BackfillTrouble> {
    let mut changed = 0;
    for statement in std::iter::once(&backfill.statement).chain(&backfill.last_look) {
        changed = sqlx::query(AssertSqlSafe(statement.clone()))
            .persistent(false)
            .bind(i64::from(rows))
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if changed > 0 {
            break;
        }
    }
    Ok(Step { position: None, rows: changed, is_last: changed == 0 })
}

impl From<sqlx::Error> for BackfillTrouble {
    fn from(error: sqlx::Error) -> Self {
        let cleaned = clean_error(&error);
        let code = cleaned.sqlstate.as_deref();
        // First, so that no long message cuts it off.
        let state = code.map(|code| format!("SQLSTATE {code}: ")).unwrap_or_default();
        let timed_out = code.is_some_and(|code| ["57014", "55P03"].contains(&code));
        Self { can_pass: can_pass(&error), timed_out, ..Self::lasting(format!("{state}{}", cleaned.message)) }
    }
}
