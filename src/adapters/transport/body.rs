//! The bytes of a recording on their way: never more than allowed, never too slowly, and gone on with behind a cut.

use super::{
    Answer, Transport,
    failures::{Asked, broke_off, too_large},
};
use crate::domain::{
    failure::{Failure, FailureCode},
    ids::AccountSid,
    media::Form,
    ports::{Media, MediaStream},
};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use futures_util::{Stream, StreamExt, stream};
use reqwest::{
    Response, StatusCode,
    header::{
        CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE,
        LAST_MODIFIED, RANGE,
    },
};
use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};
use url::Url;

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

impl Transport {
    /// The recording that an answer with 200 brings.
    pub(in crate::adapters) fn media(
        self: &Arc<Self>,
        answer: Answer,
        url: Url,
        account: Option<AccountSid>,
        form: Form,
    ) -> Result<Media, Failure> {
        let headers = answer.response.headers();
        let is_encoded = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
        if is_encoded {
            let text = "the provider sent the recording encoded, though it was asked not to";
            return Err(Failure::new(FailureCode::BadAudio, text));
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(essence);
        let (http_status, length) = (answer.response.status().as_u16(), answer.response.content_length());
        if length.is_some_and(|length| length > self.network.max_bytes) {
            return Err(too_large(self.network.max_bytes));
        }
        let body = Body::new(self, answer, url, account, length);
        Ok(Media { http_status, length, content_type, form, stream: body.into_stream() })
    }
}

/// `audio/mpeg` of `Audio/MPEG; charset=…`.
pub(in crate::adapters) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

struct Body {
    transport: Arc<Transport>,
    url: Url,
    account: Option<AccountSid>,
    asked: Asked,
    chunks: Chunks,
    pace: Pace,
    /// Which version of the recording this is; without it nothing can be put behind a cut.
    version: Option<Version>,
    /// Of the whole recording, where it was announced.
    length: Option<u64>,
    received: u64,
    max_bytes: u64,
    resumes: u32,
}

impl Body {
    fn new(
        transport: &Arc<Transport>,
        answer: Answer,
        url: Url,
        account: Option<AccountSid>,
        length: Option<u64>,
    ) -> Self {
        let Answer { response, asked } = answer;
        let network = &transport.network;
        Self {
            transport: Arc::clone(transport),
            url,
            account,
            asked,
            version: Version::of(response.headers()),
            chunks: Box::pin(response.bytes_stream()),
            pace: Pace::new(network.min_bytes_per_second, network.throughput_window),
            length,
            received: 0,
            max_bytes: network.max_bytes,
            resumes: network.resumes,
        }
    }

    /// Nothing is read after an error.
    fn into_stream(self) -> MediaStream {
        Box::pin(stream::unfold(Some(self), |body| async {
            let mut body = body?;
            let chunk = body.next().await?;
            let rest = chunk.is_ok().then_some(body);
            Some((chunk, rest))
        }))
    }

    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            let cut = match self.pace.next(&mut self.chunks).await {
                Err(TooSlow) => return Some(Err(self.asked.slow(self.pace.least))),
                Ok(Some(Ok(chunk))) => return Some(self.counted(chunk)),
                Ok(None) if self.length.is_none_or(|length| self.received == length) => return None,
                Ok(None) => broke_off(),
                Ok(Some(Err(error))) => self.asked.broke(error),
            };
            if let Err(failure) = self.go_on(cut).await {
                return Some(Err(failure));
            }
        }
    }

    /// A length may be announced wrongly, or not at all.
    fn counted(&mut self, chunk: Bytes) -> Result<Bytes, Failure> {
        self.received += chunk.len() as u64;
        if self.received > self.max_bytes {
            Err(too_large(self.max_bytes))
        } else if self.length.is_some_and(|length| self.received > length) {
            Err(Failure::new(FailureCode::Truncated, "the recording is longer than its announced length"))
        } else {
            Ok(chunk)
        }
    }

    /// Asks for the rest, of the same version (RFC 9110, sections 13.1.5 and 14). Fails with `cut` where that is not
    /// possible.
    async fn go_on(&mut self, cut: Failure) -> Result<(), Failure> {
        let is_cut = matches!(cut.code, FailureCode::Truncated | FailureCode::Network);
        let Some(version) = self.version.as_ref().filter(|_| is_cut && self.resumes > 0) else { return Err(cut) };
        self.resumes -= 1;
        let mut headers = HeaderMap::new();
        let range = HeaderValue::try_from(format!("bytes={}-", self.received));
        headers.insert(RANGE, range.map_err(|_| broke_off())?);
        headers.insert(IF_RANGE, version.value.clone());
        // From the recording's own URL again: one that it redirected to may be valid for a moment only.
        let Answer { response, asked } = self.transport.get(&self.url, self.account.as_ref(), &headers).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                return Err(asked.refused(&response));
            }
            status if status.is_server_error() => return Err(asked.refused(&response)),
            _ => return Err(not_the_rest()),
        }
        let whole = self.whole(&response).filter(|_| version.is_of(response.headers())).ok_or_else(not_the_rest)?;
        self.length = Some(whole);
        self.asked = asked;
        self.chunks = Box::pin(response.bytes_stream());
        Ok(())
    }

    /// The length of the whole, where this begins where we are and ends where the whole ends.
    fn whole(&self, response: &Response) -> Option<u64> {
        let headers = response.headers();
        if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return None;
        }
        let (first, last, whole) = content_range(headers.get(CONTENT_RANGE)?.to_str().ok()?)?;
        let is_rest = first == self.received && last.checked_add(1) == Some(whole);
        (is_rest && self.length.is_none_or(|length| length == whole)).then_some(whole)
    }
}

