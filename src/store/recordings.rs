//! Stored recordings are looked up.

use super::{
    Store,
    errors::clean_error,
    rows::{business_id, job_type},
};
use crate::domain::{
    ids::{BusinessId, CallSid, JobId, RecordingSid},
    ports::{RecordingBook, StoreError, StoreResult},
    recording::{Deleted, RecordingFilter, RecordingView},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

#[async_trait]
impl RecordingBook for Store {
    async fn recordings(&self, filter: &RecordingFilter) -> StoreResult<Vec<RecordingView>> {
        let rows: Vec<RecordingRow> = sqlx::query_as(self.sql().recordings.clone())
            .bind(filter.call_sid.as_str())
            .bind(filter.business_id.map(BusinessId::get))
            .bind(filter.recording_sid.as_ref().map(RecordingSid::as_str))
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

#[derive(sqlx::FromRow)]
struct RecordingRow {
    business_id: i64,
    call_sid: String,
    recording_sid: Option<String>,
    job_type: String,
    job_id: i64,
    storage_key: String,
    bytes: i64,
    sha256: String,
    content_type: String,
    stored_at: DateTime<Utc>,
    duration_ms: Option<i64>,
    recording_key: String,
    deleted_at: Option<DateTime<Utc>>,
    deleted_by: Option<String>,
    legal_hold: bool,
    provider_deleted_at: Option<DateTime<Utc>>,
}

impl TryFrom<RecordingRow> for RecordingView {
    type Error = StoreError;

    fn try_from(row: RecordingRow) -> StoreResult<Self> {
        Ok(Self {
            business_id: business_id(row.business_id)?,
            call_sid: CallSid::from_checked(row.call_sid),
            recording_sid: row.recording_sid.map(RecordingSid::from_checked),
            job_type: job_type(&row.job_type)?,
            job_id: JobId(row.job_id),
            bytes: row.bytes.cast_unsigned(),
            sha256: row.sha256,
            content_type: row.content_type,
            duration_ms: row.duration_ms.map(i64::cast_unsigned),
            stored_at: row.stored_at,
            legal_hold: row.legal_hold,
            provider_deleted_at: row.provider_deleted_at,
            deleted: row.deleted_at.map(|at| Deleted { at, by: row.deleted_by.unwrap_or_default() }),
            recording_key: row.recording_key,
            file: row.storage_key.rsplit('/').next().unwrap_or_default().to_owned(),
            storage_key: row.storage_key,
        })
    }
}
