//! Leases that nobody here knows of: after a restart, after an answer that did not arrive, and by a look now and then.
//!
//! An answer that did not arrive says nothing about what the database did, or will still do: a claim that is given up
//! here may commit later, after the recovery has read the leases. Such a lease would keep its slot until its deadline.

use super::{ERROR_PAUSE, Phase, SlotManager};
use crate::{
    actors::{
        answer::answered,
        recording_worker::{Announce, Ended},
    },
    domain::{
        job::{Disposition, Settlement},
        lease::WorkerLife,
        ports::HeldLease,
    },
};
use actix::Context;
use std::{sync::Arc, time::Instant};

impl SlotManager {
    /// Registers this instance, then learns what it holds and what its workers do.
    pub(super) fn recover(&mut self, ctx: &mut Context<Self>) {
        self.phase = Phase::Recovering;
        self.free.clear();
        let (dispatch, info, sent) = (Arc::clone(&self.deps.dispatch), self.info(), Instant::now());
        let look = async move {
            answered(dispatch.beat(&info)).await?;
            answered(dispatch.held(info.instance)).await
        };
        self.child.spawn_io(ctx, look, move |this, held, ctx| match held {
            Ok(held) => this.recovered(held, sent, ctx),
            Err(error) => {
                tracing::warn!(%error, "slots cannot be read yet");
                this.child.run_later(ctx, ERROR_PAUSE, Self::recover);
            }
        });
    }

    fn recovered(&mut self, held: Vec<HeldLease>, sent: Instant, ctx: &mut Context<Self>) {
        self.phase = Phase::Resting;
        self.question += 1;
        self.busy = held.iter().map(|lease| (lease.lease, lease.life)).collect();
        self.unclaimed = held.into_iter().map(|lease| (lease.lease, lease)).collect();
        for worker in &self.deps.workers {
            worker.send(Announce(self.question));
        }
        self.beat_arrived(sent, ctx);
        self.step(ctx);
    }

    /// What an earlier life of a worker held, the supervisor gave back before the next life began. A lease of it that
    /// is there all the same was claimed after that, and never arrived.
    pub(super) fn forget_older_lives(&mut self, life: WorkerLife) {
        let older = |other: &WorkerLife| other.worker == life.worker && other.generation < life.generation;
        self.free.retain(|other| !older(other));
        self.busy.retain(|_, other| !older(other));
        let orphans: Vec<HeldLease> =
            self.unclaimed.extract_if(|_, lease| older(&lease.life)).map(|(_, lease)| lease).collect();
        self.hand_back(orphans);
    }

    /// A worker answers our question: but for its own, the leases that we found for it were never worked on. They may
    /// come with another that is: a claim was carried out, and the slot manager ended before it heard of it.
    pub(super) fn hand_back_unclaimed(&mut self, life: WorkerLife, answering: Option<u64>) {
        if answering == Some(self.question) {
            let orphans: Vec<HeldLease> =
                self.unclaimed.extract_if(|_, lease| lease.life == life).map(|(_, lease)| lease).collect();
            self.hand_back(orphans);
        }
    }

    fn hand_back(&mut self, leases: Vec<HeldLease>) {
        for HeldLease { job, lease, business_id, call_sid, .. } in leases {
            // Its worker is not busy with this one, and may be free at once.
            self.busy.remove(&lease);
            let settlement = Settlement { job, lease, disposition: Disposition::HandBack };
            self.finish(None, Ended { settlement, business_id, call_sid, wanted_at: None });
        }
    }

    /// Asks for a look at this instance's leases, now and every `beat_ttl`.
    pub(super) fn audit_later(&mut self, ctx: &mut Context<Self>) {
        self.child.run_later(ctx, self.deps.limits.beat_ttl, |this, ctx| {
            this.audit_due = true;
            this.step(ctx);
        });
    }

    /// Hands back the leases that no worker has and no report is of. It is a step of its own: no claim is under way
    /// meanwhile whose leases would seem to be strangers.
    pub(super) fn audit(&mut self, ctx: &mut Context<Self>) {
        self.phase = Phase::Stepping { again: false };
        let (dispatch, instance) = (Arc::clone(&self.deps.dispatch), self.deps.identity.instance);
        self.child.spawn_io(ctx, async move { answered(dispatch.held(instance)).await }, |this, held, ctx| {
            this.phase = Phase::Resting;
            match held {
                Ok(held) => this.audited(held),
                // The beat says more loudly that the database is away.
                Err(error) => tracing::debug!(%error, "leases not looked at"),
            }
            this.audit_later(ctx);
            this.step(ctx);
        });
    }

    fn audited(&mut self, mut held: Vec<HeldLease>) {
        let reported = |lease| self.finished.iter().any(|finished| finished.ended.settlement.lease == lease);
        held.retain(|lease| !self.busy.contains_key(&lease.lease) && !reported(lease.lease));
        if !held.is_empty() {
            tracing::warn!(leases = held.len(), "leases that no worker here knows of; handed back");
            self.hand_back(held);
        }
    }
}
