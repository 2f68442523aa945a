//! Who brings recordings in: by `POST /v1/jobs` and by Twilio's webhook.

use crate::support::process::{ACCOUNT_SID, AUTH_TOKEN};
use callspool::http::sign;
use secrecy::SecretString;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet, time::MissedTickBehavior};
use url::form_urlencoded;

/// Requests of the harness under way at a time; what is due beyond that is not sent, and counted.
const OPEN: usize = 3_000;
const TICK: Duration = Duration::from_millis(5);

/// What became of what was sent.
#[derive(Debug, Default)]
pub struct Tally {
    pub accepted: AtomicU32,
    pub shed: AtomicU32,
    /// Shed without saying when to come again.
    pub shed_silently: AtomicU32,
    pub timeouts: AtomicU32,
    pub other: AtomicU32,
    pub unsent: AtomicU32,
    /// Milliseconds until an answer with 202.
    pub waits: Mutex<Vec<f64>>,
    /// Numbers of the recordings that were accepted.
    pub numbers: Mutex<Vec<u32>>,
}

/// Cheap to clone; each clone counts on.
#[derive(Clone)]
pub struct Senders {
    url: String,
    http: reqwest::Client,
    next: Arc<AtomicU32>,
    businesses: u32,
    pub tally: Arc<Tally>,
}

impl Senders {
    /// Of recordings of so many businesses, from number 1 on.
    pub fn new(url: &str, businesses: u32) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        Self { url: url.to_owned(), http, next: Arc::new(AtomicU32::new(1)), businesses, tally: Arc::default() }
    }

    /// Counted anew; the numbers go on.
    pub fn again(&self) -> Self {
        Self { tally: Arc::default(), ..self.clone() }
    }

    fn job(&self, number: u32) -> reqwest::RequestBuilder {
        let business = number % self.businesses + 1;
        let body = format!(
            r#"{{"business_id":{business},"call_sid":"CA{number}","recording_url":"/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE{number}"}}"#
        );
        self.http.post(format!("{}/v1/jobs", self.url)).header("Content-Type", "application/json").body(body)
    }

    fn webhook(&self, number: u32) -> reqwest::RequestBuilder {
        let business = number % self.businesses + 1;
        let url = format!("{}/webhooks/twilio/recording?business_id={business}", self.url);
        let fields = [
            ("AccountSid", ACCOUNT_SID.to_owned()),
            ("CallSid", format!("CA{number}")),
            ("RecordingSid", format!("RE{number}")),
            ("RecordingUrl", format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE{number}")),
            ("RecordingStatus", "completed".to_owned()),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        let signature = sign(&SecretString::from(AUTH_TOKEN), &url, &fields);
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let request = self.http.post(url).header("X-Twilio-Signature", signature);
        request.header("Content-Type", "application/x-www-form-urlencoded").body(form)
    }

    /// One request, every other one a webhook; whether it was accepted.
    pub async fn send(&self) -> bool {
        let number = self.next.fetch_add(1, Relaxed);
        let request = if number.is_multiple_of(2) { self.job(number) } else { self.webhook(number) };
        let began = Instant::now();
        let answer = request.send().await;
        let count = match &answer {
            Ok(answer) if answer.status() == 202 => {
                self.tally.waits.lock().unwrap().push(began.elapsed().as_secs_f64() * 1000.0);
                self.tally.numbers.lock().unwrap().push(number);
                &self.tally.accepted
            }
            Ok(answer) if answer.status() == 503 || answer.status() == 429 => {
                if answer.headers().get("retry-after").is_none() {
                    self.tally.shed_silently.fetch_add(1, Relaxed);
                }
                &self.tally.shed
            }
            Err(error) if error.is_timeout() => &self.tally.timeouts,
            _ => &self.tally.other,
        };
        count.fetch_add(1, Relaxed);
        // The connection is used again only after the whole answer.
        if let Ok(answer) = answer {
            let _ = answer.bytes().await;
        }
        std::ptr::eq(count, &raw const self.tally.accepted)
    }

    /// `rate` a second for `time`, whatever the answers are.
    pub async fn open_loop(&self, rate: f64, time: Duration) {
        let (began, open) = (Instant::now(), Arc::new(Semaphore::new(OPEN)));
        let (mut sent, mut requests) = (0.0, JoinSet::new());
        let mut pace = tokio::time::interval(TICK);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while began.elapsed() < time {
            pace.tick().await;
            while sent < rate * began.elapsed().as_secs_f64() {
                sent += 1.0;
                let Ok(place) = Arc::clone(&open).try_acquire_owned() else {
                    self.tally.unsent.fetch_add(1, Relaxed);
                    continue;
                };
                let sender = self.clone();
                requests.spawn(async move {
                    sender.send().await;
                    drop(place);
                });
            }
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
    }
}
