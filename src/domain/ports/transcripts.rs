//! Transcripts: where they are made, and where they are found again.

use super::{MediaStream, Storage, StoreResult};
use crate::domain::{
    failure::{Failure, FailureCode},
    hold::HoldKey,
    ids::{BusinessId, CallSid, RecordingSid},
    job::{StoredFile, Transcript},
    transcript::{TranscriptFound, TranscriptSearch, TranscriptView},
};
use async_trait::async_trait;
use std::sync::Arc;

/// A stored recording that is to be transcribed. It may be opened more than once.
pub struct Audio {
    pub file: StoredFile,
    storage: Arc<dyn Storage>,
}

impl Audio {
    pub fn new(file: StoredFile, storage: Arc<dyn Storage>) -> Self {
        Self { file, storage }
    }

    /// Without its folder.
    pub fn name(&self) -> &str {
        self.file.storage_key.rsplit('/').next().unwrap_or_default()
    }

    /// All of it, read as the stream is polled. A file of another length is not the recording that was verified.
    pub async fn open(&self) -> Result<MediaStream, Failure> {
        let changed = |text: &str| Failure::new(FailureCode::StorageError, text);
        match self.storage.read(&self.file.storage_key, 0..self.file.bytes).await? {
            Some(open) if open.size == self.file.bytes => Ok(open.stream),
            Some(_) => Err(changed("the stored file is not the one that was verified")),
            None => Err(changed("the stored file is missing")),
        }
    }
}

/// Turns stored recordings into words.
#[async_trait]
pub trait Transcriber: Send + Sync {
    async fn transcribe(&self, audio: &Audio) -> Result<Transcript, Failure>;
    /// What a transcription depends on, beside the storage. Pure: nothing is asked.
    fn depends(&self) -> Vec<HoldKey>;
    /// Whether what a hold is about works again; `None`: the hold is about something else.
    async fn probe(&self, key: &HoldKey) -> Option<Result<(), Failure>>;
}

/// Transcripts that are stored.
#[async_trait]
pub trait TranscriptBook: Send + Sync {
    /// Of one recording; without its SID, of the call's only one.
    async fn transcript(
        &self,
        business_id: BusinessId,
        call_sid: &CallSid,
        recording_sid: Option<&RecordingSid>,
    ) -> StoreResult<Option<TranscriptView>>;
    /// One page of those with these words, the newest first. The database gives up after a few seconds.
    async fn search_transcripts(&self, search: &TranscriptSearch) -> StoreResult<Vec<TranscriptFound>>;
}
