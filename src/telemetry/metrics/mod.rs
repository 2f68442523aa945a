//! What is measured, as Prometheus reads it: the process's own metrics, which live as long as it does, and those of the
//! fleet ([`fleet`]), which are made anew for each page.

mod fleet;
pub mod table;

use crate::domain::{
    hold::HoldKind,
    observation::{AttemptEnd, FleetReading, JobEnd, MetricsPage, Observation, Observer, PoolUse},
};
use prometheus_client::{
    encoding::prometheus_text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric as Encoded, Registry},
};
use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use table::{Kind, Metric};

/// From a download of a moment to a backlog of a day.
const LATENCY_BUCKETS: [f64; 15] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0];
/// Up to the attempts that a timeout ends.
const ATTEMPT_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// 0: a claim that found nothing.
const BATCH_BUCKETS: [f64; 10] = [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0, 1000.0];
const LOCK_WAIT_BUCKETS: [f64; 8] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

type Label = [(&'static str, &'static str); 1];
type Labelled<M> = Family<Label, M, fn() -> M>;
type Seconds = Gauge<f64, AtomicU64>;

/// What is read at each page instead of being told.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessGauges {
    pub dropped_log_lines: u64,
    pub pool: PoolUse,
    pub requests_in_flight: u32,
    /// Since the start.
    pub requests_shed: u64,
}

/// The metrics of this process. They are told what happens, see [`Observer`].
pub struct Metrics {
    registry: Registry,
    gauges: Box<dyn Fn() -> ProcessGauges + Send + Sync>,
    enqueued: Labelled<Counter>,
    attempts_started: Counter,
    attempts: Labelled<Counter>,
    attempt_duration: Labelled<Histogram>,
    finished: Labelled<Counter>,
    enqueue_to_file: Histogram,
    stored_bytes: Counter,
    claim_batch: Histogram,
    settle_batch: Histogram,
    results_dropped: Counter,
    holds_started: Labelled<Counter>,
    hold_probes: Labelled<Counter>,
    restarts: Labelled<Counter>,
    lock_wait: Labelled<Histogram>,
    migrations: Labelled<Counter>,
    completions: Labelled<Counter>,
    deletions: Labelled<Counter>,
}

