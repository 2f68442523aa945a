//! Rows as they come, and as the domain wants them. What is in the database was checked when it came in; a value that
//! does not fit all the same is an error of the row, not a panic.

use crate::domain::{
    business::BusinessView,
    explain::{JobFacts, LeaseFacts, LiveInstance, SlotHolder},
    ids::{BusinessId, CallSid, InstanceId, JobId, RecordingSid},
    job::{AttemptView, ClaimedJob, Enqueued, JobType, JobView, LastError},
    lease::{LeaseId, WorkerLife},
    operate::OperatorAction,
    overview::{Overview, PulsePoint, Stall, StallChange, quantile_ms},
    ports::{Backlog, HeldLease, InstanceInfo, InstanceStatus, StoreError, StoreResult},
};
use chrono::{DateTime, Utc};
use sqlx::types::Json;
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
    business_id: i64,
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
    instance_id: Option<Uuid>,
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
    enqueued_at: Option<DateTime<Utc>>,
    trace_parent: Option<String>,
}

impl ClaimedRow {
    pub(super) fn job(self, max_attempts: u16) -> StoreResult<Option<(WorkerLife, ClaimedJob)>> {
        let Some(job_id) = self.job_id else { return Ok(None) };
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
            enqueued_at: self.enqueued_at.ok_or_else(|| unknown("enqueued_at"))?,
            // Another version's traceparent is no reason not to fetch the recording.
            trace_parent: self.trace_parent.and_then(|text| text.parse().ok()),
        };
        Ok(Some((life(self.worker.unwrap_or(-1), self.generation.unwrap_or(0)), job)))
    }
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
        Self { info, started_at: row.started_at, beat_age_ms: row.beat_age_ms }
    }
}

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
            lease,
            business,
            holders: self.holders.0,
            ahead: self.ahead,
            live: self.live.0,
            worker_seen_at: self.worker_seen_at,
            in_use: self.in_use,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct StallRow {
    change: String,
    reason: String,
    since: DateTime<Utc>,
    businesses: i64,
    ready: i64,
    business_id: i64,
}

impl StallRow {
    pub(super) fn change(self) -> StoreResult<StallChange> {
        let is_over = self.change == "over";
        let (since, businesses, ready) = (self.since, self.businesses, self.ready);
        let stall = stall(&self.reason, since, businesses, ready, self.business_id)?;
        Ok(if is_over { StallChange::Over(stall) } else { StallChange::Begun(stall) })
    }
}

fn stall(reason: &str, since: DateTime<Utc>, businesses: i64, ready: i64, id: i64) -> StoreResult<Stall> {
    let reason = reason.parse().map_err(|_| unknown("reason"))?;
    Ok(Stall::new(reason, since, businesses, ready, business_id(id)?))
}

#[derive(sqlx::FromRow)]
pub(super) struct OverviewRow {
    watched_at: Option<DateTime<Utc>>,
    ready: i64,
    scheduled: i64,
    running: i64,
    done: i64,
    cancelled: i64,
    dead: i64,
    oldest_ready: Option<DateTime<Utc>>,
    live_instances: i32,
    live_workers: i32,
    busiest: Vec<i64>,
    stalls: Json<Vec<StallJson>>,
}

#[derive(serde::Deserialize)]
struct StallJson {
    reason: String,
    since: DateTime<Utc>,
    businesses: i64,
    ready: i64,
    business_id: i64,
}

impl OverviewRow {
    pub(super) fn busiest(&self) -> Vec<i64> {
        self.busiest.clone()
    }

    pub(super) fn overview(self, businesses: Vec<BusinessView>, pulse: Vec<PulsePoint>) -> StoreResult<Overview> {
        let stalls = self.stalls.0.into_iter();
        let stalls = stalls.map(|s| stall(&s.reason, s.since, s.businesses, s.ready, s.business_id));
        Ok(Overview {
            at: self.watched_at,
            stalls: stalls.collect::<StoreResult<_>>()?,
            backlog: Backlog {
                ready: self.ready.max(0),
                scheduled: self.scheduled.max(0),
                running: self.running,
                done: self.done,
                cancelled: self.cancelled,
                dead: self.dead,
            },
            slots_in_use: self.running,
            oldest_ready: self.oldest_ready,
            businesses,
            instances: self.live_instances,
            workers: self.live_workers,
            pulse,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct PulseRow {
    at: DateTime<Utc>,
    ready: Option<i64>,
    scheduled: Option<i64>,
    running: Option<i64>,
    done: i64,
    failed: i64,
    dead: i64,
    bytes: i64,
    latency: Vec<i64>,
}

impl From<PulseRow> for PulsePoint {
    fn from(row: PulseRow) -> Self {
        Self {
            at: row.at,
            ready: row.ready.map(|ready| ready.max(0)),
            scheduled: row.scheduled.map(|scheduled| scheduled.max(0)),
            running: row.running,
            done: row.done,
            failed: row.failed,
            dead: row.dead,
            bytes: row.bytes,
            p50_ms: quantile_ms(&row.latency, 0.5),
            p95_ms: quantile_ms(&row.latency, 0.95),
        }
    }
}
