//! All SQL. A method of the ports is one atomic step, and nearly always one function of the database in one round trip:
//! see `migrations/`.
//!
//! Statements name the schema themselves ([`statements`]), because the pool may stand behind a transaction-mode
//! PgBouncer, where no session has a search path, and all go one way, which knows how to live with one ([`pool`]). Two
//! connections go past the pool, to `MIGRATION_DATABASE_URL`: the migrator's ([`gate`]) and the listener's ([`bells`]).
//! A few more belong to the slot manager, so that its beats and its steps wait for nobody. All of them lead to the
//! primary where a URL names several hosts ([`hosts`]).

mod after;
mod backfill;
mod backfill_rows;
mod bells;
mod dispatch;
mod errors;
mod fleet;
mod gate;
mod hold_rows;
mod holds;
mod hosts;
mod jobs;
mod lately;
mod lent;
mod meter;
mod operate_rows;
mod operations;
mod overview;
mod overview_rows;
mod pool;
mod reconcile;
mod recordings;
mod rows;
mod statements;
mod transcripts;
mod upkeep;

// The words of this interface, for the command line.
pub use crate::domain::{
    audit::{ACTIONS as AUDIT_ACTIONS, AuditFilter},
    backfill::BackfillStatus,
    business::{BusinessChange, BusinessFilter, BusinessView},
    duration,
    enqueue_request::{EnqueueRequest, FieldFault, untranscribed},
    explain::{Detail, Explanation, LiveInstance, Reason, ScheduledWhy, SlotHolder, span},
    hold::{Hold, HoldKey, HoldView},
    ids::{AccountSid, BusinessId, CallSid, JobId, RecordingSid, SidForm},
    job::{AttemptView, Enqueued, JobFilter, JobState, JobView, NewJob},
    media::Forms,
    migration::{
        MigrationFailure, MigrationOutcome, MigrationRecord, MigrationSet, MigrationState, SchemaVersions, Version,
    },
    migration_lint as lint,
    migration_script::application_search_path,
    operate::{BATCH, JobOutcome, Operator, OperatorAction, Outcome},
    overview::{Failing, Overview, PulsePoint, Stall},
    ports::{
        Backlog, Custody, FleetStatus, FleetView, Gate, Holds, JobBook, Operations, RecordingBook, StoreError,
        TranscriptBook,
    },
    reconcile::Counts,
    recording::{Lookup, RecordingFilter},
    recording_url::ProviderBases,
    transcript::{MAX_QUESTION, Question, TranscriptFound, TranscriptPlace, TranscriptSearch, TranscriptView},
};

use crate::domain::{ids::InstanceId, ports::StoreResult, retry::RetryPolicy};
use hosts::Address;
use lately::Lately;
use pool::Pool;
use secrecy::SecretString;
use sqlx::postgres::PgPoolOptions;
use statements::Statements;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Where the database is and how it is used.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub url: SecretString,
    /// `url` is a transaction-mode pooler's: see `pool`.
    pub behind_pooler: bool,
    /// `MIGRATION_DATABASE_URL`, where the pool's address is a pooler's.
    pub direct_url: Option<SecretString>,
    /// Checked by the settings; quoted all the same.
    pub schema: String,
    pub pool_size: u32,
    /// Longest wait for a connection of the pool.
    pub acquire_timeout: Duration,
    pub instance: InstanceId,
    /// For what is decided about jobs that nobody reports on.
    pub retry: RetryPolicy,
    /// Without a beat for so long an instance is dead.
    pub beat_ttl: Duration,
    /// Slots of a business that is met for the first time.
    pub default_max_slots: i32,
    pub migration_statement_timeout: Duration,
    pub migration_lock_timeout: Duration,
    pub migration_lock_id: i64,
    /// `MIGRATIONS_DIR`.
    pub application_dir: Option<PathBuf>,
    /// Of the application's; see `gate/apply`.
    pub protected_tables: Vec<String>,
}

/// Most connections that beats have, and that steps have.
const OWN: u32 = 4;

/// The database. Cheap to clone; clones share the pool.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Pool,
    /// The pool without its last connection, which is left to requests: for what comes round again by itself.
    upkeep: Pool,
    /// What the slot manager does waits for nobody else: neither for requests that hold every connection of the pool,
    /// nor the beat for a settlement that waits for a lock. Each needs one connection, and more while one is stuck: what
    /// fell silent comes back only when the system gives it up.
    beats: Pool,
    steps: Pool,
    /// Answers to these two, which send writes.
    answers: Lately,
    direct: Address,
    statements: Statements,
    config: StoreConfig,
}

impl Store {
    /// Makes the pool; connections are opened when they are needed, so that a process starts while the database is
    /// away. Call it on the I/O runtime.
    pub fn connect(config: StoreConfig) -> StoreResult<Self> {
        let name = format!("callspool/{}", config.instance);
        let address = Address::of("DATABASE_URL", &config.url, |options| {
            let options = options.application_name(&name);
            // A pooler refuses what it cannot set again for each transaction. No statement here is a float's.
            if config.behind_pooler {
                options.extra_float_digits(None).statement_cache_capacity(0)
            } else {
                options
            }
        })?;
        let direct = match &config.direct_url {
            // The same hosts, looked at once for both.
            None => address.clone(),
            Some(url) => Address::of("MIGRATION_DATABASE_URL", url, |options| options)?,
        };
        let answers = Lately::new();
        let pool = |connections, answers| {
            let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(config.acquire_timeout);
            Pool::new(pool, address.clone(), config.behind_pooler, answers)
        };
        let (beats, steps) = (pool(OWN, Some(answers.clone())), pool(OWN, Some(answers.clone())));
        let pool = pool(config.pool_size, None);
        let upkeep = pool.with_turns(config.pool_size.saturating_sub(1).max(1));
        let statements = Statements::new(&config.schema);
        Ok(Self(Arc::new(Inner { pool, upkeep, beats, steps, answers, direct, statements, config })))
    }

    /// Closes every connection but the listener's and the migrator's; on the I/O runtime, after the last use.
    pub async fn close(&self) {
        let Inner { pool, beats, steps, .. } = &*self.0;
        tokio::join!(pool.close(), beats.close(), steps.close());
    }

    fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// For what no request waits for and what is short: one that takes long would be in the way of the others.
    fn upkeep(&self) -> &Pool {
        &self.0.upkeep
    }

    /// For the beat, what it brings along, and whether the database is there.
    fn beats(&self) -> &Pool {
        &self.0.beats
    }

    /// For claims and settlements, one after the other.
    fn steps(&self) -> &Pool {
        &self.0.steps
    }

    fn sql(&self) -> &Statements {
        &self.0.statements
    }

    fn config(&self) -> &StoreConfig {
        &self.0.config
    }

    /// Every statement of this store by name, for a check against the real schema.
    pub fn statements(&self) -> Vec<(&'static str, String)> {
        self.0.statements.all()
    }
}

/// A duration as whole milliseconds, for SQL.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
