//! Who tells the fleet of recordings: the provider's signed webhooks, applications in SQL, operators with the command
//! line; and the list of what was answered with success.

use crate::{
    checker::Wanted, fleet::DOORS, provider::Provider, recordings::Recording, support::process::AUTH_TOKEN,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command, task::JoinSet};
use url::form_urlencoded;

/// Between two recordings.
const PACE: Duration = Duration::from_millis(120);
/// Of more that are not served yet nobody is told.
const BACKLOG: usize = 100;
/// Tries of one webhook, and what lies between them.
const TRIES: u32 = 30;
const TRY_AGAIN: Duration = Duration::from_millis(400);

/// What was told, and what came of it. Clones are the same.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    /// Whether it was accepted, by number.
    recordings: BTreeMap<u32, bool>,
    undone: Vec<u32>,
}

impl Ledger {
    /// Before anything is sent: from now on it may be there.
    pub fn begins(&self, number: u32) {
        self.0.lock().unwrap().recordings.entry(number).or_insert(false);
    }

    pub fn accepted(&self, number: u32) {
        self.0.lock().unwrap().recordings.insert(number, true);
    }

    fn undone(&self, number: u32) {
        self.0.lock().unwrap().undone.push(number);
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().recordings.values().filter(|accepted| **accepted).count()
    }

    pub fn wanted(&self, seed: u64) -> Vec<Wanted> {
        let wanted = |(number, accepted): (&u32, &bool)| {
            let recording = Recording::new(seed, *number);
            Wanted {
                business_id: recording.business_id,
                call_sid: recording.call_sid(),
                recording_sid: recording.recording_sid(),
                extension: recording.extension(),
                sha256: Sha256::digest(recording.media()).into(),
                accepted: *accepted,
            }
        };
        self.0.lock().unwrap().recordings.iter().map(wanted).collect()
    }

    pub fn undone_sids(&self, seed: u64) -> Vec<String> {
        let undone = &self.0.lock().unwrap().undone;
        undone.iter().map(|number| Recording::new(seed, *number).recording_sid()).collect()
    }
}

/// How the fleet is told.
#[derive(Clone)]
pub struct Caller {
    pub seed: u64,
    pub provider: Provider,
    /// Of the processes that take in webhooks.
    pub doors: Vec<String>,
    /// Straight to the database.
    pub sql: PgPool,
    pub database_url: String,
    pub ledger: Ledger,
    http: reqwest::Client,
}

impl Caller {
    pub fn new(seed: u64, provider: Provider, urls: &[String], sql: PgPool, database_url: String) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build().unwrap();
        let doors = DOORS.map(|place| urls[place].clone()).to_vec();
        Self { seed, provider, doors, sql, database_url, ledger: Ledger::default(), http }
    }

    /// Until it is aborted.
    pub async fn call_all(self) {
        let mut random = SmallRng::seed_from_u64(self.seed.wrapping_add(2));
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Those under way end with this.
        let mut calls = JoinSet::new();
        for number in 1.. {
            let draw = random.random_range(0..100);
            pace.tick().await;
            while self.ledger.count().saturating_sub(self.provider.served()) > BACKLOG {
                pace.tick().await;
            }
            let caller = self.clone();
            calls.spawn(async move { caller.tell(number, draw).await });
            while calls.try_join_next().is_some() {}
        }
    }

    /// `draw` of a hundred says how.
    async fn tell(&self, number: u32, draw: u8) {
        let recording = Recording::new(self.seed, number);
        match draw {
            0..12 => self.enqueue_in_sql(&recording).await,
            12..16 => self.undo_in_sql(&recording).await,
            16..20 => self.enqueue_by_command(&recording).await,
            // The provider calls twice, at both doors.
            20..26 => _ = tokio::join!(self.call(&recording, 0), self.call(&recording, 1)),
            _ => _ = self.call(&recording, usize::from(draw)).await,
        }
    }

    /// Again and again, at one door and the other.
    async fn call(&self, recording: &Recording, first: usize) -> bool {
        for time in 0..TRIES as usize {
            if self.call_once(recording, &self.doors[(first + time) % self.doors.len()]).await {
                return true;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        false
    }

    /// One signed webhook; whether it was accepted.
    pub async fn call_once(&self, recording: &Recording, door: &str) -> bool {
        let url = format!("{door}/webhooks/twilio/recording?business_id={}", recording.business_id);
        let fields = [
            ("AccountSid", recording.account().to_owned()),
            ("CallSid", recording.call_sid()),
            ("RecordingSid", recording.recording_sid()),
            ("RecordingStatus", "completed".to_owned()),
            ("RecordingUrl", self.provider.url(recording)),
        ];
        // Twilio, "Webhooks security": the URL, and each field's name and value in the order of names.
        let mut mac = Hmac::<Sha1>::new_from_slice(AUTH_TOKEN.as_bytes()).unwrap();
        mac.update(url.as_bytes());
        for (name, value) in &fields {
            mac.update(format!("{name}{value}").as_bytes());
        }
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let request = self.http.post(&url).header("Content-Type", "application/x-www-form-urlencoded");
        self.ledger.begins(recording.number);
        let answer = request.header("X-Twilio-Signature", signature).body(form).send().await;
        let is_accepted = answer.is_ok_and(|answer| answer.status().is_success());
        if is_accepted {
            self.ledger.accepted(recording.number);
        }
        is_accepted
    }

    async fn enqueue_in_sql(&self, recording: &Recording) {
        self.ledger.begins(recording.number);
        if self.in_transaction(recording, true).await.is_ok() {
            self.ledger.accepted(recording.number);
        }
    }

    async fn undo_in_sql(&self, recording: &Recording) {
        self.ledger.undone(recording.number);
        _ = self.in_transaction(recording, false).await;
    }

    async fn in_transaction(&self, recording: &Recording, commits: bool) -> Result<(), sqlx::Error> {
        let mut transaction = self.sql.begin().await?;
        sqlx::query("select enqueue(business_id => $1, call_sid => $2, recording_url => $3)")
            .bind(recording.business_id)
            .bind(recording.call_sid())
            .bind(self.provider.url(recording))
            .execute(&mut *transaction)
            .await?;
        tokio::time::sleep(Duration::from_millis(30)).await;
        if commits { transaction.commit().await } else { transaction.rollback().await }
    }

    async fn enqueue_by_command(&self, recording: &Recording) {
        let line = serde_json::json!({
            "business_id": recording.business_id,
            "call_sid": recording.call_sid(),
            "recording_url": self.provider.url(recording),
        });
        self.ledger.begins(recording.number);
        let mut command = Command::new(env!("CARGO_BIN_EXE_callspool"));
        command.args(["enqueue", "--file", "-"]).env_clear().current_dir(env!("CARGO_TARGET_TMPDIR"));
        command.env("CALLSPOOL_ENV", "test").env("DATABASE_URL", &self.database_url);
        command.env("TWILIO_API_BASE", &self.provider.base);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that cannot reach the database closes it.
        _ = stdin.write_all(line.to_string().as_bytes()).await;
        drop(stdin);
        if child.wait().await.is_ok_and(|status| status.success()) {
            self.ledger.accepted(recording.number);
        }
    }
}
