//! The wiring: which part gets which.

use super::{
    Parts,
    doors::{self, Routes},
    edges::Edges,
    intake,
};
use crate::{
    actors::{
        backfill::BackfillDeps,
        follow_up::FollowUpDeps,
        hold_board::HoldBoard,
        hold_keeper::HoldKeeperDeps,
        job_types::{DownloadOnly, Fence, Full, GuardDeps, Guarded, JobHandler, JobHandlers, Strangers, Wanted},
        listener::ListenerDeps,
        maintenance::MaintenanceDeps,
        migration::MigrationDeps,
        obstacle::Obstacle,
        reconcile::ReconcileDeps,
        recording_worker::WorkerDeps,
        retention::RetentionDeps,
        slot_manager::{Identity, Rung, SlotLimits, SlotManagerDeps},
        supervision::{OpenGate, Outbox, RestartPolicy, Roster, Supervisor, start_root},
        supervisor::{Addresses, TreeDeps, reclaim, specs},
        watcher::WatcherDeps,
    },
    adapters::{audio::AudioWalker, backfill_folder::BackfillFolder, clock::SystemClock},
    domain::{
        audio::AudioRules,
        follow_up::FleetSetting,
        ids::InstanceId,
        migration::SchemaVersions,
        observation::Observer,
        overview::Pulse,
        ports::{Clock, WatchRules},
        reconcile::RoundRules,
    },
    http::{Door, MetricsDesk, connections_for_requests},
    settings::{Role, Settings},
    store::Store,
    telemetry::{
        LostLines,
        metrics::{Metrics, ProcessGauges},
    },
};
use actix::Addr;
use std::sync::{Arc, OnceLock};

/// What the watch reads at a time: some milliseconds of work, within `work_mem`. A million businesses are fifty looks.
const BUSINESSES_A_LOOK: u32 = 20_000;

/// Puts the actors together and starts their root.
pub(super) fn start(parts: Parts) -> anyhow::Result<Addr<Supervisor>> {
    let Parts { settings, instance, store, io, tracer, listener, shutdown, tally, ends: _, lost_lines } = parts;
    let workers = if settings.roles.has(Role::Worker) { settings.worker.count } else { 0 };
    let addresses = Addresses::new(workers);
    let (store, clock): (_, Arc<dyn Clock>) = (Arc::new(store), Arc::new(SystemClock));
    let door = Door::new(settings.http.max_in_flight, connections_for_requests(settings.database.pool_size));
    let metrics = Arc::new(metrics(&store, door.clone(), lost_lines));
    let observer: Arc<dyn Observer> = metrics.clone();
    let (schema, beat, disk) = (Obstacle::default(), Obstacle::default(), Obstacle::default());
    let roster = Roster::default();
    let gate = GateOpener::default();
    let pulse = Pulse::default();
    let edges = Edges::new(&settings, &io)?;
    let board = HoldBoard::default();
    let wiring = Wiring {
        settings: &settings,
        store: &store,
        clock: &clock,
        observer: &observer,
        edges: &edges,
        addresses: &addresses,
    };

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
            handlers: wiring.handlers(&board),
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
            slot_manager: addresses.slot_manager.outbox(),
            cancels: addresses.slot_manager.outbox(),
        },
        watcher: WatcherDeps {
            watch: store.clone(),
            clock: Arc::clone(&clock),
            rules: watch_rules(&settings),
            pulse,
        },
        after: wiring.after(),
        hold_keeper: wiring.hold_keeper(board),
        reconcile: wiring.reconcile(),
        maintenance: wiring.maintenance(&disk),
        grace: settings.shutdown.grace,
    };
    let routes = Routes {
        store: store.clone(),
        edges: edges.clone(),
        clock: Arc::clone(&clock),
        io: io.clone(),
        readiness: doors::readiness([schema, beat, disk], roster.clone()),
        observer: observer.clone(),
        metrics: MetricsDesk::new(metrics, store.clone()),
        door,
        tracer,
    };
    let http = doors::spec(&settings, &addresses, routes, listener);
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

/// What many of the parts are made of.
#[derive(Clone, Copy)]
struct Wiring<'a> {
    settings: &'a Settings,
    store: &'a Arc<Store>,
    clock: &'a Arc<dyn Clock>,
    observer: &'a Arc<dyn Observer>,
    edges: &'a Edges,
    addresses: &'a Addresses,
}

