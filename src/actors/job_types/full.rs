//! `full`: fetch the recording and store it, then have it transcribed.
//!
//! Two steps of one job, each with attempts of its own. The first one is the whole work of `download_only`; from then on
//! the recording can be played, whatever becomes of its words (incident 16). The second one begins where the recording is
//! stored, whoever stored it: that there is a file never means that there is a transcript (incident 17).

use super::JobHandler;
use crate::domain::{
    failure::Failure,
    hold::HoldKey,
    job::{Achieved, ClaimedJob, StoredFile},
    ports::{Audio, Storage, Transcriber},
    trace::{Branch, SpanKind},
};
use async_trait::async_trait;
use std::{sync::Arc, time::Instant};

pub struct Full {
    download: Arc<dyn JobHandler>,
    storage: Arc<dyn Storage>,
    /// `None`: not configured.
    transcriber: Option<Arc<dyn Transcriber>>,
}

impl Full {
    /// `download`: the handler of `download_only`.
    pub fn new(
        download: Arc<dyn JobHandler>,
        storage: Arc<dyn Storage>,
        transcriber: Option<Arc<dyn Transcriber>>,
    ) -> Self {
        Self { download, storage, transcriber }
    }

    async fn transcribe(
        &self,
        transcriber: &dyn Transcriber,
        job: &ClaimedJob,
        file: &StoredFile,
        spans: &Branch,
    ) -> Result<Achieved, Failure> {
        let (began, mut span) = (Instant::now(), spans.begin("transcribe recording", SpanKind::Client));
        span.set("callspool.bytes", file.bytes.cast_signed().into());
        let audio = Audio::new(file.clone(), Arc::clone(&self.storage));
        let made = transcriber.transcribe(&audio).await;
        span.end(made.as_ref().map(|_| ()).map_err(|failure| failure.code.as_str()));
        let transcript = made?;
        tracing::info!(
            marker = "WORKER_TRANSCRIBED",
            call_sid = %job.call_sid,
            model = transcript.model,
            language = transcript.language,
            chars = transcript.text.chars().count(),
            duration_ms = began.elapsed().as_millis(),
            "recording transcribed"
        );
        Ok(Achieved::Transcribed(transcript))
    }
}

#[async_trait]
impl JobHandler for Full {
    async fn run(&self, job: &ClaimedJob, spans: &Branch) -> Result<Achieved, Failure> {
        let achieved = match (&job.stored, &self.transcriber) {
            (Some(file), Some(transcriber)) => {
                return self.transcribe(transcriber.as_ref(), job, file, spans).await;
            }
            (Some(_), None) => Achieved::Nothing,
            (None, _) => self.download.run(job, spans).await?,
        };
        match (achieved, &self.transcriber) {
            (Achieved::Stored(recording), Some(_)) => Ok(Achieved::Advanced(recording)),
            (achieved, Some(_)) => Ok(achieved),
            (achieved, None) => {
                tracing::warn!(
                    marker = "TRANSCRIPTION_OFF",
                    call_sid = %job.call_sid,
                    business_id = job.business_id.get(),
                    "the recording is stored, and nobody transcribes it: transcription.base_url is not set"
                );
                Ok(achieved)
            }
        }
    }

    fn depends(&self, job: &ClaimedJob) -> Vec<HoldKey> {
        match (&job.stored, &self.transcriber) {
            (Some(_), Some(transcriber)) => {
                let mut keys = transcriber.depends();
                keys.push(HoldKey::storage());
                keys
            }
            (Some(_), None) => Vec::new(),
            (None, _) => self.download.depends(job),
        }
    }
}
