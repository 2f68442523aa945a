//! Twilio's media over HTTP (Twilio documentation, "Recordings resource": fetch a recording's media file).

use crate::domain::{
    account::Accounts,
    failure::{Failure, FailureCode},
    hold::{HoldKey, HoldKind},
    ids::SidForm,
    media::Form,
    ports::{Depends, ListedPage, Media, Order, Period, Provider},
    recording_url::{ProviderBases, sids},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt, stream};
use reqwest::{Client, Response, StatusCode, header, redirect};
use secrecy::ExposeSecret;
use std::time::Duration;
use url::Url;

/// A redirect chain longer than this is refused.
const MAX_REDIRECTS: usize = 3;
/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

#[derive(Debug, Clone)]
pub struct TwilioConfig {
    pub bases: ProviderBases,
    /// Without one for it the media is fetched without credentials.
    pub accounts: Accounts,
    pub sid_form: SidForm,
    pub connect_timeout: Duration,
    /// Longest silence between two reads.
    pub read_timeout: Duration,
    /// The largest recording that is taken, in bytes.
    pub max_bytes: u64,
    /// Slower than this, over a whole window, ends in a timeout; 0: however slow.
    pub min_bytes_per_second: u64,
    pub throughput_window: Duration,
    /// How often one attempt goes on behind a cut.
    pub resumes: u32,
}

#[derive(Debug, Clone)]
pub struct Twilio {
    client: Client,
    config: TwilioConfig,
}

impl Twilio {
    /// The proxies of the environment are not used: a recording's URL says where it is fetched from.
    pub fn new(config: TwilioConfig) -> Result<Self, reqwest::Error> {
        let base = config.bases.clone();
        let same_origin = redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirects")
            } else if base.main().owns(attempt.url()) {
                attempt.follow()
            } else {
                attempt.error("a redirect away from the provider")
            }
        });
        let client = Client::builder()
            .user_agent(concat!("callspool/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(same_origin)
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.read_timeout)
            .build()?;
        Ok(Self { client, config })
    }
}

#[async_trait]
impl Provider for Twilio {
    async fn fetch(&self, order: &Order) -> Result<Media, Failure> {
        // Checked at the door; an application's SQL has another door.
        let url = self.config.bases.recording_url(&order.recording_url);
        let mut url = url.map_err(|error| Failure::new(FailureCode::UrlRefused, error.to_string()))?;
        let (account, _) = sids(&url, self.config.sid_form);
        url.set_path(&format!("{}.mp3", url.path()));
        let mut request = self.client.get(url);
        if let Some(credentials) = self.config.accounts.credentials(account.as_ref()) {
            request = request.basic_auth(credentials.user, Some(credentials.password.expose_secret()));
        }
        let keys =
            keys(request.try_clone().and_then(|request| request.build().ok()).map(|request| request.url().clone()));
        let response = request.send().await.map_err(transport_failure).map_err(|failure| blamed(failure, &keys))?;
        let response = accepted(response).map_err(|failure| blamed(failure, &keys))?;
        let (http_status, length) = (response.status().as_u16(), response.content_length());
        if length.is_some_and(|length| length > self.config.max_bytes) {
            return Err(too_large(self.config.max_bytes));
        }
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.and_then(|value| value.split(';').next());
        let content_type = content_type.map(|value| value.trim().to_ascii_lowercase());
        let chunks = response
            .bytes_stream()
            .map(move |chunk| chunk.map_err(transport_failure).map_err(|failure| blamed(failure, &keys)));
        let form = Form::Mp3;
        Ok(Media {
            http_status,
            length,
            content_type,
            form,
            stream: Box::pin(bounded(chunks, self.config.max_bytes)),
        })
    }

    fn depends(&self, recording_url: &str) -> Depends {
        Depends { keys: keys(self.config.bases.recording_url(recording_url).ok()) }
    }

    async fn list(&self, _: &Period, _: Option<&str>) -> Result<ListedPage, Failure> {
        Ok(ListedPage::default())
    }

