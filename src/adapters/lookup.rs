//! The customer's lookup service over HTTP: `GET mapping.lookup_url?call_sid=…&account_sid=…` answers 200 with
//! `{"business_id": 42}`, or 404 where it does not know the call. Everything else is no answer.

use crate::domain::{
    failure::{Failure, FailureCode},
    ids::{BusinessId, RecordingSid},
    mapping::CallFacts,
    ports::BusinessLookup,
};
use async_trait::async_trait;
use reqwest::{Client, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::time::Duration;
use url::Url;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 4_096;

#[derive(Debug, Clone)]
pub struct LookupConfig {
    /// Trusted as it is; what it has of a query stays.
    pub url: Url,
    /// Sent as a bearer token.
    pub token: Option<SecretString>,
    /// Of the whole question.
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct HttpLookup {
    client: Client,
    config: LookupConfig,
}

#[derive(Deserialize)]
struct Answer {
    business_id: BusinessId,
}

impl HttpLookup {
    /// No redirects: the token goes to the configured service and to nobody else.
    pub fn new(config: LookupConfig) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("callspool/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(config.timeout)
            .build()?;
        Ok(Self { client, config })
    }

    fn question(&self, call: &CallFacts) -> Url {
        let mut url = self.config.url.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("call_sid", call.call_sid.as_str());
            query.append_pair("account_sid", call.account_sid.as_str());
            let more = [
                ("recording_sid", call.recording_sid.as_ref().map(RecordingSid::as_str)),
                ("from", call.from.as_deref()),
                ("to", call.to.as_deref()),
            ];
            for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                query.append_pair(name, value);
            }
        }
        url
    }
}

#[async_trait]
impl BusinessLookup for HttpLookup {
    async fn business_of(&self, call: &CallFacts) -> Result<Option<BusinessId>, Failure> {
        let mut request = self.client.get(self.question(call));
        if let Some(token) = &self.config.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let mut response = request.send().await.map_err(|error| broken(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            other => {
                let text = format!("the lookup service answered {}", other.as_u16());
                return Err(Failure::new(FailureCode::HttpStatus, text).http_status(other.as_u16()));
            }
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                let text = format!("the lookup service answered more than {MAX_ANSWER} bytes");
                return Err(Failure::new(FailureCode::HttpStatus, text));
            }
        }
        answered(&body).map(Some)
    }
}

pub(super) fn answered(body: &[u8]) -> Result<BusinessId, Failure> {
    let wrong = |_| {
        let text = "the lookup service answered something else than {\"business_id\": N} with a positive N";
        Failure::new(FailureCode::HttpStatus, text)
    };
    let answer: Answer = serde_json::from_slice(body).map_err(wrong)?;
    Ok(answer.business_id)
}

fn broken(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::new(FailureCode::Timeout, "the lookup service took too long")
    } else if error.is_connect() {
        Failure::new(FailureCode::Network, "the lookup service cannot be reached")
    } else {
        Failure::new(FailureCode::Network, "the connection to the lookup service broke")
    }
}
