//! The trail: who played, changed and deleted what.

use super::ids::{BusinessId, CallSid, JobId, RecordingSid};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Everything that the trail has a word for.
pub const ACTIONS: [&str; 17] = [
    "cancel",
    "retry",
    "retry_follow_up",
    "pause",
    "resume",
    "max_slots",
    "weight",
    "forms",
    "retention",
    "delete_at_provider",
    "completion_url",
    "lift_hold",
    "hold",
    "release",
    "delete",
    "link",
    "play",
];

/// Who plays by a signed link.
pub const LINK: &str = "link";
/// Who deletes what has been kept long enough.
pub const RETENTION: &str = "retention";
/// Of one who plays one recording, the first time in so long is kept: a player asks for a file in many parts.
pub const PLAY_EVERY: Duration = Duration::from_mins(10);

/// One thing that somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditEntry {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// A token's name, `loopback`, `cli USER@HOST`, `link` or `retention`.
    pub operator: String,
    /// Such as `play`, `delete`, `hold`, `release`, `link`, `cancel`, `retry`, `pause`, or the setting that was changed.
    pub action: String,
    pub business_id: Option<BusinessId>,
    pub call_sid: Option<CallSid>,
    pub recording_sid: Option<RecordingSid>,
    pub job_id: Option<JobId>,
    pub detail: String,
}

/// Which of it to list, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub business_id: Option<BusinessId>,
    pub call_sid: Option<CallSid>,
    pub operator: Option<String>,
    pub action: Option<String>,
    /// Only what was done before this one.
    pub after: Option<i64>,
    /// 1 to 1,000.
    pub limit: u16,
}

/// What became of a recording that was to be deleted, or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As asked.
    Changed,
    /// It was so before.
    Same,
    /// It is under a legal hold.
    Held,
    /// It is deleted.
    Gone,
    /// There is no such recording.
    Unknown,
}

/// A recording that the retention has deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub recording_sid: Option<RecordingSid>,
}
