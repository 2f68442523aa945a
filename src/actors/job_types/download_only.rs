//! `download_only`: fetch the recording and store it.

use super::JobHandler;
use crate::domain::{
    audio::{AudioKind, SNIFF_LEN},
    failure::{Failure, FailureCode},
    job::{ClaimedJob, StoredRecording},
    ports::{Media, MediaStream, Provider, Storage, Upload},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Bytes that are hashed before others get their turn on the runtime.
const HASH_STEP: usize = 64 * 1024;

pub struct DownloadOnly {
    provider: Arc<dyn Provider>,
    storage: Arc<dyn Storage>,
}

impl DownloadOnly {
    pub fn new(provider: Arc<dyn Provider>, storage: Arc<dyn Storage>) -> Self {
        Self { provider, storage }
    }
}

#[async_trait]
impl JobHandler for DownloadOnly {
    async fn run(&self, job: &ClaimedJob) -> Result<StoredRecording, Failure> {
        let Media { length, mut stream } = self.provider.fetch(&job.recording_url).await?;
        let head = head(&mut stream).await?;
        // Before anything is written: a page or an error in JSON, with status 200, is no recording.
        let Some(kind) = AudioKind::sniff(&head) else {
            let text =
                if head.is_empty() { "the recording is empty" } else { "the content is neither MP3 nor WAV" };
            return Err(Failure::new(FailureCode::BadAudio, text));
        };
        let storage_key = format!("{}.{}", job.storage_stem(), kind.extension());
        let mut upload = self.storage.begin(&storage_key).await?;
        match copy(head, &mut stream, upload.as_mut(), length).await {
            Ok((bytes, sha256)) => {
                upload.commit().await?;
                Ok(StoredRecording { storage_key, bytes, sha256, content_type: kind.content_type() })
            }
            Err(failure) => {
                upload.abort().await;
                Err(failure)
            }
        }
    }
}

/// The first bytes, enough to tell what it is; fewer where the whole body is shorter.
async fn head(stream: &mut MediaStream) -> Result<Bytes, Failure> {
    let mut head = BytesMut::new();
    while head.len() < SNIFF_LEN
        && let Some(chunk) = stream.next().await
    {
        head.extend_from_slice(&chunk?);
    }
    Ok(head.freeze())
}

/// Copies the body and checks that it is as long as was announced. Returns its length and SHA-256.
async fn copy(
    head: Bytes,
    stream: &mut MediaStream,
    upload: &mut dyn Upload,
    announced: Option<u64>,
) -> Result<(u64, [u8; 32]), Failure> {
    let (mut bytes, mut sha256) = (0, Sha256::new());
    let mut next = Some(Ok(head));
    while let Some(chunk) = next {
        let chunk = chunk?;
        bytes += chunk.len() as u64;
        for step in chunk.chunks(HASH_STEP) {
            sha256.update(step);
            tokio::task::consume_budget().await;
        }
        upload.write(chunk).await?;
        next = stream.next().await;
    }
    match announced {
        Some(announced) if announced != bytes => {
            let text = format!("{bytes} bytes came where {announced} were announced");
            Err(Failure::new(FailureCode::Truncated, text))
        }
        _ => Ok((bytes, sha256.finalize().into())),
    }
}
