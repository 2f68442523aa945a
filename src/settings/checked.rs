//! From checked values to [`Settings`], and the rules between them.

use super::{
    bucket_options,
    kind::{Value, ed25519_key, otlp_headers},
    layers::Vars,
    typed::{
        AudioSettings, CompletionSettings, DatabaseSettings, Environment, HoldSettings, HttpSettings, LogFormat,
        LogSettings, MappingSettings, MigrationSettings, Pooler, QueueSettings, ReconcileSettings,
        RecordingSettings, RetentionSettings, Roles, Rotation, Settings, ShutdownSettings, StorageSettings,
        SupervisionSettings, TelemetrySettings, TelnyxSettings, TranscriptionSettings, TwilioSettings,
        WorkerSettings,
    },
};
use crate::domain::{
    access::{ApiToken, LinkSecrets, MIN_SECRET},
    account::{Account, Accounts, ApiKey},
    completion::CompletionSecrets,
    faults::Faults,
    follow_up::Persistence,
    hold::HoldRules,
    ids::{AccountSid, BusinessId, SidForm},
    media::Forms,
    retry::RetryPolicy,
    storage_url::{StorageUrl, UploadChecksum},
    trace::Sampling,
};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use url::Url;

/// Values that passed the check of their kind, by path. A key that did not pass is missing here.
pub(super) struct Checked {
    environment: Environment,
    values: BTreeMap<&'static str, (Value, String)>,
    /// Of the sections; the main one among them, where it has one.
    accounts: Vec<Account>,
    faults: Faults,
    bucket_options: Vec<(String, SecretString)>,
}

impl Checked {
    pub(super) fn new(environment: Environment, accounts: Vec<Account>) -> Self {
        let (faults, bucket_options) = (Faults::default(), Vec::new());
        Self { environment, values: BTreeMap::new(), accounts, faults, bucket_options }
    }

    pub(super) fn insert(&mut self, path: &'static str, value: Value, origin: &str) {
        self.values.insert(path, (value, origin.to_owned()));
    }

    /// Takes what says how the bucket is reached from the variables that its service's own tools read.
    pub(super) fn bucket_options(&mut self, vars: &Vars, faults: &mut Vec<String>) {
        if let Some(StorageUrl::Bucket { service, .. }) = self.text("storage.url").and_then(StorageUrl::parse) {
            self.bucket_options = bucket_options::gather(service, vars, faults);
        }
    }

    /// What has to hold between keys.
    pub(super) fn rules(&self, faults: &mut Vec<String>) {
        let set = |path| self.values.contains_key(path);
        if !set("database.url") && !self.environment.embeds_database() {
            faults.push("database.url: DATABASE_URL is required outside development and test".to_owned());
        }
        self.pooler_rules(faults);
        self.account_rules(faults);
        // Whose a recording is, is told by the origin of its URL.
        let origin = |path| self.text(path).and_then(|url| url.parse::<Url>().ok()).map(|url| url.origin());
        if let (Some(twilio), Some(telnyx)) = (origin("twilio.api_base"), origin("telnyx.api_base"))
            && twilio == telnyx
        {
            let from = self.origin("telnyx.api_base");
            faults.push(format!(
                "telnyx.api_base (from {from}): it needs another scheme, host or port than twilio.api_base"
            ));
        }
        let serves_api = self.list("process.roles").is_some_and(|roles| roles.iter().any(|role| role == "api"));
        let bind = self.text("http.bind").and_then(|bind| bind.parse::<SocketAddr>().ok());
        let beyond_loopback = bind.is_some_and(|bind| !bind.ip().is_loopback());
        let has_token = set("http.api_token") || set("http.api_tokens");
        if serves_api && !has_token && beyond_loopback {
            let origin = self.origin("http.bind");
            faults.push(format!(
                "http.bind (from {origin}): without CALLSPOOL_API_TOKEN the role api may bind a loopback address only"
            ));
        }
        let is_short = self.text("http.api_token").is_some_and(|token| token.chars().count() < MIN_SECRET);
        if serves_api && is_short && beyond_loopback {
            let origin = self.origin("http.api_token");
            faults.push(format!(
                "http.api_token (from {origin}): a token has at least {MIN_SECRET} characters where http.bind is no \
                 loopback address"
            ));
        }
        self.token_rules(faults);
        if let Some(Err(error)) = self.list("recordings.forms").map(Forms::parse) {
            faults.push(format!("recordings.forms (from {}): {error}", self.origin("recordings.forms")));
        }
        self.after_rules(faults);
        self.at_least(faults, "queue.lease", "twilio.attempt_timeout", 1);
        if set("transcription.base_url") {
            self.at_least(faults, "twilio.attempt_timeout", "transcription.timeout", 1);
        } else if set("transcription.api_key") {
            faults.push(
                "transcription.base_url: CALLSPOOL_TRANSCRIPTION_KEY is set, and not whose key it is; set the address \
                 of its service too"
                    .to_owned(),
            );
        }
        self.at_least(faults, "queue.beat_ttl", "queue.beat_interval", 3);
        self.at_least(faults, "queue.poll_max", "queue.poll_min", 1);
        self.at_least(faults, "storage.sweep_age", "queue.lease", 1);
        self.at_least(faults, "retry.max", "retry.base", 1);
        self.at_least(faults, "holds.probe_max", "holds.probe_first", 1);
        self.at_least(faults, "completion.retry_max", "completion.retry_base", 1);
        self.at_least(faults, "supervision.backoff_max", "supervision.backoff_min", 1);
    }

