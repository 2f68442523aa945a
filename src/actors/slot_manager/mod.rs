//! The slot manager: its process's only claimer. It claims jobs with their slots for the workers that are free, settles
//! what they finished in batches, and beats.
//!
//! One step at a time is under way (see [`SlotManager::step`]): settle what is finished, then read the doorbell and
//! claim for whoever is free then. What comes in meanwhile makes the next batch, so batches grow with the load and a
//! lone job waits for nobody.
//!
//! It holds nothing that is not in the database or in a worker. After a restart, or an answer that did not arrive, it
//! *recovers*: it reads this instance's leases, asks the workers what they do, and hands back the leases that no
//! worker knows.

mod beat;
mod cancelling;
mod recovery;
mod reports;
mod settling;

pub use cancelling::CancelAsked;

use super::{
    answer::answered,
    drain::DrainTally,
    hold_board::HoldBoard,
    obstacle::Obstacle,
    recording_worker::{Assign, Ended, RecordingWorker},
    supervision::{ChildContext, ChildRef, Roster, hooks_for_faults},
};
use crate::domain::{
    ids::InstanceId,
    job::{ClaimedJob, Disposition, Settled as SettledLease, Settlement},
    lease::{LeaseId, WorkerLife},
    observation::{Observation, Observer},
    overview::Pulse,
    ports::{ClaimRequest, Claimed, Clock, Dispatch, HeldLease, StoreResult},
    slots::RingPlace,
};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// Doorbell rows that one claim reads.
const DRAIN_LIMIT: u32 = 2_000;
/// Results that one settlement carries.
const SETTLE_LIMIT: usize = 1_000;
/// Wait after an error of the database.
const ERROR_PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct SlotManagerDeps {
    pub dispatch: Arc<dyn Dispatch>,
    pub clock: Arc<dyn Clock>,
    pub roster: Roster,
    /// The pool, by place; empty where this process is no worker: then it only beats.
    pub workers: Vec<ChildRef<RecordingWorker>>,
    pub identity: Identity,
    pub limits: SlotLimits,
    /// Set while no beat reaches the database.
    pub obstacle: Obstacle,
    pub tally: DrainTally,
    pub holds: HoldBoard,
    /// What is settled here, for the fleet's pulse.
    pub pulse: Pulse,
    pub observer: Arc<dyn Observer>,
}

/// This process, as the fleet is told of it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub instance: InstanceId,
    pub host: String,
    pub roles: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct SlotLimits {
    /// Slots of a business that is met for the first time.
    pub default_max_slots: i32,
    /// Jobs a turn of the ring and unit of weight.
    pub quantum: u16,
    /// Between two looks for work that no bell announced; doubles up to `poll_max` while there is none.
    pub poll_min: Duration,
    pub poll_max: Duration,
    pub lease: Duration,
    pub beat_interval: Duration,
    /// After this long without a beat the others take this instance for dead.
    pub beat_ttl: Duration,
}

pub struct SlotManager {
    child: ChildContext,
    deps: SlotManagerDeps,
    phase: Phase,
    /// Counts recoveries; an answer to an older [`Announce`] is old news.
    question: u64,
    free: BTreeSet<WorkerLife>,
    busy: HashMap<LeaseId, WorkerLife>,
    /// Leases found at the recovery for which no worker has spoken yet; they are in `busy` too.
    unclaimed: HashMap<LeaseId, HeldLease>,
    finished: Vec<Finished>,
    /// Where the last claim left the ring.
    place: RingPlace,
    poll: Duration,
    poll_timer: Option<SpawnHandle>,
    /// Fires when half of the time is over after which the others take this instance for dead.
    dead_man: Option<SpawnHandle>,
    beats: Beats,
    /// When the newest beat was sent that was answered.
    last_beat: Option<Instant>,
    beat_timer: Option<SpawnHandle>,
    /// The next step looks for leases that nobody here knows of.
    audit_due: bool,
    draining: bool,
}

/// Whether this instance's beats reach the database in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beats {
    Arriving,
    /// They had stopped after the step under way began: the others may have what it claims.
    ArrivingAgain,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Reading this instance's leases.
    Recovering,
    /// Nothing is under way.
    Resting,
    /// A step is under way; the flag: begin another right after it.
    Stepping { again: bool },
    /// Deregistering.
    Leaving,
}

