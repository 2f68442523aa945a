//! The migration actor: tries the lock by timed messages for a bounded time, applies what is pending, or skips; then
//! watches until the schema fits, whoever migrated, and opens the gate.
//!
//! It never blocks on the lock: a session that waits in `pg_advisory_lock` holds a snapshot, which stops every
//! CREATE INDEX CONCURRENTLY, and a timeout ends it with an error (incident 1).

use super::{
    obstacle::Obstacle,
    supervision::{ChildContext, Outbox, hooks_for_faults},
};
use crate::domain::{
    migration::{LockTry, MigrationFailure, MigrationOutcome, SchemaVersions, SkipReason, Version},
    ports::{Clock, Gate, GateSession, StoreError},
};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two tries for the lock, before jitter.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at the schema while it does not fit: from the first to the slowest.
const WATCH_MIN: Duration = Duration::from_millis(200);
const WATCH_MAX: Duration = Duration::from_secs(2);
/// Tries after failures that can pass, with a wait that doubles from the first.
const MAX_TRIES: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_secs(1);

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
    /// When the first try for the lock was made.
    since: Instant,
    lock_tries: u32,
    failures: u32,
    applied: u32,
    failure: Option<MigrationFailure>,
    watch_wait: Duration,
}

/// The session travels with the I/O; dropping it closes the connection, and with it the lock.
type Session = Box<dyn GateSession>;

impl MigrationActor {
    pub fn new(child: ChildContext, deps: MigrationDeps) -> Self {
        deps.obstacle.set(Some("the schema has not been looked at yet".to_owned()));
        Self {
            child,
            deps,
            since: Instant::now(),
            lock_tries: 0,
            failures: 0,
            applied: 0,
            failure: None,
            watch_wait: WATCH_MIN,
        }
    }

    // --- the lock

    fn open(&mut self, ctx: &mut Context<Self>) {
        let gate = Arc::clone(&self.deps.gate);
        self.child.spawn_io(ctx, async move { gate.open().await }, |this, session, ctx| match session {
            Ok(session) => ctx.notify(TryLock(session)),
            Err(failure) => this.failed(failure, ctx),
        });
    }

    fn tried(&mut self, session: Session, answer: Result<LockTry, MigrationFailure>, ctx: &mut Context<Self>) {
        let holder = match answer {
            Err(failure) => return self.failed(failure, ctx),
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
        let waited = self.since.elapsed();
        let holder = holder.as_ref();
        tracing::info!(
            marker = "MIGRATION_LOCK_WAITING",
            attempt = self.lock_tries,
            waited_ms = waited.as_millis(),
            holder_pid = holder.map(|h| h.pid),
            holder_app = holder.map(|h| h.app.as_str()),
            holder_since = holder.map(|h| h.since.to_rfc3339()),
            "waiting for the migration lock"
        );
        if waited >= self.deps.lock_wait {
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
        self.watch(ctx);
    }

    // --- the schema

    fn watch(&mut self, ctx: &mut Context<Self>) {
        let gate = Arc::clone(&self.deps.gate);
        self.child.spawn_io(ctx, async move { gate.versions().await }, Self::watched);
    }

    fn watched(&mut self, versions: Result<SchemaVersions, StoreError>, ctx: &mut Context<Self>) {
        if let Ok(versions) = versions
            && versions.fits()
        {
            let SchemaVersions { have, need } = versions;
            tracing::info!(marker = "SCHEMA_READY", have, need, "schema fits");
            self.deps.obstacle.set(None);
            self.deps.schema_fits.send(versions);
            return;
        }
        let obstacle = match (&versions, &self.failure) {
            (_, Some(failure)) => failure.to_string(),
            (Ok(SchemaVersions { have, need }), None) => format!("schema is at {have}, this binary needs {need}"),
            (Err(error), None) => error.to_string(),
        };
        let (have, need) = versions.map_or((None, None), |v| (Some(v.have), Some(v.need)));
        tracing::warn!(marker = "SCHEMA_WAITING", have, need, %obstacle, "waiting for a schema that fits");
        self.deps.obstacle.set(Some(obstacle));
        let wait = self.watch_wait;
        self.watch_wait = (wait * 2).min(WATCH_MAX);
        self.child.run_later(ctx, wait, Self::watch);
    }
}

impl Actor for MigrationActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.child.survives("started", ctx) {
            return;
        }
        self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
        if self.deps.enabled {
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
        let lock_try = async move {
            let answer = session.try_lock().await;
            (session, answer)
        };
        self.child.spawn_io(ctx, lock_try, |this, (session, answer), ctx| this.tried(session, answer, ctx));
    }
}
