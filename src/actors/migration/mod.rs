//! The migration actor: tries the lock by timed messages for a bounded time, applies what is pending, or skips. Beside
//! that it looks at the schema ([`schema_gate`]), and opens the gate as soon as it fits, whoever migrated.
//!
//! It never blocks on the lock: a session that waits in `pg_advisory_lock` holds a snapshot, which stops every
//! CREATE INDEX CONCURRENTLY, and a timeout ends it with an error (incident 1).
//!
//! | what does not work | then |
//! |---|---|
//! | the database is not reached, or the connection breaks while waiting | connect again, for as long as it takes; a command gives up after `MIGRATION_LOCK_WAIT_SECONDS` |
//! | the lock is busy | try again until `MIGRATION_LOCK_WAIT_SECONDS` after the first try, then skip; look again every `migrations.heal_interval`, so that a fleet whose only migrator died heals itself |
//! | a migration fails in a way that can pass | connect, lock and go on, as often as its header or `migrations.retries` says |
//! | the server loses the session, and the client is not told | seen from another connection; the same |
//! | a migration fails otherwise | say which and why; the process lives and waits for a schema that fits |

mod progress;
mod schema_gate;

use super::{
    answer::{answered, answered_within},
    obstacle::Obstacle,
    supervision::{ChildContext, Outbox, hooks_for_faults},
};
use crate::domain::{
    migration::{
        LockHolder, LockTry, MigrationFailure, MigrationOutcome, MigrationSet, SchemaVersions, SkipReason, Version,
    },
    observation::{Observation, Observer},
    ports::{Clock, Gate, GateSession},
};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use progress::Progress;
use schema_gate::SchemaGate;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two tries for the lock, before jitter.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// Of the tries with the same holder, each that is a multiple of this is logged, and the first and the last.
const SAY_EVERY: u32 = 10;
/// Between two tries to connect: doubles from the first to the slowest.
const CONNECT_MIN: Duration = Duration::from_millis(250);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Between two tries of a migration that fails in a way that can pass: doubles from the first to the slowest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The same where tables of ours may have to be made first, which may wait for locks.
const NEXT_LIMIT: Duration = Duration::from_mins(2);

#[derive(Clone)]
pub struct MigrationDeps {
    pub gate: Arc<dyn Gate>,
    pub clock: Arc<dyn Clock>,
    /// `RUN_MIGRATIONS`.
    pub enabled: bool,
    /// `MIGRATION_LOCK_WAIT_SECONDS`; zero is one try.
    pub lock_wait: Duration,
    /// How often a migration is tried again whose header does not say it.
    pub retries: u32,
    /// Between two looks for the lock after the skip; zero: no more looks.
    pub heal_interval: Duration,
    /// Told how the try to migrate ended, for a command that wants nothing else: the actor stops then. Without it, it
    /// goes on to watch the schema.
    pub only: Option<Outbox<MigrationOutcome>>,
    /// Told once, when the schema fits.
    pub schema_fits: Outbox<SchemaVersions>,
    /// Why the schema is not ready, for `/readyz`.
    pub obstacle: Obstacle,
    pub observer: Arc<dyn Observer>,
}

pub struct MigrationActor {
    child: ChildContext,
    deps: MigrationDeps,
    /// When the first try for the lock was made: a connection that breaks does not begin the wait anew.
    since: Option<Instant>,
    lock_tries: u32,
    /// The first wait for the lock ended; what is waited for later is told no more.
    lock_waited: bool,
    /// Who had the lock at the last try.
    holder: Option<LockHolder>,
    /// The wait is over; what follows is the slow look of `migrations.heal_interval`.
    skipped: bool,
    /// Between the lock and the end: what is missing then is on its way.
    migrating: bool,
    /// Connections in a row that came to nothing, and since when there is none.
    outages: u32,
    away_since: Option<Instant>,
    /// Failures since the last migration that was applied.
    failures: u32,
    applied: u32,
    progress: Progress,
    schema: SchemaGate,
}

/// The session travels with the I/O; dropping it closes the connection, and with it the lock.
type Session = Box<dyn GateSession>;

impl MigrationActor {
    pub fn new(child: ChildContext, deps: MigrationDeps) -> Self {
        deps.obstacle.set(Some("the schema has not been looked at yet".to_owned()));
        Self {
            child,
            deps,
            since: None,
            lock_tries: 0,
            lock_waited: false,
            holder: None,
            skipped: false,
            migrating: false,
            outages: 0,
            away_since: None,
            failures: 0,
            applied: 0,
            progress: Progress::default(),
            schema: SchemaGate::default(),
        }
    }

    // --- the lock

