//! The settings as the program sees them.

use super::keys::ENVIRONMENTS;
use crate::domain::{
    access::{ApiToken, LinkSecrets},
    account::Accounts,
    completion::{CompletionRules, CompletionSecrets},
    faults::Faults,
    follow_up::Persistence,
    hold::HoldRules,
    ids::{BusinessId, SidForm},
    layout::Layout,
    media::Forms,
    recording_url::ProviderBases,
    retry::RetryPolicy,
    storage_url::{StorageUrl, UploadChecksum},
    trace::Sampling,
};
use secrecy::SecretString;
use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};
use url::Url;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    Development,
    Test,
    Staging,
    Production,
}

impl Environment {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let all = [Self::Development, Self::Test, Self::Staging, Self::Production];
        all.into_iter().zip(ENVIRONMENTS).find(|(_, known)| **known == name).map(|(environment, _)| environment)
    }

    /// Whether a PostgreSQL is started where none is configured.
    pub fn embeds_database(self) -> bool {
        matches!(self, Self::Development | Self::Test)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Api,
    Webhooks,
    Worker,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Webhooks => "webhooks",
            Self::Worker => "worker",
        })
    }
}

/// What a process does; never nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

impl Roles {
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }

    pub(super) fn from_names(names: &[String]) -> Self {
        let all = [Role::Api, Role::Webhooks, Role::Worker];
        Self(all.into_iter().filter(|role| names.contains(&role.to_string())).collect())
    }
}

/// Checked settings. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Settings {
    pub environment: Environment,
    pub roles: Roles,
    pub database: DatabaseSettings,
    pub migrations: MigrationSettings,
    pub http: HttpSettings,
    pub storage: StorageSettings,
    pub recordings: RecordingSettings,
    pub audio: AudioSettings,
    pub log: LogSettings,
    pub telemetry: TelemetrySettings,
    pub twilio: TwilioSettings,
    pub telnyx: TelnyxSettings,
    pub mapping: MappingSettings,
    pub reconcile: ReconcileSettings,
    pub transcription: TranscriptionSettings,
    pub queue: QueueSettings,
    pub worker: WorkerSettings,
    pub retry: RetryPolicy,
    pub holds: HoldSettings,
    pub completion: CompletionSettings,
    pub retention: RetentionSettings,
    /// How long it is kept who did what.
    pub audit_keep: Duration,
    pub link_secrets: LinkSecrets,
    pub supervision: SupervisionSettings,
    pub shutdown: ShutdownSettings,
    /// Empty but in tests and the demo.
    pub faults: Faults,
}

impl Settings {
    /// Every place that recordings may be fetched from.
    pub fn provider_bases(&self) -> ProviderBases {
        let twilio = &self.twilio;
        let own = twilio.accounts.iter().filter_map(|account| Some((&account.sid, account.api_base.as_ref()?)));
        let main = ProviderBases::new(twilio.api_base.clone()).with_telnyx(self.telnyx.api_base.clone());
        own.fold(main, |bases, (sid, base)| bases.with_account(sid.clone(), base.clone()))
    }
}

/// What stands between the pool and the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing that shares sessions.
    None,
    /// Sessions are shared from one transaction to the next.
    Transaction,
}

#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `None`: the embedded one.
    pub url: Option<SecretString>,
    pub pooler: Pooler,
    pub schema: String,
    pub pool_size: u32,
    pub acquire_timeout: Duration,
    pub embedded_dir: PathBuf,
}

