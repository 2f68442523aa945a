//! Checked values as the settings of each part.

use super::{
    checked::{Checked, missing},
    kind::{Value, ed25519_key, otlp_headers},
    typed::{
        AudioSettings, CompletionSettings, DatabaseSettings, HoldSettings, HttpSettings, LogFormat, LogSettings,
        MappingSettings, MigrationSettings, Pooler, QueueSettings, ReconcileSettings, RecordingSettings,
        RetentionSettings, Roles, Rotation, Settings, ShutdownSettings, StorageSettings, SupervisionSettings,
        TelemetrySettings, TelnyxSettings, TranscriptionSettings, TwilioSettings, WorkerSettings,
    },
};
use crate::domain::{
    access::{ApiToken, LinkSecrets},
    completion::CompletionSecrets,
    follow_up::Persistence,
    hold::HoldRules,
    ids::BusinessId,
    media::Forms,
    retry::RetryPolicy,
    storage_url::{StorageUrl, UploadChecksum},
    trace::Sampling,
};

impl Checked {
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
                max_in_flight: self.int("http.max_in_flight"),
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
            max_unlisted_accounts: self.int("holds.max_unlisted_accounts"),
            refresh: self.duration("holds.refresh"),
        }
    }
}
