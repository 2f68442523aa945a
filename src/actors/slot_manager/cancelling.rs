//! Cancelling what runs: the job's lease is marked in the database, its process hears a bell or looks, its worker stops
//! the download, and with the settlement the slot is free. Until then the slot is in use, as it is in truth.

use super::SlotManager;
use crate::{
    actors::{answer::answered, recording_worker::Cancel},
    domain::{lease::LeaseId, ports::StoreResult},
};
use actix::{Context, Handler, Message};
use std::{sync::Arc, time::Duration};

/// Between two looks while jobs run here. The bell is faster; this is for one that was not heard.
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// From the listener: somebody wants running jobs cancelled, perhaps some of ours.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CancelAsked;

impl Handler<CancelAsked> for SlotManager {
    type Result = ();

    fn handle(&mut self, _: CancelAsked, ctx: &mut Context<Self>) {
        if self.child.survives("handler", ctx) && !self.busy.is_empty() {
            self.look_for_cancels(ctx, Self::cancel);
        }
    }
}

impl SlotManager {
    /// Looks now, and then as long as this actor lives.
    pub(super) fn watch_for_cancels(&mut self, ctx: &mut Context<Self>) {
        if self.busy.is_empty() {
            self.child.run_later(ctx, LOOK_EVERY, Self::watch_for_cancels);
            return;
        }
        self.look_for_cancels(ctx, |this, asked, ctx| {
            this.cancel(asked, ctx);
            this.child.run_later(ctx, LOOK_EVERY, Self::watch_for_cancels);
        });
    }

    fn look_for_cancels(
        &mut self,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, StoreResult<Vec<LeaseId>>, &mut Context<Self>) + 'static,
    ) {
        let (dispatch, instance) = (Arc::clone(&self.deps.dispatch), self.deps.identity.instance);
        self.child.spawn_io(ctx, async move { answered(dispatch.cancel_requests(instance)).await }, then);
    }

    fn cancel(&mut self, asked: StoreResult<Vec<LeaseId>>, _: &mut Context<Self>) {
        match asked {
            // Of a lease that nobody has, recovery hands the job back, and with that it is cancelled.
            Ok(leases) => {
                for lease in leases {
                    if let Some(life) = self.busy.get(&lease) {
                        self.tell(*life, Cancel(lease));
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "jobs to cancel were not looked for"),
        }
    }
}
