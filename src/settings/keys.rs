//! The table of everything that can be set. Defaults stand in `config/default.toml`.

use super::kind::Kind;
use std::{fmt::Write, time::Duration};

/// One thing that can be set.
#[derive(Debug)]
pub(super) struct Key {
    /// Section and name, as in a file.
    pub(super) path: &'static str,
    /// The variable of its own, which wins over everything.
    pub(super) variable: Option<&'static str>,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

const fn key(path: &'static str, variable: Option<&'static str>, kind: Kind, help: &'static str) -> Key {
    Key { path, variable, kind, help }
}

const fn ms(min: u64, max: u64) -> Kind {
    Kind::Duration { min: Duration::from_millis(min), max: Duration::from_millis(max) }
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const ANY_PG_INTERVAL: Kind = Kind::PgInterval { min: Duration::from_millis(1), max: Duration::from_hours(24) };

pub(super) const ROLES: &[&str] = &["api", "webhooks", "worker"];
pub(super) const ENVIRONMENTS: &[&str] = &["development", "test", "staging", "production"];

/// Those of [`crate::domain::media::Form`].
pub(super) const FORMS: &[&str] = &["mp3", "wav", "mp3-dual", "wav-dual", "original"];

/// As OpenTelemetry calls them.
pub(super) const SAMPLERS: &[&str] = &[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

pub(super) const KEYS: &[Key] = &[
    key("process.roles", Some("CALLSPOOL_ROLES"), Kind::Some(ROLES), "what this process does"),
    key(
        "database.url",
        Some("DATABASE_URL"),
        Kind::PostgresUrl,
        "PostgreSQL 14 or newer; embedded in development and test where there is none",
    ),
    key(
        "database.pooler",
        None,
        Kind::OneOf(&["none", "transaction"]),
        "transaction: DATABASE_URL is a transaction-mode PgBouncer's, and MIGRATION_DATABASE_URL the database's own; \
         a step then takes 5 round trips instead of 2, a claim with its settling 1.3 to 1.6 times as long",
    ),
    key("database.schema", Some("DATABASE_SCHEMA"), Kind::Schema, "the schema of callspool's tables"),
    key(
        "database.pool_size",
        None,
        Kind::Int { min: 2, max: 1000 },
        "connections of this process, besides the listener's, the migrator's and the two or three of the slot manager",
    ),
    key("database.acquire_timeout", None, ms(100, 60_000), "longest wait for one of them"),
    key("database.embedded_dir", None, Kind::Path, "where the embedded PostgreSQL lies"),
    key("migrations.run", Some("RUN_MIGRATIONS"), Kind::Switch, "1: this process migrates; 0: it skips at once"),
    key(
        "migrations.database_url",
        Some("MIGRATION_DATABASE_URL"),
        Kind::PostgresUrl,
        "direct address for migrations and LISTEN, where the pool is behind a transaction-mode pooler",
    ),
    key(
        "migrations.lock_wait_seconds",
        Some("MIGRATION_LOCK_WAIT_SECONDS"),
        Kind::Seconds { min: 0, max: 86_400 },
        "how long to try for the lock before the graceful skip; 0 is one try",
    ),
    key(
        "migrations.statement_timeout",
        Some("MIGRATION_STATEMENT_TIMEOUT"),
        ANY_PG_INTERVAL,
        "of the migration connection only",
    ),
    key(
        "migrations.lock_timeout",
        Some("MIGRATION_LOCK_TIMEOUT"),
        ANY_PG_INTERVAL,
        "longest wait of one DDL statement for a table lock",
    ),
    key(
        "migrations.lock_id",
        Some("MIGRATION_LOCK_ID"),
        Kind::Int { min: i64::MIN, max: i64::MAX },
        "the advisory lock's key",
    ),
    key(
        "migrations.retries",
        None,
        Kind::Int { min: 0, max: 1000 },
        "how often one migration is tried again after a failure that can pass, such as lock_timeout",
    ),
    key(
        "migrations.heal_interval",
        None,
        ms(0, DAY),
        "after lock_timeout: between two looks whether whoever held the lock is gone, to migrate then; 0s: never",
    ),
    key(
        "migrations.dir",
        Some("MIGRATIONS_DIR"),
        Kind::Folder,
        "the application's own SQL migrations, run after ours; its backfills in backfills/",
    ),
    key(
        "migrations.protected_tables",
        None,
        Kind::Tables,
        "a migration of the application's that would leave fewer rows in one of these is rolled back",
    ),
    key(
        "http.bind",
        Some("CALLSPOOL_HTTP_BIND"),
        Kind::Address,
        "address of API, webhooks and health; port 0 picks one",
    ),
    key(
        "http.api_token",
        Some("CALLSPOOL_API_TOKEN"),
        Kind::Secret,
        "bearer token of API and dashboard, with every scope; beyond loopback the role api needs a token, and this one at least 16 characters",
    ),
    key(
        "http.api_tokens",
        Some("CALLSPOOL_API_TOKENS"),
        Kind::ApiTokens,
        "more of them, each with a name for the audit and its scopes: read, enqueue, operate",
    ),
    key("http.workers", None, Kind::Int { min: 1, max: 64 }, "threads that serve HTTP"),
    key("http.body_limit", None, Kind::Int { min: 1024, max: 16_777_216 }, "largest body of one request, in bytes"),
    key(
        "http.bulk_limit",
        None,
        Kind::Int { min: 1024, max: 1 << 30 },
        "largest body of POST /v1/jobs/bulk, in bytes; one line of it has http.body_limit",
    ),
    key(
        "http.rate_limit",
        None,
        Kind::Int { min: 0, max: 1_000_000 },
        "requests a second of one client (its token, else its address) at one process; 0: not limited",
    ),
    key("http.rate_burst", None, Kind::Int { min: 1, max: 1_000_000 }, "so many of them at once"),
    key(
        "http.max_in_flight",
        None,
        Kind::Int { min: 1, max: 65_536 },
        "requests of one process that ask the database at a time, or wait for their turn to; more are told to come again",
    ),
    key("http.time_limit", None, ms(100, 600_000), "longest time of one request, apart from its body"),
    key(
        "http.public_url",
        None,
        Kind::HttpUrl,
        "scheme and host that the provider was told, where a proxy stands before us",
    ),
    key("storage.url", Some("CALLSPOOL_STORAGE_URL"), Kind::StorageUrl, "where recordings go"),
    key("storage.fsync", None, Kind::Bool, "flush file and folder before a recording counts as stored"),
    key(
        "recordings.forms",
        None,
        Kind::Some(FORMS),
        "wanted forms in order, of which the first that the provider has is taken; each once",
    ),
    key(
        "audio.duration_tolerance",
        None,
        ms(0, HOUR),
        "how much shorter than announced a recording may be; a twentieth of the announced duration where that is more",
    ),
    key("storage.layout", None, Kind::Layout, "how a recording's file is called below storage.url"),
    key(
        "storage.min_free",
        None,
        Kind::Int { min: 0, max: 1 << 50 },
        "bytes that stay free on a disk: with less, nothing is stored and /readyz says so; 0: not looked at",
    ),
    key(
        "storage.sweep_interval",
        None,
        ms(1_000, 7 * DAY),
        "between two looks for what dead processes have left written aside",
    ),
    key(
        "storage.sweep_age",
        None,
        ms(1_000, 365 * DAY),
        "what was left so long ago is removed; at least queue.lease",
    ),
    key(
        "storage.conditions",
        None,
        Kind::OneOf(&["required", "off"]),
        "required: a bucket has to keep conditions on writes, and one that does not is not used; off: a late attempt may \
         replace a newer one's file",
    ),
    key(
        "storage.checksum",
        None,
        Kind::OneOf(&["sha256", "crc64nvme", "none"]),
        "of an s3: upload, checked by the server",
    ),
    key("storage.connect_timeout", None, ms(10, 60_000), "of a bucket: longest wait for a connection"),
    key(
        "storage.request_timeout",
        None,
        ms(100, 600_000),
        "of a bucket: longest time of a request, a part of 8 MiB sent; of a read, longest silence",
    ),
    key(
        "storage.retries",
        None,
        Kind::Int { min: 0, max: 20 },
        "of a bucket: how often one request is tried again",
    ),
    key("log.dir", Some("CALLSPOOL_LOG_DIR"), Kind::Path, "folder of the rolling files, of its own"),
    key(
        "log.format",
        Some("CALLSPOOL_LOG_FORMAT"),
        Kind::OneOf(&["pretty", "json"]),
        "on stdout; the files are always JSON lines",
    ),
    key("log.level", None, Kind::LogLevel, "what is logged"),
    key("log.rotation", None, Kind::OneOf(&["hourly", "daily"]), "when a new file begins"),
    key("log.keep_files", None, Kind::Int { min: 1, max: 10_000 }, "files that are kept"),
    key(
        "telemetry.otlp_endpoint",
        Some("OTEL_EXPORTER_OTLP_ENDPOINT"),
        Kind::HttpUrl,
        "the collector that traces go to, by OTLP over HTTP; no traces without one",
    ),
    key(
        "telemetry.otlp_headers",
        Some("OTEL_EXPORTER_OTLP_HEADERS"),
        Kind::OtlpHeaders,
        "sent to the collector with each batch, such as its API key",
    ),
    key("telemetry.service_name", Some("OTEL_SERVICE_NAME"), Kind::Name, "what the process is called in traces"),
    key(
        "telemetry.sampler",
        Some("OTEL_TRACES_SAMPLER"),
        Kind::OneOf(SAMPLERS),
        "which traces are recorded; parentbased: those that a caller began as the caller does",
    ),
    key(
        "telemetry.sampler_arg",
        Some("OTEL_TRACES_SAMPLER_ARG"),
        Kind::Float { min: 0.0, max: 1.0 },
        "the share that a sampler with traceidratio records",
    ),
    key(
        "twilio.account_sid",
        Some("TWILIO_ACCOUNT_SID"),
        Kind::AccountSid,
        "the account whose recordings are fetched",
    ),
    key(
        "twilio.auth_token",
        Some("TWILIO_AUTH_TOKEN"),
        Kind::AuthTokens,
        "its token; signs webhooks, opens media. While it is rotated: the new one, a comma, the old one",
    ),
    key(
        "twilio.api_base",
        Some("TWILIO_API_BASE"),
        Kind::HttpUrl,
        "the place that recordings are fetched from; trusted as it is",
    ),
    key("twilio.allow_short_sids", None, Kind::Bool, "accept SIDs such as CA123: for tests"),
    key("twilio.connect_timeout", None, ms(10, 60_000), "longest wait for a connection"),
    key("twilio.read_timeout", None, ms(10, 600_000), "longest silence of the provider"),
    key("twilio.attempt_timeout", None, ms(100, DAY), "longest time of one attempt; shorter than queue.lease"),
    key(
        "twilio.max_bytes",
        None,
        Kind::Int { min: 1024, max: 1 << 40 },
        "the largest recording that is taken, in bytes",
    ),
    key("telnyx.api_base", None, Kind::HttpUrl, "where Telnyx' recordings are asked for; trusted as it is"),
    key(
        "telnyx.api_key",
        Some("TELNYX_API_KEY"),
        Kind::Secret,
        "opens Telnyx' recordings; without one their jobs wait",
    ),
    key(
        "telnyx.public_key",
        Some("TELNYX_PUBLIC_KEY"),
        Kind::Ed25519Key,
        "what Telnyx signs webhooks with; without one each is refused",
    ),
    key(
        "telnyx.media_base",
        None,
        Kind::HttpUrl,
        "where Telnyx' media lie, where that is no public https host; trusted as it is",
    ),
    key(
        "telnyx.business_id",
        None,
        Kind::Int { min: 1, max: i64::MAX },
        "whose the recordings are whose webhook does not say it",
    ),
    key(
        "twilio.api_key",
        Some("TWILIO_API_KEY"),
        Kind::ApiKey,
        "SK…:secret of the account; used for requests before the token",
    ),
    key(
        "twilio.min_bytes_per_second",
        None,
        Kind::Int { min: 0, max: 1 << 30 },
        "a recording that comes slower, over a whole throughput_window, ends in timeout; 0: however slow",
    ),
    key("twilio.throughput_window", None, ms(100, 600_000), "time over which min_bytes_per_second is measured"),
    key(
        "twilio.resumes",
        None,
        Kind::Int { min: 0, max: 100 },
        "how often one attempt goes on behind a cut, where the provider names the recording's version",
    ),
    key(
        "mapping.lookup_url",
        None,
        Kind::HttpUrl,
        "asked whose a call is, where neither its webhook's URL nor its account says it; trusted as it is",
    ),
    key("mapping.lookup_token", Some("CALLSPOOL_LOOKUP_TOKEN"), Kind::Secret, "sent to it as a bearer token"),
    key("mapping.lookup_timeout", None, ms(100, 10_000), "longest wait for its answer"),
    key(
        "reconcile.interval",
        None,
        ms(0, 7 * DAY),
        "between two looks for recordings that the provider has and no webhook told of; 0s: never",
    ),
    key(
        "reconcile.look_back",
        None,
        ms(60_000, 30 * DAY),
        "how far each of them goes back behind the one before; longer than the longest call",
    ),
    key(
        "transcription.base_url",
        None,
        Kind::HttpUrl,
        "the base of an OpenAI-compatible service, as https://api.openai.com/v1; without one, jobs of the type full are \
         refused",
    ),
    key(
        "transcription.api_key",
        Some("CALLSPOOL_TRANSCRIPTION_KEY"),
        Kind::Secret,
        "sent to it as a bearer token, where it wants one",
    ),
    key("transcription.model", None, Kind::Name, "the model that transcribes"),
    key(
        "transcription.language",
        None,
        Kind::Language,
        "what is spoken; the service finds out for each recording where it is not said",
    ),
    key(
        "transcription.timeout",
        None,
        ms(100, DAY),
        "longest wait for one transcript, the upload included; at most twilio.attempt_timeout",
    ),
    key(
        "transcription.max_bytes",
        None,
        Kind::Int { min: 1024, max: 1 << 40 },
        "the largest recording that is sent, in bytes",
    ),
    key(
        "queue.default_max_slots",
        None,
        Kind::Int { min: 0, max: 10_000 },
        "slots of a business that is met for the first time",
    ),
    key("queue.quantum", None, Kind::Int { min: 1, max: 1000 }, "jobs a turn of the ring and unit of weight"),
    key("queue.poll_min", None, ms(10, 60_000), "between two looks for work that no bell announced"),
    key("queue.poll_max", None, ms(10, 60_000), "the same, while there is none for long"),
    key("queue.lease", None, ms(1_000, 7 * DAY), "after this long an attempt counts as lost"),
    key("queue.beat_interval", None, ms(50, 60_000), "between two beats of an instance"),
    key(
        "queue.beat_ttl",
        None,
        ms(150, 600_000),
        "without a beat for this long an instance counts as dead; at least 3 beats",
    ),
    key(
        "queue.watch_interval",
        None,
        ms(100, 600_000),
        "between two looks at the queue, whichever process takes them",
    ),
    key(
        "queue.stalled_after",
        None,
        ms(100, DAY),
        "ready jobs of which none was picked for so long are stalled: QUEUE_STALLED says why",
    ),
    key("queue.reap_interval", None, ms(50, 600_000), "between two looks for lost leases"),
    key("queue.promote_interval", None, ms(10, 60_000), "longest wait between two looks for due jobs"),
    key("queue.history_keep", None, ms(DAY, 3650 * DAY), "how long finished jobs are kept"),
    key("queue.history_interval", None, ms(1_000, DAY), "between two rotations of the history"),
    key("worker.count", None, Kind::Int { min: 1, max: 1024 }, "downloads at a time in this process"),
    key("retry.max_attempts", None, Kind::Int { min: 1, max: 1000 }, "attempts of a job"),
    key("retry.base", None, ms(1, DAY), "wait before the second attempt"),
    key("retry.max", None, ms(1, 7 * DAY), "longest wait, also for a Retry-After"),
    key("retry.factor", None, Kind::Float { min: 1.0, max: 10.0 }, "growth of the wait"),
    key("retry.jitter", None, Kind::Float { min: 0.0, max: 1.0 }, "share of the wait that is random"),
    key(
        "retry.not_ready_base",
        None,
        ms(1, DAY),
        "wait after the provider's first 404; each wait about twice the one before",
    ),
    key(
        "retry.not_ready_max",
        None,
        ms(1, DAY),
        "longest wait between two questions for a recording that is not ready",
    ),
    key("retry.not_ready_for", None, ms(1, 7 * DAY), "how long a recording may be not ready; then its job is dead"),
    key(
        "holds.window",
        None,
        ms(1_000, 600_000),
        "how far back a host's failures and good answers are counted, over the whole fleet",
    ),
    key("holds.min_failures", None, Kind::Int { min: 1, max: 10_000 }, "so many failures within it hold a host"),
    key(
        "holds.failure_share",
        None,
        Kind::Float { min: 0.01, max: 1.0 },
        "where they are also this share of all that was asked of it",
    ),
    key("holds.probe_first", None, ms(100, 600_000), "until a held host is tried again for the first time"),
    key(
        "holds.probe_max",
        None,
        ms(100, 3_600_000),
        "longest wait between two such tries; each wait is twice the one before",
    ),
    key(
        "holds.account_probe",
        None,
        ms(100, DAY),
        "longest wait between two tries whether an account's credentials are accepted again; the first is after 2 s",
    ),
    key(
        "holds.storage_probe",
        None,
        ms(100, 3_600_000),
        "longest wait between two tries whether recordings can be stored again; the first is after 2 s",
    ),
    key(
        "holds.rate_wait",
        None,
        ms(100, 3_600_000),
        "how long an account is left alone after a 429 without Retry-After; doubles while it repeats",
    ),
    key(
        "holds.max_unlisted_accounts",
        None,
        Kind::Int { min: 1, max: 100_000 },
        "accounts without a section of their own that are held at one time; beyond it a refusal uses its job's attempts up",
    ),
    key("holds.refresh", None, ms(50, 60_000), "between two looks of a process at the fleet's holds"),
    key(
        "completion.url",
        None,
        Kind::HttpUrl,
        "who is told that a recording is stored, where its business has no URL of its own",
    ),
    key(
        "completion.secret",
        Some("CALLSPOOL_COMPLETION_SECRET"),
        Kind::CompletionSecrets,
        "signs what is told; several while they are rotated, the newest first",
    ),
    key("completion.timeout", None, ms(100, 60_000), "longest time of one announcement, and of one deletion"),
    key("completion.retry_base", None, ms(10, DAY), "wait after the first try; each next one is twice as long"),
    key("completion.retry_max", None, ms(10, DAY), "longest wait between two tries, also for a Retry-After"),
    key(
        "completion.give_up_after",
        None,
        ms(1_000, 90 * DAY),
        "a follow-up of this age is given up: COMPLETION_FAILED retry_in=never",
    ),
    key("completion.poll_interval", None, ms(10, 60_000), "between two looks for follow-ups that are due"),
    key(
        "retention.days",
        None,
        Kind::Int { min: 0, max: 36_500 },
        "how long recordings are kept, where their business says nothing; 0: for ever",
    ),
    key(
        "retention.interval",
        None,
        ms(100, 7 * DAY),
        "between two looks for recordings that were kept long enough",
    ),
    key(
        "retention.delete_at_provider",
        None,
        Kind::Bool,
        "delete a recording at the provider once it is stored, where its business says nothing",
    ),
    key("audit.keep", None, ms(DAY, 3650 * DAY), "how long it is kept who played, changed and deleted what"),
    key(
        "links.secret",
        Some("CALLSPOOL_LINK_SECRET"),
        Kind::LinkSecrets,
        "signs links that play a recording without a token; several while they are rotated, the newest first",
    ),
    key("supervision.backoff_min", None, ms(1, 60_000), "wait before an actor's first restart"),
    key("supervision.backoff_max", None, ms(1, 600_000), "longest wait before a restart"),
    key(
        "supervision.max_restarts",
        None,
        Kind::Int { min: 1, max: 100_000 },
        "restarts of one actor within the window; one more ends the process with 70",
    ),
    key("supervision.window", None, ms(100, DAY), "see max_restarts"),
    key("shutdown.grace_seconds", None, Kind::Seconds { min: 1, max: 3600 }, "how long a drain may take"),
];

/// The README's table.
pub fn markdown_table() -> String {
    let mut table = String::from("| key | variable | allowed | meaning |\n|---|---|---|---|\n");
    for Key { path, variable, kind, help } in KEYS {
        let variable = variable.map(|name| format!("`{name}`")).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(table, "| `{path}` | {variable} | {} | {help} |", kind.allowed());
    }
    table
}