/// An attempt that is not settled yet, and the worker that waits for it, if one does.
struct Finished {
    worker: Option<WorkerLife>,
    ended: Ended,
}

/// What one step came to; `None`: there was nothing to do.
struct Step {
    sent: Vec<Finished>,
    settled: Option<StoreResult<Vec<SettledLease>>>,
    /// The workers that the claim was for.
    offered: Vec<WorkerLife>,
    claimed: Option<StoreResult<Claimed>>,
}

impl SlotManager {
    pub fn new(child: ChildContext, deps: SlotManagerDeps) -> Self {
        // The ring is entered anywhere, so that claimers do not walk it in step.
        #[expect(clippy::cast_possible_truncation, reason = "any place will do")]
        let place = RingPlace { after: (deps.clock.random() * 1e6) as i64, turn_left: 0 };
        Self {
            child,
            phase: Phase::Recovering,
            question: 0,
            free: BTreeSet::new(),
            busy: HashMap::new(),
            unclaimed: HashMap::new(),
            finished: Vec::new(),
            place,
            poll: deps.limits.poll_min,
            poll_timer: None,
            dead_man: None,
            beats: Beats::Arriving,
            last_beat: None,
            beat_timer: None,
            audit_due: false,
            draining: false,
            deps,
        }
    }

    // --- the step

    /// Settles what is finished and claims for the workers that are free then: two round trips, one after the other.
    fn step(&mut self, ctx: &mut Context<Self>) {
        match &mut self.phase {
            Phase::Resting => {}
            Phase::Stepping { again } => return *again = true,
            Phase::Recovering | Phase::Leaving => return,
        }
        if std::mem::take(&mut self.audit_due) {
            return self.audit(ctx);
        }
        // A job that is ready stays so while nothing can be stored, or nobody knows yet: a claim would only park it.
        let is_held = !self.deps.holds.lets_claim();
        let claiming = self.beats != Beats::Stopped && !is_held && !self.child.shutting_down();
        let sent: Vec<Finished> = self.finished.drain(..self.finished.len().min(SETTLE_LIMIT)).collect();
        let mut offered: Vec<WorkerLife> =
            if claiming { std::mem::take(&mut self.free).into_iter().collect() } else { Vec::new() };
        if sent.is_empty() && offered.is_empty() {
            if is_held && !self.free.is_empty() {
                self.poll_in(self.deps.limits.poll_max, ctx);
            }
            return self.leave_if_drained(ctx);
        }
        if self.beats == Beats::ArrivingAgain {
            self.beats = Beats::Arriving;
        }
        self.phase = Phase::Stepping { again: false };
        let (dispatch, mut request) = (Arc::clone(&self.deps.dispatch), self.claim_request());
        let step = async move {
            let mut settled = None;
            if !sent.is_empty() {
                let settlements: Vec<Settlement> = sent.iter().map(|f| f.ended.settlement.clone()).collect();
                settled = Some(answered(dispatch.settle(&settlements)).await);
            }
            if claiming && matches!(settled, Some(Ok(_))) {
                offered.extend(sent.iter().filter_map(|f| f.worker));
            }
            let mut claimed = None;
            if !offered.is_empty() {
                request.workers.clone_from(&offered);
                claimed = Some(answered(dispatch.claim(&request)).await);
            }
            Step { sent, settled, offered, claimed }
        };
        self.child.spawn_io(ctx, step, Self::stepped);
    }

