//! All telephony providers behind one: each request goes to the one whose it is.

use crate::domain::{
    failure::{Failure, FailureCode},
    hold::{HoldKey, HoldKind},
    ports::{ListedPage, Media, Order, Period, Provider},
    provider::ProviderName,
    recording_url::ProviderBases,
};
use async_trait::async_trait;
use std::sync::Arc;
use url::Url;

/// Cheap to clone.
#[derive(Clone)]
pub struct Providers {
    bases: ProviderBases,
    twilio: Arc<dyn Provider>,
    telnyx: Arc<dyn Provider>,
}

impl Providers {
    /// `bases` say whose a recording's URL is.
    pub fn new(bases: ProviderBases, twilio: Arc<dyn Provider>, telnyx: Arc<dyn Provider>) -> Self {
        Self { bases, twilio, telnyx }
    }

    fn named(&self, name: ProviderName) -> &dyn Provider {
        match name {
            ProviderName::Twilio => &*self.twilio,
            ProviderName::Telnyx => &*self.telnyx,
        }
    }

    /// By the URL's origin.
    fn of(&self, recording_url: &str) -> Option<&dyn Provider> {
        let url = Url::parse(recording_url).ok()?;
        self.bases.provider_of(&url).map(|name| self.named(name))
    }

    /// A path without a host, and what is nobody's: Twilio's adapter puts the one right and says what is wrong with the
    /// other.
    fn of_or_twilio(&self, recording_url: &str) -> &dyn Provider {
        self.of(recording_url).unwrap_or(&*self.twilio)
    }

    /// By the account's name, else by the host: one that is no base of Twilio's is Telnyx', whose media lie elsewhere.
    fn of_key(&self, key: &HoldKey) -> Option<ProviderName> {
        let is_telnyx = match key.kind() {
            HoldKind::Storage => return None,
            HoldKind::Account | HoldKind::Rate => key.subject() == ProviderName::Telnyx.as_str(),
            HoldKind::Host => {
                let is_host = |url: &Url| HoldKey::host_of(url) == *key;
                let base = self.bases.iter().find(|base| is_host(base.url()));
                base.is_none_or(|base| self.bases.telnyx() == Some(base))
            }
        };
        Some(if is_telnyx { ProviderName::Telnyx } else { ProviderName::Twilio })
    }
}

#[async_trait]
impl Provider for Providers {
    async fn fetch(&self, order: &Order) -> Result<Media, Failure> {
        self.of_or_twilio(&order.recording_url).fetch(order).await
    }

    fn depends(&self, recording_url: &str) -> Vec<HoldKey> {
        self.of_or_twilio(recording_url).depends(recording_url)
    }

    async fn list(&self, period: &Period, page: Option<&str>) -> Result<ListedPage, Failure> {
        let is_telnyx = period.account == ProviderName::Telnyx.as_str();
        let name = if is_telnyx { ProviderName::Telnyx } else { ProviderName::Twilio };
        self.named(name).list(period, page).await
    }

    async fn delete(&self, recording_url: &str) -> Result<(), Failure> {
        self.of_or_twilio(recording_url).delete(recording_url).await
    }

    async fn probe(&self, key: &HoldKey) -> Result<(), Failure> {
        match self.of_key(key) {
            Some(name) => self.named(name).probe(key).await,
            None => Err(Failure::new(FailureCode::StorageError, "the storage is no provider's")),
        }
    }
}
