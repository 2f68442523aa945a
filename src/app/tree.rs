//! The wiring: which part gets which.

use super::Parts;
use crate::{
    actors::{
        backfill::BackfillDeps,
        follow_up::FollowUpDeps,
        hold_board::HoldBoard,
        hold_keeper::HoldKeeperDeps,
        job_types::{DownloadOnly, Full, GuardDeps, Guarded, JobHandler, JobHandlers, Wanted},
        listener::ListenerDeps,
        maintenance::MaintenanceDeps,
        migration::MigrationDeps,
        obstacle::Obstacle,
        reconcile::{Intake, ReconcileDeps},
        recording_worker::WorkerDeps,
        retention::RetentionDeps,
        slot_manager::{Identity, Rung, SlotLimits, SlotManagerDeps},
        supervision::{
            ChildRef, ChildSpec, ChildState, OpenGate, Outbox, RestartPolicy, Roster, Supervisor, start_root,
        },
        supervisor::{Addresses, TreeDeps, WORKER_GROUP, reclaim, specs},
        watcher::WatcherDeps,
    },
    adapters::{
        audio::AudioWalker,
        backfill_folder::BackfillFolder,
        clock::SystemClock,
        completion::{CompletionConfig, CompletionSender},
        lookup::{HttpLookup, LookupConfig},
        providers::Providers,
        storage::{self, BucketOptions, DiskOptions},
        telnyx::{Telnyx, TelnyxConfig},
        transcription::{Transcription, TranscriptionConfig},
        twilio::{Twilio, TwilioConfig},
    },
    domain::{
        audio::AudioRules,
        follow_up::FleetSetting,
        ids::{AccountSid, BusinessId, InstanceId},
        migration::SchemaVersions,
        observation::Observer,
        overview::Pulse,
        ports::{BusinessLookup, Clock, Provider, Storage, Transcriber, WatchRules},
        reconcile::RoundRules,
        recording_url::ProviderBase,
        trace::Tracer,
    },
    http::{
        FreshAnswers, HttpActor, HttpDeps, Limits, Links, Live, MetricsDesk, Socket, TelnyxWebhook, Tokens,
        WebhookConfig,
    },
    settings::{Role, Settings, StorageSettings},
    store::Store,
    telemetry::{
        LostLines,
        metrics::{Metrics, ProcessGauges},
    },
};
use actix::Addr;
use anyhow::Context;
use std::{
    net::TcpListener,
    sync::{Arc, OnceLock},
};
use tokio::runtime::Handle;

