//! The migration actor: tries the lock by timed messages for a bounded time, applies what is pending, or skips. Beside
//! that it looks at the schema, and opens the gate as soon as it fits, whoever migrated.
//!
//! It never blocks on the lock: a session that waits in `pg_advisory_lock` holds a snapshot, which stops every
//! CREATE INDEX CONCURRENTLY, and a timeout ends it with an error (incident 1).
//!
//! | what does not work | then |
//! |---|---|
//! | the database is not reached, or the connection breaks while waiting | connect again, for as long as it takes |
//! | the lock is busy | try again until `MIGRATION_LOCK_WAIT_SECONDS` after the first try, then skip |
//! | a migration fails in a way that can pass | connect, lock and go on, five times |
//! | a migration fails otherwise | say which and why; the process lives and waits for a schema that fits |

use super::{
    obstacle::Obstacle,
    supervision::{ChildContext, IoTask, Outbox, hooks_for_faults},
};
use crate::domain::{
    migration::{LockHolder, LockTry, MigrationFailure, MigrationOutcome, SchemaVersions, SkipReason, Version},
    ports::{Clock, Gate, GateSession, StoreError, StoreResult},
};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two tries for the lock, before jitter.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// Of the tries with the same holder, each that is a multiple of this is logged, and the first and the last.
const SAY_EVERY: u32 = 10;
/// Between two looks at the schema while it does not fit: from the first to the slowest.
const LOOK_MIN: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// What stands in the way is said again after this long, and at once when it changes.
const SAY_AGAIN: Duration = Duration::from_secs(30);
/// Between two tries to connect: doubles from the first to the slowest.
const CONNECT_MIN: Duration = Duration::from_millis(250);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Tries of migrations that fail in a way that can pass, with a wait that doubles from the first.
const MAX_TRIES: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// An answer that takes longer counts as lost. Migrations themselves are bounded by their session's timeouts.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct MigrationDeps {
    pub gate: Arc<dyn Gate>,
    pub clock: Arc<dyn Clock>,
    /// `RUN_MIGRATIONS`.
    pub enabled: bool,
    /// `MIGRATION_LOCK_WAIT_SECONDS`; zero is one try.
    pub lock_wait: Duration,
    /// Told once, when the schema fits.
    pub schema_fits: Outbox<SchemaVersions>,
    /// Why the schema is not ready, for `/readyz`.
    pub obstacle: Obstacle,
}