impl Metrics {
    /// `gauges` is asked at each page; it must not block.
    pub fn new(version: &'static str, gauges: impl Fn() -> ProcessGauges + Send + Sync + 'static) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            gauges: Box::new(gauges),
            enqueued: family(),
            attempts_started: Counter::default(),
            attempts: family(),
            attempt_duration: Family::new_with_constructor(|| Histogram::new(ATTEMPT_BUCKETS)),
            finished: family(),
            enqueue_to_file: Histogram::new(LATENCY_BUCKETS),
            stored_bytes: Counter::default(),
            claim_batch: Histogram::new(BATCH_BUCKETS),
            settle_batch: Histogram::new(BATCH_BUCKETS),
            results_dropped: Counter::default(),
            holds_started: family(),
            hold_probes: family(),
            restarts: family(),
            lock_wait: Family::new_with_constructor(|| Histogram::new(LOCK_WAIT_BUCKETS)),
            migrations: family(),
            completions: family(),
            deletions: family(),
        };
        metrics.begin_at_zero();
        metrics.registered(version)
    }

    /// A series that begins with its first event has no increase to be seen, and an alert misses that event.
    fn begin_at_zero(&self) {
        for deduplicated in [false, true] {
            drop(self.enqueued.get_or_create(&bool_label(&table::JOBS_ENQUEUED, deduplicated)));
        }
        for end in AttemptEnd::all() {
            drop(self.attempts.get_or_create(&label(&table::ATTEMPTS, end.reason())));
            drop(self.attempt_duration.get_or_create(&label(&table::ATTEMPT_DURATION, end.outcome())));
        }
        for outcome in ["done", "dead", "cancelled"] {
            drop(self.finished.get_or_create(&label(&table::JOBS_FINISHED, outcome)));
        }
        for kind in HoldKind::ALL {
            drop(self.holds_started.get_or_create(&label(&table::HOLDS_STARTED, kind.as_str())));
        }
        for outcome in ["over", "not_over"] {
            drop(self.hold_probes.get_or_create(&label(&table::HOLD_PROBES, outcome)));
        }
        for outcome in ["acquired", "given_up"] {
            drop(self.lock_wait.get_or_create(&label(&table::MIGRATION_LOCK_WAIT, outcome)));
        }
        for outcome in ["applied", "up_to_date", "skipped", "failed"] {
            drop(self.migrations.get_or_create(&label(&table::MIGRATIONS, outcome)));
        }
        for outcome in ["sent", "failed", "given_up"] {
            drop(self.completions.get_or_create(&label(&table::COMPLETIONS, outcome)));
        }
        for what in ["file", "provider"] {
            drop(self.deletions.get_or_create(&label(&table::DELETIONS, what)));
        }
    }

    fn registered(mut self, version: &'static str) -> Self {
        let to = &mut self.registry;
        register(to, &table::JOBS_ENQUEUED, self.enqueued.clone());
        register(to, &table::ATTEMPTS_STARTED, self.attempts_started.clone());
        register(to, &table::ATTEMPTS, self.attempts.clone());
        register(to, &table::ATTEMPT_DURATION, self.attempt_duration.clone());
        register(to, &table::JOBS_FINISHED, self.finished.clone());
        register(to, &table::ENQUEUE_TO_FILE, self.enqueue_to_file.clone());
        register(to, &table::STORED_BYTES, self.stored_bytes.clone());
        register(to, &table::CLAIM_BATCH, self.claim_batch.clone());
        register(to, &table::SETTLE_BATCH, self.settle_batch.clone());
        register(to, &table::RESULTS_DROPPED, self.results_dropped.clone());
        register(to, &table::HOLDS_STARTED, self.holds_started.clone());
        register(to, &table::HOLD_PROBES, self.hold_probes.clone());
        register(to, &table::ACTOR_RESTARTS, self.restarts.clone());
        register(to, &table::MIGRATION_LOCK_WAIT, self.lock_wait.clone());
        register(to, &table::MIGRATIONS, self.migrations.clone());
        register(to, &table::COMPLETIONS, self.completions.clone());
        register(to, &table::DELETIONS, self.deletions.clone());
        let start = Seconds::default();
        start.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        register(to, &table::START_TIME, start);
        let build: Labelled<Gauge> = family();
        build.get_or_create(&label(&table::BUILD_INFO, version)).set(1);
        register(to, &table::BUILD_INFO, build);
        self
    }

    fn job_ended(&self, end: JobEnd) {
        let outcome = match end {
            JobEnd::Done { bytes, latency } => {
                self.stored_bytes.inc_by(bytes);
                self.enqueue_to_file.observe(latency.as_secs_f64());
                "done"
            }
            JobEnd::Dead => "dead",
            JobEnd::Cancelled => "cancelled",
        };
        self.finished.get_or_create(&label(&table::JOBS_FINISHED, outcome)).inc();
    }

    /// What is read now.
    fn process(&self, is_ready: bool) -> Registry {
        let ProcessGauges { dropped_log_lines, pool, requests_in_flight, requests_shed } = (self.gauges)();
        let mut registry = Registry::default();
        let connections: Labelled<Gauge> = family();
        for (state, count) in [("in_use", pool.in_use), ("idle", pool.idle)] {
            connections.get_or_create(&label(&table::POOL_CONNECTIONS, state)).set(count.into());
        }
        register(&mut registry, &table::POOL_CONNECTIONS, connections);
        register(&mut registry, &table::POOL_CONNECTIONS_LIMIT, gauge(pool.limit));
        let dropped: Counter = Counter::default();
        dropped.inc_by(dropped_log_lines);
        register(&mut registry, &table::LOG_LINES_DROPPED, dropped);
        register(&mut registry, &table::REQUESTS_IN_FLIGHT, gauge(requests_in_flight));
        let shed: Counter = Counter::default();
        shed.inc_by(requests_shed);
        register(&mut registry, &table::REQUESTS_SHED, shed);
        register(&mut registry, &table::READY, gauge(is_ready));
        registry
    }
}

