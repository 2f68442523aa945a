//! Where the parts are put together: build → run → drain. Nothing else knows all of them.
//!
//! | file | what it holds |
//! |---|---|
//! | `tree` | which part gets which |
//! | `edges`, `doors` | what it asks, and what asks it, as the settings want them |
//! | `drain` | signals, and the watchdog behind a drain |
//! | `session` | a command's way to the database, embedded or not |
//! | `advice` | errors of commands, with what to do next |
//! | `bars` | progress bars of commands |
//! | `intake` | what the provider has against what is known here |
//! | `migrate` | migrating without anything else |
//! | `demo` | the demo: a provider that misbehaves in front of an ordinary process |

mod advice;
mod bars;
mod demo;
mod doors;
mod drain;
mod edges;
mod intake;
mod migrate;
mod session;
mod tree;

pub use advice::{OrNext, about_database, advised, next_step};
pub use bars::Bars;
pub use demo::{DemoOptions, demo};
pub use drain::Signals;
pub use intake::{BackfillOrder, Backfilled, backfill};
pub use migrate::{baseline, migrate, wait_for_schema};
pub use session::{Session, embedded_database, with_log, with_schema, with_store};

use crate::{
    actors::{
        drain::DrainTally,
        supervision::{Shutdown, Supervisor},
    },
    domain::{
        ids::InstanceId,
        trace::{Tracer, Untraced},
    },
    settings::{LogFormat, LogSettings, Pooler, Role, Rotation, Settings},
    store::{Store, StoreConfig},
    telemetry::{
        self, LogConfig, LostLines, Stdout, TelemetryGuard,
        traces::{TraceConfig, Traces},
    },
};
use actix::Addr;
use anyhow::Context;
use std::{
    net::{SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::sync::CancellationToken;

/// Longest wait for the pool's connections at the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for the last spans to be sent, when all else is done.
const TRACES_LIMIT: Duration = Duration::from_secs(1);

/// The log of a process. Keep the guard to the very end: its drop writes out what is still buffered.
pub fn log(settings: &LogSettings) -> anyhow::Result<TelemetryGuard> {
    let stdout = match settings.format {
        LogFormat::Pretty => Stdout::Pretty,
        LogFormat::Json => Stdout::Json,
    };
    log_to(settings, stdout)
}

fn log_to(settings: &LogSettings, stdout: Stdout) -> anyhow::Result<TelemetryGuard> {
    let config = LogConfig {
        dir: settings.dir.clone(),
        stdout,
        level: settings.level.clone(),
        hourly: settings.rotation == Rotation::Hourly,
        keep_files: settings.keep_files,
    };
    telemetry::init(&config).context("logging cannot be set up")
}

/// The runtime of all I/O. It is never dropped: a connection that outlives its runtime brings the process down.
pub fn io_runtime() -> anyhow::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("callspool-io")
        .build()
        .context("the I/O runtime could not be started")?;
    Ok(Box::leak(Box::new(runtime)).handle().clone())
}

/// The database as `settings` name it; connections are opened when they are needed. Call it on the I/O runtime.
pub fn store(settings: &Settings, instance: InstanceId) -> anyhow::Result<Store> {
    let url = settings.database.url.clone().context("no DATABASE_URL")?;
    Store::connect(StoreConfig {
        direct_url: settings.migrations.database_url.clone(),
        url,
        behind_pooler: settings.database.pooler == Pooler::Transaction,
        schema: settings.database.schema.clone(),
        pool_size: settings.database.pool_size,
        acquire_timeout: settings.database.acquire_timeout,
        instance,
        retry: settings.retry.clone(),
        beat_ttl: settings.queue.beat_ttl,
        default_max_slots: settings.queue.default_max_slots,
        migration_statement_timeout: settings.migrations.statement_timeout,
        migration_lock_timeout: settings.migrations.lock_timeout,
        migration_lock_id: settings.migrations.lock_id,
        application_dir: settings.migrations.dir.clone(),
        protected_tables: settings.migrations.protected_tables.clone(),
    })
    .context("the database's address cannot be used")
}

/// Where spans go, if anywhere. Refused is what only the variables of OpenTelemetry's own say, such as a compression that
/// we do not have.
fn traces(settings: &Settings, instance: InstanceId, io: &Handle) -> anyhow::Result<Option<Traces>> {
    let telemetry = &settings.telemetry;
    let Some(endpoint) = telemetry.otlp_endpoint.clone() else { return Ok(None) };
    let config = TraceConfig {
        endpoint,
        headers: telemetry.otlp_headers.clone(),
        service_name: telemetry.service_name.clone(),
        sampling: telemetry.sampling,
        instance,
    };
    Ok(Some(Traces::start(&config, io)?))
}

/// A supervised process that runs, on a thread of its own.
pub struct Running {
    /// Where the API, the webhooks and health are served.
    pub address: SocketAddr,
    pub instance: InstanceId,
    pub store: Store,
    supervisor: Addr<Supervisor>,
    shutdown: CancellationToken,
    end: mpsc::Receiver<anyhow::Result<i32>>,
    ends: Ends,
    grace: Duration,
}

/// Where it is said how the process ends: by the control thread, or by a second signal or the watchdog where that one
/// does not. Nothing but `main` ends the process, so that the log is always written out.
#[derive(Clone)]
struct Ends {
    end: mpsc::Sender<anyhow::Result<i32>>,
    said: CancellationToken,
}

impl Ends {
    fn say(&self, end: anyhow::Result<i32>) {
        self.said.cancel();
        // Nobody waits any more where it was said before.
        let _ = self.end.send(end);
    }
}

impl Running {
    /// Begins the drain; [`Running::join`] waits for its end.
    pub fn stop(&self) {
        self.stopper()();
    }

    /// A hand to stop it with from elsewhere.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        let (supervisor, shutdown, grace) = (self.supervisor.clone(), self.shutdown.clone(), self.grace);
        move || {
            // Not left to the supervisor, whose thread may be blocked: the watchdog waits for this.
            shutdown.cancel();
            supervisor.do_send(Shutdown { code: 0, grace });
        }
    }

    pub fn is_running(&self) -> bool {
        !self.ends.said.is_cancelled()
    }

    /// Waits until it is said how the process ends.
    pub async fn ended(&self) {
        self.ends.said.cancelled().await;
    }

    /// Waits for the end of the process's tree, or for whoever ends it by force, and says with which exit code. Blocks:
    /// call it off the runtimes.
    pub fn join(self) -> anyhow::Result<i32> {
        self.end.recv().unwrap_or_else(|_| anyhow::bail!("the control thread is gone"))
    }
}

