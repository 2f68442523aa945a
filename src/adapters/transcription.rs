//! Transcription by any service with OpenAI's `POST /audio/transcriptions` (OpenAI API reference, "Create transcription").
//!
//! The recording is streamed from the storage into a form; `verbose_json` is asked for, whose segments say when something
//! is said, and plain `json` where the service refuses that with 400, as some models do. An answer is read up to a bound
//! and only what is known of it is kept.

use super::{right::right, transport::retry_after};
use crate::domain::{
    failure::{Failure, FailureCode},
    hold::HoldKey,
    job::Transcript,
    ports::{Audio, MediaStream, Transcriber},
    transcript::Segment,
};
use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode, multipart, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use url::Url;

/// The largest answer that is read, in bytes: days of speech.
const MAX_ANSWER: usize = 8 << 20;
/// What is read of an answer that says what is wrong, in bytes.
const MAX_COMPLAINT: usize = 16 << 10;
/// The longest name of a language that is kept, in bytes.
const MAX_LANGUAGE: usize = 64;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
const ACCOUNT: &str = HoldKey::TRANSCRIPTION;

#[derive(Debug, Clone)]
pub struct TranscriptionConfig {
    pub base_url: Url,
    pub api_key: Option<SecretString>,
    pub model: String,
    /// `None`: the service finds out.
    pub language: Option<String>,
    /// Of one request, its upload included.
    pub timeout: Duration,
    /// The largest recording that is sent, in bytes.
    pub max_bytes: u64,
}

#[derive(Debug)]
pub struct Transcription {
    client: Client,
    config: TranscriptionConfig,
    /// As holds name it, with its port where that is not its scheme's own.
    host: String,
    /// It was found out that segments are not to be had.
    is_plain: AtomicBool,
}

impl Transcription {
    /// Call it on the I/O runtime. No redirect is followed: the recording and the key are for this address only.
    pub fn new(config: TranscriptionConfig) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("callspool/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        let name = config.base_url.host_str().unwrap_or_default();
        let host = config.base_url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Ok(Self { client, config, host, is_plain: AtomicBool::new(false) })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.config.base_url.as_str().trim_end_matches('/'))
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.config.api_key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }

    async fn send(&self, audio: &Audio, plain: bool) -> Result<Response, Failure> {
        let broken = Arc::new(Mutex::new(None));
        let form = self.form(audio, audio.open().await?, plain, Arc::clone(&broken))?;
        let request = self.client.post(self.url("audio/transcriptions")).timeout(self.config.timeout);
        let sent = self.with_key(request).multipart(form).send().await;
        // What broke in the storage looks like a connection that broke.
        let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        sent.map_err(|error| broken.unwrap_or_else(|| self.unreached(&error)))
    }

    fn form(
        &self,
        audio: &Audio,
        media: MediaStream,
        plain: bool,
        broken: Arc<Mutex<Option<Failure>>>,
    ) -> Result<multipart::Form, Failure> {
        let media = media.map(move |chunk| {
            chunk.map_err(|failure| {
                let text = failure.to_string();
                *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                std::io::Error::other(text)
            })
        });
        let file = multipart::Part::stream_with_length(Body::wrap_stream(media), audio.file.bytes)
            .file_name(audio.name().to_owned())
            .mime_str(&audio.file.content_type)
            .map_err(|_| failed("the stored content type is none").for_good())?;
        let form = multipart::Form::new().text("model", self.config.model.clone());
        let form = match &self.config.language {
            Some(language) => form.text("language", language.clone()),
            None => form,
        };
        let form = if plain {
            form.text("response_format", "json")
        } else {
            form.text("response_format", "verbose_json").text("timestamp_granularities[]", "segment")
        };
        // The fields before the file: a service may begin before it has all of it.
        Ok(form.part("file", file))
    }

    fn unreached(&self, error: &reqwest::Error) -> Failure {
        let text = if error.is_timeout() {
            format!("the transcription service gave no transcript within {} s", self.config.timeout.as_secs())
        } else if error.is_connect() {
            "the transcription service cannot be reached".to_owned()
        } else {
            "the connection to the transcription service broke".to_owned()
        };
        failed(text).blame(HoldKey::host(&self.host))
    }

    /// What an answer that is no success means.
    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        let wait = retry_after(response.headers(), MAX_RETRY_AFTER);
        let said = without_keys(&complaint(response).await, self.config.api_key.as_ref());
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let failure = failed(format!("the transcription service answered {}{said}", status.as_u16()))
            .http_status(status.as_u16())
            .retry_after(wait);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => failure.blame(HoldKey::account(ACCOUNT)),
            StatusCode::TOO_MANY_REQUESTS => failure.blame(HoldKey::rate(ACCOUNT)),
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => failure.for_good(),
            status if status.is_server_error() => failure.blame(HoldKey::host(&self.host)),
            // A wrong address or model, say: somebody may put it right, so attempts go on for a while.
            _ => failure,
        }
    }

    async fn transcript(&self, response: Response) -> Result<Transcript, Failure> {
        let body = bounded(response, MAX_ANSWER).await.map_err(|error| match error {
            Unread::Broken(error) => self.unreached(&error),
            Unread::TooLong => failed(format!("the transcript is longer than {MAX_ANSWER} bytes")).for_good(),
        })?;
        self.answered(&body)
    }

    /// What an answer comes to, whoever brought it; also for those who try what becomes of any bytes (`fuzz/`).
    #[doc(hidden)]
    pub fn answered(&self, body: &[u8]) -> Result<Transcript, Failure> {
        // By way of a value, which knows no name twice: the last one counts.
        let answer: Answer = serde_json::from_slice(body)
            .and_then(serde_json::from_value)
            .map_err(|_| failed("the transcription service's answer is not a transcript in JSON"))?;
        let segments = answer.segments.unwrap_or_default().into_iter();
        let segments: Vec<Segment> =
            segments.filter_map(|said| serde_json::from_value(said).ok()).map(plain).collect();
        let segments =
            serde_json::to_value(segments).map_err(|_| failed("the segments of the transcript have no times"))?;
        let language =
            answer.language.or_else(|| self.config.language.clone()).map(|language| without_controls(&language));
        Ok(Transcript {
            text: without_controls(&answer.text),
            language: language.filter(|language| (1..=MAX_LANGUAGE).contains(&language.len())),
            model: self.config.model.clone(),
            segments,
        })
    }

    /// The same of an answer that says what is wrong.
    #[doc(hidden)]
    pub fn complained(&self, body: &[u8]) -> Failure {
        failed(without_keys(&said(body), self.config.api_key.as_ref()))
    }
}

