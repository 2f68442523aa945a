//! The provider's side of the webhook: a signed form for each recording.

use super::{
    scenario::Recording,
    twilio::{Credentials, SimulatedTwilio},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use secrecy::SecretString;
use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};
use url::form_urlencoded;

/// Callbacks under way at one time.
const AT_ONCE: usize = 8;
/// Tries for each callback, as a provider with retries configured.
const TRIES: u32 = 5;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Makes the signature of a request: token, URL, fields.
pub type Sign = fn(&SecretString, &str, &[(String, String)]) -> String;

pub struct Caller {
    client: reqwest::Client,
    target: String,
    credentials: Credentials,
    sign: Sign,
}

impl Caller {
    /// `target`: scheme, host and port of the process under show.
    pub fn new(target: String, credentials: Credentials, sign: Sign) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { client, target, credentials, sign })
    }

    /// Waits until the process says that it is ready.
    pub async fn wait_until_ready(&self) {
        let url = format!("{}/readyz", self.target);
        while !self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the process says of its readiness, in its own words.
    pub async fn readiness(&self) -> String {
        let answer = async { self.client.get(format!("{}/readyz", self.target)).send().await?.text().await };
        answer.await.unwrap_or_else(|_| "it does not answer".to_owned())
    }

    /// Reports every recording; returns when each was reported, by call.
    pub async fn report_all(
        &self,
        twilio: &SimulatedTwilio,
        recordings: &[Recording],
    ) -> Result<HashMap<String, SystemTime>, String> {
        let calls = recordings.iter().map(|recording| self.report(twilio, recording));
        // Collected first: a stream over a closure that borrows is not Send for every lifetime.
        stream::iter(calls.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await
    }

    async fn report(
        &self,
        twilio: &SimulatedTwilio,
        recording: &Recording,
    ) -> Result<(String, SystemTime), String> {
        let reported = SystemTime::now();
        let url = format!("{}/webhooks/twilio/recording?business_id={}", self.target, recording.business_id);
        let fields = [
            ("AccountSid", self.credentials.account_sid.to_string()),
            ("CallSid", recording.call_sid.to_string()),
            ("RecordingSid", recording.recording_sid.to_string()),
            ("RecordingUrl", twilio.recording_url(recording)),
            ("RecordingStatus", "completed".to_owned()),
            ("RecordingChannels", recording.channels().to_string()),
            ("RecordingDuration", recording.seconds().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let signature = (self.sign)(&self.credentials.auth_token, &url, &fields);
        let form: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let mut last = String::new();
        for _ in 0..TRIES {
            let request = self
                .client
                .post(&url)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .header("X-Twilio-Signature", &signature)
                .body(form.clone());
            match request.send().await {
                Ok(answer) if answer.status().is_success() => {
                    return Ok((recording.call_sid.to_string(), reported));
                }
                Ok(answer) => last = format!("answered {}", answer.status()),
                Err(_) => "was not reached".clone_into(&mut last),
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        Err(format!("the webhook for {} {last}", recording.call_sid))
    }
}