    fn account_rules(&self, faults: &mut Vec<String>) {
        let sid = self.text("twilio.account_sid");
        let has_section = sid.is_some_and(|sid| {
            self.accounts.iter().any(|account| account.sid.as_str() == sid && account.credentials().is_some())
        });
        let is_set = |path| self.values.contains_key(path);
        let has_own = is_set("twilio.auth_token") || is_set("twilio.api_key");
        if (sid.is_some() && !has_own && !has_section) || (sid.is_none() && has_own) {
            faults.push(
                "twilio: TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN belong together; set both or none (TWILIO_API_KEY \
                 opens media too, but signs no webhook)"
                    .to_owned(),
            );
        }
        if let Some(Err(wrong)) = sid.map(|sid| AccountSid::parse(sid, self.sid_form())) {
            let origin = self.origin("twilio.account_sid");
            faults.push(format!("twilio.account_sid (from {origin}): allowed is {}", wrong.allowed));
        }
    }

    fn sid_form(&self) -> SidForm {
        match self.values.get("twilio.allow_short_sids") {
            Some((Value::Bool(true), _)) => SidForm::Short,
            _ => SidForm::Strict,
        }
    }

    /// The main account: of its variables, and of its section where it has one.
    fn accounts(&self) -> Accounts {
        let sid = self.text("twilio.account_sid").and_then(|sid| AccountSid::parse(sid, SidForm::Short).ok());
        let main = sid.map(|sid| {
            let section = self.accounts.iter().find(|account| account.sid == sid);
            let tokens = self.text("twilio.auth_token").and_then(Account::parse_tokens).unwrap_or_default();
            let key = self.text("twilio.api_key").and_then(|key| ApiKey::parse(key).ok());
            let of_section = section.map(|account| account.auth_tokens.clone()).unwrap_or_default();
            Account {
                business_id: section.and_then(|account| account.business_id),
                api_base: section.and_then(|account| account.api_base.clone()),
                auth_tokens: tokens.into_iter().chain(of_section).collect(),
                api_key: section.and_then(|account| account.api_key.clone()).or(key),
                sid,
            }
        });
        let is_main = |account: &&Account| main.as_ref().is_some_and(|main| main.sid == account.sid);
        let others: Vec<_> = self.accounts.iter().filter(|account| !is_main(account)).cloned().collect();
        Accounts::new(main, others)
    }

