//! Jobs, their states, and the one function that decides what follows an attempt.
//!
//! ```text
//!            enqueue                claim                    settle: done
//!   (new) ───────────▶ ready ────────────────▶ running ─────────────────────▶ done
//!     │                 ▲  ▲                    │  │  └─ attempts used up ───▶ dead
//!     │ run_at later    │  └── drained, reaped ─┘  └──── cancel ────────────▶ cancelled
//!     └──▶ scheduled ───┘ promote                │
//!              ▲──────────── failed, to retry ───┘
//! ```
//!
//! A state is where the row is (see `migrations/`): `ready`, `scheduled` and `running` are three tables, the
//! other three a column of the history.

use super::{
    details::Details,
    failure::{Failure, FailureCode},
    hold::HoldKey,
    ids::{BusinessId, CallSid, InstanceId, JobId, RecordingSid},
    lease::LeaseId,
    media::{Form, Forms},
    retry::RetryPolicy,
    trace::TraceParent,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};
use utoipa::ToSchema;

/// What is to be done with a recording. A new kind is a variant here and a handler in `actors/job_types`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobType {
    /// Fetch the recording and store it.
    #[default]
    DownloadOnly,
    /// Fetch and store it, then have it transcribed: two steps of one job, each with attempts of its own.
    Full,
}

impl JobType {
    pub const ALL: [Self; 2] = [Self::DownloadOnly, Self::Full];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::DownloadOnly => "download_only",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job_type must be one of: download_only, full")]
pub struct UnknownJobType;

impl FromStr for JobType {
    type Err = UnknownJobType;

    fn from_str(text: &str) -> Result<Self, UnknownJobType> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or(UnknownJobType)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Ready,
    Scheduled,
    Running,
    Done,
    Cancelled,
    Dead,
}

impl JobState {
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Scheduled, Self::Running, Self::Done, Self::Cancelled, Self::Dead];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state must be one of: ready, scheduled, running, done, cancelled, dead")]
pub struct UnknownJobState;

impl FromStr for JobState {
    type Err = UnknownJobState;

    fn from_str(text: &str) -> Result<Self, UnknownJobState> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or(UnknownJobState)
    }
}

/// Order among the ready jobs of one business: 0 runs first, 9 last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i16", into = "i16")]
#[schema(minimum = 0, maximum = 9, default = 5)]
pub struct Priority(i16);

impl Priority {
    /// What a job gets that names none.
    pub const NORMAL: Self = Self(5);
    /// Of a recording that somebody waits for; 0 is left to those who enqueue.
    pub const AWAITED: Self = Self(1);
    /// Runs when nothing else of its business is ready.
    pub const LAST: Self = Self(9);

    pub fn get(self) -> i16 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("priority must be a whole number from 0 (runs first) to 9")]
pub struct InvalidPriority;

impl TryFrom<i16> for Priority {
    type Error = InvalidPriority;

    fn try_from(value: i16) -> Result<Self, InvalidPriority> {
        if (0..=9).contains(&value) { Ok(Self(value)) } else { Err(InvalidPriority) }
    }
}

impl From<Priority> for i16 {
    fn from(p: Priority) -> i16 {
        p.0
    }
}

/// A job as its caller asks for it; every field was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    /// With the recording known, a call may have one live job for each; else one for the call.
    pub recording_sid: Option<RecordingSid>,
    /// Already put right by [`super::recording_url`].
    pub recording_url: String,
    pub job_type: JobType,
    pub priority: Priority,
    /// Not before this time; `None` is now.
    pub run_at: Option<DateTime<Utc>>,
    pub details: Details,
    /// Whose trace its attempts belong to.
    pub trace_parent: Option<TraceParent>,
}

/// What enqueueing one job came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Enqueued {
    pub id: JobId,
    pub state: JobState,
    /// The job was there already (live, or its recording is stored): nothing was added.
    pub deduplicated: bool,
}

/// A job with its slot and lease: the right to process it now.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedJob {
    pub id: JobId,
    pub lease: LeaseId,
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub recording_sid: Option<RecordingSid>,
    pub recording_url: String,
    pub job_type: JobType,
    /// Counts from 1.
    pub attempt: u16,
    pub max_attempts: u16,
    /// Slots of this business in use right after the claim, over the whole fleet, and its limit.
    pub running: i32,
    pub max_slots: i32,
    /// Another recording of the same call is or was here.
    pub shares_call: bool,
    /// Since when somebody wants it: enqueued, due by its `run_at`, or tried again by an operator.
    pub wanted_at: DateTime<Utc>,
    /// Of the request that enqueued it, where that was traced.
    pub trace_parent: Option<TraceParent>,
    pub enqueued_at: DateTime<Utc>,
    pub details: Details,
    /// What its business wants, where it does not want what is configured for all.
    pub forms: Option<Forms>,
    /// For how long, when it was claimed, the provider had said that the recording is not ready. By the database's clock,
    /// which also knows when that began: this process's may be another.
    pub not_ready_for: Option<Duration>,
    /// Stored already, by an earlier step of this job or by another job.
    pub stored: Option<StoredFile>,
}

