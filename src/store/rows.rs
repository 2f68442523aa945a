//! Rows as they come, and as the domain wants them. What is in the database was checked when it came in; a value that
//! does not fit all the same is an error of the row, not a panic.

use crate::domain::{
    details::Details,
    ids::{BusinessId, CallSid, InstanceId, JobId, RecordingSid},
    job::{AttemptView, ClaimedJob, Enqueued, JobType, JobView, LastError, StoredFile},
    lease::{LeaseId, WorkerLife},
    media::Forms,
    ports::{Backlog, HeldLease, InstanceInfo, InstanceStatus, StoreError, StoreResult},
};
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use std::time::Duration;
use uuid::Uuid;

/// A value of the database that this version does not know.
pub(super) fn unknown(column: &str) -> StoreError {
    StoreError::new(None, format!("column {column} holds a value that this version does not know"))
}

pub(super) fn count(value: i16) -> u16 {
    u16::try_from(value).unwrap_or(0)
}

pub(super) fn business_id(value: i64) -> StoreResult<BusinessId> {
    BusinessId::try_from(value).map_err(|_| unknown("business_id"))
}

pub(super) fn job_type(value: &str) -> StoreResult<JobType> {
    value.parse().map_err(|_| unknown("job_type"))
}

pub(super) fn life(worker: i32, generation: i64) -> WorkerLife {
    WorkerLife {
        worker: u16::try_from(worker).unwrap_or(u16::MAX),
        generation: u64::try_from(generation).unwrap_or(0),
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct EnqueuedRow {
    job_id: i64,
    state: String,
    deduplicated: bool,
}

impl TryFrom<EnqueuedRow> for Enqueued {
    type Error = StoreError;

    fn try_from(row: EnqueuedRow) -> StoreResult<Self> {
        let state = row.state.parse().map_err(|_| unknown("state"))?;
        Ok(Self { id: JobId(row.job_id), state, deduplicated: row.deduplicated })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct JobRow {
    job_id: i64,
    pub(super) business_id: i64,
    call_sid: String,
    recording_sid: Option<String>,
    job_type: String,
    state: String,
    attempt: i16,
    max_attempts: Option<i16>,
    priority: i16,
    run_at: Option<DateTime<Utc>>,
    enqueued_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    error_code: Option<String>,
    error_message: Option<String>,
    pub(super) instance_id: Option<Uuid>,
}

impl JobRow {
    /// `max_attempts`: what a job has that names none.
    pub(super) fn view(self, max_attempts: u16) -> StoreResult<JobView> {
        let last_error =
            self.error_code.map(|code| LastError { code, message: self.error_message.unwrap_or_default() });
        Ok(JobView {
            id: JobId(self.job_id),
            business_id: business_id(self.business_id)?,
            call_sid: CallSid::from_checked(self.call_sid),
            recording_sid: self.recording_sid.map(RecordingSid::from_checked),
            job_type: job_type(&self.job_type)?,
            state: self.state.parse().map_err(|_| unknown("state"))?,
            attempt: count(self.attempt),
            max_attempts: self.max_attempts.map_or(max_attempts, count),
            priority: self.priority.try_into().map_err(|_| unknown("priority"))?,
            run_at: self.run_at,
            enqueued_at: self.enqueued_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            last_error,
            instance: self.instance_id.map(InstanceId),
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct AttemptRow {
    attempt: i16,
    started_at: DateTime<Utc>,
    ended_at: DateTime<Utc>,
    error_code: String,
    error_message: String,
    instance_id: Uuid,
}

impl From<AttemptRow> for AttemptView {
    fn from(row: AttemptRow) -> Self {
        Self {
            attempt: count(row.attempt),
            started_at: row.started_at,
            ended_at: row.ended_at,
            error: LastError { code: row.error_code, message: row.error_message },
            instance: InstanceId(row.instance_id),
        }
    }
}

/// Without a job: what the claim found out although it claimed nothing.
#[derive(sqlx::FromRow)]
pub(super) struct ClaimedRow {
    pub(super) bells: i32,
    pub(super) cursor_after: i64,
    pub(super) turn_left: i32,
    worker: Option<i32>,
    generation: Option<i64>,
    job_id: Option<i64>,
    lease_id: Option<i64>,
    business_id: Option<i64>,
    call_sid: Option<String>,
    recording_sid: Option<String>,
    recording_url: Option<String>,
    job_type: Option<String>,
    attempt: Option<i16>,
    max_attempts: Option<i16>,
    running: Option<i32>,
    max_slots: Option<i32>,
    shares_call: Option<bool>,
    wanted_at: Option<DateTime<Utc>>,
    trace_parent: Option<String>,
    enqueued_at: Option<DateTime<Utc>>,
    details: Option<Json<Details>>,
    forms: Option<Vec<String>>,
    not_ready_ms: Option<i64>,
    stored_key: Option<String>,
    stored_bytes: Option<i64>,
    stored_type: Option<String>,
}

impl ClaimedRow {
    pub(super) fn job(self, max_attempts: u16) -> StoreResult<Option<(WorkerLife, ClaimedJob)>> {
        let Some(job_id) = self.job_id else { return Ok(None) };
        let stored = self.stored_key.map(|storage_key| StoredFile {
            storage_key,
            bytes: self.stored_bytes.unwrap_or(0).cast_unsigned(),
            content_type: self.stored_type.unwrap_or_default(),
        });
        let job = ClaimedJob {
            id: JobId(job_id),
            lease: LeaseId(self.lease_id.ok_or_else(|| unknown("lease_id"))?),
            business_id: business_id(self.business_id.unwrap_or(0))?,
            call_sid: CallSid::from_checked(self.call_sid.ok_or_else(|| unknown("call_sid"))?),
            recording_sid: self.recording_sid.map(RecordingSid::from_checked),
            recording_url: self.recording_url.ok_or_else(|| unknown("recording_url"))?,
            job_type: job_type(&self.job_type.unwrap_or_default())?,
            attempt: count(self.attempt.unwrap_or(1)),
            max_attempts: self.max_attempts.map_or(max_attempts, count),
            running: self.running.unwrap_or(0),
            max_slots: self.max_slots.unwrap_or(0),
            shares_call: self.shares_call.unwrap_or(true),
            wanted_at: self.wanted_at.ok_or_else(|| unknown("wanted_at"))?,
            // Another version's traceparent is no reason not to fetch the recording.
            trace_parent: self.trace_parent.and_then(|text| text.parse().ok()),
            enqueued_at: self.enqueued_at.ok_or_else(|| unknown("enqueued_at"))?,
            details: self.details.map(|details| details.0).unwrap_or_default(),
            // A form of another version: what is configured for all.
            forms: self.forms.and_then(|names| Forms::parse(&names).ok()),
            not_ready_for: self.not_ready_ms.map(not_ready),
            stored,
        };
        Ok(Some((life(self.worker.unwrap_or(-1), self.generation.unwrap_or(0)), job)))
    }
}

/// The database's clock may have been set back.
pub(super) fn not_ready(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[derive(sqlx::FromRow)]
pub(super) struct HeldRow {
    job_id: i64,
    lease_id: i64,
    worker: i32,
    generation: i64,
    business_id: i64,
    call_sid: String,
}

impl TryFrom<HeldRow> for HeldLease {
    type Error = StoreError;

    fn try_from(row: HeldRow) -> StoreResult<Self> {
        Ok(Self {
            job: JobId(row.job_id),
            lease: LeaseId(row.lease_id),
            life: life(row.worker, row.generation),
            business_id: business_id(row.business_id)?,
            call_sid: CallSid::from_checked(row.call_sid),
        })
    }
}

/// A lease of a worker that died.
#[derive(sqlx::FromRow)]
pub(super) struct OrphanRow {
    pub(super) job_id: i64,
    pub(super) lease_id: i64,
    pub(super) attempt: i16,
    pub(super) business_id: i64,
    pub(super) call_sid: String,
    pub(super) job_type: String,
    pub(super) max_attempts: Option<i16>,
    pub(super) not_ready_ms: Option<i64>,
}

#[derive(sqlx::FromRow)]
pub(super) struct ReapedRow {
    pub(super) job_id: i64,
    pub(super) business_id: i64,
    pub(super) call_sid: String,
    pub(super) job_type: String,
    pub(super) attempt: i16,
    pub(super) outcome: String,
}

#[derive(sqlx::FromRow)]
pub(super) struct InstanceRow {
    instance_id: Uuid,
    host: String,
    pid: i32,
    roles: Vec<String>,
    version: String,
    workers: i32,
    draining: bool,
    actors: Json<Vec<crate::domain::ports::ActorInfo>>,
    started_at: DateTime<Utc>,
    beat_age_ms: i64,
    live: bool,
}

impl From<InstanceRow> for InstanceStatus {
    fn from(row: InstanceRow) -> Self {
        let info = InstanceInfo {
            instance: InstanceId(row.instance_id),
            host: row.host,
            pid: u32::try_from(row.pid).unwrap_or(0),
            roles: row.roles,
            version: row.version,
            workers: u16::try_from(row.workers).unwrap_or(0),
            draining: row.draining,
            actors: row.actors.0,
        };
        Self { info, started_at: row.started_at, beat_age_ms: row.beat_age_ms, live: row.live }
    }
}

/// Jobs by state, as several tables keep them.
#[derive(sqlx::FromRow)]
pub(super) struct BacklogRow {
    ready: i64,
    scheduled: i64,
    running: i64,
    done: i64,
    cancelled: i64,
    dead: i64,
}

impl From<BacklogRow> for Backlog {
    fn from(row: BacklogRow) -> Self {
        let BacklogRow { ready, scheduled, running, done, cancelled, dead } = row;
        // A job may end before its bell is read.
        Self { ready: ready.max(0), scheduled: scheduled.max(0), running, done, cancelled, dead }
    }
}
