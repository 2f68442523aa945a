//! Telnyx' REST API of recordings (Telnyx documentation, "Call recordings"): what it answers, and what its refusals mean.

use crate::{
    adapters::{right::right, transport::Asked},
    domain::{
        failure::{Failure, FailureCode},
        hold::HoldKey,
        ids::AccountSid,
        provider::ProviderName,
    },
};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;
use url::Url;

/// The largest answer that is read, in bytes: a page has 250 recordings of a few kilobytes.
const MAX_ANSWER: usize = 4 << 20;

/// A recording, as far as we look at it. Without its ids it is none; anything else may be missing or odd.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Recording {
    pub(super) id: Option<String>,
    pub(super) call_session_id: Option<String>,
    #[serde(deserialize_with = "right")]
    pub(super) channels: Option<String>,
    #[serde(deserialize_with = "right")]
    pub(super) duration_millis: Option<i64>,
    #[serde(rename = "recording_started_at", deserialize_with = "right")]
    pub(super) started_at: Option<String>,
    /// `completed`, where there is something to fetch.
    #[serde(deserialize_with = "right")]
    pub(super) status: Option<String>,
    #[serde(deserialize_with = "right")]
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
pub(super) struct Resource {
    pub(super) data: Recording,
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
        let key = self.key.as_ref().ok_or_else(|| {
            let account = HoldKey::account(ProviderName::Telnyx.as_str());
            Failure::new(FailureCode::Unauthorized, "no TELNYX_API_KEY is configured").blame(account)
        })?;
        let response = request.bearer_auth(key.expose_secret()).timeout(self.patience).send().await;
        let response = response.map_err(|error| self.asked().broke(error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.asked().refused(&response)) }
    }

    fn asked(&self) -> Asked {
        Asked { account: Some(AccountSid::telnyx()), host: HoldKey::host_of(&self.base) }
    }

    async fn read<T: DeserializeOwned>(&self, mut answer: Response) -> Result<T, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.asked().broke(error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(Failure::new(
                    FailureCode::HttpStatus,
                    format!("Telnyx answered more than {MAX_ANSWER} bytes"),
                ));
            }
        }
        read(&body)
    }
}

/// The parser's words may repeat what came, pre-signed URLs among it.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|_| Failure::new(FailureCode::HttpStatus, "Telnyx answered something else than its recordings"))
}