pub struct MigrationActor {
    child: ChildContext,
    deps: MigrationDeps,
    /// When the first try for the lock was made: a connection that breaks does not begin the wait anew.
    since: Option<Instant>,
    lock_tries: u32,
    /// Who had the lock at the last try.
    holder: Option<LockHolder>,
    /// Connections in a row that came to nothing.
    outages: u32,
    failures: u32,
    applied: u32,
    failure: Option<MigrationFailure>,
    fits: bool,
    looking: Option<IoTask>,
    look_timer: Option<SpawnHandle>,
    look_wait: Duration,
    /// What was said last to stand in the way, and when.
    said: Option<(String, Instant)>,
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
            holder: None,
            outages: 0,
            failures: 0,
            applied: 0,
            failure: None,
            fits: false,
            looking: None,
            look_timer: None,
            look_wait: LOOK_MIN,
            said: None,
        }
    }

    // --- the lock

    fn open(&mut self, ctx: &mut Context<Self>) {
        let gate = Arc::clone(&self.deps.gate);
        self.child.spawn_io(ctx, async move { in_time(gate.open()).await }, |this, session, ctx| match session {
            Ok(session) => ctx.notify(TryLock(session)),
            Err(failure) => this.not_connected(failure, ctx),
        });
    }

    /// The database comes back some time, and somebody has to migrate then.
    fn not_connected(&mut self, failure: MigrationFailure, ctx: &mut Context<Self>) {
        if !failure.can_pass {
            return self.ended(&MigrationOutcome::Failed(failure), ctx);
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
                tracing::info!(
                    marker = "MIGRATION_LOCK_ACQUIRED",
                    attempt = self.lock_tries,
                    "migration lock acquired"
                );
                return self.apply_next(session, ctx);
            }
            Ok(LockTry::Busy(holder)) => holder,
        };
        self.outages = 0;
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let over = waited >= self.deps.lock_wait;
        if over || self.lock_tries == 1 || self.lock_tries.is_multiple_of(SAY_EVERY) || holder != self.holder {
            say_waiting(self.lock_tries, waited, holder.as_ref());
        }
        self.holder = holder;
        if over {
            // The session goes, and with it nothing: it never held the lock.
            return self.ended(&MigrationOutcome::Skipped(SkipReason::LockTimeout), ctx);
        }
        let wait = TRY_EVERY
            .mul_f64(0.75 + 0.5 * self.deps.clock.random())
            .min(self.deps.lock_wait.saturating_sub(waited));
        self.child.run_later(ctx, wait, move |_, ctx| ctx.notify(TryLock(session)));
    }

    // --- the migrations

    fn apply_next(&mut self, mut session: Session, ctx: &mut Context<Self>) {
        let apply = async move {
            let applied = session.apply_next().await;
            (session, applied)
        };
        self.child.spawn_io(ctx, apply, |this, (session, applied), ctx| match applied {
            Ok(Some(migration)) => {
                this.applied += 1;
                let (version, ms) = (migration.version, migration.took.as_millis());
                tracing::info!(marker = "MIGRATION_APPLIED", version, ms, "migration applied");
                this.apply_next(session, ctx);
            }
            Ok(None) => this.finish(session, ctx),
            Err(failure) => this.failed(failure, ctx),
        });
    }

    fn finish(&mut self, mut session: Session, ctx: &mut Context<Self>) {
        let close = async move {
            let version = session.version().await?;
            session.close().await.map(|()| version)
        };
        let close = async move { in_time(close).await };
        self.child.spawn_io(ctx, close, |this, closed: Result<Version, _>, ctx| match (closed, this.applied) {
            (Ok(version), 0) => this.ended(&MigrationOutcome::UpToDate { version }, ctx),
            (Ok(version), count) => this.ended(&MigrationOutcome::Applied { count, version }, ctx),
            (Err(failure), _) => this.failed(failure, ctx),
        });
    }

    fn failed(&mut self, failure: MigrationFailure, ctx: &mut Context<Self>) {
        self.failures += 1;
        if failure.can_pass && self.failures < MAX_TRIES {
            let wait = RETRY_AFTER * 2_u32.pow(self.failures - 1);
            tracing::warn!(%failure, retry_in_ms = wait.as_millis(), "migrating did not work yet");
            self.child.run_later(ctx, wait, Self::open);
        } else {
            self.ended(&MigrationOutcome::Failed(failure), ctx);
        }
    }

    /// Migrating is over for this process, one way or the other.
    fn ended(&mut self, outcome: &MigrationOutcome, ctx: &mut Context<Self>) {
        match outcome {
            MigrationOutcome::Skipped(reason) => {
                tracing::info!(
                    marker = "MIGRATION_SKIPPED",
                    %reason,
                    "not migrating here; this is safe: workers wait until the schema fits"
                );
            }
            MigrationOutcome::UpToDate { version } => {
                tracing::info!(marker = "MIGRATION_DONE", applied = 0, version, "schema is up to date");
            }
            MigrationOutcome::Applied { count, version } => {
                tracing::info!(marker = "MIGRATION_DONE", applied = count, version, "schema migrated");
            }
            MigrationOutcome::Failed(failure) => {
                tracing::error!(
                    marker = "MIGRATION_FAILED",
                    version = failure.version,
                    reason = %failure.reason,
                    "migration failed; the process goes on and waits for a schema that fits"
                );
                self.failure = Some(failure.clone());
            }
        }
        self.look_wait = LOOK_MIN;
        self.look(ctx);
    }

    // --- the schema

    /// Looks now, instead of whatever look is under way or to come.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.look_timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(look) = self.looking.take() {
            look.abort();
        }
        if !self.fits {
            let gate = Arc::clone(&self.deps.gate);
            self.looking = Some(self.child.spawn_io(ctx, async move { look(gate).await }, Self::looked));
        }
    }

    fn looked(&mut self, versions: StoreResult<SchemaVersions>, ctx: &mut Context<Self>) {
        if let Ok(versions @ SchemaVersions { have, need }) = versions
            && versions.fits()
            && self.deps.schema_fits.send(versions)
        {
            tracing::info!(marker = "SCHEMA_READY", have, need, "schema fits");
            self.deps.obstacle.set(None);
            self.fits = true;
            return;
        }
        let obstacle = match (&versions, &self.failure) {
            (_, Some(failure)) => failure.to_string(),
            (Ok(SchemaVersions { have, need }), None) => format!("schema is at {have}, this binary needs {need}"),
            (Err(error), None) => error.to_string(),
        };
        if self.said.as_ref().is_none_or(|(said, when)| *said != obstacle || when.elapsed() >= SAY_AGAIN) {
            let (have, need) = versions.map_or((None, None), |v| (Some(v.have), Some(v.need)));
            tracing::warn!(marker = "SCHEMA_WAITING", have, need, %obstacle, "waiting for a schema that fits");
            self.said = Some((obstacle.clone(), Instant::now()));
        }
        self.deps.obstacle.set(Some(obstacle));
        let wait = self.look_wait;
        self.look_wait = (wait * 2).min(LOOK_MAX);
        self.look_timer = Some(self.child.run_later(ctx, wait, Self::look));
    }
}

fn say_waiting(attempt: u32, waited: Duration, holder: Option<&LockHolder>) {
    tracing::info!(
        marker = "MIGRATION_LOCK_WAITING",
        attempt,
        waited_ms = waited.as_millis(),
        holder_pid = holder.map(|h| h.pid),
        holder_app = holder.map(|h| h.app.as_str()),
        holder_since = holder.map(|h| h.since.to_rfc3339()),
        "waiting for the migration lock"
    );
}

/// An answer that does not come is a broken connection.
async fn in_time<T>(call: impl Future<Output = Result<T, MigrationFailure>>) -> Result<T, MigrationFailure> {
    let lost = |_| Err(MigrationFailure::new(None, lost_answer(), true));
    tokio::time::timeout(ANSWER_LIMIT, call).await.unwrap_or_else(lost)
}

async fn look(gate: Arc<dyn Gate>) -> StoreResult<SchemaVersions> {
    let lost = |_| Err(StoreError::new(None, lost_answer()));
    tokio::time::timeout(ANSWER_LIMIT, gate.versions()).await.unwrap_or_else(lost)
}

fn lost_answer() -> String {
    format!("no answer within {} s", ANSWER_LIMIT.as_secs())
}

impl Actor for MigrationActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.child.survives("started", ctx) {
            return;
        }
        self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
        if self.deps.enabled {
            self.look(ctx);
            self.open(ctx);
        } else {
            self.ended(&MigrationOutcome::Skipped(SkipReason::Disabled), ctx);
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
            let answer = in_time(session.try_lock()).await;
            (session, answer)
        };
        self.child.spawn_io(ctx, lock_try, |this, (session, answer), ctx| this.tried(session, answer, ctx));
    }
}
