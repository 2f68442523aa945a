//! What is done after a recording is stored: who is told, how long it is kept, and who did what with it.

use super::StoreResult;
use crate::domain::{
    audit::{AuditEntry, AuditFilter, Expired, Kept},
    completion::{Announcement, NotTold},
    follow_up::{FleetSetting, FollowUp, FollowUpView, TryEnd},
    operate::Operator,
    recording::RecordingView,
};
use async_trait::async_trait;
use std::time::Duration;

/// Follow-ups, which every process with workers works on.
#[async_trait]
pub trait FollowUps: Send + Sync {
    /// Tells the database what its functions have to know of the configuration.
    async fn configure(&self, setting: FleetSetting) -> StoreResult<()>;
    /// Takes due ones: at most `limit`, and of one business at most `each`. After `lease` they count as not done.
    async fn take(&self, limit: u16, each: u16, lease: Duration) -> StoreResult<Vec<FollowUp>>;
    /// `false`: another try of it has begun meanwhile, and this end counts no more.
    async fn end(&self, follow_up: &FollowUp, end: &TryEnd) -> StoreResult<bool>;
    /// The newest first. `dead`: only those that were given up, or only the others.
    async fn follow_ups(
        &self,
        dead: Option<bool>,
        after: Option<i64>,
        limit: u16,
    ) -> StoreResult<Vec<FollowUpView>>;
    /// One that was given up is tried again, as if it were new; `false`: there is none.
    async fn revive(&self, id: i64, operator: &Operator) -> StoreResult<bool>;
    /// Forgets those that were given up longer ago than `keep`, at most `limit`; how many.
    async fn forget(&self, keep: Duration, limit: u16) -> StoreResult<u64>;
}

/// Stored recordings are kept, held and deleted, and the trail of it is written.
#[async_trait]
pub trait Custody: Send + Sync {
    /// Deletes a recording for good; its row stays, so that nothing fetches it again.
    async fn delete_recording(&self, recording: &RecordingView, operator: &Operator) -> StoreResult<Kept>;
    /// Sets or lifts a legal hold.
    async fn hold_recording(&self, recording: &RecordingView, hold: bool, operator: &Operator)
    -> StoreResult<Kept>;
    /// Deletes up to `limit` recordings that were kept long enough: `days`, where their business says nothing; 0: for
    /// ever.
    async fn expire(&self, days: u32, limit: u16) -> StoreResult<Vec<Expired>>;
    /// Keeps that somebody plays a recording, once in `every`; whether this time is kept.
    async fn note_play(
        &self,
        recording: &RecordingView,
        operator: &Operator,
        detail: &str,
        every: Duration,
    ) -> StoreResult<bool>;
    /// Keeps that somebody made a link to a recording.
    async fn note_link(&self, recording: &RecordingView, operator: &Operator, detail: &str) -> StoreResult<()>;
    async fn audit(&self, filter: &AuditFilter) -> StoreResult<Vec<AuditEntry>>;
}

/// The customer's system, over HTTP.
#[async_trait]
pub trait Announcer: Send + Sync {
    /// Tells it one thing; the status of its answer, which was a success.
    async fn announce(&self, announcement: &Announcement) -> Result<u16, NotTold>;
}