impl Observer for Metrics {
    fn observe(&self, observation: Observation) {
        match observation {
            Observation::Enqueued { deduplicated } => {
                self.enqueued.get_or_create(&bool_label(&table::JOBS_ENQUEUED, deduplicated)).inc();
            }
            Observation::Claimed { jobs } => self.claim_batch.observe(count(jobs)),
            Observation::Settled { results } => self.settle_batch.observe(count(results)),
            Observation::ResultDropped => {
                self.results_dropped.inc();
            }
            Observation::AttemptStarted => {
                self.attempts_started.inc();
            }
            Observation::AttemptEnded { end, took } => {
                self.attempts.get_or_create(&label(&table::ATTEMPTS, end.reason())).inc();
                if let Some(took) = took {
                    let label = label(&table::ATTEMPT_DURATION, end.outcome());
                    self.attempt_duration.get_or_create(&label).observe(took.as_secs_f64());
                }
            }
            Observation::JobEnded(end) => self.job_ended(end),
            Observation::HoldStarted { kind } => {
                self.holds_started.get_or_create(&label(&table::HOLDS_STARTED, kind.as_str())).inc();
            }
            Observation::HoldProbed { is_over } => {
                let outcome = if is_over { "over" } else { "not_over" };
                self.hold_probes.get_or_create(&label(&table::HOLD_PROBES, outcome)).inc();
            }
            Observation::ActorStarted { group, generation } => {
                let restarts = self.restarts.get_or_create(&label(&table::ACTOR_RESTARTS, group));
                if generation > 1 {
                    restarts.inc();
                }
            }
            Observation::LockWaited { acquired, waited } => {
                let label = label(&table::MIGRATION_LOCK_WAIT, if acquired { "acquired" } else { "given_up" });
                self.lock_wait.get_or_create(&label).observe(waited.as_secs_f64());
            }
            Observation::Announced { outcome } => {
                self.completions.get_or_create(&label(&table::COMPLETIONS, outcome)).inc();
            }
            Observation::Deleted { what } => {
                self.deletions.get_or_create(&label(&table::DELETIONS, what)).inc();
            }
            Observation::Migrated { outcome } => {
                self.migrations.get_or_create(&label(&table::MIGRATIONS, outcome)).inc();
            }
        }
    }
}

impl MetricsPage for Metrics {
    fn content_type(&self) -> &'static str {
        prometheus_text::CONTENT_TYPE
    }

    fn text(&self, is_ready: bool, fleet: &FleetReading) -> String {
        let mut page = String::new();
        for registry in [&fleet::registry(fleet), &self.registry, &self.process(is_ready)] {
            // Writing to a String does not fail.
            let _ = prometheus_text::encode(&mut page, registry);
        }
        page
    }
}

/// The page adds `_total` to a counter's name by itself.
fn register(registry: &mut Registry, metric: &Metric, encoded: impl Encoded) {
    let name = match metric.kind {
        Kind::Counter => metric.name.trim_end_matches("_total"),
        Kind::Gauge | Kind::Histogram => metric.name,
    };
    registry.register(name, metric.help, encoded);
}

fn family<M: Default>() -> Labelled<M> {
    Family::new_with_constructor(M::default)
}

/// For a metric with one label.
fn label(metric: &Metric, value: &'static str) -> Label {
    [(metric.labels.first().copied().unwrap_or_default(), value)]
}

fn bool_label(metric: &Metric, value: bool) -> Label {
    label(metric, if value { "true" } else { "false" })
}

fn gauge(value: impl Into<i64>) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value.into());
    gauge
}

fn seconds(value: Duration) -> Seconds {
    let gauge = Seconds::default();
    gauge.set(value.as_secs_f64());
    gauge
}

/// Of a batch, whose limits are far below what a float has room for.
fn count(items: usize) -> f64 {
    u32::try_from(items).unwrap_or(u32::MAX).into()
}
