//! Maintenance: what time brings back. Due retries become ready, the jobs of dead instances return, history is
//! rotated, and the invariants are checked. Every process does this; the steps share the work among them.

use super::{
    answer::answered_within,
    obstacle::Obstacle,
    recording_worker::log_failure,
    slot_manager::Rung,
    supervision::{ChildContext, Outbox, hooks_for_faults},
};
use crate::domain::{
    ids::BusinessId,
    job::Disposition,
    observation::{AttemptEnd, JobEnd, Observation, Observer},
    ports::{Clock, Healed, Promoted, Reclaimed, Storage, StoreError, Upkeep},
};
use actix::{Actor, ActorContext, Context};
use std::{sync::Arc, time::Duration};

/// Rows that one step moves at most; a full step is followed by another at once.
const BATCH: u32 = 1_000;
/// A step that takes longer counts as lost, and is tried again at its next time. Without a limit, one connection that
/// died without a word would end a task for good: retries would never run again, nor lost jobs come back.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// Between two rounds that look for stranded businesses.
const HEAL_INTERVAL: Duration = Duration::from_mins(1);
/// Businesses that one look of a round has, and the wait for the next one: a million take some minutes, and no look more
/// than milliseconds.
const HEAL_BATCH: u32 = 10_000;
const HEAL_PAUSE: Duration = Duration::from_secs(3);
/// Files that one sweep of the storage removes at most; a full one is followed by another at once.
const SWEEP_BATCH: usize = 500;
/// Between two checks of the storage.
const STORAGE_INTERVAL: Duration = Duration::from_mins(1);
/// While it cannot be used: a process is ready again soon after the cause is gone.
const STORAGE_RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct MaintenanceDeps {
    pub upkeep: Arc<dyn Upkeep>,
    pub clock: Arc<dyn Clock>,
    /// An instance that has not beaten for this long is dead.
    pub beat_ttl: Duration,
    pub reap_interval: Duration,
    /// Longest wait between two looks for due jobs.
    pub promote_interval: Duration,
    pub history_keep: Duration,
    pub history_interval: Duration,
    pub slot_manager: Outbox<Rung>,
    /// Checked where this process has workers.
    pub storage: Option<Arc<dyn Storage>>,
    /// Set while the storage cannot be used.
    pub storage_obstacle: Obstacle,
    pub sweep_interval: Duration,
    /// What was left written aside so long ago is removed.
    pub sweep_age: Duration,
    pub observer: Arc<dyn Observer>,
}

pub struct Maintenance {
    child: ChildContext,
    deps: MaintenanceDeps,
    /// So far this round has looked for stranded businesses.
    healed_up_to: Option<BusinessId>,
}

impl Maintenance {
    pub fn new(child: ChildContext, deps: MaintenanceDeps) -> Self {
        Self { child, deps, healed_up_to: None }
    }

    /// `interval`, up to a tenth shorter, so that processes that started together drift apart.
    fn jittered(&self, interval: Duration) -> Duration {
        interval.mul_f64(1.0 - 0.1 * self.deps.clock.random())
    }

    fn promote(&mut self, ctx: &mut Context<Self>) {
        let upkeep = Arc::clone(&self.deps.upkeep);
        self.child.spawn_io(
            ctx,
            async move { answered_within(STEP_LIMIT, upkeep.promote(BATCH)).await },
            |this, promoted, ctx| {
                let wait = this.after_promote(promoted);
                this.child.run_later(ctx, wait, Self::promote);
            },
        );
    }

    fn after_promote(&self, promoted: Result<Promoted, StoreError>) -> Duration {
        let limit = self.jittered(self.deps.promote_interval);
        match promoted {
            Ok(Promoted { count, next_due_in }) => {
                if count > 0 {
                    self.deps.slot_manager.send(Rung);
                }
                // A job that is overdue and was not promoted is in another process's hands just now.
                next_due_in.map_or(limit, |due| due.clamp(Duration::from_millis(10), limit))
            }
            Err(error) => {
                tracing::warn!(%error, "due jobs could not be promoted");
                limit
            }
        }
    }

    fn reap(&mut self, ctx: &mut Context<Self>) {
        let (upkeep, ttl) = (Arc::clone(&self.deps.upkeep), self.deps.beat_ttl);
        self.child.spawn_io(
            ctx,
            async move { answered_within(STEP_LIMIT, upkeep.reap(ttl, BATCH)).await },
            |this, reaped, ctx| {
                let full = match reaped {
                    Ok(reaped) => {
                        released(&reaped, "reaped", this.deps.observer.as_ref());
                        if !reaped.is_empty() {
                            this.deps.slot_manager.send(Rung);
                        }
                        reaped.len() >= BATCH as usize
                    }
                    Err(error) => {
                        tracing::warn!(%error, "lost leases could not be reaped");
                        false
                    }
                };
                let wait = if full { Duration::ZERO } else { this.jittered(this.deps.reap_interval) };
                this.child.run_later(ctx, wait, Self::reap);
            },
        );
    }