/// Puts the actors together and starts their root.
pub(super) fn start(parts: Parts) -> anyhow::Result<Addr<Supervisor>> {
    let Parts { settings, instance, store, io, tracer, listener, shutdown, tally, ends: _, lost_lines } = parts;
    let workers = if settings.roles.has(Role::Worker) { settings.worker.count } else { 0 };
    let addresses = Addresses::new(workers);
    let (store, clock): (_, Arc<dyn Clock>) = (Arc::new(store), Arc::new(SystemClock));
    let metrics = Arc::new(metrics(&store, lost_lines));
    let observer: Arc<dyn Observer> = metrics.clone();
    let (schema, beat, disk) = (Obstacle::default(), Obstacle::default(), Obstacle::default());
    let roster = Roster::default();
    let gate = GateOpener::default();
    let pulse = Pulse::default();
    let storage = storage(&settings.storage, &io)?;
    let provider: Arc<dyn Provider> = Arc::new(provider(&settings, &io)?);
    let board = HoldBoard::default();
    let guard = GuardDeps {
        holds: store.clone(),
        board: board.clone(),
        rules: settings.holds.rules.clone(),
        observer: observer.clone(),
    };
    let guarded = |handler| -> Arc<dyn JobHandler> { Arc::new(Guarded::new(handler, guard.clone())) };
    let download = DownloadOnly::new(
        Arc::clone(&provider),
        storage.clone(),
        Arc::new(AudioWalker),
        settings.storage.layout.clone(),
        wanted(&settings),
    );
    let download = Arc::new(download);
    let transcriber = transcriber(&settings, &io)?;
    let full = guarded(Arc::new(Full::new(download.clone(), Arc::clone(&storage), transcriber.clone())));
    let download = guarded(download);
    let rung: Outbox<Rung> = addresses.slot_manager.outbox();

    let deps = TreeDeps {
        migration: MigrationDeps {
            gate: store.clone(),
            clock: Arc::clone(&clock),
            enabled: settings.migrations.run,
            lock_wait: settings.migrations.lock_wait,
            retries: settings.migrations.retries,
            heal_interval: settings.migrations.heal_interval,
            only: None,
            schema_fits: gate.outbox(),
            obstacle: schema.clone(),
            observer: observer.clone(),
        },
        backfill: backfill(&settings, &store, &clock),
        slot_manager: SlotManagerDeps {
            dispatch: store.clone(),
            clock: Arc::clone(&clock),
            roster: roster.clone(),
            workers: addresses.workers.clone(),
            identity: identity(&settings, instance),
            limits: slot_limits(&settings),
            obstacle: beat.clone(),
            holds: board.clone(),
            tally: tally.clone(),
            pulse: pulse.clone(),
            observer: observer.clone(),
        },
        worker: WorkerDeps {
            handlers: JobHandlers { download_only: download, full },
            clock: Arc::clone(&clock),
            retry: settings.retry.clone(),
            attempt_timeout: settings.twilio.attempt_timeout,
            tracer: Arc::clone(&tracer),
            reports: addresses.slot_manager.outbox(),
            observer: observer.clone(),
        },
        listener: ListenerDeps {
            bells: store.clone(),
            jobs: store.clone(),
            slot_manager: rung.clone(),
            cancels: addresses.slot_manager.outbox(),
        },
        watcher: WatcherDeps {
            watch: store.clone(),
            clock: Arc::clone(&clock),
            rules: watch_rules(&settings),
            pulse,
        },
        after: after(&settings, &store, &storage, Arc::clone(&provider), &clock, &observer, &io)?,
        hold_keeper: (workers > 0).then(|| HoldKeeperDeps {
            holds: store.clone(),
            board,
            provider,
            storage: Arc::clone(&storage),
            transcriber,
            clock: Arc::clone(&clock),
            rules: settings.holds.rules.clone(),
            refresh: settings.holds.refresh,
            slot_manager: rung.clone(),
            observer: observer.clone(),
        }),
        reconcile: reconcile(&settings, &store, &io, &addresses, &clock, &observer)?,
        maintenance: MaintenanceDeps {
            upkeep: store.clone(),
            clock: Arc::clone(&clock),
            beat_ttl: settings.queue.beat_ttl,
            reap_interval: settings.queue.reap_interval,
            promote_interval: settings.queue.promote_interval,
            history_keep: settings.queue.history_keep,
            history_interval: settings.queue.history_interval,
            slot_manager: rung,
            storage: (workers > 0).then(|| Arc::clone(&storage)),
            storage_obstacle: disk.clone(),
            sweep_interval: settings.storage.sweep_interval,
            sweep_age: settings.storage.sweep_age,
            observer: observer.clone(),
        },
        grace: settings.shutdown.grace,
    };
    let routes = Routes {
        store: store.clone(),
        storage,
        lookup: lookup(&settings, &io)?,
        clock: Arc::clone(&clock),
        io: io.clone(),
        readiness: readiness([schema, beat, disk], roster.clone()),
        observer: observer.clone(),
        metrics: MetricsDesk::new(metrics, store.clone()),
        tracer,
    };
    let http = http_spec(&settings, &addresses, routes, listener);
    let specs = specs(deps, &addresses, http);
    let policy = restart_policy(&settings);
    let reclaim = reclaim(store, instance, tally, observer.clone());
    let faults = settings.faults;
    let supervisor = start_root(move || {
        Supervisor::new(specs, policy, reclaim, roster, io, shutdown, faults).observed_by(observer)
    });
    gate.set(supervisor.clone());
    Ok(supervisor)
}

/// Of every recording.
fn wanted(settings: &Settings) -> Wanted {
    Wanted {
        forms: settings.recordings.forms.clone(),
        audio: AudioRules { tolerance: settings.audio.duration_tolerance },
    }
}

/// The migration actor is told of its supervisor after both exist.
#[derive(Clone, Default)]
struct GateOpener(Arc<OnceLock<Addr<Supervisor>>>);