fn not_the_rest() -> Failure {
    Failure::new(FailureCode::Truncated, "the recording broke off, and the provider does not go on where it did")
}

/// First byte, last byte and length of the whole; not where the length is unknown (`*`).
pub(in crate::adapters) fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, whole) = text.strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, whole.parse().ok()?))
}

/// What tells one version of a file from every other: a strong validator (RFC 9110, section 8.8).
struct Version {
    name: HeaderName,
    value: HeaderValue,
}

impl Version {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let strong = |tag: &&HeaderValue| tag.as_bytes().first() == Some(&b'"');
        if let Some(tag) = headers.get(ETAG).filter(strong) {
            return Some(Self { name: ETAG, value: tag.clone() });
        }
        let time = |name| DateTime::parse_from_rfc2822(headers.get(name)?.to_str().ok()?).ok();
        // A file could have changed twice within the second that the answer is of.
        let is_strong = time(DATE)? - time(LAST_MODIFIED)? >= TimeDelta::seconds(1);
        let value = headers.get(LAST_MODIFIED).filter(|_| is_strong)?;
        Some(Self { name: LAST_MODIFIED, value: value.clone() })
    }

    fn is_of(&self, headers: &HeaderMap) -> bool {
        headers.get(&self.name) == Some(&self.value)
    }
}

/// How fast the bytes come, while we wait for them: a storage that takes them slowly is not the provider's fault.
struct Pace {
    /// Bytes a second.
    least: u64,
    window: Duration,
    waited: Duration,
    bytes: u64,
}

struct TooSlow;

impl Pace {
    fn new(least: u64, window: Duration) -> Self {
        Self { least, window, waited: Duration::ZERO, bytes: 0 }
    }

    async fn next(&mut self, chunks: &mut Chunks) -> Result<Option<reqwest::Result<Bytes>>, TooSlow> {
        if self.least == 0 {
            return Ok(chunks.next().await);
        }
        loop {
            let left = self.window.saturating_sub(self.waited);
            let since = Instant::now();
            let came = tokio::time::timeout(left, chunks.next()).await;
            self.waited += since.elapsed();
            match came {
                Ok(Some(Ok(chunk))) => {
                    self.bytes += chunk.len() as u64;
                    self.judge()?;
                    return Ok(Some(Ok(chunk)));
                }
                Ok(end) => return Ok(end),
                Err(_) => self.judge()?,
            }
        }
    }

    fn judge(&mut self) -> Result<(), TooSlow> {
        if self.waited < self.window {
            return Ok(());
        }
        let wanted = u128::from(self.least) * self.waited.as_millis();
        if u128::from(self.bytes) * 1_000 < wanted {
            return Err(TooSlow);
        }
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_with_its_whole_or_not_at_all() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, 10)));
        for wrong in ["bytes 5-9/*", "bytes */10", "items 5-9/10", "5-9/10", "bytes -9/10", "bytes 5-/10", ""] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    fn version(pairs: &[(HeaderName, &str)]) -> Option<String> {
        let headers =
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
        Version::of(&headers).map(|version| version.value.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_a_strong_validator_names_a_version() {
        let (early, late) = ("Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:00:30 GMT");
        assert_eq!(version(&[(ETAG, "\"a\""), (LAST_MODIFIED, early)]).as_deref(), Some("\"a\""));
        assert_eq!(version(&[(ETAG, "W/\"a\"")]), None);
        assert_eq!(version(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, early), (DATE, late)]).as_deref(), Some(early));
        assert_eq!(version(&[(LAST_MODIFIED, late), (DATE, late)]), None, "it may have changed since");
        assert_eq!(version(&[(LAST_MODIFIED, early)]), None);
        assert_eq!(version(&[]), None);
    }
}