    fn rotate_history(&mut self, ctx: &mut Context<Self>) {
        let (upkeep, keep) = (Arc::clone(&self.deps.upkeep), self.deps.history_keep);
        self.child.spawn_io(
            ctx,
            async move { answered_within(STEP_LIMIT, upkeep.rotate_history(keep)).await },
            |this, rotated, ctx| {
                match rotated {
                    Ok((0, 0)) => {}
                    Ok((created, dropped)) => tracing::info!(created, dropped, "history partitions rotated"),
                    Err(error) => tracing::warn!(%error, "history could not be rotated"),
                }
                this.child.run_later(ctx, this.jittered(this.deps.history_interval), Self::rotate_history);
            },
        );
    }

    fn heal(&mut self, ctx: &mut Context<Self>) {
        let (upkeep, after) = (Arc::clone(&self.deps.upkeep), self.healed_up_to);
        self.child.spawn_io(
            ctx,
            async move { answered_within(STEP_LIMIT, upkeep.heal_stranded(after, HEAL_BATCH)).await },
            |this, healed, ctx| {
                let wait = match healed {
                    Ok(Healed { businesses, next }) => {
                        if businesses > 0 {
                            tracing::error!(
                                businesses,
                                "businesses had ready jobs and were not marked so; marked now"
                            );
                            this.deps.slot_manager.send(Rung);
                        }
                        this.healed_up_to = next;
                        if next.is_some() { HEAL_PAUSE } else { HEAL_INTERVAL }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "stranded businesses could not be looked for");
                        HEAL_INTERVAL
                    }
                };
                this.child.run_later(ctx, this.jittered(wait), Self::heal);
            },
        );
    }

    /// Says at once that recordings cannot be stored, and again when the reason is another one (incident 21).
    fn check_storage(&mut self, ctx: &mut Context<Self>) {
        let Some(storage) = self.deps.storage.clone() else { return };
        self.child.spawn_io(ctx, async move { storage.check().await }, |this, checked, ctx| {
            let wait = if checked.is_ok() { STORAGE_INTERVAL } else { STORAGE_RETRY };
            let obstacle = checked.err().map(|failure| format!("storage: {}", failure.message));
            if let Some(failure) = obstacle.as_ref().filter(|_| obstacle != this.deps.storage_obstacle.get()) {
                tracing::error!(failure, "the storage cannot be used");
            }
            this.deps.storage_obstacle.set(obstacle);
            this.child.run_later(ctx, this.jittered(wait), Self::check_storage);
        });
    }

    /// Removes what dead processes have left written aside. Several processes may do it at once: each file is removed
    /// by one of them.
    fn sweep_storage(&mut self, ctx: &mut Context<Self>) {
        let Some(storage) = self.deps.storage.clone() else { return };
        let age = self.deps.sweep_age;
        self.child.spawn_io(ctx, async move { storage.sweep(age, SWEEP_BATCH).await }, |this, swept, ctx| {
            let full = match swept {
                Ok(0) => false,
                Ok(files) => {
                    tracing::info!(marker = "STORAGE_SWEPT", files, "what was left written aside is removed");
                    files >= SWEEP_BATCH
                }
                Err(failure) => {
                    tracing::warn!(%failure, "the storage could not be swept");
                    false
                }
            };
            let wait = if full { Duration::ZERO } else { this.jittered(this.deps.sweep_interval) };
            this.child.run_later(ctx, wait, Self::sweep_storage);
        });
    }
}

/// Says which jobs came back without a report of their worker.
pub(super) fn released(reclaimed: &[Reclaimed], reason: &'static str, observer: &dyn Observer) {
    for Reclaimed { job, business_id, call_sid, job_type, attempt, disposition } in reclaimed {
        log_failure(call_sid, *job_type, *attempt, disposition);
        observer.observe(Observation::AttemptEnded { end: AttemptEnd::from(disposition), took: None });
        if let Some(end) = JobEnd::of(disposition, Duration::ZERO) {
            observer.observe(Observation::JobEnded(end));
        }
        let then = match disposition {
            Disposition::Achieved(_) => "done",
            Disposition::Wait { .. } | Disposition::NotReady { .. } | Disposition::Retry { .. } => "scheduled",
            Disposition::Dead { .. } => "dead",
            Disposition::HandBack => "ready",
            Disposition::Cancelled => "cancelled",
        };
        tracing::warn!(marker = "WORKER_RELEASE_SLOT", %call_sid, business_id = business_id.get(), reason, job_id = %job, then, "slot given back");
    }
}

impl Actor for Maintenance {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.child.survives("started", ctx) {
            self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
            self.rotate_history(ctx);
            self.promote(ctx);
            self.reap(ctx);
            self.heal(ctx);
            self.check_storage(ctx);
            self.sweep_storage(ctx);
        }
    }

    hooks_for_faults!();
}
