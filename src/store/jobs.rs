//! Jobs come in and are looked at.

use super::{
    Store,
    errors::clean_error,
    hosts::{IS_READ_ONLY, NoPrimary},
    rows::{AttemptRow, EnqueuedRow, JobRow},
};
use crate::domain::{
    ids::{BusinessId, CallSid, JobId, RecordingSid},
    job::{AttemptView, Enqueued, JobFilter, JobState, JobView, NewJob},
    ports::{JobBook, StoreResult},
};
use async_trait::async_trait;
use sqlx::types::Json;
use std::time::Duration;

#[async_trait]
impl JobBook for Store {
    async fn enqueue(&self, jobs: &[NewJob]) -> StoreResult<Vec<Enqueued>> {
        let rows: Vec<EnqueuedRow> = sqlx::query_as(self.sql().enqueue.clone())
            .bind(jobs.iter().map(|job| job.business_id.get()).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.call_sid.as_str()).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.recording_url.as_str()).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.job_type.as_str()).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.recording_sid.as_ref().map(RecordingSid::as_str)).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.priority.get()).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.run_at).collect::<Vec<_>>())
            .bind(jobs.iter().map(|job| job.trace_parent.map(|parent| parent.to_string())).collect::<Vec<_>>())
            .bind(
                jobs.iter().map(|job| (!job.details.is_empty()).then_some(Json(&job.details))).collect::<Vec<_>>(),
            )
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn job(&self, id: JobId) -> StoreResult<Option<JobView>> {
        let row: Option<JobRow> = sqlx::query_as(self.sql().job.clone())
            .bind(id.0)
            .fetch_optional(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        row.map(|row| row.view(self.config().retry.max_attempts)).transpose()
    }

    async fn attempts(&self, id: JobId) -> StoreResult<Vec<AttemptView>> {
        let rows: Vec<AttemptRow> = sqlx::query_as(self.sql().attempts.clone())
            .bind(id.0)
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn jobs(&self, filter: &JobFilter) -> StoreResult<Vec<JobView>> {
        let rows: Vec<JobRow> = sqlx::query_as(self.sql().jobs.clone())
            .bind(filter.after.map_or(i64::MAX, |id| id.0))
            .bind(filter.state.map(JobState::as_str))
            .bind(filter.business_id.map(BusinessId::get))
            .bind(filter.call_sid.as_ref().map(CallSid::as_str))
            .bind(i32::from(filter.limit))
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(|row| row.view(self.config().retry.max_attempts)).collect()
    }

    async fn ring(&self) -> StoreResult<()> {
        self.ring_with("").await
    }

    async fn ping(&self) -> StoreResult<()> {
        let asked = async {
            self.beats().has_primary().await?;
            let is_read_only: bool = sqlx::query_scalar(IS_READ_ONLY).fetch_one(self.beats()).await?;
            if is_read_only { Err(NoPrimary::a_standby().into()) } else { Ok(()) }
        };
        let answer: Result<(), sqlx::Error> = asked.await;
        self.0.answers.hear(&answer);
        answer.map_err(|error| clean_error(&error))
    }

    fn answered_within(&self, time: Duration) -> bool {
        self.0.answers.within(time)
    }
}

impl Store {
    pub(super) async fn ring_with(&self, what: &str) -> StoreResult<()> {
        sqlx::query(self.sql().ring.clone())
            .bind(self.bell_channel())
            .bind(what)
            .execute(self.pool())
            .await
            .map(|_| ())
            .map_err(|error| clean_error(&error))
    }
}