    fn token_rules(&self, faults: &mut Vec<String>) {
        let Some(list) = self.text("http.api_tokens") else { return };
        let wrong = match ApiToken::parse_list(list) {
            Err(wrong) => wrong,
            Ok(tokens) => {
                let default = self.text("http.api_token");
                let same = tokens.iter().any(|token| Some(token.secret.expose_secret()) == default);
                same.then(|| "CALLSPOOL_API_TOKEN is one of them".to_owned()).into_iter().collect()
            }
        };
        let from = self.origin("http.api_tokens");
        faults.extend(wrong.iter().map(|fault| format!("http.api_tokens (from {from}): {fault}")));
    }

    /// Of what is done after a recording is stored.
    fn after_rules(&self, faults: &mut Vec<String>) {
        let completion = self.text("completion.secret").map(CompletionSecrets::parse_list);
        let links = self.text("links.secret").map(LinkSecrets::parse_list);
        let wrong = [
            ("completion.secret", completion.as_ref().and_then(|parsed| parsed.as_ref().err())),
            ("links.secret", links.as_ref().and_then(|parsed| parsed.as_ref().err())),
        ];
        for (path, list) in wrong {
            let from = self.origin(path);
            faults.extend(list.into_iter().flatten().map(|fault| format!("{path} (from {from}): {fault}")));
        }
        if self.text("completion.url").is_some() && completion.is_none() {
            let from = self.origin("completion.url");
            faults.push(format!(
                "completion.url (from {from}): needs CALLSPOOL_COMPLETION_SECRET to sign what is told"
            ));
        }
    }

    /// A session's lock and LISTEN do not work through a transaction-mode pooler, and it refuses a session's settings.
    fn pooler_rules(&self, faults: &mut Vec<String>) {
        if !self.is_pooled() {
            return;
        }
        let fault = |text: &str| format!("database.pooler (from {}): {text}", self.origin("database.pooler"));
        let (pooled, direct) = (self.text("database.url"), self.text("migrations.database_url"));
        match direct {
            None => faults.push(fault(
                "transaction needs MIGRATION_DATABASE_URL, the database's direct address, for migrations and LISTEN",
            )),
            Some(_) if direct == pooled => faults.push(fault(
                "MIGRATION_DATABASE_URL is the pooler's address too; it has to be the database's direct one",
            )),
            Some(_) => {}
        }
        let options = pooled.and_then(|url| url.parse::<PgConnectOptions>().ok());
        if options.is_some_and(|options| options.get_options().is_some()) {
            faults.push(fault(
                "DATABASE_URL or PGOPTIONS sets options of the session, which no transaction-mode pooler keeps",
            ));
        }
    }

    fn is_pooled(&self) -> bool {
        self.text("database.pooler") == Some("transaction")
    }

    fn at_least(&self, faults: &mut Vec<String>, path: &'static str, other: &'static str, times: u32) {
        if let (Some(value), Some(bound)) = (self.duration_of(path), self.duration_of(other))
            && value < bound * times
        {
            let times = if times == 1 { String::new() } else { format!("{times} times ") };
            faults.push(format!("{path} (from {}): allowed is at least {times}{other}", self.origin(path)));
        }
    }

    /// `[[faults]]`, where this binary has them.
    #[cfg_attr(not(feature = "faults"), expect(clippy::unused_self, clippy::needless_pass_by_ref_mut))]
    pub(super) fn fault_rules(&mut self, rules: Vec<config::Value>, faults: &mut Vec<String>) {
        let parsed = rules.into_iter().map(config::Value::try_deserialize).collect::<Result<Vec<_>, _>>();
        match parsed {
            #[cfg(feature = "faults")]
            Ok(rules) => self.faults = Faults::new(rules),
            #[cfg(not(feature = "faults"))]
            Ok(rules) => {
                let _: Vec<crate::domain::faults::FaultRule> = rules;
            }
            Err(error) => faults.push(format!("faults: {error}")),
        }
    }

