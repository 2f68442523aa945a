//! The way to a pre-signed URL, which Telnyx' answer named: without credentials, and only to public https hosts and
//! configured bases.

use crate::{
    adapters::transport::{Network, SystemNames, Transport},
    domain::{
        failure::{Failure, FailureCode},
        hold::HoldKey,
        media::Form,
        ports::Media,
    },
};
use reqwest::{StatusCode, header::HeaderMap};
use std::sync::Arc;
use url::Url;

/// Why there are no media.
pub(super) enum Refusal {
    /// The URL may have run out: a fresh one may be better.
    Expired(Failure),
    Other(Failure),
}

#[derive(Clone)]
pub(super) struct MediaDoor(Arc<Transport>);

impl MediaDoor {
    /// `network` has no accounts: nobody's credentials go along.
    pub(super) fn new(network: Network) -> Result<Self, reqwest::Error> {
        Ok(Self(Arc::new(Transport::new(network, Arc::new(SystemNames))?)))
    }

    pub(super) async fn open(&self, url: &Url, form: Form) -> Result<Media, Refusal> {
        let answer = self.0.get(url, None, &HeaderMap::new()).await.map_err(Refusal::Other)?;
        let status = answer.response.status();
        if status == StatusCode::OK {
            return self.0.media(answer, url.clone(), None, form).map_err(Refusal::Other);
        }
        let failure = answer.asked.refused(&answer.response);
        Err(match status {
            // No credentials of ours were asked for.
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Refusal::Expired(Failure { code: FailureCode::HttpStatus, ..failure })
            }
            // The resource says that the recording is there.
            StatusCode::GONE => Refusal::Other(Failure { code: FailureCode::NotReady, ..failure }),
            _ => Refusal::Other(failure),
        })
    }

    pub(super) async fn probe(&self, host: &HoldKey) -> Result<(), Failure> {
        self.0.probe_host(host).await
    }
}
