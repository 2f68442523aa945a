//! Claims, settlements, beats: what the slot manager does.

use super::{
    Store,
    errors::clean_error,
    millis,
    rows::{ClaimedRow, HeldRow, OrphanRow, business_id, job_type, not_ready},
};
use crate::domain::{
    failure::Failure,
    hold::HoldKey,
    ids::{CallSid, InstanceId, JobId},
    job::{Achieved, AttemptResult, Disposition, Settled, Settlement, StoredRecording, Transcript, Tries},
    lease::{Holder, LeaseId},
    ports::{ClaimRequest, Claimed, Dispatch, HeldLease, InstanceInfo, Leases, Reclaimed, StoreResult},
    slots::RingPlace,
};
use async_trait::async_trait;
use sqlx::types::Json;

#[async_trait]
impl Dispatch for Store {
    async fn claim(&self, request: &ClaimRequest) -> StoreResult<Claimed> {
        let rows: Vec<ClaimedRow> = sqlx::query_as(self.sql().claim.clone())
            .bind(request.instance.0)
            .bind(request.workers.iter().map(|life| i32::from(life.worker)).collect::<Vec<_>>())
            .bind(request.workers.iter().map(|life| life.generation.cast_signed()).collect::<Vec<_>>())
            .bind(request.place.after)
            .bind(request.place.turn_left)
            .bind(i32::from(request.quantum))
            .bind(millis(request.lease_for))
            .bind(request.drain_limit.cast_signed())
            .bind(request.default_max_slots)
            .fetch_all(self.steps())
            .await
            .map_err(|error| clean_error(&error))?;
        let mut claimed = Claimed { place: request.place, ..Claimed::default() };
        for row in rows {
            claimed.bells = row.bells.cast_unsigned();
            claimed.place = RingPlace { after: row.cursor_after, turn_left: row.turn_left };
            claimed.jobs.extend(row.job(self.config().retry.max_attempts)?);
        }
        Ok(claimed)
    }

    async fn settle(&self, settlements: &[Settlement]) -> StoreResult<Vec<Settled>> {
        let columns = Columns::from(settlements);
        let held: Vec<(i64, String)> = sqlx::query_as(self.sql().settle.clone())
            .bind(columns.job)
            .bind(columns.lease)
            .bind(columns.outcome)
            .bind(columns.delay_ms)
            .bind(columns.code)
            .bind(columns.message)
            .bind(columns.retry_after_ms)
            .bind(columns.hold_key)
            .bind(columns.key)
            .bind(columns.bytes)
            .bind(columns.sha256)
            .bind(columns.content_type)
            .bind(columns.duration_ms)
            .bind(columns.form)
            .bind(columns.transcript)
            .fetch_all(self.steps())
            .await
            .map_err(|error| clean_error(&error))?;
        let settled =
            |(lease, outcome): (i64, String)| Settled { lease: LeaseId(lease), cancelled: outcome == CANCELLED };
        Ok(held.into_iter().map(settled).collect())
    }

    async fn held(&self, instance: InstanceId) -> StoreResult<Vec<HeldLease>> {
        let rows: Vec<HeldRow> = sqlx::query_as(self.sql().held.clone())
            .bind(instance.0)
            .fetch_all(self.steps())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn cancel_requests(&self, instance: InstanceId) -> StoreResult<Vec<LeaseId>> {
        let leases: Vec<i64> = sqlx::query_scalar(self.sql().cancel_requests.clone())
            .bind(instance.0)
            .fetch_all(self.beats())
            .await
            .map_err(|error| clean_error(&error))?;
        Ok(leases.into_iter().map(LeaseId).collect())
    }

    async fn beat(&self, info: &InstanceInfo) -> StoreResult<()> {
        sqlx::query(self.sql().beat.clone())
            .bind(info.instance.0)
            .bind(&info.host)
            .bind(info.pid.cast_signed())
            .bind(&info.roles)
            .bind(&info.version)
            .bind(i32::from(info.workers))
            .bind(info.draining)
            .bind(Json(&info.actors))
            .execute(self.beats())
            .await
            .map(|_| ())
            .map_err(|error| clean_error(&error))
    }

    async fn deregister(&self, instance: InstanceId) -> StoreResult<()> {
        sqlx::query(self.sql().deregister.clone())
            .bind(instance.0)
            .execute(self.steps())
            .await
            .map(|_| ())
            .map_err(|error| clean_error(&error))
    }

    async fn reclaim(&self, holder: Holder, failure: Option<&Failure>) -> StoreResult<Vec<Reclaimed>> {
        let rows: Vec<OrphanRow> = sqlx::query_as(self.sql().held_by.clone())
            .bind(holder.instance.0)
            .bind(i32::from(holder.life.worker))
            .bind(holder.life.generation.cast_signed())
            .fetch_all(self.steps())
            .await
            .map_err(|error| clean_error(&error))?;
        let retry = &self.config().retry;
        let mut ends = Vec::with_capacity(rows.len());
        for row in rows {
            let result =
                failure.map_or(AttemptResult::Interrupted, |failure| AttemptResult::Failed(failure.clone()));
            let (attempt, max_attempts) = (u16::try_from(row.attempt).unwrap_or(1), row.max_attempts);
            let max_attempts = max_attempts.and_then(|max| u16::try_from(max).ok()).unwrap_or(retry.max_attempts);
            let not_ready_for = row.not_ready_ms.map(not_ready).unwrap_or_default();
            let tries = Tries { attempt, max_attempts, not_ready_for };
            let disposition = Disposition::after(result, tries, retry, rand::random());
            let reclaimed = Reclaimed {
                job: JobId(row.job_id),
                business_id: business_id(row.business_id)?,
                call_sid: CallSid::from_checked(row.call_sid),
                job_type: job_type(&row.job_type)?,
                attempt,
                disposition: disposition.clone(),
            };
            ends.push((Settlement { job: reclaimed.job, lease: LeaseId(row.lease_id), disposition }, reclaimed));
        }
        // Fenced like any settlement: a lease that ended since the look is not touched.
        let settlements: Vec<Settlement> = ends.iter().map(|(settlement, _)| settlement.clone()).collect();
        let held = self.settle(&settlements).await?;
        let went_on = |(settlement, reclaimed): (Settlement, Reclaimed)| {
            let settled = held.iter().find(|settled| settled.lease == settlement.lease)?;
            let disposition = if settled.cancelled { Disposition::Cancelled } else { settlement.disposition };
            Some(Reclaimed { disposition, ..reclaimed })
        };
        Ok(ends.into_iter().filter_map(went_on).collect())
    }
}

#[async_trait]
impl Leases for Store {
    async fn is_held(&self, job: JobId, lease: LeaseId) -> StoreResult<bool> {
        sqlx::query_scalar(self.sql().is_held.clone())
            .bind(job.0)
            .bind(lease.0)
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))
    }
}