impl ClaimedJob {
    /// At the end of an attempt that took so long.
    pub fn tries(&self, took: Duration) -> Tries {
        Tries {
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            not_ready_for: self.not_ready_for.map(|before| before + took).unwrap_or_default(),
        }
    }
}

/// A recording that a job finds stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub storage_key: String,
    pub bytes: u64,
    pub content_type: String,
}

/// A file that is wholly in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecording {
    /// Where, below the storage URL.
    pub storage_key: String,
    pub bytes: u64,
    pub sha256: [u8; 32],
    pub content_type: &'static str,
    /// Of the audio, counted over its frames.
    pub duration_ms: Option<u64>,
    pub form: Form,
}

/// The words of a recording, as JSON: what the transcription service answered, in its terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    pub text: String,
    /// As the service says it, where it does: a code such as `he`, or a name such as `hebrew`.
    pub language: Option<String>,
    pub model: String,
    /// `[{"start": 0.0, "end": 1.5, "text": "…"}]`, in seconds; empty where the service gives none.
    pub segments: serde_json::Value,
}

/// What a successful attempt achieved.
#[derive(Debug, Clone, PartialEq)]
pub enum Achieved {
    /// The recording is stored, and the job is done.
    Stored(StoredRecording),
    /// The recording is stored; the job goes on with its next step, whose attempts are counted anew.
    Advanced(StoredRecording),
    /// There is nothing new to store: the recording is stored already, and no next step is configured.
    Nothing,
    Transcribed(Transcript),
}

/// How an attempt ended, as the worker saw it.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptResult {
    Achieved(Achieved),
    Failed(Failure),
    /// Ended by a drain before it had a result: the attempt does not count.
    Interrupted,
    /// Ended because an operator wants the job cancelled.
    Cancelled,
}

/// What the queue is told about an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Disposition {
    Achieved(Achieved),
    /// Wait until the hold is over, then try again; the attempt does not count.
    Wait {
        hold: HoldKey,
        failure: Failure,
    },
    /// The provider still works on it: ask again after this time; the attempt does not count.
    NotReady {
        delay: Duration,
        failure: Failure,
    },
    /// Try again after this time.
    Retry {
        delay: Duration,
        failure: Failure,
    },
    /// No attempt is left, or none can help.
    Dead {
        failure: Failure,
    },
    /// Ready again at once, the attempt not counted.
    HandBack,
    /// Over, because an operator said so.
    Cancelled,
}

impl Disposition {
    /// The only place where the future of a job is decided after an attempt (incident 14: two writers of one state).
    ///
    /// `spread` is a random number from 0 to 1; see [`RetryPolicy::delay`].
    pub fn after(result: AttemptResult, tries: Tries, policy: &RetryPolicy, spread: f64) -> Self {
        let mut failure = match result {
            AttemptResult::Achieved(achieved) => return Self::Achieved(achieved),
            AttemptResult::Interrupted => return Self::HandBack,
            AttemptResult::Cancelled => return Self::Cancelled,
            AttemptResult::Failed(failure) => failure,
        };
        if let Some(hold) = failure.held_by.take() {
            return Self::Wait { hold, failure };
        }
        if failure.code == FailureCode::NotReady {
            return match policy.not_ready_delay(tries.not_ready_for, &failure, spread) {
                Some(delay) => Self::NotReady { delay, failure },
                None => Self::Dead { failure },
            };
        }
        if tries.attempt >= tries.max_attempts || !failure.can_pass() {
            return Self::Dead { failure };
        }
        Self::Retry { delay: policy.delay(tries.attempt, &failure, spread), failure }
    }
}

/// What was tried of a job so far, this attempt included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Counts from 1.
    pub attempt: u16,
    pub max_attempts: u16,
    /// How long ago the provider first said that it is not ready; zero: it never did.
    pub not_ready_for: Duration,
}

/// The fenced report of one attempt: it counts only while its lease is held.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    pub job: JobId,
    pub lease: LeaseId,
    pub disposition: Disposition,
}

/// A settlement whose lease was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub lease: LeaseId,
    /// An operator had asked to cancel the job, and its attempt was not its end: it is over. (A file that its first step
    /// has stored stays.)
    pub cancelled: bool,
}

/// A job as an operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct JobView {
    pub id: JobId,
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub recording_sid: Option<RecordingSid>,
    pub job_type: JobType,
    pub state: JobState,
    pub attempt: u16,
    pub max_attempts: u16,
    pub priority: Priority,
    pub run_at: Option<DateTime<Utc>>,
    pub enqueued_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub last_error: Option<LastError>,
    /// Which process holds it, or held it last.
    pub instance: Option<InstanceId>,
}

/// An attempt that failed, as an operator sees it. (One that succeeded is the job's own row in the history.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AttemptView {
    /// Counts from 1.
    pub attempt: u16,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    pub error: LastError,
    pub instance: InstanceId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastError {
    pub code: String,
    pub message: String,
}

/// Which jobs to list. Newest first; pages go on from the last id seen.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub state: Option<JobState>,
    pub business_id: Option<BusinessId>,
    pub call_sid: Option<CallSid>,
    /// Only jobs with a smaller id.
    pub after: Option<JobId>,
    /// 1 to 1,000.
    pub limit: u16,
}
