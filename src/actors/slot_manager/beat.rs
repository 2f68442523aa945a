//! The beat: it tells the fleet that this instance lives, and stops the work here when that cannot be told any more.

use super::{ERROR_PAUSE, Identity, Phase, SlotManager};
use crate::{
    actors::recording_worker::Interrupt,
    domain::ports::{ActorInfo, InstanceInfo},
};
use actix::{AsyncContext, Context};
use std::{sync::Arc, time::Duration};

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

    pub(super) fn beat(&mut self, ctx: &mut Context<Self>) {
        let (dispatch, info, interval) =
            (Arc::clone(&self.deps.dispatch), self.info(), self.deps.limits.beat_interval);
        let beat = async move { tokio::time::timeout(interval, dispatch.beat(&info)).await };
        self.child.spawn_io(ctx, beat, move |this, beat, ctx| {
            let mut next = interval;
            match beat {
                Ok(Ok(())) => this.beat_arrived(ctx),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "beat failed");
                    next = ERROR_PAUSE.min(interval);
                }
                Err(_) => {
                    tracing::warn!("beat not answered in time");
                    next = Duration::ZERO;
                }
            }
            this.child.run_later(ctx, next, Self::beat);
        });
    }

    pub(super) fn beat_arrived(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.dead_man.take() {
            ctx.cancel_future(timer);
        }
        let half = self.deps.limits.beat_ttl / 2;
        self.dead_man = Some(self.child.run_later(ctx, half, |this, _| this.interrupt()));
        self.deps.obstacle.set(None);
        if std::mem::replace(&mut self.interrupted, false) && self.phase == Phase::Resting {
            self.recover(ctx);
        }
    }

    /// The others may soon take this instance for dead and run its jobs: stop running them here.
    fn interrupt(&mut self) {
        self.interrupted = true;
        self.deps.obstacle.set(Some("no beat reaches the database".to_owned()));
        tracing::error!(running = self.busy.len(), "no beat reached the database: interrupting downloads");
        for worker in &self.deps.workers {
            worker.send(Interrupt);
        }
    }
}
