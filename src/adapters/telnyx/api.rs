//! Telnyx' REST API of recordings (Telnyx documentation, "Call recordings"): what it answers, and what its refusals mean.

use crate::domain::{
    failure::{Failure, FailureCode},
    hold::HoldKey,
    provider::ProviderName,
};
use chrono::{DateTime, Utc};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;
use url::Url;

/// The largest answer that is read, in bytes: a page has 250 recordings of a few kilobytes.
const MAX_ANSWER: usize = 4 << 20;
/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// A recording, as far as we look at it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Recording {
    pub(super) id: Option<String>,
    pub(super) call_session_id: Option<String>,
    pub(super) channels: Option<String>,
    pub(super) duration_millis: Option<i64>,
    pub(super) recording_started_at: Option<String>,
    /// `completed`, where there is something to fetch.
    pub(super) status: Option<String>,
    pub(super) download_urls: Option<DownloadUrls>,
}

/// Pre-signed, for a few minutes from the answer on. A recording is made in one format; only its URL is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DownloadUrls {
    pub(super) mp3: Option<String>,
    pub(super) wav: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    data: Recording,
}

/// Its recordings are not read yet: one that is odd does not spoil the others.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<serde_json::Value>,
    #[serde(default)]
    pub(super) meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) page_number: u32,
    pub(super) total_pages: u32,
}

/// Asks with the API key; nothing but the configured base is ever asked by it.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) base: Url,
    pub(super) key: Option<SecretString>,
    /// Longest time that one answer has to come whole.
    pub(super) patience: Duration,
}

impl Api {
    pub(super) async fn recording(&self, url: Url) -> Result<Recording, Failure> {
        let answer = self.ask(self.client.get(url)).await?;
        self.read::<Resource>(answer).await.map(|resource| resource.data)
    }

    pub(super) async fn page(&self, query: &[(&str, String)]) -> Result<Page, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v2/recordings", url.path().trim_end_matches('/')));
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.ask(self.client.get(url)).await?;
        self.read(answer).await
    }

    /// One that is not there is deleted.
    pub(super) async fn delete(&self, url: Url) -> Result<(), Failure> {
        match self.ask(self.client.delete(url)).await {
            Ok(_) => Ok(()),
            Err(failure) if matches!(failure.code, FailureCode::NotReady | FailureCode::Gone) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let account = HoldKey::account(ProviderName::Telnyx.as_str());
        let key = self.key.as_ref().ok_or_else(|| {
            Failure::new(FailureCode::Unauthorized, "no TELNYX_API_KEY is configured").blame(account.clone())
        })?;
        let response = request.bearer_auth(key.expose_secret()).timeout(self.patience).send().await;
        let response = response.map_err(|error| broken(error, &self.base))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let failure = refused(&response, "Telnyx");
        Err(match failure.code {
            FailureCode::Unauthorized => failure.blame(account),
            FailureCode::RateLimited => failure.blame(HoldKey::rate(ProviderName::Telnyx.as_str())),
            _ if status.is_server_error() => failure.blame(HoldKey::host_of(&self.base)),
            _ => failure,
        })
    }

    async fn read<T: DeserializeOwned>(&self, mut answer: Response) -> Result<T, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| broken(error, &self.base))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(Failure::new(
                    FailureCode::HttpStatus,
                    format!("Telnyx answered more than {MAX_ANSWER} bytes"),
                ));
            }
        }
        // The parser's words may repeat what came, pre-signed URLs among it.
        serde_json::from_slice(&body).map_err(|_| {
            Failure::new(FailureCode::HttpStatus, "Telnyx answered something else than its recordings")
        })
    }
}

/// What a status means at `whose` server.
pub(super) fn refused(response: &Response, whose: &str) -> Failure {
    let status = response.status();
    let code = match status {
        StatusCode::NOT_FOUND => FailureCode::NotReady,
        StatusCode::GONE => FailureCode::Gone,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureCode::Unauthorized,
        StatusCode::TOO_MANY_REQUESTS => FailureCode::RateLimited,
        _ => FailureCode::HttpStatus,
    };
    let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    Failure::new(code, format!("{whose} answered {}", status.as_u16()))
        .http_status(status.as_u16())
        .retry_after(asked.and_then(|value| retry_after(value, Utc::now())))
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (DateTime::parse_from_rfc2822(value).ok()?.to_utc() - now).to_std().unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A request that got no answer, or not all of it. The URL is left out: it may be a pre-signed one.
pub(super) fn broken(error: reqwest::Error, url: &Url) -> Failure {
    let (code, text) = if error.is_timeout() {
        (FailureCode::Timeout, "took too long")
    } else if error.is_body() || error.is_decode() {
        (FailureCode::Truncated, "broke off before the end")
    } else if error.is_connect() {
        (FailureCode::Network, "cannot be reached")
    } else {
        (FailureCode::Network, "broke the connection")
    };
    let host = HoldKey::host_of(url);
    let failure = Failure::new(code, format!("{} {text}", host.subject()));
    if code == FailureCode::Truncated { failure } else { failure.blame(host) }
}
