//! Requests: where they may go, with whose credentials, and what they follow.

use super::{
    TwilioConfig,
    failures::{Asked, host_key},
    names::{Names, PublicNames},
};
use crate::domain::{
    account::Accounts,
    failure::{Failure, FailureCode},
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

pub(super) struct Transport {
    /// For configured bases: their addresses are trusted.
    to_bases: Client,
    /// For whatever a provider redirects to: public addresses only.
    to_public: Client,
    bases: ProviderBases,
    accounts: Accounts,
    /// Longest time that one resource of the API has to come whole.
    pub(super) patience: Duration,
}

/// An answer, and whose it is.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) asked: Asked,
}

impl Transport {
    pub(super) fn new(config: &TwilioConfig, names: Arc<dyn Names>) -> Result<Self, reqwest::Error> {
        Ok(Self {
            to_bases: client(config).build()?,
            to_public: client(config).https_only(true).dns_resolver(Arc::new(PublicNames(names))).build()?,
            bases: config.bases.clone(),
            accounts: config.accounts.clone(),
            patience: config.read_timeout,
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
        let home = self.bases.of_account(account);
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
        let is_home = self.bases.of_account(account).owns(url);
        self.send(method, url, account, is_home, &HeaderMap::new()).await
    }

    /// Asks as nobody: whether anybody is there.
    pub(super) async fn knock(&self, url: &Url) -> Result<Answer, Failure> {
        self.send(Method::GET, url, None, false, &HeaderMap::new()).await
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        account: Option<&AccountSid>,
        is_home: bool,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let destination = url_policy::check(url, &self.bases);
        let destination =
            destination.map_err(|refused| Failure::new(FailureCode::UrlRefused, refused.to_string()))?;
        let client = match destination {
            Destination::Base => &self.to_bases,
            Destination::Public => &self.to_public,
        };
        let mut request = client.request(method, url.clone()).headers(headers.clone());
        // The bytes of the recording themselves: lengths and ranges count them.
        request = request.header(ACCEPT_ENCODING, "identity");
        if let Some(credentials) = self.accounts.credentials(account).filter(|_| is_home) {
            request = request.basic_auth(credentials.user, Some(credentials.password.expose_secret()));
        }
        let account = account.or_else(|| self.accounts.main().map(|account| &account.sid));
        let asked = Asked { account: account.filter(|_| is_home).cloned(), host: host_key(url) };
        match request.send().await {
            Ok(response) => Ok(Answer { response, asked }),
            Err(error) => Err(asked.broke(error)),
        }
    }
}

/// The proxies of the environment are not used: a recording's URL says where it is fetched from.
fn client(config: &TwilioConfig) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("callspool/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(config.connect_timeout)
        .read_timeout(config.read_timeout)
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
