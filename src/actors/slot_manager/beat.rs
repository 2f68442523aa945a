//! The beat: it tells the fleet that this instance lives, and stops the work here when that cannot be told any more.

use super::{Beats, ERROR_PAUSE, Identity, Phase, SlotManager};
use crate::{
    actors::recording_worker::Interrupt,
    domain::ports::{ActorInfo, InstanceInfo},
};
use actix::{AsyncContext, Context};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

impl SlotManager {
    pub(super) fn info(&self) -> InstanceInfo {
        let Identity { instance, host, roles } = self.deps.identity.clone();
        let actors = self.deps.roster.children().into_iter().map(|child| ActorInfo {
            actor: child.id.into_owned(),
            generation: child.generation,
            state: child.state.as_str().to_owned(),
            last_panic: child.last_panic,
        });
        InstanceInfo {
            instance,
            host,
            pid: std::process::id(),
            roles,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            workers: u16::try_from(self.deps.workers.len()).unwrap_or(u16::MAX),
            draining: self.child.shutting_down(),
            actors: actors.collect(),
        }
    }

    /// One beat each interval, whether or not the one before was answered: where the database is slow, that one may still
    /// arrive; where its connection is dead, this one has another.
    pub(super) fn beat(&mut self, ctx: &mut Context<Self>) {
        // It would register this instance again.
        if self.phase == Phase::Leaving {
            return;
        }
        let limits = &self.deps.limits;
        let (interval, patience) = (limits.beat_interval, (limits.beat_ttl / 2).max(limits.beat_interval));
        self.beat_in(interval, ctx);
        let (dispatch, info, sent) = (Arc::clone(&self.deps.dispatch), self.info(), Instant::now());
        let beat = async move { tokio::time::timeout(patience, dispatch.beat(&info)).await };
        self.child.spawn_io(ctx, beat, move |this, beat, ctx| match beat {
            Ok(Ok(())) => this.beat_arrived(sent, ctx),
            Ok(Err(error)) => {
                tracing::warn!(%error, "beat failed");
                this.beat_in(ERROR_PAUSE.min(interval), ctx);
            }
            Err(_) => tracing::warn!("beat not answered in time"),
        });
    }

    fn beat_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.beat_timer.take() {
            ctx.cancel_future(timer);
        }
        self.beat_timer = Some(self.child.run_later(ctx, wait, Self::beat));
    }

    /// It counts from when it was sent: the answer may have been long on its way. Answers may also overtake each other.
    pub(super) fn beat_arrived(&mut self, sent: Instant, ctx: &mut Context<Self>) {
        if self.last_beat.is_some_and(|last| last >= sent) {
            return;
        }
        self.last_beat = Some(sent);
        let left = (self.deps.limits.beat_ttl / 2).saturating_sub(sent.elapsed());
        if left.is_zero() {
            // Too late to begin with; later on the timer of the one before says so.
            if self.dead_man.is_none() {
                self.interrupt();
            }
            return;
        }
        if let Some(timer) = self.dead_man.take() {
            ctx.cancel_future(timer);
        }
        self.dead_man = Some(self.child.run_later(ctx, left, |this, _| this.interrupt()));
        self.deps.obstacle.set(None);
        if self.beats == Beats::Stopped {
            self.beats = Beats::ArrivingAgain;
            if self.phase == Phase::Resting {
                self.recover(ctx);
            }
        }
    }

    /// The others may soon take this instance for dead and run its jobs: stop running them here.
    fn interrupt(&mut self) {
        self.beats = Beats::Stopped;
        self.deps.obstacle.set(Some("no beat reaches the database".to_owned()));
        tracing::error!(running = self.busy.len(), "no beat reached the database: interrupting downloads");
        for worker in &self.deps.workers {
            worker.send(Interrupt);
        }
    }
}