impl GateOpener {
    fn outbox(&self) -> Outbox<SchemaVersions> {
        let supervisor = Arc::clone(&self.0);
        Outbox::new(move |_| supervisor.get().map(|addr| addr.do_send(OpenGate)).is_some())
    }

    fn set(&self, supervisor: Addr<Supervisor>) {
        // Set once, right after the root was started.
        let _ = self.0.set(supervisor);
    }
}

/// What the routes ask.
struct Routes {
    store: Arc<Store>,
    storage: Arc<dyn Storage>,
    lookup: Option<Arc<dyn BusinessLookup>>,
    clock: Arc<dyn Clock>,
    io: Handle,
    readiness: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    observer: Arc<dyn Observer>,
    metrics: MetricsDesk,
    tracer: Arc<dyn Tracer>,
}

fn http_spec(settings: &Settings, addresses: &Addresses, routes: Routes, listener: TcpListener) -> ChildSpec {
    let Routes { store, storage, lookup, clock, io, readiness, observer, metrics, tracer } = routes;
    let deps = HttpDeps {
        live: Live::new(store.clone(), io.clone()),
        jobs: store.clone(),
        operations: store.clone(),
        holds: store.clone(),
        fleet: store.clone(),
        gate: store.clone(),
        recordings: store.clone(),
        transcripts: store.clone(),
        custody: store.clone(),
        follow_ups: store,
        links: Links::new(settings.link_secrets.clone()),
        completion_rules: settings.completion.rules(),
        storage,
        tracer,
        clock,
        io,
        jobs_came_in: addresses.listener.outbox(),
        readiness,
        observer,
        metrics,
        fresh: FreshAnswers::default(),
        api: settings.roles.has(Role::Api),
        webhooks: settings.roles.has(Role::Webhooks),
        tokens: Tokens::new(settings.http.api_tokens.clone()),
        limits: Limits::new(settings.http.rate_limit, settings.http.rate_burst),
        transcribes: settings.transcription.base_url.is_some(),
        webhook: WebhookConfig {
            accounts: settings.twilio.accounts.clone(),
            lookup,
            public_url: settings.http.public_url.clone(),
        },
        telnyx: TelnyxWebhook { public_key: settings.telnyx.public_key, business_id: settings.telnyx.business_id },
        provider_bases: settings.provider_bases(),
        sid_form: settings.twilio.sid_form,
        body_limit: settings.http.body_limit,
        bulk_limit: settings.http.bulk_limit,
        time_limit: settings.http.time_limit,
        workers: settings.http.workers,
    };
    let socket = Socket::new(listener);
    ChildSpec::new("http", ChildRef::default(), move |_, child| HttpActor::new(child, deps.clone(), socket.clone()))
}

fn metrics(store: &Arc<Store>, lost_lines: LostLines) -> Metrics {
    let store = Arc::clone(store);
    Metrics::new(env!("CARGO_PKG_VERSION"), move || ProcessGauges {
        dropped_log_lines: lost_lines.lines() as u64,
        pool: store.pool_use(),
    })
}

/// Everything that `/readyz` may have to say against this process.
fn readiness(obstacles: [Obstacle; 3], roster: Roster) -> Arc<dyn Fn() -> Vec<String> + Send + Sync> {
    Arc::new(move || {
        let mut reasons: Vec<String> = obstacles.iter().filter_map(Obstacle::get).collect();
        let children = roster.children();
        let (workers, others): (Vec<_>, Vec<_>) =
            children.iter().partition(|child| child.id.starts_with(WORKER_GROUP));
        for child in others.iter().filter(|child| child.state != ChildState::Up) {
            reasons.push(format!("{} is {}", child.id, child.state.as_str()));
        }
        if !workers.is_empty() && workers.iter().all(|worker| worker.state != ChildState::Up) {
            reasons.push("no recording_worker is up".to_owned());
        }
        reasons
    })
}

pub(super) fn restart_policy(settings: &Settings) -> RestartPolicy {
    let supervision = &settings.supervision;
    RestartPolicy {
        backoff_min: supervision.backoff_min,
        backoff_max: supervision.backoff_max,
        max_restarts: supervision.max_restarts,
        window: supervision.window,
    }
}

