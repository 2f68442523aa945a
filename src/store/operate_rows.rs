//! Rows of what operators ask, see `rows`.

use super::{
    hold_rows::HoldRow,
    rows::{JobRow, business_id, unknown},
};
use crate::domain::{
    business::BusinessView,
    explain::{JobFacts, LeaseFacts, LiveInstance, SlotHolder},
    ids::{BusinessId, InstanceId, JobId},
    media::Forms,
    operate::OperatorAction,
    ports::{StoreError, StoreResult},
};
use chrono::{DateTime, Utc};
use sqlx::types::Json;

#[derive(sqlx::FromRow)]
pub(super) struct BusinessRow {
    business_id: i64,
    max_slots: i32,
    weight: i16,
    paused: bool,
    paused_at: Option<DateTime<Utc>>,
    paused_by: Option<String>,
    running: i32,
    ready: i64,
    scheduled: i64,
    done: i64,
    cancelled: i64,
    dead: i64,
    waiting_since: DateTime<Utc>,
    forms: Option<Vec<String>>,
    retention_days: Option<i32>,
    delete_at_provider: Option<bool>,
    completion_url: Option<String>,
}

impl TryFrom<BusinessRow> for BusinessView {
    type Error = StoreError;

    fn try_from(row: BusinessRow) -> StoreResult<Self> {
        Ok(Self {
            business_id: business_id(row.business_id)?,
            max_slots: row.max_slots,
            weight: row.weight,
            paused: row.paused,
            paused_at: row.paused_at,
            paused_by: row.paused_by,
            running: row.running,
            // A job may end before its bell is read.
            ready: row.ready.max(0),
            scheduled: row.scheduled.max(0),
            done: row.done,
            cancelled: row.cancelled,
            dead: row.dead,
            waiting_since: row.waiting_since,
            forms: row.forms.map(|names| Forms::parse(&names)).transpose().map_err(|_| unknown("forms"))?,
            retention_days: row.retention_days,
            delete_at_provider: row.delete_at_provider,
            completion_url: row.completion_url,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct ActionRow {
    at: DateTime<Utc>,
    operator: String,
    action: String,
    business_id: Option<i64>,
    job_id: Option<i64>,
    detail: String,
}

impl TryFrom<ActionRow> for OperatorAction {
    type Error = StoreError;

    fn try_from(row: ActionRow) -> StoreResult<Self> {
        Ok(Self {
            at: row.at,
            operator: row.operator,
            action: row.action,
            business_id: row.business_id.map(business_id).transpose()?,
            job_id: row.job_id.map(JobId),
            detail: row.detail,
        })
    }
}

/// What `explain` knows of a job.
#[derive(sqlx::FromRow)]
pub(super) struct ExplainRow {
    #[sqlx(flatten)]
    job: JobRow,
    now: DateTime<Utc>,
    retry_after_ms: Option<i64>,
    worker: Option<i32>,
    deadline_at: Option<DateTime<Utc>>,
    cancel_requested: Option<bool>,
    host: Option<String>,
    beat_age_ms: Option<i64>,
    holders: Json<Vec<SlotHolder>>,
    ahead: i64,
    live: Json<Vec<LiveInstance>>,
    worker_seen_at: Option<DateTime<Utc>>,
    in_use: i64,
    failed_at: Option<DateTime<Utc>>,
    cancelled_by: Option<String>,
    hold: Option<Json<HoldRow>>,
}

impl ExplainRow {
    pub(super) fn business_id(&self) -> StoreResult<BusinessId> {
        business_id(self.job.business_id)
    }

    pub(super) fn facts(self, business: Option<BusinessView>, max_attempts: u16) -> StoreResult<JobFacts> {
        let lease = match (self.worker, self.deadline_at, self.job.instance_id) {
            (Some(worker), Some(deadline_at), Some(instance)) => Some(LeaseFacts {
                instance: InstanceId(instance),
                host: self.host,
                worker: u16::try_from(worker).unwrap_or(u16::MAX),
                deadline_at,
                beat_age_ms: self.beat_age_ms,
                cancel_requested: self.cancel_requested.unwrap_or(false),
            }),
            _ => None,
        };
        Ok(JobFacts {
            job: self.job.view(max_attempts)?,
            now: self.now,
            retry_after_ms: self.retry_after_ms,
            hold: self.hold.map(|hold| hold.0.try_into()).transpose()?,
            lease,
            business,
            holders: self.holders.0,
            ahead: self.ahead,
            live: self.live.0,
            worker_seen_at: self.worker_seen_at,
            in_use: self.in_use,
            failed_at: self.failed_at,
            cancelled_by: self.cancelled_by,
        })
    }
}
