//! The adapter for Twilio, without a process around it.

use super::{
    PATIENCE, Provider,
    process::{ACCOUNT_SID, AUTH_TOKEN},
};
use bytes::Bytes;
use callspool::{
    adapters::twilio::{Names, SystemNames, Twilio, TwilioConfig},
    domain::{
        account::{Account, Accounts},
        details::Details,
        failure::Failure,
        ids::{AccountSid, CallSid, SidForm},
        media::Forms,
        ports::{Media, Order, Provider as _},
        recording_url::ProviderBases,
    },
};
use futures_util::TryStreamExt;
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};

pub const MAX_BYTES: u64 = 20_000;

pub struct Setup {
    config: TwilioConfig,
    names: Arc<dyn Names>,
    pub order: Order,
}

impl Setup {
    /// The main account at this base; nothing is too slow.
    pub fn new(base: &str) -> Self {
        Self {
            config: TwilioConfig {
                bases: ProviderBases::new(base.parse().unwrap()),
                accounts: Accounts::new(Some(account(ACCOUNT_SID, AUTH_TOKEN)), []),
                sid_form: SidForm::Short,
                connect_timeout: Duration::from_secs(5),
                read_timeout: PATIENCE,
                max_bytes: MAX_BYTES,
                min_bytes_per_second: 0,
                throughput_window: Duration::from_secs(30),
                resumes: 3,
            },
            names: Arc::new(SystemNames),
            order: Order {
                recording_url: String::new(),
                call_sid: CallSid::parse("CA1", SidForm::Short).unwrap(),
                recording_sid: None,
                forms: Forms::default(),
                details: Details::default(),
            },
        }
    }

    pub fn config(mut self, change: impl FnOnce(&mut TwilioConfig)) -> Self {
        change(&mut self.config);
        self
    }

    pub fn forms(mut self, names: &[&str]) -> Self {
        self.order.forms = Forms::parse(names).unwrap();
        self
    }

    pub fn details(mut self, details: Details) -> Self {
        self.order.details = details;
        self
    }

    pub fn names(mut self, names: impl Names + 'static) -> Self {
        self.names = Arc::new(names);
        self
    }

    pub fn twilio(&self) -> Twilio {
        Twilio::with_names(self.config.clone(), Arc::clone(&self.names)).unwrap()
    }

    /// The answer for recording `RE{number}` of the main account, its body not read yet.
    pub async fn media(&self, number: u32) -> Result<Media, Failure> {
        self.media_at(&path(number)).await
    }

    pub async fn media_at(&self, recording_url: &str) -> Result<Media, Failure> {
        let order = Order { recording_url: recording_url.to_owned(), ..self.order.clone() };
        self.twilio().fetch(&order).await
    }

    /// Everything of it.
    pub async fn fetch(&self, number: u32) -> Result<Bytes, Failure> {
        self.fetch_at(&path(number)).await
    }

    pub async fn fetch_at(&self, recording_url: &str) -> Result<Bytes, Failure> {
        let chunks: Vec<Bytes> = self.media_at(recording_url).await?.stream.try_collect().await?;
        Ok(chunks.concat().into())
    }
}

/// Where recording `RE{number}` of the main account is.
pub fn path(number: u32) -> String {
    format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE{number}")
}

pub async fn fetch(base: &str, number: u32) -> Result<Bytes, Failure> {
    Setup::new(base).fetch(number).await
}

pub async fn failure(provider: &Provider, number: u32) -> Failure {
    fetch(provider.base(), number).await.unwrap_err()
}

pub fn account_sid(text: &str) -> AccountSid {
    AccountSid::parse(text, SidForm::Short).unwrap()
}

pub fn account(sid: &str, token: &str) -> Account {
    Account {
        sid: account_sid(sid),
        business_id: None,
        api_base: None,
        auth_tokens: vec![SecretString::from(token)],
        api_key: None,
    }
}