    fn open(&mut self, ctx: &mut Context<Self>) {
        let gate = Arc::clone(&self.deps.gate);
        self.child.spawn_io(ctx, async move { answered(gate.open()).await }, |this, session, ctx| match session {
            Ok(session) => {
                this.away_since = None;
                ctx.notify(TryLock(session));
            }
            Err(failure) => this.not_connected(failure, ctx),
        });
    }

    /// The database comes back some time, and somebody has to migrate then.
    fn not_connected(&mut self, failure: MigrationFailure, ctx: &mut Context<Self>) {
        let away = self.away_since.get_or_insert_with(Instant::now).elapsed();
        let command_gives_up = self.deps.only.is_some() && away >= self.deps.lock_wait;
        if !failure.can_pass || command_gives_up {
            return self.ended(MigrationOutcome::Failed(failure), ctx);
        }
        let wait = (CONNECT_MIN * 2_u32.pow(self.outages.min(10))).min(CONNECT_MAX);
        self.outages += 1;
        tracing::warn!(%failure, retry_in_ms = wait.as_millis(), "no connection to migrate on; trying again");
        self.child.run_later(ctx, wait, Self::open);
    }

    fn tried(&mut self, session: Session, answer: Result<LockTry, MigrationFailure>, ctx: &mut Context<Self>) {
        let holder = match answer {
            Err(failure) => return self.not_connected(failure, ctx),
            Ok(LockTry::Acquired) => {
                let attempt = self.lock_tries;
                tracing::info!(marker = "MIGRATION_LOCK_ACQUIRED", attempt, "migration lock acquired");
                self.observe_lock_wait(true);
                self.migrating = true;
                return self.find_next(session, ctx);
            }
            Ok(LockTry::Busy(holder)) => holder,
        };
        self.outages = 0;
        if self.skipped {
            return self.heal_later(ctx);
        }
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let over = waited >= self.deps.lock_wait;
        let pid = |holder: &Option<LockHolder>| holder.as_ref().map(|holder| holder.pid);
        let changed = pid(&holder) != pid(&self.holder);
        if over || changed || self.lock_tries == 1 || self.lock_tries.is_multiple_of(SAY_EVERY) {
            say_waiting(self.lock_tries, waited, holder.as_ref());
        }
        self.holder = holder;
        if over {
            self.observe_lock_wait(false);
            // The session goes, and with it nothing: it never held the lock.
            return self.ended(MigrationOutcome::Skipped(SkipReason::LockTimeout), ctx);
        }
        let wait = self.jittered(TRY_EVERY).min(self.deps.lock_wait.saturating_sub(waited));
        self.child.run_later(ctx, wait, move |_, ctx| ctx.notify(TryLock(session)));
    }

    fn observe_lock_wait(&mut self, acquired: bool) {
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        if !std::mem::replace(&mut self.lock_waited, true) {
            self.deps.observer.observe(Observation::LockWaited { acquired, waited });
        }
    }

    /// The connection is given up in between: a process that only looks now and then holds none.
    fn heal_later(&mut self, ctx: &mut Context<Self>) {
        let wait = self.jittered(self.deps.heal_interval);
        self.child.run_later(ctx, wait, Self::open);
    }

