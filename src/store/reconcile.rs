//! What is known of the provider's recordings, and how far its accounts were looked through.

use super::{Store, errors::clean_error, millis, rows::unknown};
use crate::domain::{
    ids::{AccountSid, CallSid, RecordingSid},
    ports::{IntakeBook, StoreResult},
    reconcile::{Counts, Round, RoundRules, Standing},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::time::Duration;

#[derive(sqlx::FromRow)]
struct RoundRow {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    page: Option<String>,
    seen: i64,
    had: i64,
    dead: i64,
    enqueued: i64,
    gone: i64,
    unmapped: i64,
    took_ms: i64,
}

impl From<RoundRow> for Round {
    fn from(row: RoundRow) -> Self {
        let count = |n: i64| n.max(0).cast_unsigned();
        Self {
            since: row.since,
            until: row.until,
            page: row.page,
            counts: Counts {
                seen: count(row.seen),
                had: count(row.had),
                dead: count(row.dead),
                enqueued: count(row.enqueued),
                gone: count(row.gone),
                unmapped: count(row.unmapped),
            },
            took: Duration::from_millis(count(row.took_ms)),
        }
    }
}

#[async_trait]
impl IntakeBook for Store {
    async fn known(&self, recordings: &[(CallSid, RecordingSid)]) -> StoreResult<Vec<Option<Standing>>> {
        let rows: Vec<Option<String>> = sqlx::query_scalar(self.sql().known_recordings.clone())
            .bind(recordings.iter().map(|(call, _)| call.as_str()).collect::<Vec<_>>())
            .bind(recordings.iter().map(|(_, recording)| recording.as_str()).collect::<Vec<_>>())
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        let standing = |text: String| text.parse().map_err(|_| unknown("standing"));
        rows.into_iter().map(|row| row.map(standing).transpose()).collect()
    }

    async fn begin_round(&self, account: &AccountSid, rules: &RoundRules) -> StoreResult<Option<Round>> {
        let row: Option<RoundRow> = sqlx::query_as(self.sql().begin_round.clone())
            .bind(account.as_str())
            .bind(self.config().instance.0)
            .bind(millis(rules.look_back))
            .bind(millis(rules.beat_ttl))
            .fetch_optional(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(row.map(Into::into))
    }

    async fn note_page(
        &self,
        account: &AccountSid,
        next: Option<&str>,
        counts: &Counts,
        rules: &RoundRules,
    ) -> StoreResult<Option<Round>> {
        let Counts { seen, had, dead, enqueued, gone, unmapped } = *counts;
        let row: Option<RoundRow> = sqlx::query_as(self.sql().note_page.clone())
            .bind(account.as_str())
            .bind(self.config().instance.0)
            .bind(next)
            .bind(millis(rules.interval))
            .bind(seen.cast_signed())
            .bind(had.cast_signed())
            .bind(dead.cast_signed())
            .bind(enqueued.cast_signed())
            .bind(gone.cast_signed())
            .bind(unmapped.cast_signed())
            .fetch_optional(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(row.map(Into::into))
    }

    async fn leave_round(&self, account: &AccountSid, wait: Duration, anew: bool) -> StoreResult<()> {
        sqlx::query(self.sql().leave_round.clone())
            .bind(account.as_str())
            .bind(self.config().instance.0)
            .bind(millis(wait))
            .bind(anew)
            .execute(self.upkeep())
            .await
            .map(|_| ())
            .map_err(|error| clean_error(&error))
    }
}