    fn stepped(&mut self, Step { sent, settled, offered, claimed }: Step, ctx: &mut Context<Self>) {
        let again = self.phase == Phase::Stepping { again: true };
        self.phase = Phase::Resting;
        let settle_failed = matches!(settled, Some(Err(_)));
        match settled {
            None => {}
            Some(Ok(held)) => {
                let held = held.into_iter().map(|settled| (settled.lease, settled.cancelled)).collect();
                self.settled(&sent, &held);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, results = sent.len(), "results could not be settled; trying again");
                self.finished.splice(0..0, sent);
            }
        }
        let mut bells = 0;
        match claimed {
            None => self.free.extend(offered),
            Some(Ok(claimed)) => {
                bells = claimed.bells;
                self.claimed(claimed, offered);
            }
            Some(Err(error)) => {
                // It may have been carried out all the same.
                tracing::warn!(%error, "no claim; looking what this instance holds");
                self.child.run_later(ctx, ERROR_PAUSE, Self::recover);
                self.phase = Phase::Recovering;
                return;
            }
        }
        if settle_failed {
            self.poll_in(ERROR_PAUSE, ctx);
        } else if again || !self.finished.is_empty() || bells == DRAIN_LIMIT {
            self.step(ctx);
        } else {
            self.poll_in(self.poll, ctx);
            self.leave_if_drained(ctx);
        }
    }

    fn claimed(&mut self, Claimed { jobs, place, bells }: Claimed, offered: Vec<WorkerLife>) {
        self.deps.observer.observe(Observation::Claimed { jobs: jobs.len() });
        let found_work = bells > 0 || !jobs.is_empty();
        self.poll =
            if found_work { self.deps.limits.poll_min } else { (self.poll * 2).min(self.deps.limits.poll_max) };
        self.place = place;
        self.free.extend(offered);
        for (life, job) in jobs {
            if self.beats == Beats::Arriving {
                self.assign(life, job);
            } else {
                self.refuse(&job);
            }
        }
    }

    /// A claim that was answered late: the others may have taken this instance for dead, and run the job already.
    fn refuse(&mut self, job: &ClaimedJob) {
        tracing::warn!(call_sid = %job.call_sid, "claimed after the beats had stopped; handed back");
        self.finish(None, Ended::new(job, Disposition::HandBack));
    }

    fn assign(&mut self, life: WorkerLife, job: ClaimedJob) {
        tracing::info!(
            marker = "WORKER_SLOT_ACQUIRED",
            call_sid = %job.call_sid,
            business_id = job.business_id.get(),
            running = job.running,
            max_slots = job.max_slots,
            "slot acquired"
        );
        self.free.remove(&life);
        self.busy.insert(job.lease, life);
        let back = Ended::new(&job, Disposition::HandBack);
        if !self.tell(life, Assign { life, job: Box::new(job) }) {
            self.busy.remove(&back.settlement.lease);
            self.finish(None, back);
        }
    }

    fn tell<M>(&self, life: WorkerLife, message: M) -> bool
    where
        M: Message<Result = ()> + Send + 'static,
        RecordingWorker: Handler<M>,
    {
        self.deps.workers.get(usize::from(life.worker)).is_some_and(|worker| worker.send(message))
    }

    fn claim_request(&self) -> ClaimRequest {
        let SlotLimits { quantum, lease, default_max_slots, .. } = self.deps.limits;
        ClaimRequest {
            instance: self.deps.identity.instance,
            workers: Vec::new(),
            place: self.place,
            quantum,
            lease_for: lease,
            drain_limit: DRAIN_LIMIT,
            default_max_slots,
        }
    }

    /// Looks again after `wait`, unless something calls for a step before.
    fn poll_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.poll_timer.take() {
            ctx.cancel_future(timer);
        }
        let wait = wait.mul_f64(1.0 - 0.2 * self.deps.clock.random());
        self.poll_timer = Some(self.child.run_later(ctx, wait, |this, ctx| {
            this.poll_timer = None;
            this.step(ctx);
        }));
    }

    // --- the end

    fn leave_if_drained(&mut self, ctx: &mut Context<Self>) {
        if !self.draining || !self.finished.is_empty() || self.phase != Phase::Resting {
            return;
        }
        self.phase = Phase::Leaving;
        let (dispatch, instance) = (Arc::clone(&self.deps.dispatch), self.deps.identity.instance);
        self.child.spawn_io(ctx, async move { answered(dispatch.deregister(instance)).await }, |_, left, ctx| {
            if let Err(error) = left {
                tracing::warn!(%error, "not deregistered; the reaper will see to it");
            }
            ctx.stop();
        });
    }
}

impl Actor for SlotManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.child.survives("started", ctx) {
            self.child.clone().on_drain(ctx, |this: &mut Self, ctx| {
                this.draining = true;
                this.step(ctx);
            });
            self.recover(ctx);
            self.beat(ctx);
            self.audit_later(ctx);
            self.watch_for_cancels(ctx);
        }
    }

    hooks_for_faults!();
}

/// Jobs may have come in: from the listener, from maintenance, or from this process's own routes.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Rung;

impl Handler<Rung> for SlotManager {
    type Result = ();

    fn handle(&mut self, _: Rung, ctx: &mut Context<Self>) {
        if self.child.survives("handler", ctx) {
            self.poll = self.deps.limits.poll_min;
            self.step(ctx);
        }
    }
}
