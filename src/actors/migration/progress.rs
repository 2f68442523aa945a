//! What a migration that takes long is doing, told now and then from another connection.

use super::MigrationActor;
use crate::domain::{
    migration::{LockHolder, MigrationProgress, MigrationSet, Version},
    ports::StoreResult,
};
use actix::{AsyncContext, Context, SpawnHandle};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// From the beginning of a migration to the first look; then doubling up to the slowest. The first comes well before
/// `MIGRATION_LOCK_TIMEOUT`, so that who is in the way is told before the wait for them ends.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_mins(1);

/// The watch over the migration that runs now.
#[derive(Debug, Default)]
pub(super) struct Progress {
    timer: Option<SpawnHandle>,
    /// Counts migrations: a look's answer for an earlier one is old news.
    watch: u64,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    watch: u64,
    pid: i32,
    set: MigrationSet,
    version: Version,
    begun: Instant,
}

impl MigrationActor {
    pub(super) fn watch_progress(
        &mut self,
        pid: i32,
        set: MigrationSet,
        version: Version,
        ctx: &mut Context<Self>,
    ) {
        let watch = self.progress.watch;
        self.look_later(Watched { watch, pid, set, version, begun: Instant::now() }, LOOK_MIN, ctx);
    }

    pub(super) fn end_progress(&mut self, ctx: &mut Context<Self>) {
        self.progress.watch += 1;
        if let Some(timer) = self.progress.timer.take() {
            ctx.cancel_future(timer);
        }
    }

    fn look_later(&mut self, watched: Watched, wait: Duration, ctx: &mut Context<Self>) {
        self.progress.timer = Some(self.child.run_later(ctx, wait, move |this, ctx| {
            let gate = Arc::clone(&this.deps.gate);
            this.child.spawn_io(ctx, async move { gate.progress(watched.pid).await }, move |this, seen, ctx| {
                if this.progress.watch == watched.watch {
                    say(watched, &seen);
                    this.look_later(watched, (wait * 2).min(LOOK_MAX), ctx);
                }
            });
        }));
    }
}

fn say(Watched { set, version, begun, .. }: Watched, seen: &StoreResult<MigrationProgress>) {
    let ms = begun.elapsed().as_millis();
    match seen {
        Ok(MigrationProgress { waiting_for, blocked_by, index_build }) => {
            let blocked_by = blocked_by.iter().map(LockHolder::to_string).collect::<Vec<_>>().join("; ");
            tracing::info!(
                marker = "MIGRATION_RUNNING",
                version,
                ms,
                waiting_for,
                blocked_by = (!blocked_by.is_empty()).then_some(blocked_by),
                index_build,
                %set,
                "migration runs"
            );
        }
        Err(error) => tracing::debug!(%error, version, "what the migration waits for cannot be seen"),
    }
}