    /// A quarter shorter to a quarter longer, so that processes that started together drift apart.
    fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(0.75 + 0.5 * self.deps.clock.random())
    }

    // --- the migrations

    fn find_next(&mut self, mut session: Session, ctx: &mut Context<Self>) {
        let find = async move {
            let next = answered_within(NEXT_LIMIT, session.next()).await;
            (session, next)
        };
        self.child.spawn_io(ctx, find, |this, (session, next), ctx| match next {
            Ok(Some(next)) => this.apply(session, next, ctx),
            Ok(None) => this.finish(session, ctx),
            Err(failure) => this.failed(failure, ctx),
        });
    }

    fn apply(&mut self, mut session: Session, (set, version): (MigrationSet, Version), ctx: &mut Context<Self>) {
        let pid = session.pid();
        let apply = async move {
            let took = session.apply().await;
            (session, took)
        };
        let applying = self.child.spawn_io(ctx, apply, move |this, (session, took), ctx| {
            this.end_progress(ctx);
            match took {
                Ok(took) => {
                    this.applied += 1;
                    this.failures = 0;
                    let ms = took.as_millis();
                    tracing::info!(marker = "MIGRATION_APPLIED", version, ms, %set, "migration applied");
                    this.find_next(session, ctx);
                }
                Err(failure) => this.failed(failure, ctx),
            }
        });
        self.watch_progress(applying, pid, set, version, ctx);
    }

    fn finish(&mut self, mut session: Session, ctx: &mut Context<Self>) {
        let close = async move {
            let version = session.version().await?;
            session.close().await.map(|()| version)
        };
        let close = async move { answered(close).await };
        self.child.spawn_io(ctx, close, |this, closed: Result<Version, _>, ctx| match (closed, this.applied) {
            (Ok(version), 0) => this.ended(MigrationOutcome::UpToDate { version }, ctx),
            (Ok(version), count) => this.ended(MigrationOutcome::Applied { count, version }, ctx),
            (Err(failure), _) => this.failed(failure, ctx),
        });
    }

    fn failed(&mut self, failure: MigrationFailure, ctx: &mut Context<Self>) {
        self.migrating = false;
        let failures = self.failures;
        self.failures += 1;
        if failure.can_pass && failures < failure.retries.unwrap_or(self.deps.retries) {
            let wait = self.jittered((RETRY_MIN * 2_u32.pow(failures.min(10))).min(RETRY_MAX));
            let blocked_by = self.progress.blocked_by();
            tracing::warn!(%failure, retry_in_ms = wait.as_millis(), blocked_by, "migrating did not work yet");
            self.child.run_later(ctx, wait, Self::open);
        } else {
            self.ended(MigrationOutcome::Failed(failure), ctx);
        }
    }

    /// Migrating is over for this process, one way or the other.
    fn ended(&mut self, outcome: MigrationOutcome, ctx: &mut Context<Self>) {
        self.migrating = false;
        self.deps.observer.observe(Observation::from(&outcome));
        match &outcome {
            MigrationOutcome::Skipped(reason) => {
                tracing::info!(
                    marker = "MIGRATION_SKIPPED",
                    %reason,
                    "not migrating here; this is safe: workers wait until the schema fits"
                );
                self.skipped = true;
                if *reason == SkipReason::LockTimeout && !self.deps.heal_interval.is_zero() {
                    self.heal_later(ctx);
                }
            }
            MigrationOutcome::UpToDate { version } => {
                tracing::info!(marker = "MIGRATION_DONE", applied = 0, version, "schema is up to date");
            }
            MigrationOutcome::Applied { count, version } => {
                tracing::info!(marker = "MIGRATION_DONE", applied = count, version, "schema migrated");
            }
            MigrationOutcome::Failed(failure) => {
                if !self.schema.fits {
                    self.deps.obstacle.set(Some(failure.to_string()));
                }
                tracing::error!(
                    marker = "MIGRATION_FAILED",
                    version = failure.version(),
                    reason = %failure.reason,
                    sqlstate = failure.sqlstate,
                    set = failure.migration.map(|(set, _)| set.as_str()),
                    blocked_by = self.progress.blocked_by(),
                    "migration failed; the process goes on, and its workers where callspool's own schema fits"
                );
                self.schema.failure = Some(failure.clone());
            }
        }
        match &self.deps.only {
            Some(asker) => {
                asker.send(outcome);
                ctx.stop();
            }
            None => self.look_again(ctx),
        }
    }
}

fn say_waiting(attempt: u32, waited: Duration, holder: Option<&LockHolder>) {
    tracing::info!(
        marker = "MIGRATION_LOCK_WAITING",
        attempt,
        waited_ms = waited.as_millis(),
        holder_pid = holder.map(|h| h.pid),
        holder_app = holder.map(|h| h.app.as_str()),
        holder_since = holder.and_then(|h| h.since).map(|since| since.to_rfc3339()),
        holder_client = holder.and_then(|h| h.client.as_deref()),
        holder_state = holder.and_then(|h| h.state.as_deref()),
        holder_query = holder.and_then(|h| h.query.as_deref()),
        "waiting for the migration lock"
    );
}

impl Actor for MigrationActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.child.survives("started", ctx) {
            return;
        }
        self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
        if self.deps.only.is_none() {
            self.listen(ctx);
            self.look(ctx);
        }
        if self.deps.enabled {
            self.open(ctx);
        } else {
            self.ended(MigrationOutcome::Skipped(SkipReason::Disabled), ctx);
        }
    }

    hooks_for_faults!();
}

/// To itself: one try for the lock, on this session.
#[derive(Message)]
#[rtype(result = "()")]
struct TryLock(Session);

impl Handler<TryLock> for MigrationActor {
    type Result = ();

    fn handle(&mut self, TryLock(mut session): TryLock, ctx: &mut Context<Self>) {
        if !self.child.survives("handler", ctx) {
            return;
        }
        self.lock_tries += 1;
        self.since.get_or_insert_with(Instant::now);
        let lock_try = async move {
            let answer = answered(session.try_lock()).await;
            (session, answer)
        };
        self.child.spawn_io(ctx, lock_try, |this, (session, answer), ctx| this.tried(session, answer, ctx));
    }
}
