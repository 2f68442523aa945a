//! `download_only`: fetch the recording, walk its audio as it passes, and store it.

use super::{Fence, JobHandler};
use crate::domain::{
    audio::{AudioKind, AudioRules, NotAudio, SNIFF_LEN, announced_as, millis},
    details::Details,
    failure::{Failure, FailureCode},
    hold::HoldKey,
    job::{Achieved, ClaimedJob, StoredFile, StoredRecording},
    layout::Layout,
    media::Forms,
    ports::{AudioProbe, AudioWalk, Media, MediaStream, Order, Provider, Storage, Upload},
    trace::{Branch, Span, SpanKind},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Instant};
use url::Url;

/// Bytes that are hashed and walked before others get their turn on the runtime.
const STEP: usize = 64 * 1024;

pub struct DownloadOnly {
    provider: Arc<dyn Provider>,
    storage: Arc<dyn Storage>,
    probe: Arc<dyn AudioProbe>,
    layout: Layout,
    wanted: Wanted,
    fence: Fence,
}

/// What is wanted of every recording.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Of a business that has no wish of its own.
    pub forms: Forms,
    pub audio: AudioRules,
}

/// A body that is wholly stored.
struct Copied {
    bytes: u64,
    sha256: [u8; 32],
    duration_ms: u64,
}

impl DownloadOnly {
    pub fn new(
        provider: Arc<dyn Provider>,
        storage: Arc<dyn Storage>,
        probe: Arc<dyn AudioProbe>,
        layout: Layout,
        wanted: Wanted,
        fence: Fence,
    ) -> Self {
        Self { provider, storage, probe, layout, wanted, fence }
    }

    /// Whether the file that an earlier attempt or another job has stored is where it was put, and whole.
    async fn is_there(&self, stored: &StoredFile) -> Result<bool, Failure> {
        Ok(self.storage.size(&stored.storage_key).await? == Some(stored.bytes))
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

    /// Writes the whole body aside, and gives it its name where it is the recording that was announced, and still this
    /// attempt's to store.
    async fn store(
        &self,
        key: &str,
        incoming: Incoming,
        job: &ClaimedJob,
        since: Instant,
    ) -> Result<Copied, Failure> {
        let mut upload = self.storage.begin(key).await?;
        let copied = match incoming.copy(upload.as_mut(), self.wanted.audio, &job.details).await {
            Ok(copied) => self.fence.pass(job, upload.replaces(), since).await.map(|()| copied),
            Err(failure) => Err(failure),
        };
        match copied {
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
        let since = Instant::now();
        if let Some(stored) = &job.stored
            && self.is_there(stored).await?
        {
            return Ok(Achieved::Nothing);
        }
        let order = Order {
            recording_url: job.recording_url.clone(),
            call_sid: job.call_sid.clone(),
            recording_sid: job.recording_sid.clone(),
            forms: job.forms.clone().unwrap_or_else(|| self.wanted.forms.clone()),
            details: job.details.clone(),
        };
        let Media { length, content_type, mut stream, form, .. } = self.fetch(&order, spans).await?;
        // Before anything is written: a page or an error in JSON, with status 200, is no recording.
        announced_as(content_type.as_deref())?;
        let head = head(&mut stream).await?;
        let unknown = if head.is_empty() { NotAudio::Empty } else { NotAudio::Unknown };
        let kind = AudioKind::sniff(&head).ok_or(unknown)?;
        let storage_key = self.layout.key(job, kind.extension());
        let mut span = spans.begin("store recording", SpanKind::Internal);
        let incoming = Incoming { head, stream, announced: length, walk: self.probe.begin(kind) };
        match self.store(&storage_key, incoming, job, since).await {
            Ok(Copied { bytes, sha256, duration_ms }) => {
                span.set("callspool.bytes", bytes.cast_signed().into());
                span.end(Ok(()));
                Ok(Achieved::Stored(StoredRecording {
                    storage_key,
                    bytes,
                    sha256,
                    content_type: kind.content_type(),
                    duration_ms: Some(duration_ms),
                    form,
                }))
            }
            Err(failure) => {
                span.end(Err(failure.code.as_str()));
                Err(failure)
            }
        }
    }

    fn depends(&self, job: &ClaimedJob) -> Vec<HoldKey> {
        let mut keys = self.provider.depends(&job.recording_url);
        keys.push(HoldKey::storage());
        keys
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

/// A body on its way into the storage.
struct Incoming {
    head: Bytes,
    stream: MediaStream,
    announced: Option<u64>,
    walk: Box<dyn AudioWalk>,
}

impl Incoming {
    /// Copies the body, and checks that it is as long as was announced, in bytes and in time, and audio all through.
    async fn copy(
        mut self,
        upload: &mut dyn Upload,
        rules: AudioRules,
        details: &Details,
    ) -> Result<Copied, Failure> {
        let (mut bytes, mut sha256) = (0, Sha256::new());
        let mut next = Some(Ok(self.head));
        while let Some(chunk) = next {
            let chunk = chunk?;
            bytes += chunk.len() as u64;
            for step in chunk.chunks(STEP) {
                sha256.update(step);
                self.walk.feed(step)?;
                tokio::task::consume_budget().await;
            }
            upload.write(chunk).await?;
            next = self.stream.next().await;
        }
        if let Some(announced) = self.announced
            && announced != bytes
        {
            let text = format!("{bytes} bytes came where {announced} were announced");
            return Err(Failure::new(FailureCode::Truncated, text));
        }
        let plays = rules.judge(&self.walk.finish()?, details)?;
        Ok(Copied { bytes, sha256: sha256.finalize().into(), duration_ms: millis(plays) })
    }
}
