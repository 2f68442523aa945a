//! The customer's system over HTTP: a POST signed as Standard Webhooks want it.
//!
//! A business's own URL is untrusted: it may name a place inside. Each address that its name resolves to is looked at, and
//! the one that was looked at is connected to. Nothing of an answer is read but its status and `Retry-After`, and no
//! redirect is followed.

use super::transport::{AddressRefused, PublicNames, SystemNames, retry_after};
use crate::domain::{
    completion::{Announcement, CompletionRules, CompletionSecrets, NotTold},
    ports::Announcer,
};
use async_trait::async_trait;
use chrono::Utc;
use reqwest::{Client, ClientBuilder, StatusCode, header, redirect};
use std::{sync::Arc, time::Duration};
use url::Url;

/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

#[derive(Debug, Clone)]
pub struct CompletionConfig {
    pub rules: CompletionRules,
    pub secrets: CompletionSecrets,
    /// Longest time of one announcement.
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct CompletionSender {
    /// For what is at the configured origin.
    trusted: Client,
    /// For everybody else's.
    guarded: Client,
    config: CompletionConfig,
}

impl CompletionSender {
    /// The proxies of the environment are not used: they would be asked to reach what is refused here.
    pub fn new(config: CompletionConfig) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("callspool/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .redirect(redirect::Policy::none())
                .connect_timeout(config.timeout)
                .timeout(config.timeout)
        };
        let guarded: ClientBuilder =
            builder().https_only(true).dns_resolver(PublicNames::new(Arc::new(SystemNames)));
        Ok(Self { trusted: builder().build()?, guarded: guarded.build()?, config })
    }

    /// Where to, with which client and which secrets.
    fn route(&self, announcement: &Announcement) -> Result<(Url, &Client, CompletionSecrets), NotTold> {
        let CompletionConfig { rules, secrets, .. } = &self.config;
        if secrets.are_none() {
            return Err(NotTold::new("no_secret", "CALLSPOOL_COMPLETION_SECRET is not set"));
        }
        let Some(url) = &announcement.url else {
            let url = rules.trusted.clone();
            let nowhere = || NotTold { stop: true, ..NotTold::new("nowhere", "no URL is configured any more") };
            return Ok((url.ok_or_else(nowhere)?, &self.trusted, secrets.clone()));
        };
        // Checked when it was set; an application's SQL has another door.
        let url = rules.check(url).map_err(|fault| NotTold::new("url_refused", fault))?;
        let client = if rules.trusts(&url) { &self.trusted } else { &self.guarded };
        Ok((url, client, secrets.of_business(announcement.business_id)))
    }
}

#[async_trait]
impl Announcer for CompletionSender {
    async fn announce(&self, announcement: &Announcement) -> Result<u16, NotTold> {
        let (url, client, secrets) = self.route(announcement)?;
        let (event_id, timestamp) = (announcement.event_id.to_string(), Utc::now().timestamp());
        let signature = secrets.signature(&event_id, timestamp, &announcement.body);
        let request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", event_id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(announcement.body.clone());
        // The answer's body is not read: dropping it ends the connection.
        let answer = request.send().await.map_err(|error| transport(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(status.as_u16());
        }
        let not_told = NotTold::new(
            if status == StatusCode::GONE { "gone" } else { "http_status" },
            format!("the receiver answered {}", status.as_u16()),
        );
        Err(NotTold {
            retry_after: retry_after(answer.headers(), MAX_RETRY_AFTER),
            stop: status == StatusCode::GONE,
            out_of_reach: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
            ..not_told
        })
    }
}

/// Without the URL, which may hold a secret.
fn transport(error: &reqwest::Error) -> NotTold {
    if let Some(refused) = AddressRefused::behind(error) {
        return NotTold::new("url_refused", refused.to_string());
    }
    let (reason, text) = if error.is_timeout() {
        ("timeout", "the receiver took too long")
    } else if error.is_connect() {
        ("network", "the receiver cannot be reached")
    } else {
        ("network", "the connection to the receiver broke")
    };
    NotTold { out_of_reach: true, ..NotTold::new(reason, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(trusted: Option<&str>) -> CompletionSender {
        let rules = CompletionRules { trusted: trusted.map(|url| url.parse().unwrap()), signs: true };
        let secrets = CompletionSecrets::parse_list("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        CompletionSender::new(CompletionConfig { rules, secrets, timeout: Duration::from_secs(5) }).unwrap()
    }

    async fn told(sender: &CompletionSender, url: Option<&str>) -> &'static str {
        let announcement = Announcement {
            event_id: uuid::Uuid::nil(),
            business_id: 1.try_into().unwrap(),
            url: url.map(ToOwned::to_owned),
            body: "{}".to_owned(),
        };
        sender.announce(&announcement).await.unwrap_err().reason
    }

    #[tokio::test]
    async fn a_place_inside_is_not_connected_to_by_whatever_name() {
        let trusts_elsewhere =
            CompletionRules { trusted: Some("https://localhost:1/".parse().unwrap()), signs: true };
        assert!(trusts_elsewhere.check("https://localhost:2/").is_err(), "and not by its name at the door");
        assert_eq!(told(&sender(None), Some("https://10.0.0.1/")).await, "url_refused");
        assert_eq!(told(&sender(None), None).await, "nowhere");
    }
}
