//! Where the parts are put together: build → run → drain. Nothing else knows all of them.

use crate::{
    actors::{
        job_types::{DownloadOnly, JobHandlers},
        listener::{JobsCameIn, ListenerDeps},
        maintenance::MaintenanceDeps,
        migration::MigrationDeps,
        obstacle::Obstacle,
        recording_worker::WorkerDeps,
        slot_manager::{Identity, Rung, SlotLimits, SlotManagerDeps},
        supervision::{ChildRef, ChildSpec, ChildState, OpenGate, Outbox, RestartPolicy, Roster, Shutdown, Supervisor, start_root},
        supervisor::{Addresses, TreeDeps, WORKER_GROUP, reclaim, specs},
    },
    adapters::{
        clock::SystemClock,
        storage::ObjectStorage,
        twilio::{Twilio, TwilioConfig},
    },
    domain::{
        ids::InstanceId,
        migration::SchemaVersions,
        ports::{Clock, Storage},
        recording_url::ProviderBase,
    },
    http::{HttpActor, HttpDeps, WebhookConfig},
    settings::{Role, Settings},
    store::{Store, StoreConfig},
};
use actix::Addr;
use anyhow::Context;
use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Exit code of a drain that did not end (`EX_SOFTWARE`).
const GAVE_UP: i32 = 70;
/// Exit code after a second signal, as shells give it for SIGTERM.
const INTERRUPTED: i32 = 143;

/// Given to the drain beyond its grace before the process is ended from outside the actors.
const WATCHDOG_SLACK: Duration = Duration::from_secs(10);

/// The runtime of all I/O. It is never dropped: a connection that outlives its runtime brings the process down.
pub fn io_runtime() -> anyhow::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("callspool-io")
        .build()
        .context("the I/O runtime could not be started")?;
    Ok(Box::leak(Box::new(runtime)).handle().clone())
}

/// The database as `settings` name it; connections are opened when they are needed.
pub fn store(settings: &Settings, instance: InstanceId) -> anyhow::Result<Store> {
    let url = settings.database.url.clone().context("no DATABASE_URL")?;
    Store::connect(StoreConfig {
        direct_url: settings.migrations.database_url.clone(),
        url,
        schema: settings.database.schema.clone(),
        pool_size: settings.database.pool_size,
        acquire_timeout: settings.database.acquire_timeout,
        instance,
        retry: settings.retry.clone(),
        migration_statement_timeout: settings.migrations.statement_timeout,
        migration_lock_timeout: settings.migrations.lock_timeout,
        migration_lock_id: settings.migrations.lock_id,
    })
    .context("the database's address cannot be used")
}

/// A supervised process that runs, on a thread of its own.
pub struct Running {
    /// Where the API, the webhooks and health are served.
    pub address: SocketAddr,
    pub instance: InstanceId,
    pub store: Store,
    supervisor: Addr<Supervisor>,
    thread: thread::JoinHandle<anyhow::Result<i32>>,
    grace: Duration,
}

impl Running {
    /// Begins the drain; [`Running::join`] waits for its end.
    pub fn stop(&self) {
        self.supervisor.do_send(Shutdown { code: 0, grace: self.grace });
    }

    /// A hand to stop it with from elsewhere.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        let (supervisor, grace) = (self.supervisor.clone(), self.grace);
        move || supervisor.do_send(Shutdown { code: 0, grace })
    }

    pub fn supervisor(&self) -> &Addr<Supervisor> {
        &self.supervisor
    }

    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Waits for the end of the process's tree, and says with which exit code. Blocks: call it off the runtimes.
    pub fn join(self) -> anyhow::Result<i32> {
        self.thread.join().map_err(|_| anyhow::anyhow!("the control thread panicked"))?
    }
}