#[derive(Debug, Clone)]
pub struct MigrationSettings {
    pub run: bool,
    pub database_url: Option<SecretString>,
    pub lock_wait: Duration,
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
    pub lock_id: i64,
    pub retries: u32,
    /// Zero: it does not look again after the skip.
    pub heal_interval: Duration,
    /// Of the application's own migrations.
    pub dir: Option<PathBuf>,
    pub protected_tables: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct HttpSettings {
    pub bind: SocketAddr,
    /// That of `http.api_token` first; none: whoever is on loopback.
    pub api_tokens: Vec<ApiToken>,
    pub workers: usize,
    /// In bytes.
    pub body_limit: usize,
    /// Requests a second of one client; 0: not limited.
    pub rate_limit: u32,
    pub rate_burst: u32,
    /// Requests that ask the database at a time.
    pub max_in_flight: u32,
    /// In bytes.
    pub bulk_limit: usize,
    pub time_limit: Duration,
    pub public_url: Option<Url>,
}

#[derive(Debug, Clone)]
pub struct StorageSettings {
    pub url: StorageUrl,
    /// `AWS_…`, `GOOGLE_…` or `AZURE_…`, as the bucket's service has them; none for a folder.
    pub options: Vec<(String, SecretString)>,
    pub fsync: bool,
    pub layout: Layout,
    /// In bytes.
    pub min_free: u64,
    pub sweep_interval: Duration,
    pub sweep_age: Duration,
    /// Whether a bucket has to keep conditions on writes.
    pub needs_conditions: bool,
    pub checksum: UploadChecksum,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    pub retries: usize,
}

#[derive(Debug, Clone)]
pub struct RecordingSettings {
    /// Of a business that has no wish of its own.
    pub forms: Forms,
}

#[derive(Debug, Clone)]
pub struct AudioSettings {
    pub duration_tolerance: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Hourly,
    Daily,
}

#[derive(Debug, Clone)]
pub struct LogSettings {
    pub dir: PathBuf,
    pub format: LogFormat,
    pub level: String,
    pub rotation: Rotation,
    pub keep_files: usize,
}

#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// `None`: no traces.
    pub otlp_endpoint: Option<Url>,
    pub otlp_headers: Vec<(String, SecretString)>,
    pub service_name: String,
    pub sampling: Sampling,
}

#[derive(Debug, Clone)]
pub struct TwilioSettings {
    pub accounts: Accounts,
    pub api_base: Url,
    pub sid_form: SidForm,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    pub attempt_timeout: Duration,
    /// In bytes.
    pub max_bytes: u64,
    /// 0: however slow.
    pub min_bytes_per_second: u64,
    pub throughput_window: Duration,
    pub resumes: u32,
}

/// Timeouts and the largest recording are those of `[twilio]`: they are about the network, not about who is asked.
#[derive(Debug, Clone)]
pub struct TelnyxSettings {
    pub api_base: Url,
    pub api_key: Option<SecretString>,
    pub public_key: Option<[u8; 32]>,
    pub media_base: Option<Url>,
    pub business_id: Option<BusinessId>,
}

/// Whose a call is, where nothing else says it.
#[derive(Debug, Clone)]
pub struct MappingSettings {
    /// Whom to ask.
    pub lookup: Option<Url>,
    pub token: Option<SecretString>,
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct ReconcileSettings {
    /// Zero: it does not look.
    pub interval: Duration,
    pub look_back: Duration,
}

#[derive(Debug, Clone)]
pub struct TranscriptionSettings {
    /// `None`: nothing is transcribed.
    pub base_url: Option<Url>,
    pub api_key: Option<SecretString>,
    pub model: String,
    pub language: Option<String>,
    pub timeout: Duration,
    /// In bytes.
    pub max_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct QueueSettings {
    pub default_max_slots: i32,
    pub quantum: u16,
    pub poll_min: Duration,
    pub poll_max: Duration,
    pub lease: Duration,
    pub beat_interval: Duration,
    pub beat_ttl: Duration,
    pub reap_interval: Duration,
    pub promote_interval: Duration,
    pub watch_interval: Duration,
    pub stalled_after: Duration,
    pub history_keep: Duration,
    pub history_interval: Duration,
}

#[derive(Debug, Clone)]
pub struct WorkerSettings {
    pub count: u16,
}

#[derive(Debug, Clone)]
pub struct HoldSettings {
    /// Holds of accounts without an entry of their own, at one time.
    pub max_unlisted_accounts: usize,
    pub rules: HoldRules,
    pub refresh: Duration,
}

#[derive(Debug, Clone)]
pub struct CompletionSettings {
    /// Whom everybody's recordings are told to that have no URL of their own.
    pub url: Option<Url>,
    pub secrets: CompletionSecrets,
    pub timeout: Duration,
    pub persistence: Persistence,
    pub poll_interval: Duration,
}

impl CompletionSettings {
    /// Which URLs a business may have.
    pub fn rules(&self) -> CompletionRules {
        CompletionRules { trusted: self.url.clone(), signs: !self.secrets.are_none() }
    }
}

#[derive(Debug, Clone)]
pub struct RetentionSettings {
    /// 0: for ever.
    pub days: u32,
    pub interval: Duration,
    pub delete_at_provider: bool,
}

#[derive(Debug, Clone)]
pub struct SupervisionSettings {
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    pub max_restarts: u32,
    pub window: Duration,
}

#[derive(Debug, Clone)]
pub struct ShutdownSettings {
    pub grace: Duration,
}