    /// Only after every key was found to be right.
    pub(super) fn settings(self) -> Settings {
        Settings {
            environment: self.environment,
            roles: Roles::from_names(self.list("process.roles").unwrap_or_default()),
            database: DatabaseSettings {
                url: self.secret("database.url"),
                pooler: if self.is_pooled() { Pooler::Transaction } else { Pooler::None },
                schema: self.string("database.schema"),
                pool_size: self.int("database.pool_size"),
                acquire_timeout: self.duration("database.acquire_timeout"),
                embedded_dir: self.string("database.embedded_dir").into(),
            },
            migrations: MigrationSettings {
                run: self.bool("migrations.run"),
                database_url: self.secret("migrations.database_url"),
                lock_wait: self.duration("migrations.lock_wait_seconds"),
                statement_timeout: self.duration("migrations.statement_timeout"),
                lock_timeout: self.duration("migrations.lock_timeout"),
                lock_id: self.int("migrations.lock_id"),
                retries: self.int("migrations.retries"),
                heal_interval: self.duration("migrations.heal_interval"),
                dir: self.text("migrations.dir").map(Into::into),
                protected_tables: self.list("migrations.protected_tables").unwrap_or_default().to_vec(),
            },
            http: HttpSettings {
                bind: self.parsed("http.bind"),
                api_tokens: self.api_tokens(),
                workers: self.int("http.workers"),
                body_limit: self.int("http.body_limit"),
                rate_limit: self.int("http.rate_limit"),
                rate_burst: self.int("http.rate_burst"),
                bulk_limit: self.int("http.bulk_limit"),
                time_limit: self.duration("http.time_limit"),
                public_url: self.text("http.public_url").and_then(|url| url.parse().ok()),
            },
            storage: self.storage(),
            recordings: RecordingSettings {
                // Whatever is wrong with them was told by the rules.
                forms: self.list("recordings.forms").and_then(|names| Forms::parse(names).ok()).unwrap_or_default(),
            },
            audio: AudioSettings { duration_tolerance: self.duration("audio.duration_tolerance") },
            log: LogSettings {
                dir: self.string("log.dir").into(),
                format: if self.string("log.format") == "json" { LogFormat::Json } else { LogFormat::Pretty },
                level: self.string("log.level"),
                rotation: if self.string("log.rotation") == "hourly" { Rotation::Hourly } else { Rotation::Daily },
                keep_files: self.int("log.keep_files"),
            },
            telemetry: self.telemetry(),
            twilio: self.twilio(),
            telnyx: self.telnyx(),
            mapping: self.mapping(),
            reconcile: ReconcileSettings {
                interval: self.duration("reconcile.interval"),
                look_back: self.duration("reconcile.look_back"),
            },
            transcription: self.transcription(),
            queue: self.queue(),
            worker: WorkerSettings { count: self.int("worker.count") },
            retry: RetryPolicy {
                base: self.duration("retry.base"),
                max: self.duration("retry.max"),
                factor: self.float("retry.factor"),
                jitter: self.float("retry.jitter"),
                not_ready_base: self.duration("retry.not_ready_base"),
                not_ready_max: self.duration("retry.not_ready_max"),
                not_ready_for: self.duration("retry.not_ready_for"),
                max_attempts: self.int("retry.max_attempts"),
            },
            holds: self.holds(),
            completion: self.completion(),
            retention: RetentionSettings {
                days: self.int("retention.days"),
                interval: self.duration("retention.interval"),
                delete_at_provider: self.bool("retention.delete_at_provider"),
            },
            audit_keep: self.duration("audit.keep"),
            link_secrets: self
                .text("links.secret")
                .and_then(|text| LinkSecrets::parse_list(text).ok())
                .unwrap_or_default(),
            supervision: SupervisionSettings {
                backoff_min: self.duration("supervision.backoff_min"),
                backoff_max: self.duration("supervision.backoff_max"),
                max_restarts: self.int("supervision.max_restarts"),
                window: self.duration("supervision.window"),
            },
            shutdown: ShutdownSettings { grace: self.duration("shutdown.grace_seconds") },
            faults: self.faults,
        }
    }