    async fn delete(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn probe(&self, key: &HoldKey) -> Result<(), Failure> {
        let mut url = self.config.bases.url().clone();
        if key.kind() == HoldKind::Account {
            url.set_path(&format!("/2010-04-01/Accounts/{}.json", key.subject()));
        }
        let mut request = self.client.get(url);
        if let (Some(account), Some(token)) = (&self.config.account_sid, &self.config.auth_token) {
            request = request.basic_auth(account, Some(token.expose_secret()));
        }
        let status = request.send().await.map_err(transport_failure)?.status();
        let is_over = match key.kind() {
            HoldKind::Account => status.is_success(),
            _ => !status.is_server_error(),
        };
        let refused =
            || Failure::new(FailureCode::HttpStatus, format!("the provider answered {}", status.as_u16()));
        if is_over { Ok(()) } else { Err(refused()) }
    }
}

/// What a request for this URL depends on.
fn keys(url: Option<Url>) -> Vec<HoldKey> {
    let Some(url) = url else { return Vec::new() };
    let account = sids(&url, SidForm::Short).0.map(|account| account.to_string());
    let of_account = account.iter().flat_map(|account| [HoldKey::account(account), HoldKey::rate(account)]);
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().map(|host| HoldKey::host(&format!("{host}{port}")));
    of_account.chain(host).collect()
}

/// Whose fault it is, where it is not the recording's.
fn blamed(failure: Failure, keys: &[HoldKey]) -> Failure {
    let kind = match (failure.code, failure.http_status) {
        (FailureCode::Unauthorized, _) => HoldKind::Account,
        (FailureCode::RateLimited, _) => HoldKind::Rate,
        (FailureCode::HttpStatus, Some(500..)) | (FailureCode::Network | FailureCode::Timeout, _) => HoldKind::Host,
        _ => return failure,
    };
    match keys.iter().find(|key| key.kind() == kind) {
        Some(key) => failure.blame(key.clone()),
        None => failure,
    }
}

/// Ends with an error where more than `max` bytes come: a length may be announced wrongly, or not at all.
fn bounded(
    chunks: impl Stream<Item = Result<bytes::Bytes, Failure>> + Send,
    max: u64,
) -> impl Stream<Item = Result<bytes::Bytes, Failure>> + Send {
    let counted = chunks.scan(0_u64, move |seen, chunk| {
        let chunk = chunk.and_then(|chunk| {
            *seen += chunk.len() as u64;
            if *seen > max { Err(too_large(max)) } else { Ok(chunk) }
        });
        std::future::ready(Some(chunk))
    });
    // Nothing is read after an error.
    stream::unfold(Some(Box::pin(counted)), |chunks| async {
        let mut chunks = chunks?;
        let chunk = chunks.next().await?;
        let rest = chunk.is_ok().then_some(chunks);
        Some((chunk, rest))
    })
}

fn too_large(max: u64) -> Failure {
    Failure::new(FailureCode::TooLarge, format!("the recording is larger than {max} bytes"))
}

fn accepted(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let code = match status {
        StatusCode::NOT_FOUND => FailureCode::NotReady,
        StatusCode::GONE => FailureCode::Gone,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureCode::Unauthorized,
        StatusCode::TOO_MANY_REQUESTS => FailureCode::RateLimited,
        _ => FailureCode::HttpStatus,
    };
    let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = asked.and_then(|value| retry_after(value, Utc::now()));
    Err(Failure::new(code, format!("the provider answered {}", status.as_u16()))
        .http_status(status.as_u16())
        .retry_after(wait))
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

fn transport_failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let code = if error.is_timeout() {
        FailureCode::Timeout
    } else if error.is_redirect() {
        FailureCode::UrlRefused
    } else if error.is_body() || error.is_decode() {
        // The connection ended before the announced length, or before the last chunk.
        FailureCode::Truncated
    } else {
        FailureCode::Network
    };
    let text = match code {
        FailureCode::Timeout => "the provider took too long",
        FailureCode::UrlRefused => "the provider redirects to elsewhere",
        FailureCode::Truncated => "the recording broke off before its end",
        _ if error.is_connect() => "the provider cannot be reached",
        _ => "the connection to the provider broke",
    };
    Failure::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Thu, 01 Jan 2026 00:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Wed, 31 Dec 2025 00:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("999999999", now), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after("soon", now), None);
    }
}
