//! What operators ask and do.

use super::{
    Store,
    bells::CANCEL,
    errors::clean_error,
    operate_rows::{ActionRow, BusinessRow, ExplainRow},
    rows::unknown,
};
use crate::domain::{
    business::{BusinessChange, BusinessFilter, BusinessView},
    explain::Explanation,
    ids::{BusinessId, CallSid, JobId},
    job::{JobState, Priority},
    media::Forms,
    operate::{JobOutcome, Operator, OperatorAction, Outcome},
    ports::{Gate, JobBook, Operations, StoreResult},
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use sqlx::types::Json;
use std::time::Duration;

/// Looks again at jobs whose attempts are ending just then, and the wait between two.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[async_trait]
impl Operations for Store {
    async fn explain(&self, id: JobId) -> StoreResult<Option<Explanation>> {
        let versions = self.versions().await?;
        if !versions.fits() {
            let holder = self.lock_holder().await.map_err(|error| clean_error(&error))?;
            let job = self.job(id).await?;
            return Ok(job.map(|job| Explanation::schema_behind(&job, versions, holder)));
        }
        let row: Option<ExplainRow> = sqlx::query_as(self.sql().explain.clone())
            .bind(id.0)
            .bind(super::millis(self.config().beat_ttl))
            .fetch_optional(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        let Some(row) = row else { return Ok(None) };
        let business = self.business(row.business_id()?).await?;
        Ok(Some(Explanation::of(row.facts(business, self.config().retry.max_attempts)?)))
    }

    async fn cancel(
        &self,
        ids: &[JobId],
        only: Option<JobState>,
        operator: &Operator,
    ) -> StoreResult<Vec<JobOutcome>> {
        let outcomes = self.until_settled(ids, Act::Cancel(only), operator).await?;
        if outcomes.iter().any(|job| job.outcome == Outcome::Requested) {
            self.ring_with(CANCEL).await?;
        }
        Ok(outcomes)
    }

    async fn retry(&self, ids: &[JobId], operator: &Operator) -> StoreResult<Vec<JobOutcome>> {
        let outcomes = self.until_settled(ids, Act::Retry, operator).await?;
        if outcomes.iter().any(|job| job.outcome == Outcome::Ready) {
            self.ring().await?;
        }
        Ok(outcomes)
    }

    async fn expedite(&self, business_id: BusinessId, call_sid: &CallSid, priority: Priority) -> StoreResult<u32> {
        let moved: i32 = sqlx::query_scalar(self.sql().expedite.clone())
            .bind(business_id.get())
            .bind(call_sid.as_str())
            .bind(priority.get())
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(moved.cast_unsigned())
    }

    async fn businesses(&self, filter: BusinessFilter) -> StoreResult<Vec<BusinessView>> {
        let rows: Vec<BusinessRow> = sqlx::query_as(self.sql().businesses.clone())
            .bind(filter.after.map_or(0, BusinessId::get))
            .bind(i32::from(filter.limit))
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn business(&self, id: BusinessId) -> StoreResult<Option<BusinessView>> {
        Ok(self.businesses_by_id(&[id.get()]).await?.pop())
    }

    async fn set_business(
        &self,
        id: BusinessId,
        change: BusinessChange,
        operator: &Operator,
    ) -> StoreResult<BusinessView> {
        sqlx::query(self.sql().change_business.clone())
            .bind(id.get())
            .bind(Json(changes(&change)))
            .bind(self.config().default_max_slots)
            .bind(operator.as_str())
            .execute(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        // More may run now.
        self.ring().await?;
        self.business(id).await?.ok_or_else(|| unknown("business_id"))
    }

    async fn actions(&self, id: BusinessId, limit: u16) -> StoreResult<Vec<OperatorAction>> {
        let rows: Vec<ActionRow> = sqlx::query_as(self.sql().actions.clone())
            .bind(id.get())
            .bind(i32::from(limit))
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

/// What is to be changed, by the names of the columns.
fn changes(change: &BusinessChange) -> Map<String, Value> {
    let BusinessChange { max_slots, weight, paused, forms, retention_days, delete_at_provider, completion_url } =
        change;
    let columns = [
        ("max_slots", max_slots.map(Value::from)),
        ("weight", weight.map(Value::from)),
        ("paused", paused.map(Value::from)),
        ("forms", forms.as_ref().map(|forms| forms.as_ref().map(Forms::names).into())),
        ("retention_days", retention_days.map(Value::from)),
        ("delete_at_provider", delete_at_provider.map(Value::from)),
        ("completion_url", completion_url.clone().map(Value::from)),
    ];
    columns.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What is done to jobs.
#[derive(Clone, Copy)]
enum Act {
    /// Those that are in this state.
    Cancel(Option<JobState>),
    Retry,
}

impl Store {
    /// Asks again for jobs that were going from one state to another just then, a few times.
    async fn until_settled(&self, ids: &[JobId], act: Act, operator: &Operator) -> StoreResult<Vec<JobOutcome>> {
        let mut outcomes = self.carry_out(ids.iter().map(|id| id.0).collect(), act, operator).await?;
        for _ in 1..LOOKS {
            let moving: Vec<i64> =
                outcomes.iter().filter(|job| job.outcome == Outcome::Moving).map(|job| job.id.0).collect();
            if moving.is_empty() {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            let again = self.carry_out(moving, act, operator).await?;
            outcomes.retain(|job| job.outcome != Outcome::Moving);
            outcomes.extend(again);
            outcomes.sort_unstable_by_key(|job| job.id);
        }
        Ok(outcomes)
    }

    async fn carry_out(&self, ids: Vec<i64>, act: Act, operator: &Operator) -> StoreResult<Vec<JobOutcome>> {
        let rows: Result<Vec<(i64, String)>, sqlx::Error> = match act {
            Act::Cancel(only) => {
                sqlx::query_as(self.sql().cancel.clone())
                    .bind(ids)
                    .bind(only.map(JobState::as_str))
                    .bind(self.config().default_max_slots)
                    .bind(operator.as_str())
                    .fetch_all(self.pool())
                    .await
            }
            Act::Retry => {
                let retry = sqlx::query_as(self.sql().retry.clone()).bind(ids).bind(operator.as_str());
                retry.fetch_all(self.pool()).await
            }
        };
        outcomes(rows.map_err(|error| clean_error(&error))?)
    }

    /// In the order of `ids`; those that there are.
    pub(super) async fn businesses_by_id(&self, ids: &[i64]) -> StoreResult<Vec<BusinessView>> {
        let rows: Vec<BusinessRow> = sqlx::query_as(self.sql().businesses_by_id.clone())
            .bind(ids)
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

fn outcomes(rows: Vec<(i64, String)>) -> StoreResult<Vec<JobOutcome>> {
    let outcome = |(id, outcome): (i64, String)| {
        Ok(JobOutcome { id: JobId(id), outcome: outcome.parse().map_err(|_| unknown("outcome"))? })
    };
    rows.into_iter().map(outcome).collect()
}
