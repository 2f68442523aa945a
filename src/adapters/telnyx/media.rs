//! The way to a pre-signed URL, which a provider's answer named: without credentials, and only to public https hosts and
//! configured bases. What is connected to is what was checked, after resolution and on each redirect.

use super::api::{broken, refused};
use crate::domain::{
    failure::{Failure, FailureCode},
    hold::HoldKey,
    media::Form,
    ports::Media,
    recording_url::{ProviderBase, ProviderBases},
    url_policy::{self, is_public},
};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::{
    Client, Response, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header, redirect,
};
use std::{collections::BTreeSet, error::Error, future::ready, net::SocketAddr, sync::Arc, time::Duration};
use url::Url;

/// A redirect chain longer than this is refused.
const MAX_REDIRECTS: usize = 3;

/// Why there are no media.
pub(super) enum Refusal {
    /// The URL may have run out: a fresh one may be better.
    Expired(Failure),
    Other(Failure),
}

#[derive(Debug, Clone)]
pub(super) struct MediaDoor {
    client: Client,
    trusted: ProviderBases,
    max_bytes: u64,
}

impl MediaDoor {
    pub(super) fn new(
        trusted: ProviderBases,
        connect_timeout: Duration,
        read_timeout: Duration,
        max_bytes: u64,
    ) -> Result<Self, reqwest::Error> {
        let bases = trusted.clone();
        let checked = redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirects")
            } else if url_policy::check(attempt.url(), &bases).is_ok() {
                attempt.follow()
            } else {
                attempt.error("a redirect to where nothing is fetched from")
            }
        });
        let names = trusted.iter().filter_map(|base| base.url().host_str().map(str::to_owned)).collect();
        let client = Client::builder()
            .user_agent(concat!("callspool/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .referer(false)
            .redirect(checked)
            .dns_resolver(Arc::new(CheckedResolver { trusted: names }))
            .connect_timeout(connect_timeout)
            .read_timeout(read_timeout)
            .build()?;
        Ok(Self { client, trusted, max_bytes })
    }

    pub(super) async fn open(&self, url: &Url, form: Form) -> Result<Media, Refusal> {
        let response = self.get(url).await.map_err(Refusal::Other)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(self.refused(&response, url));
        }
        let length = response.content_length();
        if length.is_some_and(|length| length > self.max_bytes) {
            return Err(Refusal::Other(too_large(self.max_bytes)));
        }
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type =
            content_type.and_then(|value| value.split(';').next()).map(|kind| kind.trim().to_lowercase());
        let (max, url) = (self.max_bytes, url.clone());
        let mut seen = 0_u64;
        let chunks = response.bytes_stream().map_err(move |error| broken(error, &url)).and_then(move |chunk| {
            seen += chunk.len() as u64;
            ready(if seen > max { Err(too_large(max)) } else { Ok(chunk) })
        });
        // Nothing is read after an error.
        let mut is_over = false;
        let stream = chunks.take_while(move |chunk| ready(!std::mem::replace(&mut is_over, chunk.is_err())));
        Ok(Media { http_status: status.as_u16(), length, content_type, form, stream: Box::pin(stream) })
    }

    /// Whether a host of media answers again.
    pub(super) async fn probe(&self, host: &str) -> Result<(), Failure> {
        let base = self.trusted.iter().map(ProviderBase::url).find(|base| HoldKey::host_of(base).subject() == host);
        let url = base.cloned().map_or_else(|| Url::parse(&format!("https://{host}/")), Ok);
        let url = url.map_err(|_| Failure::new(FailureCode::UrlRefused, "the hold's host is none"))?;
        let response = self.get(&url).await?;
        if response.status().is_server_error() {
            Err(refused(&response, host).blame(HoldKey::host_of(&url)))
        } else {
            Ok(())
        }
    }

    async fn get(&self, url: &Url) -> Result<Response, Failure> {
        let elsewhere =
            || Failure::new(FailureCode::UrlRefused, "the download URL leads to where nothing is fetched from");
        url_policy::check(url, &self.trusted)
            .map_err(|refused| Failure::new(FailureCode::UrlRefused, format!("the download URL: {refused}")))?;
        self.client.get(url.clone()).send().await.map_err(|error| {
            if error.is_redirect() || is_not_public(&error) { elsewhere() } else { broken(error, url) }
        })
    }

    fn refused(&self, response: &Response, url: &Url) -> Refusal {
        let status = response.status();
        let failure = refused(response, HoldKey::host_of(url).subject());
        if [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
            // No credentials of ours were asked for.
            return Refusal::Expired(Failure { code: FailureCode::HttpStatus, ..failure });
        }
        // The resource says that the recording is there.
        let code = if status == StatusCode::GONE { FailureCode::NotReady } else { failure.code };
        let failure = Failure { code, ..failure };
        let is_hosts = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Refusal::Other(if is_hosts { failure.blame(HoldKey::host_of(url)) } else { failure })
    }
}

fn too_large(max: u64) -> Failure {
    Failure::new(FailureCode::TooLarge, format!("the recording is larger than {max} bytes"))
}

/// Gives public addresses only, but for the hosts of configured bases.
struct CheckedResolver {
    trusted: BTreeSet<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
struct NotPublic;

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_trusted = self.trusted.contains(name.as_str());
        Box::pin(async move {
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = all.filter(|address| is_trusted || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn is_not_public(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if error.is::<NotPublic>() {
            return true;
        }
        cause = error.source();
    }
    false
}
