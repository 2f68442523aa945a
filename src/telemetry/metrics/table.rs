//! The table of all metrics: names as Prometheus wants them (base units, `_total` for what only grows), and what each is.
//!
//! Those of the fleet come from the database and are the same from every process: take their `max`, not their sum. Those
//! of the process are its own, since its start.

use std::fmt::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// As the page's `# TYPE` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Whose metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Fleet,
    Process,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Process => "process",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub scope: Scope,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// Without a full stop; the page adds it.
    pub help: &'static str,
}

/// Each metric by its constant, and all of them in this order.
macro_rules! metrics {
    ($($constant:ident = $scope:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub const $constant: Metric = Metric {
            name: $name,
            scope: Scope::$scope,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    DATABASE_UP = Process Gauge "callspool_database_up" []
        "1 while the database answers this process; while it is 0, metrics of the fleet are missing";
    JOBS = Fleet Gauge "callspool_jobs" ["state"]
        "Jobs of the fleet by state; of finished ones all that ever ended so";
    OLDEST_READY_JOB_AGE = Fleet Gauge "callspool_oldest_ready_job_age_seconds" []
        "Age of the fleet's oldest ready job, since it was enqueued, due or tried again by hand; 0 where none is ready";
    QUEUE_WATCH_AGE = Fleet Gauge "callspool_queue_watch_age_seconds" []
        "Time since the last look at all of the queue was complete: how old the other figures of the fleet are; 0 where there was none";
    QUEUE_STALLED = Fleet Gauge "callspool_queue_stalled" ["reason"]
        "Businesses whose ready jobs are not picked, by the reason that `explain` gives; `runnable`: all workers are busy";
    BUSINESS_SLOTS_IN_USE = Fleet Gauge "callspool_business_slots_in_use" ["business_id"]
        "Slots in use, of the fleet's 20 busiest businesses";
    BUSINESS_SLOTS_LIMIT = Fleet Gauge "callspool_business_slots_limit" ["business_id"]
        "Slots that a business may use at one time, of the same businesses";
    HOLDS = Fleet Gauge "callspool_holds" ["kind"]
        "Holds that stand: account, rate, host or storage; `callspool holds list` says which";
    JOBS_HELD = Fleet Gauge "callspool_jobs_held" ["kind"]
        "Jobs that are parked for a hold, counted up to 1,000 for each";
    INSTANCES = Fleet Gauge "callspool_instances" []
        "Processes of the fleet that live";
    WORKING_INSTANCES = Fleet Gauge "callspool_working_instances" []
        "Those of them that take jobs";
    OLDEST_TRANSACTION_AGE = Fleet Gauge "callspool_database_oldest_transaction_age_seconds" []
        "Time since the oldest open transaction of the database began, of sessions that the database's role may see";
    OLDEST_XMIN_AGE = Fleet Gauge "callspool_database_oldest_xmin_age_transactions" []
        "Transactions since the oldest one that a session, replication slot or prepared transaction still needs: dead rows since then cannot be vacuumed, and slow every claim";
    JOBS_ENQUEUED = Process Counter "callspool_jobs_enqueued_total" ["deduplicated"]
        "Jobs that this process's routes enqueued, or found there already";
    REQUESTS_IN_FLIGHT = Process Gauge "callspool_requests_in_flight" []
        "Requests that ask the database, or wait for their turn to; at most `http.max_in_flight`";
    REQUESTS_SHED = Process Counter "callspool_requests_shed_total" []
        "Requests that were answered 503 `overloaded` because that many were under way";
    ATTEMPTS_STARTED = Process Counter "callspool_attempts_started_total" []
        "Attempts that this process's workers began";
    ATTEMPTS = Process Counter "callspool_attempts_total" ["reason"]
        "Attempts that ended: success, interrupted (by a drain; it does not count), cancelled, held (it met a hold, and does not count), or why they failed";
    ATTEMPT_DURATION = Process Histogram "callspool_attempt_duration_seconds" ["outcome"]
        "Time that an attempt took: stored, failed, interrupted, cancelled or held";
    JOBS_FINISHED = Process Counter "callspool_jobs_finished_total" ["outcome"]
        "Jobs that this process had and that ended: done, dead or cancelled (those that ran; one that did not run ends without a process)";
    ENQUEUE_TO_FILE = Process Histogram "callspool_enqueue_to_file_seconds" []
        "Time from a job's enqueueing, by the database's clock, to its stored file, by the process's";
    STORED_BYTES = Process Counter "callspool_stored_bytes_total" []
        "Bytes of the recordings that this process stored";
    CLAIM_BATCH = Process Histogram "callspool_claim_batch_jobs" []
        "Jobs that one claim brought";
    SETTLE_BATCH = Process Histogram "callspool_settle_batch_results" []
        "Results of attempts that one settlement carried";
    RESULTS_DROPPED = Process Counter "callspool_results_dropped_total" []
        "Results that came after their lease had ended: another worker has the job";
    HOLDS_STARTED = Process Counter "callspool_holds_started_total" ["kind"]
        "Holds of the fleet that began by a failure of this process";
    HOLD_PROBES = Process Counter "callspool_hold_probes_total" ["outcome"]
        "Tries of this process whether the cause of a hold is gone: over or not_over";
    ACTOR_RESTARTS = Process Counter "callspool_actor_restarts_total" ["actor"]
        "Actors that were made anew after an error, a panic or an end that nobody wanted; a pool counts as one";
    MIGRATION_LOCK_WAIT = Process Histogram "callspool_migration_lock_wait_seconds" ["outcome"]
        "Wait for the migration lock, until it was acquired or given_up";
    MIGRATIONS = Process Counter "callspool_migrations_total" ["outcome"]
        "Tries of this process to migrate: applied, up_to_date, skipped or failed";
    COMPLETIONS = Process Counter "callspool_completions_total" ["outcome"]
        "Tries of the completion webhook: sent, failed (tried again later) or given_up";
    DELETIONS = Process Counter "callspool_deletions_total" ["what"]
        "What this process deleted of recordings: file, or the copy at the provider";
    POOL_CONNECTIONS = Process Gauge "callspool_pool_connections" ["state"]
        "Connections of this process to the database: in_use or idle";
    POOL_CONNECTIONS_LIMIT = Process Gauge "callspool_pool_connections_limit" []
        "Connections that this process may have open at one time";
    LOG_LINES_DROPPED = Process Counter "callspool_log_lines_dropped_total" []
        "Log lines that were lost because a buffer or the disk was full";
    READY = Process Gauge "callspool_ready" []
        "1 while nothing stands against this process's readiness, apart from the database's answer";
    START_TIME = Process Gauge "callspool_start_time_seconds" []
        "When this process started, in seconds since 1970";
    BUILD_INFO = Process Gauge "callspool_build_info" ["version"]
        "1, with the version that runs";
}

/// The README's table.
pub fn markdown_table() -> String {
    let mut table = String::from("| metric | of | kind | labels | meaning |\n|---|---|---|---|---|\n");
    for Metric { name, scope, kind, labels, help } in ALL {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" ");
        // Writing to a String does not fail.
        let _ = writeln!(table, "| `{name}` | {} | {} | {labels} | {help} |", scope.as_str(), kind.as_str());
    }
    table
}