/// Builds everything, binds the HTTP address and starts the supervision tree.
pub fn start(settings: Settings, io: Handle) -> anyhow::Result<Running> {
    let instance = InstanceId::generate();
    let store = io.block_on(async { store(&settings, instance) })?;
    let grace = settings.shutdown.grace;
    let bind = settings.http.bind;
    // Bound here and not in the actor: an address that is taken is an error of the start, and a restart of the actor
    // refuses no connection.
    let listener = TcpListener::bind(bind).with_context(|| format!("CALLSPOOL_HTTP_BIND {bind} cannot be bound"))?;
    let address = listener.local_addr().context("the bound address cannot be read")?;
    let parts = Parts { settings, instance, store: store.clone(), io: io.clone(), listener };
    let (started, is_started) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("callspool-control".to_owned())
        .spawn(move || control(parts, started))
        .context("the control thread could not be started")?;
    let Ok(supervisor) = is_started.blocking_recv() else {
        let ended = thread.join().map_err(|_| anyhow::anyhow!("the control thread panicked"))?;
        return Err(ended.err().unwrap_or_else(|| anyhow::anyhow!("the process ended before it had started")));
    };
    tracing::info!(%address, %instance, "callspool has started");
    Ok(Running { address, instance, store, supervisor, thread, grace })
}

/// What the tree is built from.
struct Parts {
    settings: Settings,
    instance: InstanceId,
    store: Store,
    io: Handle,
    listener: TcpListener,
}

/// The control plane's thread: the System, on it the tree, and nothing that blocks.
fn control(parts: Parts, started: oneshot::Sender<Addr<Supervisor>>) -> anyhow::Result<i32> {
    let (store, io) = (parts.store.clone(), parts.io.clone());
    let system = actix_rt::System::new();
    let supervisor = system.block_on(async move { tree(parts) })?;
    // The receiver waits for exactly this.
    let _ = started.send(supervisor);
    let code = system.run_with_code().context("the System ended")?;
    io.block_on(store.close());
    Ok(code)
}