    fn api_tokens(&self) -> Vec<ApiToken> {
        let default = self.secret("http.api_token").map(ApiToken::unnamed);
        let named = self.text("http.api_tokens").and_then(|text| ApiToken::parse_list(text).ok());
        default.into_iter().chain(named.unwrap_or_default()).collect()
    }

    fn telemetry(&self) -> TelemetrySettings {
        let headers = self.text("telemetry.otlp_headers").and_then(otlp_headers).unwrap_or_default();
        let sampler = self.string("telemetry.sampler");
        let of_roots = sampler.strip_prefix("parentbased_").unwrap_or(&sampler);
        TelemetrySettings {
            otlp_endpoint: self.text("telemetry.otlp_endpoint").and_then(|url| url.parse().ok()),
            otlp_headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            service_name: self.string("telemetry.service_name"),
            sampling: Sampling {
                follows_parent: of_roots != sampler,
                share: match of_roots {
                    "always_on" => 1.0,
                    "always_off" => 0.0,
                    _ => self.float("telemetry.sampler_arg"),
                },
            },
        }
    }

    fn storage(&self) -> StorageSettings {
        StorageSettings {
            url: self.text("storage.url").and_then(StorageUrl::parse).unwrap_or_else(|| missing("storage.url")),
            options: self.bucket_options.clone(),
            fsync: self.bool("storage.fsync"),
            layout: self.parsed("storage.layout"),
            min_free: self.int("storage.min_free"),
            sweep_interval: self.duration("storage.sweep_interval"),
            sweep_age: self.duration("storage.sweep_age"),
            needs_conditions: self.string("storage.conditions") == "required",
            checksum: match self.string("storage.checksum").as_str() {
                "sha256" => UploadChecksum::Sha256,
                "crc64nvme" => UploadChecksum::Crc64Nvme,
                _ => UploadChecksum::None,
            },
            connect_timeout: self.duration("storage.connect_timeout"),
            request_timeout: self.duration("storage.request_timeout"),
            retries: self.int("storage.retries"),
        }
    }

    fn completion(&self) -> CompletionSettings {
        let secrets = self.text("completion.secret").and_then(|text| CompletionSecrets::parse_list(text).ok());
        CompletionSettings {
            url: self.text("completion.url").and_then(|url| url.parse().ok()),
            secrets: secrets.unwrap_or_default(),
            timeout: self.duration("completion.timeout"),
            persistence: Persistence {
                base: self.duration("completion.retry_base"),
                max: self.duration("completion.retry_max"),
                give_up_after: self.duration("completion.give_up_after"),
            },
            poll_interval: self.duration("completion.poll_interval"),
        }
    }

    fn twilio(&self) -> TwilioSettings {
        TwilioSettings {
            accounts: self.accounts(),
            api_base: self.parsed("twilio.api_base"),
            sid_form: self.sid_form(),
            connect_timeout: self.duration("twilio.connect_timeout"),
            read_timeout: self.duration("twilio.read_timeout"),
            attempt_timeout: self.duration("twilio.attempt_timeout"),
            max_bytes: self.int("twilio.max_bytes"),
            min_bytes_per_second: self.int("twilio.min_bytes_per_second"),
            throughput_window: self.duration("twilio.throughput_window"),
            resumes: self.int("twilio.resumes"),
        }
    }

    fn telnyx(&self) -> TelnyxSettings {
        TelnyxSettings {
            api_base: self.parsed("telnyx.api_base"),
            api_key: self.secret("telnyx.api_key"),
            public_key: self.text("telnyx.public_key").and_then(ed25519_key),
            media_base: self.text("telnyx.media_base").and_then(|url| url.parse().ok()),
            business_id: match self.values.get("telnyx.business_id") {
                Some((Value::Int(id), _)) => BusinessId::try_from(*id).ok(),
                _ => None,
            },
        }
    }