impl Wiring<'_> {
    fn has_workers(self) -> bool {
        !self.addresses.workers.is_empty()
    }

    /// Jobs may have come in, or can be claimed again.
    fn rung(self) -> Outbox<Rung> {
        self.addresses.slot_manager.outbox()
    }

    fn handlers(self, board: &HoldBoard) -> JobHandlers {
        let (settings, edges) = (self.settings, self.edges);
        let guard = GuardDeps {
            holds: self.store.clone(),
            board: board.clone(),
            strangers: Strangers {
                configured: Arc::new(settings.twilio.accounts.clone()),
                most: settings.holds.max_unlisted_accounts,
            },
            rules: settings.holds.rules.clone(),
            clock: Arc::clone(self.clock),
            observer: Arc::clone(self.observer),
        };
        let guarded = |handler| -> Arc<dyn JobHandler> { Arc::new(Guarded::new(handler, guard.clone())) };
        let download = Arc::new(DownloadOnly::new(
            Arc::clone(&edges.sources.provider),
            Arc::clone(&edges.storage),
            Arc::new(AudioWalker),
            settings.storage.layout.clone(),
            Wanted {
                forms: settings.recordings.forms.clone(),
                audio: AudioRules { tolerance: settings.audio.duration_tolerance },
            },
            Fence::new(self.store.clone(), settings.queue.beat_interval),
        ));
        let full = Full::new(download.clone(), Arc::clone(&edges.storage), edges.transcriber.clone());
        JobHandlers { download_only: guarded(download), full: guarded(Arc::new(full)) }
    }

    fn hold_keeper(self, board: HoldBoard) -> Option<HoldKeeperDeps> {
        let (holds, edges) = (&self.settings.holds, self.edges);
        self.has_workers().then(|| HoldKeeperDeps {
            holds: self.store.clone(),
            board,
            provider: Arc::clone(&edges.sources.provider),
            storage: Arc::clone(&edges.storage),
            transcriber: edges.transcriber.clone(),
            clock: Arc::clone(self.clock),
            rules: holds.rules.clone(),
            refresh: holds.refresh,
            slot_manager: self.rung(),
            observer: Arc::clone(self.observer),
        })
    }

    /// Where it is switched on, and this process fetches: it has the provider's credentials then.
    fn reconcile(self) -> Option<ReconcileDeps> {
        let (reconcile, beat_ttl) = (&self.settings.reconcile, self.settings.queue.beat_ttl);
        (self.has_workers() && !reconcile.interval.is_zero()).then(|| ReconcileDeps {
            intake: intake::of(self.settings, self.store, self.edges.sources.clone()),
            rules: RoundRules { interval: reconcile.interval, look_back: reconcile.look_back, beat_ttl },
            clock: Arc::clone(self.clock),
            slot_manager: self.rung(),
            jobs_came_in: self.addresses.listener.outbox(),
            observer: Arc::clone(self.observer),
        })
    }

    /// What is done after a recording is stored is done where recordings are.
    fn after(self) -> Option<(FollowUpDeps, RetentionDeps)> {
        let (settings, edges) = (self.settings, self.edges);
        let (completion, retention) = (&settings.completion, &settings.retention);
        let follow_up = || FollowUpDeps {
            follow_ups: self.store.clone(),
            announcer: Arc::clone(&edges.announcer),
            provider: Arc::clone(&edges.sources.provider),
            storage: Arc::clone(&edges.storage),
            clock: Arc::clone(self.clock),
            observer: Arc::clone(self.observer),
            setting: FleetSetting {
                announces: completion.url.is_some(),
                delete_at_provider: retention.delete_at_provider,
            },
            persistence: completion.persistence.clone(),
            timeout: completion.timeout,
            poll_interval: completion.poll_interval,
        };
        let sweep = || RetentionDeps {
            custody: self.store.clone(),
            follow_ups: self.store.clone(),
            clock: Arc::clone(self.clock),
            days: retention.days,
            interval: retention.interval,
            keep_dead: settings.queue.history_keep,
        };
        self.has_workers().then(|| (follow_up(), sweep()))
    }

    fn maintenance(self, disk: &Obstacle) -> MaintenanceDeps {
        let (queue, storage) = (&self.settings.queue, &self.settings.storage);
        MaintenanceDeps {
            upkeep: self.store.clone(),
            clock: Arc::clone(self.clock),
            beat_ttl: queue.beat_ttl,
            reap_interval: queue.reap_interval,
            promote_interval: queue.promote_interval,
            history_keep: queue.history_keep,
            history_interval: queue.history_interval,
            slot_manager: self.rung(),
            storage: self.has_workers().then(|| Arc::clone(&self.edges.storage)),
            storage_obstacle: disk.clone(),
            sweep_interval: storage.sweep_interval,
            sweep_age: storage.sweep_age,
            observer: Arc::clone(self.observer),
        }
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

fn metrics(store: &Arc<Store>, door: Door, lost_lines: LostLines) -> Metrics {
    let store = Arc::clone(store);
    Metrics::new(env!("CARGO_PKG_VERSION"), move || ProcessGauges {
        dropped_log_lines: lost_lines.lines() as u64,
        pool: store.pool_use(),
        requests_in_flight: door.in_flight(),
        requests_shed: door.shed(),
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
        businesses: BUSINESSES_A_LOOK,
    }
}
