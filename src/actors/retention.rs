//! Retention: deletes recordings that were kept long enough (incident 31: a sweep that nobody had ever run). Their files are
//! removed by follow-ups. One process at a time does it; the others find it done.

use super::{
    answer::answered_within,
    supervision::{ChildContext, hooks_for_faults},
};
use crate::domain::{
    audit::{Expired, RETENTION},
    ports::{Clock, Custody, FollowUps, StoreResult},
};
use actix::{Actor, ActorContext, Context};
use std::{sync::Arc, time::Duration};

/// Recordings of one step; a full step is followed by another at once.
const BATCH: u16 = 200;
const STEP_LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct RetentionDeps {
    pub custody: Arc<dyn Custody>,
    pub follow_ups: Arc<dyn FollowUps>,
    pub clock: Arc<dyn Clock>,
    /// Of businesses that say nothing; 0: for ever.
    pub days: u32,
    pub interval: Duration,
    /// How long a follow-up that was given up stays to be seen.
    pub keep_dead: Duration,
}

pub struct Retention {
    child: ChildContext,
    deps: RetentionDeps,
}

impl Retention {
    pub fn new(child: ChildContext, deps: RetentionDeps) -> Self {
        Self { child, deps }
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let deps = self.deps.clone();
        self.child.spawn_io(
            ctx,
            async move { answered_within(STEP_LIMIT, step(&deps)).await },
            |this, swept, ctx| {
                let wait = match swept {
                    Ok(deleted) if deleted >= usize::from(BATCH) => Duration::ZERO,
                    Ok(_) => this.deps.interval.mul_f64(1.0 - 0.1 * this.deps.clock.random()),
                    Err(error) => {
                        tracing::warn!(%error, "the retention could not look for recordings");
                        this.deps.interval
                    }
                };
                this.child.run_later(ctx, wait, Self::sweep);
            },
        );
    }
}

/// Deletes one batch; how many.
pub async fn step(deps: &RetentionDeps) -> StoreResult<usize> {
    let expired = deps.custody.expire(deps.days, BATCH).await?;
    for Expired { business_id, call_sid, .. } in &expired {
        tracing::info!(
            marker = "RECORDING_DELETED",
            %call_sid,
            business_id = business_id.get(),
            by = RETENTION,
            "kept as long as it was to be"
        );
    }
    deps.follow_ups.forget(deps.keep_dead, BATCH).await?;
    Ok(expired.len())
}

impl Actor for Retention {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.child.survives("started", ctx) {
            self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
            self.sweep(ctx);
        }
    }

    hooks_for_faults!();
}