    fn mapping(&self) -> MappingSettings {
        MappingSettings {
            lookup: self.text("mapping.lookup_url").and_then(|url| url.parse().ok()),
            token: self.secret("mapping.lookup_token"),
            timeout: self.duration("mapping.lookup_timeout"),
        }
    }

    fn transcription(&self) -> TranscriptionSettings {
        TranscriptionSettings {
            base_url: self.text("transcription.base_url").and_then(|url| url.parse().ok()),
            api_key: self.secret("transcription.api_key"),
            model: self.string("transcription.model"),
            language: self.text("transcription.language").map(ToOwned::to_owned),
            timeout: self.duration("transcription.timeout"),
            max_bytes: self.int("transcription.max_bytes"),
        }
    }

    fn queue(&self) -> QueueSettings {
        QueueSettings {
            default_max_slots: self.int("queue.default_max_slots"),
            quantum: self.int("queue.quantum"),
            poll_min: self.duration("queue.poll_min"),
            poll_max: self.duration("queue.poll_max"),
            lease: self.duration("queue.lease"),
            beat_interval: self.duration("queue.beat_interval"),
            beat_ttl: self.duration("queue.beat_ttl"),
            reap_interval: self.duration("queue.reap_interval"),
            promote_interval: self.duration("queue.promote_interval"),
            history_keep: self.duration("queue.history_keep"),
            watch_interval: self.duration("queue.watch_interval"),
            stalled_after: self.duration("queue.stalled_after"),
            history_interval: self.duration("queue.history_interval"),
        }
    }

    fn holds(&self) -> HoldSettings {
        HoldSettings {
            rules: HoldRules {
                window: self.duration("holds.window"),
                min_failures: self.int("holds.min_failures"),
                failure_share: self.float("holds.failure_share"),
                probe_first: self.duration("holds.probe_first"),
                probe_max: self.duration("holds.probe_max"),
                account_probe: self.duration("holds.account_probe"),
                storage_probe: self.duration("holds.storage_probe"),
                rate_wait: self.duration("holds.rate_wait"),
            },
            refresh: self.duration("holds.refresh"),
        }
    }

    fn origin(&self, path: &str) -> &str {
        self.values.get(path).map_or("nowhere", |(_, origin)| origin)
    }

    fn text(&self, path: &str) -> Option<&str> {
        match self.values.get(path) {
            Some((Value::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    fn list(&self, path: &str) -> Option<&[String]> {
        match self.values.get(path) {
            Some((Value::List(list), _)) => Some(list),
            _ => None,
        }
    }

    fn duration_of(&self, path: &str) -> Option<Duration> {
        match self.values.get(path) {
            Some((Value::Duration(duration), _)) => Some(*duration),
            _ => None,
        }
    }

    fn secret(&self, path: &str) -> Option<SecretString> {
        self.text(path).map(SecretString::from)
    }

    // The rest is certain: every key without a variable for it has a default, and its kind says what it is. A test
    // loads each environment.

    fn string(&self, path: &str) -> String {
        self.text(path).unwrap_or_else(|| missing(path)).to_owned()
    }

    fn parsed<T: std::str::FromStr>(&self, path: &str) -> T {
        self.text(path).and_then(|text| text.parse().ok()).unwrap_or_else(|| missing(path))
    }

    fn duration(&self, path: &str) -> Duration {
        self.duration_of(path).unwrap_or_else(|| missing(path))
    }

    fn int<T: TryFrom<i64>>(&self, path: &str) -> T {
        match self.values.get(path) {
            Some((Value::Int(number), _)) => T::try_from(*number).unwrap_or_else(|_| missing(path)),
            _ => missing(path),
        }
    }

    fn float(&self, path: &str) -> f64 {
        match self.values.get(path) {
            Some((Value::Float(number), _)) => *number,
            _ => missing(path),
        }
    }

    fn bool(&self, path: &str) -> bool {
        match self.values.get(path) {
            Some((Value::Bool(on), _)) => *on,
            _ => missing(path),
        }
    }
}

fn missing(path: &str) -> ! {
    unreachable!("{path} has a default of its kind in config/default.toml")
}