/// What the tree is built from.
struct Parts {
    settings: Settings,
    instance: InstanceId,
    store: Store,
    io: Handle,
    tracer: Arc<dyn Tracer>,
    listener: TcpListener,
    shutdown: CancellationToken,
    tally: DrainTally,
    ends: Ends,
    lost_lines: LostLines,
}

/// Builds everything, binds the HTTP address and starts the supervision tree. `lost_lines` are of the log, to be measured.
pub fn start(settings: Settings, io: &Handle, lost_lines: LostLines) -> anyhow::Result<Running> {
    let instance = InstanceId::generate();
    let store = io.block_on(async { store(&settings, instance) })?;
    let grace = settings.shutdown.grace;
    let bind = settings.http.bind;
    let needs_credentials = settings.roles.has(Role::Webhooks) || settings.roles.has(Role::Worker);
    let without_credentials = needs_credentials && settings.twilio.accounts.is_empty();
    // Bound here and not in the actor: an address that is taken is an error of the start, and a restart of the actor
    // refuses no connection.
    let listener =
        TcpListener::bind(bind)
            .with_context(|| format!("CALLSPOOL_HTTP_BIND {bind} cannot be bound"))
            .or_next(|| "end what listens there, or name another address; port 0 picks a free one".to_owned())?;
    let address = listener.local_addr().context("the bound address cannot be read")?;
    let to_collector = traces(&settings, instance, io)?;
    let tracer: Arc<dyn Tracer> = match to_collector.clone() {
        Some(traces) => Arc::new(traces),
        None => Arc::new(Untraced),
    };
    let (shutdown, (said, end)) = (CancellationToken::new(), mpsc::channel());
    let ends = Ends { end: said, said: CancellationToken::new() };
    let parts = Parts {
        settings,
        instance,
        store: store.clone(),
        io: io.clone(),
        tracer,
        listener,
        shutdown: shutdown.clone(),
        tally: DrainTally::default(),
        ends: ends.clone(),
        lost_lines,
    };
    let end_of_thread = ends.clone();
    let (started, is_started) = oneshot::channel();
    thread::Builder::new()
        .name("callspool-control".to_owned())
        .spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| control(parts, started, to_collector)));
            end_of_thread.say(ended.unwrap_or_else(|_| Err(anyhow::anyhow!("the control thread panicked"))));
        })
        .context("the control thread could not be started")?;
    let Ok(supervisor) = is_started.blocking_recv() else {
        let ended = end.recv().context("the control thread is gone")?;
        return Err(ended.err().unwrap_or_else(|| anyhow::anyhow!("the process ended before it had started")));
    };
    tracing::info!(%address, %instance, "callspool has started");
    if without_credentials {
        tracing::warn!(
            "no TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN: webhooks are refused, media is asked for without"
        );
    }
    Ok(Running { address, instance, store, supervisor, shutdown, end, ends, grace })
}

/// The control plane's thread: the System, on it the tree, and nothing that blocks.
fn control(
    parts: Parts,
    started: oneshot::Sender<Addr<Supervisor>>,
    traces: Option<Traces>,
) -> anyhow::Result<i32> {
    let (store, io, tally) = (parts.store.clone(), parts.io.clone(), parts.tally.clone());
    // Until it is dropped, at the end of this function, a drain may not take longer than its grace.
    let _watchdog = drain::watchdog(&parts);
    let system = actix_rt::System::new();
    let supervisor = system.block_on(async move { tree::start(parts) })?;
    // The receiver waits for exactly this.
    let _ = started.send(supervisor);
    let code = system.run_with_code().context("the System ended")?;
    // Something that still has a connection and does not end must not keep the process: closing is a courtesy.
    let _ = io.block_on(async { tokio::time::timeout(CLOSE_LIMIT, store.close()).await });
    let (finished, handed_back) = tally.counts();
    tracing::info!(marker = "DRAIN_DONE", finished, handed_back, "drained");
    if let Some(traces) = traces {
        traces.finish(TRACES_LIMIT);
    }
    Ok(code)
}
