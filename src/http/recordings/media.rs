//! `GET|HEAD /v1/recordings/{call_sid}/media`: the file as it is stored, or a part of it.

use super::{
    body::{answered, bridged},
    link, look_up,
    wanted::{Validators, Wanted},
};
use crate::{
    domain::{
        access::Scope,
        audit::{LINK, PLAY_EVERY},
        failure::Failure,
        operate::Operator,
        ports::StoredFile,
        recording::{Lookup, RecordingView},
    },
    http::{HttpDeps, problem::Problem},
};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError,
    body::SizedStream,
    http::{
        Method,
        header::{
            self, ContentDisposition, ContentRange, ContentRangeSpec, DispositionParam, DispositionType, ETag,
            EntityTag, LastModified,
        },
    },
    web,
};
use bytes::Bytes;
use futures_util::stream;
use std::{
    convert::Infallible,
    future::Future,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// 200, 206 or 304 where it is stored; as [`super::show`] where it is not. Whoever has a signed link needs no token.
pub async fn media(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    call_sid: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    if link::is_one(&request) {
        let filter = look_up::filter(&request, &call_sid, deps.sid_form)?;
        let recording = deps.linked(&request, &filter).await?;
        return deps.send(&request, &recording, LINK).await;
    }
    let caller = deps.authorize(&request, Scope::Read)?;
    let filter = look_up::filter(&request, &call_sid, deps.sid_form)?;
    match deps.look_up(&filter).await? {
        Lookup::Stored { recording, .. } => deps.send(&request, &recording, &caller.name).await,
        other => deps.not_stored(&filter, other).await,
    }
}

impl HttpDeps {
    /// `player`: whose name the trail gets.
    async fn send(
        &self,
        request: &HttpRequest,
        recording: &RecordingView,
        player: &str,
    ) -> Result<HttpResponse, Problem> {
        let validators = validators(recording);
        let size = validators.size;
        let (mut answer, part) = match Wanted::of(request, &validators) {
            Wanted::NotModified => {
                return Ok(with_headers(HttpResponse::NotModified(), recording, validators).finish());
            }
            Wanted::ConditionFailed => return Err(Problem::condition_failed()),
            Wanted::OutOfRange => return Ok(out_of_range(size)),
            Wanted::All => (HttpResponse::Ok(), 0..size),
            Wanted::Part(first, last) => {
                let mut answer = HttpResponse::PartialContent();
                answer.insert_header(content_range(Some((first, last)), size));
                (answer, first..last + 1)
            }
        };
        let length = part.end - part.start;
        answer = with_headers(answer, recording, validators);
        if request.method() == Method::HEAD {
            self.look_at_file(recording).await?;
            // The length goes into the head; nothing follows it.
            return Ok(answer.body(SizedStream::new(length, stream::empty::<Result<Bytes, Infallible>>())));
        }
        let file = self.open_file(recording, part).await?;
        // Nobody plays what the trail does not say.
        self.note_play(recording, player).await?;
        let known = recording.clone();
        let failed = move |failure: Failure| log_unreadable(&known, &failure);
        Ok(answer.body(SizedStream::new(length, bridged(&self.io, file.stream, length, failed))))
    }

    async fn note_play(&self, recording: &RecordingView, player: &str) -> Result<(), Problem> {
        let (custody, recording, operator) = (Arc::clone(&self.custody), recording.clone(), Operator::new(player));
        let note = async move { custody.note_play(&recording, &operator, "played", PLAY_EVERY).await };
        self.change_on_io(note).await.map(|_| ())
    }

    async fn look_at_file(&self, recording: &RecordingView) -> Result<(), Problem> {
        let (storage, key) = (Arc::clone(&self.storage), recording.storage_key.clone());
        let size = self.ask_storage(recording, async move { storage.size(&key).await }).await?;
        checked(recording, size)
    }

    async fn open_file(&self, recording: &RecordingView, part: Range<u64>) -> Result<StoredFile, Problem> {
        let (storage, key) = (Arc::clone(&self.storage), recording.storage_key.clone());
        let file = self.ask_storage(recording, async move { storage.read(&key, part).await }).await?;
        checked(recording, file.size)?;
        Ok(file)
    }

    /// Asks the storage on the I/O runtime. That a file is missing is somebody's mistake, and the log says whose.
    async fn ask_storage<T: Send + 'static>(
        &self,
        recording: &RecordingView,
        call: impl Future<Output = Result<Option<T>, Failure>> + Send + 'static,
    ) -> Result<T, Problem> {
        match self.io.spawn(answered(call)).await {
            Ok(Ok(Some(found))) => Ok(found),
            Ok(Ok(None)) => {
                let RecordingView { business_id, call_sid, file, .. } = recording;
                tracing::error!(
                    %call_sid, %business_id, file,
                    "a stored recording's file is missing: it was removed, or CALLSPOOL_STORAGE_URL is not the worker's"
                );
                Err(Problem::file_missing())
            }
            Ok(Err(failure)) => {
                log_unreadable(recording, &failure);
                Err(Problem::storage_unavailable())
            }
            Err(_) => Err(Problem::storage_unavailable()),
        }
    }
}

/// A file of another length is not the recording that was verified.
fn checked(recording: &RecordingView, size: u64) -> Result<(), Problem> {
    let RecordingView { business_id, call_sid, file, bytes, .. } = recording;
    if size == *bytes {
        return Ok(());
    }
    tracing::error!(%call_sid, %business_id, file, bytes, size, "a stored recording's file was changed");
    Err(Problem::file_damaged())
}

fn log_unreadable(recording: &RecordingView, failure: &Failure) {
    let RecordingView { business_id, call_sid, file, .. } = recording;
    tracing::error!(%call_sid, %business_id, file, %failure, "a stored recording could not be read");
}

fn validators(recording: &RecordingView) -> Validators {
    let seconds = u64::try_from(recording.stored_at.timestamp()).unwrap_or(0);
    Validators {
        etag: EntityTag::new_strong(recording.sha256.clone()),
        modified: (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into(),
        size: recording.bytes,
    }
}

fn with_headers(
    mut answer: HttpResponseBuilder,
    recording: &RecordingView,
    validators: Validators,
) -> HttpResponseBuilder {
    // Nothing but audio is ever served as what it says it is, whoever wrote the row.
    let is_audio = recording.content_type.starts_with("audio/");
    let disposition = ContentDisposition {
        disposition: DispositionType::Inline,
        parameters: vec![DispositionParam::Filename(recording.file.clone())],
    };
    answer
        .insert_header((
            header::CONTENT_TYPE,
            if is_audio { recording.content_type.as_str() } else { "application/octet-stream" },
        ))
        .insert_header(disposition)
        .insert_header(ETag(validators.etag))
        .insert_header(LastModified(validators.modified))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        // Kept by the listener's browser only, which asks each time whether it still may and still is the same.
        .insert_header((header::CACHE_CONTROL, "private, no-cache"));
    answer
}

fn content_range(range: Option<(u64, u64)>, size: u64) -> ContentRange {
    ContentRange(ContentRangeSpec::Bytes { range, instance_length: Some(size) })
}

fn out_of_range(size: u64) -> HttpResponse {
    let mut answer = Problem::out_of_range(size).error_response();
    if let Ok(value) = header::HeaderValue::try_from(format!("bytes */{size}")) {
        answer.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    answer
}
