//! What a migration that takes long is doing, told now and then from another connection. That one also sees when the
//! server has lost the migrator's session without the client being told, as after a failover behind a silent network:
//! nobody would ever answer then.

use super::MigrationActor;
use crate::{
    actors::supervision::IoTask,
    domain::{
        migration::{LockHolder, MigrationFailure, MigrationProgress, MigrationSet, Version},
        ports::StoreResult,
    },
};
use actix::{AsyncContext, Context, SpawnHandle};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// From the beginning of a migration to the first look; then doubling up to the slowest. The first comes well before
/// `MIGRATION_LOCK_TIMEOUT`, so that who is in the way is told before the wait for them ends.
const LOOK_MIN: Duration = Duration::from_millis(500);
const LOOK_MAX: Duration = Duration::from_mins(1);

/// The watch over the migration that runs now.
#[derive(Debug, Default)]
pub(super) struct Progress {
    timer: Option<SpawnHandle>,
    /// Counts migrations: a look's answer for an earlier one is old news.
    watch: u64,
    /// The migration itself.
    applying: Option<IoTask>,
    /// Who was in the way at the last look.
    blocked_by: Vec<LockHolder>,
    /// The last look found no session: the answer may be under way.
    gone: bool,
}

impl Progress {
    /// In words; `None` where nobody was.
    pub(super) fn blocked_by(&self) -> Option<String> {
        let names = self.blocked_by.iter().map(LockHolder::to_string).collect::<Vec<_>>();
        (!names.is_empty()).then(|| names.join("; "))
    }
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
        applying: IoTask,
        pid: i32,
        set: MigrationSet,
        version: Version,
        ctx: &mut Context<Self>,
    ) {
        let watch = self.progress.watch;
        self.progress = Progress { watch, applying: Some(applying), ..Progress::default() };
        self.look_later(Watched { watch, pid, set, version, begun: Instant::now() }, LOOK_MIN, ctx);
    }

    pub(super) fn end_progress(&mut self, ctx: &mut Context<Self>) {
        self.progress.watch += 1;
        self.progress.applying = None;
        if let Some(timer) = self.progress.timer.take() {
            ctx.cancel_future(timer);
        }
    }

    fn look_later(&mut self, watched: Watched, wait: Duration, ctx: &mut Context<Self>) {
        self.progress.timer = Some(self.child.run_later(ctx, wait, move |this, ctx| {
            let gate = Arc::clone(&this.deps.gate);
            this.child.spawn_io(ctx, async move { gate.progress(watched.pid).await }, move |this, seen, ctx| {
                if this.progress.watch == watched.watch {
                    this.seen(watched, seen, wait, ctx);
                }
            });
        }));
    }

    fn seen(
        &mut self,
        watched: Watched,
        seen: StoreResult<MigrationProgress>,
        wait: Duration,
        ctx: &mut Context<Self>,
    ) {
        let gone = seen.as_ref().is_ok_and(|seen| seen.gone);
        if gone && self.progress.gone {
            if let Some(applying) = self.progress.applying.take() {
                applying.abort();
            }
            self.end_progress(ctx);
            let which = Some((watched.set, watched.version));
            return self
                .failed(MigrationFailure::passing(which, "the server has lost the migrator's session"), ctx);
        }
        self.progress.gone = gone;
        if !gone {
            say(watched, &seen);
        }
        if let Ok(seen) = seen {
            self.progress.blocked_by = seen.blocked_by;
        }
        self.look_later(watched, if gone { LOOK_MIN } else { (wait * 2).min(LOOK_MAX) }, ctx);
    }
}

fn say(Watched { set, version, begun, .. }: Watched, seen: &StoreResult<MigrationProgress>) {
    let ms = begun.elapsed().as_millis();
    match seen {
        Ok(MigrationProgress { waiting_for, blocked_by, index_build, .. }) => {
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
