//! Twilio over HTTP (Twilio documentation, "Recordings resource").
//!
//! | file | holds |
//! |---|---|
//! | `media` | a recording in the first wanted form that there is |
//! | `missing` | a recording that is not there: not yet, no more, or at the parent call |
//! | `api` | the resources beside the media: a recording's, a call's, a listing |
//! | `listing` | what an account has, page by page |

mod api;
mod listing;
mod media;
mod missing;

pub use super::transport::{Names, SystemNames};

use super::transport::{Network, Transport};
use crate::domain::{
    account::Accounts,
    failure::{Failure, FailureCode},
    hold::{HoldKey, HoldKind},
    ids::{AccountSid, SidForm},
    ports::{ListedPage, Media, Order, Period, Provider},
    recording_url::{ProviderBases, sids},
};
use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use std::{fmt, sync::Arc, time::Duration};
use url::Url;

#[derive(Debug, Clone)]
pub struct TwilioConfig {
    pub bases: ProviderBases,
    /// An account without credentials is asked without any.
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

impl TwilioConfig {
    fn network(&self) -> Network {
        Network {
            bases: self.bases.clone(),
            accounts: self.accounts.clone(),
            connect_timeout: self.connect_timeout,
            read_timeout: self.read_timeout,
            max_bytes: self.max_bytes,
            min_bytes_per_second: self.min_bytes_per_second,
            throughput_window: self.throughput_window,
            resumes: self.resumes,
        }
    }
}

#[derive(Clone)]
pub struct Twilio {
    transport: Arc<Transport>,
    config: TwilioConfig,
}

impl fmt::Debug for Twilio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Twilio").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A recording's URL, put right, and whose it is.
#[derive(Debug, Clone)]
struct Place {
    url: Url,
    account: Option<AccountSid>,
}

impl Twilio {
    pub fn new(config: TwilioConfig) -> Result<Self, reqwest::Error> {
        Self::with_names(config, Arc::new(SystemNames))
    }

    /// `names`: for hosts that no setting names.
    pub fn with_names(config: TwilioConfig, names: Arc<dyn Names>) -> Result<Self, reqwest::Error> {
        Ok(Self { transport: Arc::new(Transport::new(config.network(), names)?), config })
    }

    /// Checked at the door; an application's SQL has another door.
    fn place(&self, recording_url: &str) -> Result<Place, Failure> {
        let url = self.config.bases.recording_url(recording_url);
        let url = url.map_err(|error| Failure::new(FailureCode::UrlRefused, error.to_string()))?;
        Ok(Place { account: sids(&url, self.config.sid_form).0, url })
    }

    async fn probe_account(&self, subject: &str) -> Result<(), Failure> {
        let sid = AccountSid::parse(subject, self.config.sid_form);
        let sid = sid.map_err(|error| Failure::new(FailureCode::Unauthorized, error.to_string()))?;
        let is_api_key = self.config.accounts.credentials(Some(&sid)).is_some_and(|found| found.is_api_key);
        let url = if is_api_key {
            // A key opens every resource of the account but the account itself (Twilio documentation, "API keys").
            let mut url = self.resource(&sid, &["Recordings.json"]);
            url.set_query(Some("PageSize=1"));
            url
        } else {
            self.account_resource(&sid)
        };
        let answer = self.transport.once(Method::GET, &url, Some(&sid)).await?;
        if answer.response.status().is_success() { Ok(()) } else { Err(answer.asked.refused(&answer.response)) }
    }
}

#[async_trait]
impl Provider for Twilio {
    async fn fetch(&self, order: &Order) -> Result<Media, Failure> {
        self.media(order).await
    }

    fn depends(&self, recording_url: &str) -> Vec<HoldKey> {
        let Ok(Place { url, account }) = self.place(recording_url) else { return Vec::new() };
        let account = account.or_else(|| self.config.accounts.main().map(|account| account.sid.clone()));
        let of_account =
            account.iter().flat_map(|sid| [HoldKey::account(sid.as_str()), HoldKey::rate(sid.as_str())]);
        of_account.chain([HoldKey::host_of(&url)]).collect()
    }

    async fn list(&self, period: &Period, page: Option<&str>) -> Result<ListedPage, Failure> {
        self.listed(period, page).await
    }

    async fn delete(&self, recording_url: &str) -> Result<(), Failure> {
        let Place { mut url, account } = self.place(recording_url)?;
        // The account's credentials delete whatever they are asked to: it is to be a recording.
        let is_recording = match sids(&url, self.config.sid_form) {
            (Some(_), Some(recording)) => url.path().ends_with(&format!("/Recordings/{recording}")),
            _ => false,
        };
        if !is_recording {
            return Err(Failure::new(
                FailureCode::UrlRefused,
                "nothing but a recording is deleted at the provider",
            ));
        }
        url.set_path(&format!("{}.json", url.path()));
        let answer = self.transport.once(Method::DELETE, &url, account.as_ref()).await?;
        match answer.response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
            _ => Err(answer.asked.refused(&answer.response)),
        }
    }

    async fn probe(&self, key: &HoldKey) -> Result<(), Failure> {
        match key.kind() {
            HoldKind::Account => self.probe_account(key.subject()).await,
            HoldKind::Host => self.transport.probe_host(key).await,
            // A rate ends by its time; the storage is not ours.
            HoldKind::Rate | HoldKind::Storage => Ok(()),
        }
    }
}