#[async_trait]
impl Transcriber for Transcription {
    async fn transcribe(&self, audio: &Audio) -> Result<Transcript, Failure> {
        let TranscriptionConfig { max_bytes, .. } = self.config;
        if audio.file.bytes > max_bytes {
            let text = format!("the recording is larger than transcription.max_bytes, {max_bytes} bytes");
            return Err(Failure::new(FailureCode::TooLarge, text));
        }
        let plain = self.is_plain.load(Ordering::Relaxed);
        let mut response = self.send(audio, plain).await?;
        if response.status() == StatusCode::BAD_REQUEST && !plain {
            let again = self.send(audio, true).await?;
            // Where that is refused too, the recording is at fault and not the format.
            if again.status().is_success() {
                self.is_plain.store(true, Ordering::Relaxed);
            }
            response = again;
        }
        if response.status() == StatusCode::OK {
            self.transcript(response).await
        } else {
            Err(self.refused(response).await)
        }
    }

    fn depends(&self) -> Vec<HoldKey> {
        vec![HoldKey::account(ACCOUNT), HoldKey::rate(ACCOUNT), HoldKey::host(&self.host)]
    }

    async fn probe(&self, key: &HoldKey) -> Option<Result<(), Failure>> {
        if !self.depends().contains(key) {
            return None;
        }
        let request = self.client.get(self.url("models")).timeout(PROBE_TIMEOUT);
        let response = match self.with_key(request).send().await {
            Ok(response) => response,
            Err(error) => return Some(Err(self.unreached(&error))),
        };
        let status = response.status();
        let accepted = match key {
            key if *key == HoldKey::host(&self.host) => !status.is_server_error(),
            // Not every service lists its models; that it does not is no word against the key.
            _ => status.is_success() || [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status),
        };
        Some(if accepted { Ok(()) } else { Err(self.refused(response).await) })
    }
}

/// The part of an answer that is kept. What a segment or the language is wrong about costs that, not the text.
#[derive(Deserialize)]
struct Answer {
    text: String,
    #[serde(default, deserialize_with = "right")]
    language: Option<String>,
    #[serde(default, deserialize_with = "right")]
    segments: Option<Vec<serde_json::Value>>,
}