fn identity(settings: &Settings, instance: InstanceId) -> Identity {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Identity {
        instance,
        host: host.unwrap_or_else(|| "unknown".to_owned()),
        roles: settings.roles.iter().map(|role| role.to_string()).collect(),
    }
}

/// Backfills belong to the process that migrates: both come with its release.
fn backfill(settings: &Settings, store: &Arc<Store>, clock: &Arc<dyn Clock>) -> Option<BackfillDeps> {
    let dir = settings.migrations.dir.as_deref().filter(|_| settings.migrations.run)?;
    Some(BackfillDeps {
        files: Arc::new(BackfillFolder::new(dir)),
        backfills: store.clone(),
        clock: Arc::clone(clock),
        beat_ttl: settings.queue.beat_ttl,
    })
}

fn slot_limits(settings: &Settings) -> SlotLimits {
    let queue = &settings.queue;
    SlotLimits {
        default_max_slots: queue.default_max_slots,
        quantum: queue.quantum,
        poll_min: queue.poll_min,
        poll_max: queue.poll_max,
        lease: queue.lease,
        beat_interval: queue.beat_interval,
        beat_ttl: queue.beat_ttl,
    }
}

fn watch_rules(settings: &Settings) -> WatchRules {
    let queue = &settings.queue;
    WatchRules {
        every: queue.watch_interval,
        stalled_after: queue.stalled_after,
        beat_ttl: queue.beat_ttl,
        keep: settings.audit_keep,
        default_max_slots: queue.default_max_slots,
    }
}

/// Where it is switched on, and this process fetches: it has the provider's credentials then.
fn reconcile(
    settings: &Settings,
    store: &Store,
    io: &Handle,
    addresses: &Addresses,
    clock: &Arc<dyn Clock>,
    observer: &Arc<dyn Observer>,
) -> anyhow::Result<Option<ReconcileDeps>> {
    let interval = settings.reconcile.interval;
    if interval.is_zero() || addresses.workers.is_empty() {
        return Ok(None);
    }
    let look_back = settings.reconcile.look_back;
    Ok(Some(ReconcileDeps {
        intake: intake(settings, store, io)?,
        rules: RoundRules { interval, look_back, beat_ttl: settings.queue.beat_ttl },
        clock: Arc::clone(clock),
        slot_manager: addresses.slot_manager.outbox(),
        jobs_came_in: addresses.listener.outbox(),
        observer: Arc::clone(observer),
    }))
}

/// What the provider has against what is known here.
pub(super) fn intake(settings: &Settings, store: &Store, io: &Handle) -> anyhow::Result<Intake> {
    let store = Arc::new(store.clone());
    Ok(Intake {
        provider: Arc::new(provider(settings, io)?),
        jobs: store.clone(),
        book: store,
        lookup: lookup(settings, io)?,
        accounts: listed_accounts(settings).collect(),
    })
}

/// Each with whose its recordings are, where the configuration says it.
fn listed_accounts(settings: &Settings) -> impl Iterator<Item = (AccountSid, Option<BusinessId>)> {
    let of_twilio = settings.twilio.accounts.iter().map(|account| (account.sid.clone(), account.business_id));
    let telnyx = &settings.telnyx;
    of_twilio.chain(telnyx.api_key.iter().map(|_| (AccountSid::telnyx(), telnyx.business_id)))
}

/// Made on the I/O runtime, as the provider's client is.
fn storage(settings: &StorageSettings, io: &Handle) -> anyhow::Result<Arc<dyn Storage>> {
    let disk = DiskOptions { fsync: settings.fsync, min_free: settings.min_free };
    let bucket = BucketOptions {
        vars: settings.options.clone(),
        needs_conditions: settings.needs_conditions,
        checksum: settings.checksum,
        connect_timeout: settings.connect_timeout,
        request_timeout: settings.request_timeout,
        retries: settings.retries,
    };
    let _on_io = io.enter();
    storage::open(&settings.url, disk, &bucket).context("CALLSPOOL_STORAGE_URL")
}

