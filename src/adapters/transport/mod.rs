//! Requests to providers and to where they send us: where they may go, with whose credentials, and what they follow.
//!
//! | file | holds |
//! |---|---|
//! | `names` | the addresses that a name may lead to |
//! | `body` | the bytes of a recording: bounded, not too slow, gone on with behind a cut |
//! | `failures`, `retry_after` | what went wrong, whose fault it is, and when to come again |

mod body;
mod failures;
mod names;
mod retry_after;

pub(super) use body::{content_range, essence};
pub(super) use failures::Asked;
pub use names::{Names, SystemNames};
pub(super) use {
    names::{AddressRefused, PublicNames},
    retry_after::retry_after,
};

use crate::domain::{
    account::Accounts,
    failure::{Failure, FailureCode},
    hold::HoldKey,
    ids::AccountSid,
    recording_url::ProviderBases,
    url_policy::{self, Destination},
};
use reqwest::{
    Client, ClientBuilder, Method, Response, StatusCode,
    header::{ACCEPT_ENCODING, HeaderMap, LOCATION},
    redirect,
};
use secrecy::ExposeSecret;
use std::{sync::Arc, time::Duration};
use url::Url;

/// A redirect chain longer than this is refused.
const MAX_REDIRECTS: usize = 3;

/// Which places there are, and how they are asked.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) bases: ProviderBases,
    pub(super) accounts: Accounts,
    pub(super) connect_timeout: Duration,
    /// Longest silence between two reads.
    pub(super) read_timeout: Duration,
    /// The largest recording that is taken, in bytes.
    pub(super) max_bytes: u64,
    /// Slower than this, over a whole window, ends in a timeout; 0: however slow.
    pub(super) min_bytes_per_second: u64,
    pub(super) throughput_window: Duration,
    /// How often one attempt goes on behind a cut.
    pub(super) resumes: u32,
}

pub(super) struct Transport {
    /// For configured bases: their addresses are trusted.
    to_bases: Client,
    /// For whatever a provider redirects to: public addresses only.
    to_public: Client,
    network: Network,
    /// Longest time that one resource of the API has to come whole.
    pub(super) patience: Duration,
}

/// An answer, and whose it is.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) asked: Asked,
}

impl Transport {
    pub(super) fn new(network: Network, names: Arc<dyn Names>) -> Result<Self, reqwest::Error> {
        Ok(Self {
            to_bases: client(&network).build()?,
            to_public: client(&network).https_only(true).dns_resolver(PublicNames::new(names)).build()?,
            patience: network.read_timeout,
            network,
        })
    }

    /// Asks, and follows redirects: to the public network and to other bases without credentials, to nowhere else. Where
    /// a redirect has led away once, no later one brings the credentials back.
    pub(super) async fn get(
        &self,
        url: &Url,
        account: Option<&AccountSid>,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let home = self.network.bases.of_account(account);
        let (mut url, mut is_home) = (url.clone(), true);
        for _ in 0..=MAX_REDIRECTS {
            is_home = is_home && home.owns(&url);
            let answer = self.send(Method::GET, &url, account, is_home, headers).await?;
            match target(&answer.response, &url)? {
                Some(next) => url = next,
                None => return Ok(answer),
            }
        }
        Err(Failure::new(FailureCode::UrlRefused, "the provider redirects too often"))
    }

    /// Asks once and follows nothing. Credentials go to the account's own base only.
    pub(super) async fn once(
        &self,
        method: Method,
        url: &Url,
        account: Option<&AccountSid>,
    ) -> Result<Answer, Failure> {
        let is_home = self.network.bases.of_account(account).owns(url);
        self.send(method, url, account, is_home, &HeaderMap::new()).await
    }

    /// Asks as nobody: whether anybody is there.
    async fn knock(&self, url: &Url) -> Result<Answer, Failure> {
        self.send(Method::GET, url, None, false, &HeaderMap::new()).await
    }

    /// Whether a host answers again. One that a base redirected to is no base.
    pub(super) async fn probe_host(&self, key: &HoldKey) -> Result<(), Failure> {
        let base = self.network.bases.iter().find(|base| HoldKey::host_of(base.url()) == *key);
        let url = base
            .map_or_else(|| format!("https://{}/", key.subject()).parse().ok(), |base| base.url().join("/").ok());
        let url = url.ok_or_else(|| Failure::new(FailureCode::UrlRefused, "there is no such host"))?;
        let answer = self.knock(&url).await?;
        let is_well = !answer.response.status().is_server_error();
        if is_well { Ok(()) } else { Err(answer.asked.refused(&answer.response)) }
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        account: Option<&AccountSid>,
        is_home: bool,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let destination = url_policy::check(url, &self.network.bases);
        let destination =
            destination.map_err(|refused| Failure::new(FailureCode::UrlRefused, refused.to_string()))?;
        let client = match destination {
            Destination::Base => &self.to_bases,
            Destination::Public => &self.to_public,
        };
        let mut request = client.request(method, url.clone()).headers(headers.clone());
        // The bytes of the recording themselves: lengths and ranges count them.
        request = request.header(ACCEPT_ENCODING, "identity");
        if let Some(credentials) = self.network.accounts.credentials(account).filter(|_| is_home) {
            request = request.basic_auth(credentials.user, Some(credentials.password.expose_secret()));
        }
        // What is said of a URL that names no account is no word against the main one: everybody's jobs would wait for it.
        let asked = Asked { account: account.filter(|_| is_home).cloned(), host: HoldKey::host_of(url) };
        match request.send().await {
            Ok(response) => Ok(Answer { response, asked }),
            Err(error) => Err(asked.broke(error)),
        }
    }
}

/// The proxies of the environment are not used: a recording's URL says where it is fetched from.
pub(super) fn client(network: &Network) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("callspool/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(network.connect_timeout)
        .read_timeout(network.read_timeout)
}

/// Where an answer sends us; `None`: nowhere.
fn target(response: &Response, from: &Url) -> Result<Option<Url>, Failure> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else { return Ok(None) };
    let target = location.to_str().ok().and_then(|location| from.join(location).ok());
    let refused = || Failure::new(FailureCode::UrlRefused, "the provider redirects to what is no URL");
    target.map(Some).ok_or_else(refused)
}
