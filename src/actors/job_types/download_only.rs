//! `download_only`: fetch the recording and store it.

use super::JobHandler;
use crate::domain::{
    audio::{AudioKind, SNIFF_LEN},
    failure::{Failure, FailureCode},
    job::{Achieved, ClaimedJob, StoredRecording},
    ports::{Media, MediaStream, Order, Provider, Storage, Upload},
    trace::{Branch, Span, SpanKind},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use url::Url;

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

    /// Its span ends with the body; one that is not read to its end was given up.
    async fn fetch(&self, order: &Order, spans: &Branch) -> Result<Media, Failure> {
        let mut span = spans.begin("GET", SpanKind::Client);
        span.set("http.request.method", "GET".into());
        // The host and no more: what else a URL holds is not for others.
        let url = Url::parse(&order.recording_url).ok();
        if let Some(host) = url.as_ref().and_then(Url::host_str) {
            span.set("server.address", host.to_owned().into());
        }
        if let Some(port) = url.as_ref().and_then(Url::port_or_known_default) {
            span.set("server.port", port.into());
        }
        let fetched = self.provider.fetch(order).await;
        let status = fetched.as_ref().map_or_else(|failure| failure.http_status, |media| Some(media.http_status));
        if let Some(status) = status {
            span.set("http.response.status_code", status.into());
        }
        match fetched {
            Ok(media) => Ok(Media { stream: traced(media.stream, span), ..media }),
            Err(failure) => {
                span.end(Err(failure.code.as_str()));
                Err(failure)
            }
        }
    }

    /// Writes the whole body aside and gives it its name. Returns its length and SHA-256.
    async fn store(
        &self,
        key: &str,
        head: Bytes,
        stream: &mut MediaStream,
        announced: Option<u64>,
    ) -> Result<(u64, [u8; 32]), Failure> {
        let mut upload = self.storage.begin(key).await?;
        match copy(head, stream, upload.as_mut(), announced).await {
            Ok(copied) => {
                upload.commit().await?;
                Ok(copied)
            }
            Err(failure) => {
                upload.abort().await;
                Err(failure)
            }
        }
    }
}

#[async_trait]
impl JobHandler for DownloadOnly {
    async fn run(&self, job: &ClaimedJob, spans: &Branch) -> Result<Achieved, Failure> {
        let order = Order {
            recording_url: job.recording_url.clone(),
            call_sid: job.call_sid.clone(),
            recording_sid: job.recording_sid.clone(),
            forms: job.forms.clone().unwrap_or_default(),
            details: job.details.clone(),
        };
        let Media { length, mut stream, form, .. } = self.fetch(&order, spans).await?;
        let head = head(&mut stream).await?;
        // Before anything is written: a page or an error in JSON, with status 200, is no recording.
        let Some(kind) = AudioKind::sniff(&head) else {
            let text =
                if head.is_empty() { "the recording is empty" } else { "the content is neither MP3 nor WAV" };
            return Err(Failure::new(FailureCode::BadAudio, text));
        };
        let storage_key = format!("{}.{}", job.storage_stem(), kind.extension());
        let mut span = spans.begin("store recording", SpanKind::Internal);
        match self.store(&storage_key, head, &mut stream, length).await {
            Ok((bytes, sha256)) => {
                span.set("callspool.bytes", bytes.cast_signed().into());
                span.end(Ok(()));
                let content_type = kind.content_type();
                Ok(Achieved::Stored(StoredRecording {
                    storage_key,
                    bytes,
                    sha256,
                    content_type,
                    duration_ms: None,
                    form,
                }))
            }
            Err(failure) => {
                span.end(Err(failure.code.as_str()));
                Err(failure)
            }
        }
    }
}

/// The same body, at whose end the span ends. It may be asked again after its end.
fn traced(body: MediaStream, span: Box<dyn Span>) -> MediaStream {
    let body = stream::unfold(Some((body, span)), |reading| async {
        let (mut body, span) = reading?;
        match body.next().await {
            Some(Ok(chunk)) => Some((Ok(chunk), Some((body, span)))),
            Some(Err(failure)) => {
                span.end(Err(failure.code.as_str()));
                Some((Err(failure), None))
            }
            None => {
                span.end(Ok(()));
                None
            }
        }
    });
    Box::pin(body.fuse())
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
