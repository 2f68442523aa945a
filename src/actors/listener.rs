//! The Listener: hears the bells of other processes, and rings for ours.
//!
//! A bell is a hint that jobs came in; the doorbell's rows are the truth, and the slot manager polls behind it. So a
//! connection that breaks costs latency, never a job.

use super::{
    slot_manager::{CancelAsked, Rung},
    supervision::{ChildContext, Outbox, hooks_for_faults},
};
use crate::domain::ports::{Bell, BellEar, Bells, JobBook, StoreResult};
use actix::{Actor, ActorContext, Context, Handler, Message};
use std::{sync::Arc, time::Duration};

/// Wait before listening again; the poll goes on meanwhile.
const RELISTEN_AFTER: Duration = Duration::from_secs(1);
/// Enqueues within this time share one NOTIFY: it takes a database-wide lock at commit.
const DEBOUNCE: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub struct ListenerDeps {
    pub bells: Arc<dyn Bells>,
    pub jobs: Arc<dyn JobBook>,
    pub slot_manager: Outbox<Rung>,
    pub cancels: Outbox<CancelAsked>,
}

pub struct Listener {
    child: ChildContext,
    deps: ListenerDeps,
    /// A NOTIFY of ours is on its way.
    ringing: bool,
}

/// The ear, and what it heard; where it is new, anything may have been missed.
type Heard = StoreResult<(Box<dyn BellEar>, Bell)>;

impl Listener {
    pub fn new(child: ChildContext, deps: ListenerDeps) -> Self {
        Self { child, deps, ringing: false }
    }

    fn listen(&mut self, ctx: &mut Context<Self>) {
        let bells = Arc::clone(&self.deps.bells);
        let listen = async move { Ok((bells.listen().await?, Bell { cancel: true })) };
        self.child.spawn_io(ctx, listen, Self::go_on);
    }

    /// A bell was heard, or the ear is new: either way jobs may have come in.
    fn go_on(&mut self, heard: Heard, ctx: &mut Context<Self>) {
        self.deps.slot_manager.send(Rung);
        match heard {
            Ok((mut ear, bell)) => {
                if bell.cancel {
                    self.deps.cancels.send(CancelAsked);
                }
                let hear = async move { ear.hear().await.map(|bell| (ear, bell)) };
                self.child.spawn_io(ctx, hear, Self::go_on);
            }
            Err(error) => {
                tracing::warn!(%error, "not listening for bells; polling goes on");
                self.child.run_later(ctx, RELISTEN_AFTER, Self::listen);
            }
        }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.child.survives("started", ctx) {
            self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
            self.listen(ctx);
        }
    }

    hooks_for_faults!();
}

/// From this process's routes, after their commit.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct JobsCameIn;

impl Handler<JobsCameIn> for Listener {
    type Result = ();

    fn handle(&mut self, _: JobsCameIn, ctx: &mut Context<Self>) {
        if !self.child.survives("handler", ctx) {
            return;
        }
        self.deps.slot_manager.send(Rung);
        if !std::mem::replace(&mut self.ringing, true) {
            self.child.run_later(ctx, DEBOUNCE, |this, ctx| {
                this.ringing = false;
                let jobs = Arc::clone(&this.deps.jobs);
                this.child.spawn_io(ctx, async move { jobs.ring().await }, |_, rung, _| {
                    if let Err(error) = rung {
                        tracing::debug!(%error, "bell not rung; others poll");
                    }
                });
            });
        }
    }
}
