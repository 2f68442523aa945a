//! What operators do to jobs, and what comes of it.

use super::{
    ids::{BusinessId, JobId},
    text::clean,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// Jobs that one call changes.
pub const BATCH: usize = 1_000;

/// Who does something: a token's name, `loopback` where no token is asked for, or `cli USER@HOST`. It is kept with what
/// was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(String);

impl Operator {
    pub fn new(name: &str) -> Self {
        Self(clean(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of one job of those that were to be cancelled or tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Cancel: it is over.
    Cancelled,
    /// Cancel: it runs; its worker is told to stop, and it is over when that has happened.
    Requested,
    /// Cancel: it was over before.
    Finished,
    /// It goes from one state to another at this very moment; ask again.
    Moving,
    /// Cancel: it is in another state by now than was asked for.
    Elsewhere,
    /// Retry: it is ready (again).
    Ready,
    /// Retry: it runs now.
    Running,
    /// Retry: its recording is stored.
    Done,
    /// Retry: another live job fetches the recording already.
    Duplicate,
    /// Retry: it ended under a release that did not keep what this needs. Enqueue it anew.
    NotKept,
    /// There is no such job, or its history is no longer kept.
    Unknown,
}

impl Outcome {
    const ALL: [Self; 11] = [
        Self::Cancelled,
        Self::Requested,
        Self::Finished,
        Self::Moving,
        Self::Elsewhere,
        Self::Ready,
        Self::Running,
        Self::Done,
        Self::Duplicate,
        Self::NotKept,
        Self::Unknown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Requested => "requested",
            Self::Finished => "finished",
            Self::Moving => "moving",
            Self::Elsewhere => "elsewhere",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Duplicate => "duplicate",
            Self::NotKept => "not_kept",
            Self::Unknown => "unknown",
        }
    }

    /// Whether what was asked for is so now, or will be without asking again.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Cancelled | Self::Requested | Self::Ready)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such outcome")]
pub struct UnknownOutcome;

impl FromStr for Outcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, UnknownOutcome> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or(UnknownOutcome)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobOutcome {
    pub id: JobId,
    pub outcome: Outcome,
}

/// Something that an operator did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OperatorAction {
    pub at: DateTime<Utc>,
    pub operator: String,
    /// `cancel`, `retry`, `pause`, `resume`, `max_slots` or `weight`.
    pub action: String,
    pub business_id: Option<BusinessId>,
    pub job_id: Option<JobId>,
    pub detail: String,
}