/// How the database calls a job that an operator ended.
const CANCELLED: &str = "cancelled";

/// Settlements as the arrays that `settle_leases` takes.
#[derive(Default)]
struct Columns<'a> {
    job: Vec<i64>,
    lease: Vec<i64>,
    outcome: Vec<&'static str>,
    delay_ms: Vec<i64>,
    code: Vec<Option<&'static str>>,
    message: Vec<Option<&'a str>>,
    retry_after_ms: Vec<Option<i64>>,
    hold_key: Vec<Option<String>>,
    key: Vec<Option<&'a str>>,
    bytes: Vec<Option<i64>>,
    sha256: Vec<Option<&'a [u8]>>,
    content_type: Vec<Option<&'static str>>,
    duration_ms: Vec<Option<i64>>,
    form: Vec<Option<&'static str>>,
    transcript: Vec<Option<Json<serde_json::Value>>>,
}

impl<'a> From<&'a [Settlement]> for Columns<'a> {
    fn from(settlements: &'a [Settlement]) -> Self {
        let mut columns = Self::default();
        for Settlement { job, lease, disposition } in settlements {
            columns.job.push(job.0);
            columns.lease.push(lease.0);
            let (outcome, failure) = match disposition {
                Disposition::Achieved(Achieved::Advanced(_)) => ("advanced", None),
                Disposition::Achieved(_) => ("done", None),
                Disposition::Wait { failure, .. } => ("wait", Some(failure)),
                Disposition::NotReady { failure, .. } => ("not_ready", Some(failure)),
                Disposition::Retry { failure, .. } => ("retry", Some(failure)),
                Disposition::Dead { failure } => ("dead", Some(failure)),
                Disposition::HandBack => ("hand_back", None),
                Disposition::Cancelled => (CANCELLED, None),
            };
            let delay = match disposition {
                Disposition::Retry { delay, .. } | Disposition::NotReady { delay, .. } => Some(*delay),
                _ => None,
            };
            let hold = match disposition {
                Disposition::Wait { hold, .. } => Some(hold),
                _ => None,
            };
            let (stored, transcript) = match disposition {
                Disposition::Achieved(Achieved::Stored(stored) | Achieved::Advanced(stored)) => {
                    (Some(stored), None)
                }
                Disposition::Achieved(Achieved::Transcribed(transcript)) => (None, Some(transcript)),
                _ => (None, None),
            };
            columns.outcome.push(outcome);
            columns.delay_ms.push(delay.map_or(0, millis));
            columns.hold_key.push(hold.map(HoldKey::to_string));
            columns.transcript.push(transcript.map(transcript_json));
            columns.duration_ms.push(stored.and_then(|stored| stored.duration_ms).map(u64::cast_signed));
            columns.form.push(stored.map(|stored| stored.form.as_str()));
            columns.code.push(failure.map(|failure: &Failure| failure.code.as_str()));
            columns.message.push(failure.map(|failure| failure.message.as_str()));
            columns.retry_after_ms.push(failure.and_then(|failure| failure.retry_after).map(millis));
            columns.key.push(stored.map(|stored: &StoredRecording| stored.storage_key.as_str()));
            columns.bytes.push(stored.map(|stored| stored.bytes.cast_signed()));
            columns.sha256.push(stored.map(|stored| &stored.sha256[..]));
            columns.content_type.push(stored.map(|stored| stored.content_type));
        }
        columns
    }
}

fn transcript_json(transcript: &Transcript) -> Json<serde_json::Value> {
    let Transcript { text, language, model, segments } = transcript;
    Json(serde_json::json!({ "text": text, "language": language, "model": model, "segments": segments }))
}