fn plain(mut segment: Segment) -> Segment {
    segment.text = without_controls(segment.text.trim());
    segment
}

/// Line breaks stay. (PostgreSQL takes no NUL, and a terminal should take no other.)
fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

fn failed(text: impl AsRef<str>) -> Failure {
    Failure::new(FailureCode::TranscriptionError, text)
}

enum Unread {
    Broken(reqwest::Error),
    TooLong,
}

async fn bounded(mut response: Response, max: usize) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if body.len() + chunk.len() > max {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The service's own words: `error.message` as OpenAI has it, or `detail` as others do. Never the body as it is.
async fn complaint(response: Response) -> String {
    let body = bounded(response, MAX_COMPLAINT).await;
    body.map_or_else(|_| String::new(), |body| said(&body))
}

fn said(body: &[u8]) -> String {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let words = [&said["error"]["message"], &said["error"], &said["message"], &said["detail"]];
    words.into_iter().find_map(|word| word.as_str()).unwrap_or_default().to_owned()
}

/// A refusal may repeat the key that it refuses, or a part of it.
fn without_keys(text: &str, key: Option<&SecretString>) -> String {
    let key = key.map(ExposeSecret::expose_secret);
    let is_key = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        bare.starts_with("sk-") || key.is_some_and(|key| word.contains(key))
    };
    text.split_whitespace().map(|word| if is_key(word) { "[key]" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(base: &str) -> Transcription {
        Transcription::new(TranscriptionConfig {
            base_url: base.parse().unwrap(),
            api_key: None,
            model: "whisper-1".to_owned(),
            language: None,
            timeout: Duration::from_secs(1),
            max_bytes: 1,
        })
        .unwrap()
    }

    #[test]
    fn it_depends_on_its_key_its_rate_and_its_host() {
        for (base, host) in [
            ("https://api.openai.com/v1", "host:api.openai.com"),
            ("http://whisper:8000/v1/", "host:whisper:8000"),
            ("http://[::1]:8000", "host:[::1]:8000"),
        ] {
            let keys: Vec<String> = service(base).depends().iter().map(ToString::to_string).collect();
            assert_eq!(keys, ["account:transcription", "rate:transcription", host]);
        }
        assert_eq!(service("http://whisper:8000/v1/").url("models"), "http://whisper:8000/v1/models");
    }

    #[tokio::test]
    async fn what_is_not_its_own_is_not_probed() {
        for key in [HoldKey::account("AC1"), HoldKey::storage(), HoldKey::host("api.twilio.com")] {
            assert_eq!(service("http://127.0.0.1:1").probe(&key).await, None);
        }
    }

    #[test]
    fn a_refused_key_is_not_repeated() {
        assert_eq!(
            without_keys("Incorrect API key provided: sk-abc*def. You can find it", None),
            "Incorrect API key provided: [key] You can find it"
        );
        assert_eq!(without_keys("no 'plain-key' here", Some(&SecretString::from("plain-key"))), "no [key] here");
    }

    #[test]
    fn an_answer_may_be_plain_and_unknown_things_are_passed_over() {
        let answer: Answer = serde_json::from_str(r#"{"text": "hi", "usage": {"type": "tokens"}}"#).unwrap();
        assert_eq!((answer.text.as_str(), answer.language, answer.segments), ("hi", None, None));
        assert_eq!(without_controls("a\u{0}b\u{1b}[1m\nc"), "ab[1m\nc");
        assert!(serde_json::from_str::<Answer>(r#"{"error": "busy"}"#).is_err());
    }

    #[test]
    fn what_is_odd_about_a_segment_or_the_language_costs_that_and_not_the_text() {
        let answer = br#"{"text": "hi", "language": {"code": "en"}, "segments":
            [{"start": null, "end": 1, "text": "h"}, {"start": 1, "end": 2, "text": "i"}, 7]}"#;
        let transcript = service("http://whisper:8000/v1/").answered(answer).unwrap();
        assert_eq!((transcript.text.as_str(), transcript.language), ("hi", None));
        assert_eq!(transcript.segments, serde_json::json!([{"start": 1.0, "end": 2.0, "text": "i"}]));
        let odd = service("http://whisper:8000/v1/").answered(br#"{"text": "hi", "segments": "none"}"#).unwrap();
        assert_eq!(odd.segments, serde_json::json!([]));
    }
}
