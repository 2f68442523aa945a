//! What is done after a recording is stored: follow-ups, retention, legal holds, and the trail.

use super::{
    Store,
    errors::clean_error,
    millis,
    rows::{business_id, unknown},
};
use crate::domain::{
    audit::{AuditEntry, AuditFilter, Expired, Kept},
    follow_up::{FleetSetting, FollowUp, FollowUpView, Task, TryEnd},
    ids::{BusinessId, CallSid, JobId, RecordingSid},
    operate::Operator,
    ports::{Custody, FollowUps, StoreError, StoreResult},
    recording::RecordingView,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use std::time::Duration;
use uuid::Uuid;

#[async_trait]
impl FollowUps for Store {
    async fn configure(&self, setting: FleetSetting) -> StoreResult<()> {
        sqlx::query(self.sql().configure.clone())
            .bind(setting.announces)
            .bind(setting.delete_at_provider)
            .execute(self.upkeep())
            .await
            .map(|_| ())
            .map_err(|error| clean_error(&error))
    }

    async fn take(&self, limit: u16, each: u16, lease: Duration) -> StoreResult<Vec<FollowUp>> {
        let rows: Vec<FollowUpRow> = sqlx::query_as(self.sql().take_follow_ups.clone())
            .bind(i32::from(limit))
            .bind(i32::from(each))
            .bind(millis(lease))
            .fetch_all(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn end(&self, follow_up: &FollowUp, end: &TryEnd) -> StoreResult<bool> {
        let (outcome, delay, error, all) = match end {
            TryEnd::Done => ("done", Duration::ZERO, None, false),
            TryEnd::Retry { delay, error, all } => ("retry", *delay, Some(error), *all),
            TryEnd::Dead { error } => ("dead", Duration::ZERO, Some(error), false),
        };
        sqlx::query_scalar(self.sql().end_follow_up.clone())
            .bind(follow_up.id)
            .bind(follow_up.tries)
            .bind(outcome)
            .bind(millis(delay))
            .bind(error)
            .bind(all)
            .fetch_one(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))
    }

    async fn follow_ups(
        &self,
        dead: Option<bool>,
        after: Option<i64>,
        limit: u16,
    ) -> StoreResult<Vec<FollowUpView>> {
        let rows: Vec<FollowUpViewRow> = sqlx::query_as(self.sql().follow_ups.clone())
            .bind(after.unwrap_or(i64::MAX))
            .bind(dead)
            .bind(i32::from(limit))
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn revive(&self, id: i64, operator: &Operator) -> StoreResult<bool> {
        let revived = sqlx::query(self.sql().revive_follow_up.clone())
            .bind(id)
            .bind(operator.as_str())
            .execute(self.pool())
            .await;
        revived.map(|done| done.rows_affected() > 0).map_err(|error| clean_error(&error))
    }

    async fn forget(&self, keep: Duration, limit: u16) -> StoreResult<u64> {
        let forgotten = sqlx::query(self.sql().forget_follow_ups.clone())
            .bind(millis(keep))
            .bind(i32::from(limit))
            .execute(self.upkeep())
            .await;
        forgotten.map(|done| done.rows_affected()).map_err(|error| clean_error(&error))
    }
}

#[async_trait]
impl Custody for Store {
    async fn delete_recording(&self, recording: &RecordingView, operator: &Operator) -> StoreResult<Kept> {
        let outcome: String = sqlx::query_scalar(self.sql().delete_recording.clone())
            .bind(recording.business_id.get())
            .bind(&recording.recording_key)
            .bind(operator.as_str())
            .bind(self.config().default_max_slots)
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        kept(&outcome)
    }

    async fn hold_recording(
        &self,
        recording: &RecordingView,
        hold: bool,
        operator: &Operator,
    ) -> StoreResult<Kept> {
        let outcome: String = sqlx::query_scalar(self.sql().hold_recording.clone())
            .bind(recording.business_id.get())
            .bind(&recording.recording_key)
            .bind(hold)
            .bind(operator.as_str())
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        // A hold that was asked for is no hindrance.
        if outcome == "held" || outcome == "lifted" { Ok(Kept::Changed) } else { kept(&outcome) }
    }

    async fn expire(&self, days: u32, limit: u16) -> StoreResult<Vec<Expired>> {
        let rows: Vec<(i64, String, Option<String>)> = sqlx::query_as(self.sql().expire.clone())
            .bind(days.cast_signed())
            .bind(i32::from(limit))
            .fetch_all(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        let expired = |(business, call_sid, recording_sid): (i64, String, Option<String>)| {
            Ok(Expired {
                business_id: business_id(business)?,
                call_sid: CallSid::from_checked(call_sid),
                recording_sid: recording_sid.map(RecordingSid::from_checked),
            })
        };
        rows.into_iter().map(expired).collect()
    }

    async fn note_play(
        &self,
        recording: &RecordingView,
        operator: &Operator,
        detail: &str,
        every: Duration,
    ) -> StoreResult<bool> {
        sqlx::query_scalar(self.sql().note_play.clone())
            .bind(operator.as_str())
            .bind(recording.business_id.get())
            .bind(recording.call_sid.as_str())
            .bind(recording.recording_sid.as_ref().map(RecordingSid::as_str))
            .bind(recording.job_id.0)
            .bind(detail)
            .bind(millis(every))
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))
    }

    async fn note_link(&self, recording: &RecordingView, operator: &Operator, detail: &str) -> StoreResult<()> {
        sqlx::query(self.sql().note_link.clone())
            .bind(operator.as_str())
            .bind(recording.business_id.get())
            .bind(recording.call_sid.as_str())
            .bind(recording.recording_sid.as_ref().map(RecordingSid::as_str))
            .bind(recording.job_id.0)
            .bind(detail)
            .execute(self.pool())
            .await
            .map(|_| ())
            .map_err(|error| clean_error(&error))
    }

    async fn audit(&self, filter: &AuditFilter) -> StoreResult<Vec<AuditEntry>> {
        let rows: Vec<AuditRow> = sqlx::query_as(self.sql().audit.clone())
            .bind(filter.after.unwrap_or(i64::MAX))
            .bind(filter.business_id.map(BusinessId::get))
            .bind(filter.call_sid.as_ref().map(CallSid::as_str))
            .bind(filter.operator.as_deref())
            .bind(filter.action.as_deref())
            .bind(i32::from(filter.limit))
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

fn kept(outcome: &str) -> StoreResult<Kept> {
    Ok(match outcome {
        "deleted" => Kept::Changed,
        "same" => Kept::Same,
        "held" => Kept::Held,
        "gone" => Kept::Gone,
        "unknown" => Kept::Unknown,
        _ => return Err(unknown("outcome")),
    })
}

#[derive(sqlx::FromRow)]
struct FollowUpRow {
    follow_up_id: i64,
    event_id: Uuid,
    kind: String,
    business_id: i64,
    call_sid: String,
    recording_sid: Option<String>,
    facts: Json<Value>,
    tries: i32,
    age_ms: i64,
    completion_url: Option<String>,
}

impl TryFrom<FollowUpRow> for FollowUp {
    type Error = StoreError;

    fn try_from(row: FollowUpRow) -> StoreResult<Self> {
        let Json(facts) = row.facts;
        let text = |name: &str| facts[name].as_str().map(ToOwned::to_owned).ok_or_else(|| unknown("facts"));
        let task = match row.kind.as_str() {
            "delete_at_provider" => Task::DeleteAtProvider {
                recording_url: text("recording_url")?,
                storage_key: text("storage_key")?,
                bytes: facts["bytes"].as_u64().ok_or_else(|| unknown("facts"))?,
            },
            "delete_file" => Task::DeleteFile { storage_key: text("storage_key")? },
            "announce" => Task::Announce { event_id: row.event_id, event: facts, url: row.completion_url },
            _ => return Err(unknown("kind")),
        };
        Ok(Self {
            id: row.follow_up_id,
            tries: row.tries,
            age: Duration::from_millis(u64::try_from(row.age_ms).unwrap_or(0)),
            business_id: business_id(row.business_id)?,
            call_sid: CallSid::from_checked(row.call_sid),
            recording_sid: row.recording_sid.map(RecordingSid::from_checked),
            task,
        })
    }
}

#[derive(sqlx::FromRow)]
struct FollowUpViewRow {
    follow_up_id: i64,
    kind: String,
    business_id: i64,
    call_sid: String,
    recording_sid: Option<String>,
    event: Option<String>,
    made_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    tries: i32,
    last_error: Option<String>,
    died_at: Option<DateTime<Utc>>,
}

impl TryFrom<FollowUpViewRow> for FollowUpView {
    type Error = StoreError;

    fn try_from(row: FollowUpViewRow) -> StoreResult<Self> {
        Ok(Self {
            id: row.follow_up_id,
            kind: row.kind,
            business_id: business_id(row.business_id)?,
            call_sid: CallSid::from_checked(row.call_sid),
            recording_sid: row.recording_sid.map(RecordingSid::from_checked),
            event: row.event,
            made_at: row.made_at,
            due_at: row.due_at,
            tries: row.tries,
            last_error: row.last_error,
            died_at: row.died_at,
        })
    }
}

#[derive(sqlx::FromRow)]
struct AuditRow {
    action_id: i64,
    at: DateTime<Utc>,
    operator: String,
    action: String,
    business_id: Option<i64>,
    call_sid: Option<String>,
    recording_sid: Option<String>,
    job_id: Option<i64>,
    detail: String,
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> StoreResult<Self> {
        Ok(Self {
            id: row.action_id,
            at: row.at,
            operator: row.operator,
            action: row.action,
            business_id: row.business_id.map(business_id).transpose()?,
            call_sid: row.call_sid.map(CallSid::from_checked),
            recording_sid: row.recording_sid.map(RecordingSid::from_checked),
            job_id: row.job_id.map(JobId),
            detail: row.detail,
        })
    }
}