/// Puts the actors together and starts their root.
fn tree(Parts { settings, instance, store, io, listener }: Parts) -> anyhow::Result<Addr<Supervisor>> {
    let workers = if settings.roles.has(Role::Worker) { settings.worker.count } else { 0 };
    let addresses = Addresses::new(workers);
    let (store, clock): (_, Arc<dyn Clock>) = (Arc::new(store), Arc::new(SystemClock));
    let (schema, beat, disk) = (Obstacle::default(), Obstacle::default(), Obstacle::default());
    let roster = Roster::default();
    let gate = GateOpener::default();
    let storage: Arc<dyn Storage> =
        Arc::new(ObjectStorage::open(&settings.storage.url, settings.storage.fsync).context("CALLSPOOL_STORAGE_URL")?);
    // Made on the I/O runtime, where its connections will live.
    let provider = {
        let _on_io = io.enter();
        Twilio::new(twilio(&settings)).context("the HTTP client cannot be made")?
    };
    let rung: Outbox<Rung> = addresses.slot_manager.outbox();

    let deps = TreeDeps {
        migration: MigrationDeps {
            gate: store.clone(),
            clock: Arc::clone(&clock),
            enabled: settings.migrations.run,
            lock_wait: settings.migrations.lock_wait,
            schema_fits: gate.outbox(),
            obstacle: schema.clone(),
        },
        slot_manager: SlotManagerDeps {
            dispatch: store.clone(),
            clock: Arc::clone(&clock),
            roster: roster.clone(),
            workers: addresses.workers.clone(),
            identity: identity(&settings, instance),
            limits: slot_limits(&settings),
            obstacle: beat.clone(),
        },
        worker: WorkerDeps {
            handlers: JobHandlers { download_only: Arc::new(DownloadOnly::new(Arc::new(provider), storage.clone())) },
            clock: Arc::clone(&clock),
            retry: settings.retry.clone(),
            attempt_timeout: settings.twilio.attempt_timeout,
            reports: addresses.slot_manager.outbox(),
        },
        listener: ListenerDeps { bells: store.clone(), jobs: store.clone(), slot_manager: rung.clone() },
        maintenance: MaintenanceDeps {
            upkeep: store.clone(),
            clock,
            beat_ttl: settings.queue.beat_ttl,
            reap_interval: settings.queue.reap_interval,
            promote_interval: settings.queue.promote_interval,
            history_keep: settings.queue.history_keep,
            history_interval: settings.queue.history_interval,
            slot_manager: rung,
            storage: (workers > 0).then_some(storage),
            storage_obstacle: disk.clone(),
        },
        grace: settings.shutdown.grace,
    };
    let readiness = readiness([schema, beat, disk], roster.clone());
    let http = http_spec(&settings, &addresses, store.clone(), &io, listener, readiness);
    let specs = specs(deps, &addresses, http);
    let policy = RestartPolicy {
        backoff_min: settings.supervision.backoff_min,
        backoff_max: settings.supervision.backoff_max,
        max_restarts: settings.supervision.max_restarts,
        window: settings.supervision.window,
    };
    let reclaim = reclaim(store, instance);
    let faults = settings.faults;
    let supervisor = start_root(move || Supervisor::new(specs, policy, reclaim, roster, io, faults));
    gate.set(supervisor.clone());
    Ok(supervisor)
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

fn http_spec(
    settings: &Settings,
    addresses: &Addresses,
    store: Arc<Store>,
    io: &Handle,
    listener: TcpListener,
    readiness: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
) -> ChildSpec {
    let jobs_came_in: Outbox<JobsCameIn> = addresses.listener.outbox();
    let provider_base = ProviderBase::new(settings.twilio.api_base.clone());
    let deps = HttpDeps {
        jobs: store,
        io: io.clone(),
        on_enqueued: Arc::new(move |_| {
            jobs_came_in.send(JobsCameIn);
        }),
        readiness,
        api: settings.roles.has(Role::Api),
        webhooks: settings.roles.has(Role::Webhooks),
        api_token: settings.http.api_token.clone(),
        webhook: WebhookConfig {
            auth_tokens: settings.twilio.auth_token.iter().cloned().collect(),
            account_sid: settings.twilio.account_sid.clone(),
            public_url: settings.http.public_url.clone(),
        },
        provider_base,
        sid_form: settings.twilio.sid_form,
        body_limit: settings.http.body_limit,
        workers: settings.http.workers,
    };
    ChildSpec::new("http", ChildRef::default(), move |_, child| {
        HttpActor::new(child, deps.clone(), listener.try_clone())
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

fn identity(settings: &Settings, instance: InstanceId) -> Identity {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Identity {
        instance,
        host: host.unwrap_or_else(|| "unknown".to_owned()),
        roles: settings.roles.iter().map(|role| role.to_string()).collect(),
    }
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

fn twilio(settings: &Settings) -> TwilioConfig {
    let twilio = &settings.twilio;
    TwilioConfig {
        base: ProviderBase::new(twilio.api_base.clone()),
        account_sid: twilio.account_sid.clone(),
        auth_token: twilio.auth_token.clone(),
        connect_timeout: twilio.connect_timeout,
        read_timeout: twilio.read_timeout,
        max_bytes: twilio.max_bytes,
    }
}

/// Drains on the first SIGTERM or SIGINT; a second one, or a drain that does not end, ends the process at once.
pub fn stop_on_signals(io: &Handle, running: &Running) {
    let (stop, limit) = (running.stopper(), running.grace + WATCHDOG_SLACK);
    io.spawn(async move {
        if let Err(error) = a_signal().await {
            tracing::error!(%error, "no signal handler: SIGTERM ends the process without a drain");
            return;
        }
        tracing::info!(marker = "DRAIN_STARTED", "draining; a second signal ends the process at once");
        thread::spawn(move || {
            thread::sleep(limit);
            tracing::error!("the drain does not end: the watchdog ends the process");
            std::process::exit(GAVE_UP);
        });
        stop();
        if a_signal().await.is_ok() {
            std::process::exit(INTERRUPTED);
        }
    });
}

async fn a_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
