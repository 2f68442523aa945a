//! The watcher: looks at the queue and says why ready jobs are not picked, once for each change (incident 5: recordings
//! were enqueued and never consumed, and no line said why).
//!
//! Every process has one, also where it takes no jobs itself: when no worker lives, somebody else has to say so. They
//! take turns in the database, so a fleet says each thing once. The watcher also tells the fleet what ended here.

use super::{
    answer::answered,
    supervision::{ChildContext, hooks_for_faults},
};
use crate::domain::{
    overview::{Pulse, StallChange},
    ports::{Clock, StoreResult, Watch, WatchRules},
};
use actix::{Actor, ActorContext, Context};
use chrono::SecondsFormat;
use std::sync::Arc;

#[derive(Clone)]
pub struct WatcherDeps {
    pub watch: Arc<dyn Watch>,
    pub clock: Arc<dyn Clock>,
    pub rules: WatchRules,
    /// What the slot manager settles.
    pub pulse: Pulse,
}

pub struct Watcher {
    child: ChildContext,
    deps: WatcherDeps,
    /// A look is under way.
    looking: bool,
    draining: bool,
}

impl Watcher {
    pub fn new(child: ChildContext, deps: WatcherDeps) -> Self {
        Self { child, deps, looking: false, draining: false }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        self.looking = true;
        let WatcherDeps { watch, rules, pulse, .. } = self.deps.clone();
        let look = async move {
            tell(&*watch, &pulse).await?;
            answered(watch.watch(&rules)).await
        };
        self.child.spawn_io(ctx, look, |this, seen, ctx| {
            this.looking = false;
            match seen {
                Ok(changes) => changes.iter().for_each(say),
                // The beat says more loudly that the database is away.
                Err(error) => tracing::debug!(%error, "the queue was not looked at"),
            }
            if this.draining {
                return this.leave(ctx);
            }
            let wait = this.deps.rules.every.mul_f64(1.0 - 0.1 * this.deps.clock.random());
            this.child.run_later(ctx, wait, Self::look);
        });
    }

    /// What ended since the last look is told before the actor goes.
    fn leave(&mut self, ctx: &mut Context<Self>) {
        let WatcherDeps { watch, pulse, .. } = self.deps.clone();
        self.child.spawn_io(ctx, async move { tell(&*watch, &pulse).await }, |_, _, ctx| ctx.stop());
    }
}

/// Whether an answer that did not arrive was counted, nobody knows: it is told again. The pulse is for people's eyes.
async fn tell(watch: &dyn Watch, pulse: &Pulse) -> StoreResult<()> {
    let Some(counts) = pulse.take() else { return Ok(()) };
    let told = answered(watch.add_pulse(&counts)).await;
    if told.is_err() {
        pulse.put_back(&counts);
    }
    told
}

fn say(change: &StallChange) {
    match change {
        StallChange::Begun(stall) => tracing::warn!(
            marker = "QUEUE_STALLED",
            reason = %stall.reason,
            ready = stall.ready,
            businesses = stall.businesses,
            business_id = stall.business_id.get(),
            since = stall.since.to_rfc3339_opts(SecondsFormat::Secs, true),
            "{}", stall.text
        ),
        StallChange::Over(stall) => tracing::info!(
            marker = "QUEUE_MOVES",
            reason = %stall.reason,
            since = stall.since.to_rfc3339_opts(SecondsFormat::Secs, true),
            "ready jobs wait for this reason no more"
        ),
    }
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.child.survives("started", ctx) {
            self.child.clone().on_drain(ctx, |this: &mut Self, ctx| {
                this.draining = true;
                // A look under way has the counts with it, and leaves at its end.
                if !this.looking {
                    this.leave(ctx);
                }
            });
            self.look(ctx);
        }
    }

    hooks_for_faults!();
}