/// What is done after a recording is stored is done where recordings are.
fn after(
    settings: &Settings,
    store: &Arc<Store>,
    storage: &Arc<dyn Storage>,
    provider: Arc<dyn Provider>,
    clock: &Arc<dyn Clock>,
    observer: &Arc<dyn Observer>,
    io: &Handle,
) -> anyhow::Result<Option<(FollowUpDeps, RetentionDeps)>> {
    if !settings.roles.has(Role::Worker) {
        return Ok(None);
    }
    let (completion, retention) = (&settings.completion, &settings.retention);
    let config = CompletionConfig {
        rules: completion.rules(),
        secrets: completion.secrets.clone(),
        timeout: completion.timeout,
    };
    let _on_io = io.enter();
    let follow_up = FollowUpDeps {
        follow_ups: store.clone(),
        announcer: Arc::new(CompletionSender::new(config).context("the HTTP client cannot be made")?),
        provider,
        storage: Arc::clone(storage),
        clock: Arc::clone(clock),
        observer: Arc::clone(observer),
        setting: FleetSetting {
            announces: completion.url.is_some(),
            delete_at_provider: retention.delete_at_provider,
        },
        persistence: completion.persistence.clone(),
        timeout: completion.timeout,
        poll_interval: completion.poll_interval,
    };
    let sweep = RetentionDeps {
        custody: store.clone(),
        follow_ups: store.clone(),
        clock: Arc::clone(clock),
        days: retention.days,
        interval: retention.interval,
        keep_dead: settings.queue.history_keep,
    };
    Ok(Some((follow_up, sweep)))
}

/// Made on the I/O runtime, where its connections will live.
fn provider(settings: &Settings, io: &Handle) -> anyhow::Result<Providers> {
    let _on_io = io.enter();
    let made = "the HTTP client cannot be made";
    let (twilio, telnyx) = (Twilio::new(twilio(settings)), Telnyx::new(telnyx(settings)));
    let (twilio, telnyx) = (Arc::new(twilio.context(made)?), Arc::new(telnyx.context(made)?));
    Ok(Providers::new(settings.provider_bases(), twilio, telnyx))
}

/// The network is the same for both.
fn telnyx(settings: &Settings) -> TelnyxConfig {
    let (telnyx, network) = (&settings.telnyx, &settings.twilio);
    TelnyxConfig {
        base: ProviderBase::new(telnyx.api_base.clone()),
        api_key: telnyx.api_key.clone(),
        media_base: telnyx.media_base.clone(),
        connect_timeout: network.connect_timeout,
        read_timeout: network.read_timeout,
        max_bytes: network.max_bytes,
        min_bytes_per_second: network.min_bytes_per_second,
        throughput_window: network.throughput_window,
        resumes: network.resumes,
    }
}

/// The same holds here.
pub(super) fn lookup(settings: &Settings, io: &Handle) -> anyhow::Result<Option<Arc<dyn BusinessLookup>>> {
    let mapping = &settings.mapping;
    let Some(url) = mapping.lookup_url.clone() else { return Ok(None) };
    let _on_io = io.enter();
    let config = LookupConfig { url, token: mapping.lookup_token.clone(), timeout: mapping.lookup_timeout };
    let lookup = HttpLookup::new(config).context("the HTTP client of mapping.lookup_url cannot be made")?;
    Ok(Some(Arc::new(lookup)))
}

/// Nobody, where none is configured.
fn transcriber(settings: &Settings, io: &Handle) -> anyhow::Result<Option<Arc<dyn Transcriber>>> {
    let transcription = settings.transcription.clone();
    let Some(base_url) = transcription.base_url else { return Ok(None) };
    let _on_io = io.enter();
    let made = Transcription::new(TranscriptionConfig {
        base_url,
        api_key: transcription.api_key,
        model: transcription.model,
        language: transcription.language,
        timeout: transcription.timeout,
        max_bytes: transcription.max_bytes,
    });
    Ok(Some(Arc::new(made.context("the HTTP client of the transcription service cannot be made")?)))
}

fn twilio(settings: &Settings) -> TwilioConfig {
    let twilio = &settings.twilio;
    TwilioConfig {
        bases: settings.provider_bases(),
        accounts: twilio.accounts.clone(),
        sid_form: twilio.sid_form,
        connect_timeout: twilio.connect_timeout,
        read_timeout: twilio.read_timeout,
        max_bytes: twilio.max_bytes,
        min_bytes_per_second: twilio.min_bytes_per_second,
        throughput_window: twilio.throughput_window,
        resumes: twilio.resumes,
    }
}
