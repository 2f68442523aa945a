//! What time brings back.

use super::{
    Store,
    errors::clean_error,
    millis,
    rows::{ReapedRow, business_id, count, job_type},
};
use crate::domain::{
    failure::{Failure, FailureCode},
    ids::{BusinessId, CallSid, JobId},
    job::Disposition,
    ports::{Healed, Promoted, Reclaimed, StoreResult, Upkeep},
};
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
impl Upkeep for Store {
    async fn reap(&self, beat_ttl: Duration, limit: u32) -> StoreResult<Vec<Reclaimed>> {
        let max_attempts = i16::try_from(self.config().retry.max_attempts).unwrap_or(i16::MAX);
        let rows: Vec<ReapedRow> = sqlx::query_as(self.sql().reap.clone())
            .bind(millis(beat_ttl))
            .bind(limit.cast_signed())
            .bind(max_attempts)
            .fetch_all(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        let reclaimed = |row: ReapedRow| {
            let failure = Failure::new(FailureCode::LeaseExpired, "the lease ended without a report");
            let disposition = match row.outcome.as_str() {
                "dead" => Disposition::Dead { failure },
                "cancelled" => Disposition::Cancelled,
                _ => Disposition::Retry { delay: Duration::ZERO, failure },
            };
            let (job, call_sid) = (JobId(row.job_id), CallSid::from_checked(row.call_sid));
            let (business_id, job_type) = (business_id(row.business_id)?, job_type(&row.job_type)?);
            Ok(Reclaimed { job, business_id, call_sid, job_type, attempt: count(row.attempt), disposition })
        };
        rows.into_iter().map(reclaimed).collect()
    }

    async fn promote(&self, limit: u32) -> StoreResult<Promoted> {
        let (count, next_due_ms): (i32, Option<i64>) = sqlx::query_as(self.sql().promote.clone())
            .bind(limit.cast_signed())
            .fetch_one(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        let next_due_in = next_due_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        Ok(Promoted { count: count.cast_unsigned(), next_due_in })
    }

    async fn rotate_history(&self, keep: Duration) -> StoreResult<(u32, u32)> {
        let (created, dropped): (i32, i32) = sqlx::query_as(self.sql().rotate_history.clone())
            .bind(millis(keep))
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok((created.cast_unsigned(), dropped.cast_unsigned()))
    }

    async fn heal_stranded(&self, after: Option<BusinessId>, limit: u32) -> StoreResult<Healed> {
        let (healed, next): (i64, Option<i64>) = sqlx::query_as(self.sql().heal_stranded.clone())
            .bind(after.map_or(0, BusinessId::get))
            .bind(limit.cast_signed())
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(Healed { businesses: healed.cast_unsigned(), next: next.map(business_id).transpose()? })
    }
}
