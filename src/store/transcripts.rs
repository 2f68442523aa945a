//! Transcripts are read and searched.

use super::{Store, errors::clean_error, rows::business_id};
use crate::domain::{
    ids::{BusinessId, CallSid, JobId, RecordingSid},
    ports::{StoreError, StoreResult, TranscriptBook},
    transcript::{Segment, TranscriptFound, TranscriptSearch, TranscriptView},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::types::Json;

/// Longest time that the database has for one search.
const SEARCH_LIMIT: &str = "5s";

#[async_trait]
impl TranscriptBook for Store {
    async fn transcript(
        &self,
        business_id: BusinessId,
        call_sid: &CallSid,
        recording_sid: Option<&RecordingSid>,
    ) -> StoreResult<Option<TranscriptView>> {
        let row: Option<TranscriptRow> = sqlx::query_as(self.sql().transcript.clone())
            .bind(business_id.get())
            // A recording without a SID is known by its call's.
            .bind(recording_sid.map_or(call_sid.as_str(), RecordingSid::as_str))
            .bind(call_sid.as_str())
            .fetch_optional(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        row.map(TryInto::try_into).transpose()
    }

    async fn search_transcripts(&self, search: &TranscriptSearch) -> StoreResult<Vec<TranscriptFound>> {
        let found = async {
            let mut transaction = self.pool().begin().await?;
            sqlx::query(self.sql().transcript_limit.clone()).bind(SEARCH_LIMIT).execute(&mut transaction).await?;
            let rows: Vec<FoundRow> = sqlx::query_as(self.sql().transcript_search.clone())
                .bind(search.question.as_str())
                .bind(search.business_id.map(BusinessId::get))
                .bind(search.after.map(|place| place.made_at))
                .bind(search.after.map(|place| place.job_id.0))
                .bind(i32::from(search.limit))
                .fetch_all(&mut transaction)
                .await?;
            transaction.commit().await?;
            Ok(rows)
        };
        let rows = found.await.map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

#[derive(sqlx::FromRow)]
struct TranscriptRow {
    business_id: i64,
    call_sid: String,
    recording_sid: Option<String>,
    job_id: i64,
    text: String,
    language: Option<String>,
    model: String,
    segments: Json<Vec<Segment>>,
    made_at: DateTime<Utc>,
}

impl TryFrom<TranscriptRow> for TranscriptView {
    type Error = StoreError;

    fn try_from(row: TranscriptRow) -> StoreResult<Self> {
        Ok(Self {
            business_id: business_id(row.business_id)?,
            call_sid: CallSid::from_checked(row.call_sid),
            recording_sid: row.recording_sid.map(RecordingSid::from_checked),
            job_id: JobId(row.job_id),
            text: row.text,
            language: row.language,
            model: row.model,
            segments: row.segments.0,
            made_at: row.made_at,
        })
    }
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    business_id: i64,
    call_sid: String,
    recording_sid: Option<String>,
    job_id: i64,
    language: Option<String>,
    made_at: DateTime<Utc>,
    snippet: String,
}

impl TryFrom<FoundRow> for TranscriptFound {
    type Error = StoreError;

    fn try_from(row: FoundRow) -> StoreResult<Self> {
        Ok(Self {
            business_id: business_id(row.business_id)?,
            call_sid: CallSid::from_checked(row.call_sid),
            recording_sid: row.recording_sid.map(RecordingSid::from_checked),
            job_id: JobId(row.job_id),
            language: row.language,
            made_at: row.made_at,
            snippet: row.snippet,
        })
    }
}
