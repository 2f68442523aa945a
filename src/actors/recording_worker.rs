//! A recording worker: drives one job at a time, from [`Assign`] to the [`WorkerReport`] of how it ended.
//!
//! It keeps its report until the slot manager says that it is settled, so a slot manager that dies in between loses
//! nothing: the next one asks ([`Announce`]) and is told again.

use super::{
    attempt_span,
    job_types::JobHandlers,
    supervision::{ChildContext, Outbox, hooks_for_faults},
};
use crate::domain::{
    failure::{Failure, FailureCode},
    ids::{BusinessId, CallSid},
    job::{Achieved, AttemptResult, ClaimedJob, Disposition, JobType, Settlement, StoredRecording},
    lease::{LeaseId, WorkerLife},
    observation::{AttemptEnd, Observation, Observer},
    ports::Clock,
    retry::RetryPolicy,
    trace::{Branch, Span, TraceParent, Tracer},
};
use actix::{Actor, ActorContext, Context, Handler, Message};
use chrono::{DateTime, Utc};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// What a worker needs; the same for all of the pool.
#[derive(Clone)]
pub struct WorkerDeps {
    pub handlers: JobHandlers,
    pub clock: Arc<dyn Clock>,
    pub retry: RetryPolicy,
    /// Longest time that one attempt may take; shorter than the lease.
    pub attempt_timeout: Duration,
    pub tracer: Arc<dyn Tracer>,
    pub reports: Outbox<WorkerReport>,
    pub observer: Arc<dyn Observer>,
}

pub struct RecordingWorker {
    child: ChildContext,
    life: WorkerLife,
    deps: WorkerDeps,
    work: Work,
    draining: bool,
}

enum Work {
    Idle,
    Busy {
        job: Box<ClaimedJob>,
        since: Instant,
        stop: Stop,
        span: Box<dyn Span>,
    },
    /// The attempt ended and its slot is not free yet.
    Unsettled(Ended),
}

/// How an attempt is ended before it has a result. The attempt says itself when it has stopped, and only then is it over:
/// its slot is in use until then. One that had its result at that moment keeps it.
#[derive(Default)]
struct Stop {
    token: CancellationToken,
    /// What is reported of it; the first reason counts.
    result: Option<AttemptResult>,
}

/// What a worker does now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WorkerReport {
    pub life: WorkerLife,
    /// The [`Announce`] that this answers; `None`: it comes of itself.
    pub answering: Option<u64>,
    pub doing: Doing,
}

#[derive(Debug)]
pub enum Doing {
    /// Free for a job.
    Idle,
    Busy(LeaseId),
    Finished(Ended),
    /// Draining, and has nothing: give it no more.
    Leaving,
    /// The job was meant for another life of this worker, or came while it was not free.
    Refused(Box<ClaimedJob>),
}

/// An attempt that ended, with what its release is to say in the log.
#[derive(Debug, Clone)]
pub struct Ended {
    pub settlement: Settlement,
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    /// Not known of a lease that was found without its job.
    pub wanted_at: Option<DateTime<Utc>>,
}

impl Ended {
    pub fn new(job: &ClaimedJob, disposition: Disposition) -> Self {
        Self {
            settlement: Settlement { job: job.id, lease: job.lease, disposition },
            business_id: job.business_id,
            call_sid: job.call_sid.clone(),
            wanted_at: Some(job.wanted_at),
        }
    }
}

impl RecordingWorker {
    pub fn new(child: ChildContext, worker: u16, deps: WorkerDeps) -> Self {
        let life = WorkerLife { worker, generation: child.life().generation };
        Self { child, life, deps, work: Work::Idle, draining: false }
    }

    fn report(&self, answering: Option<u64>) {
        let doing = match &self.work {
            Work::Idle if self.draining => Doing::Leaving,
            Work::Idle => Doing::Idle,
            Work::Busy { job, .. } => Doing::Busy(job.lease),
            Work::Unsettled(ended) => Doing::Finished(ended.clone()),
        };
        self.deps.reports.send(WorkerReport { life: self.life, answering, doing });
    }

    fn begin(&mut self, job: Box<ClaimedJob>, ctx: &mut Context<Self>) {
        let span = self.deps.tracer.begin(attempt_span::new(&job));
        tracing::info!(
            marker = "WORKER_PICKED",
            job_type = %job.job_type,
            call_sid = %job.call_sid,
            business_id = job.business_id.get(),
            recording_sid = job.recording_sid.as_ref().map(ToString::to_string),
            attempt = job.attempt,
            trace_id = span.trace_parent().as_ref().and_then(TraceParent::logged_id),
            "recording picked"
        );
        self.deps.observer.observe(Observation::AttemptStarted);
        let handler = self.deps.handlers.get(job.job_type);
        let (claimed, limit) = (job.clone(), self.deps.attempt_timeout);
        let spans = Branch::below(span.as_ref(), &self.deps.tracer);
        let stop = Stop::default();
        let stopped = stop.token.clone();
        let attempt = async move {
            let result = tokio::select! {
                biased;
                result = tokio::time::timeout(limit, handler.run(&claimed, &spans)) => result,
                // The download is dropped, and with it its connection.
                () = stopped.cancelled() => return None,
            };
            let too_long =
                |_| Failure::new(FailureCode::Timeout, format!("no result within {} s", limit.as_secs()));
            Some(result.unwrap_or_else(|elapsed| Err(too_long(elapsed))))
        };
        self.child.spawn_io(ctx, attempt, |this, result, _| {
            this.end(result.map(|result| result.map_or_else(AttemptResult::Failed, AttemptResult::Achieved)));
        });
        self.work = Work::Busy { job, since: Instant::now(), stop, span };
    }

    /// Asks the attempt under way to stop.
    fn stop(&mut self, reason: AttemptResult) {
        if let Work::Busy { stop, .. } = &mut self.work {
            stop.result.get_or_insert(reason);
            stop.token.cancel();
        }
    }

    /// The attempt is over (`None`: because it was stopped): decide what follows, say so once, and report it.
    fn end(&mut self, result: Option<AttemptResult>) {
        let Work::Busy { job, since, span, stop } = std::mem::replace(&mut self.work, Work::Idle) else { return };
        let result = result.or(stop.result).unwrap_or(AttemptResult::Interrupted);
        let took = since.elapsed();
        let disposition = Disposition::after(result, job.tries(took), &self.deps.retry, self.deps.clock.random());
        log_end(&job, &disposition, took);
        let end = AttemptEnd::from(&disposition);
        self.deps.observer.observe(Observation::AttemptEnded { end, took: Some(took) });
        span.end(attempt_span::outcome(&disposition));
        self.work = Work::Unsettled(Ended::new(&job, disposition));
        self.report(None);
    }

    fn become_idle(&mut self, ctx: &mut Context<Self>) {
        self.work = Work::Idle;
        if self.draining {
            self.report(None);
            ctx.stop();
        }
    }
}

fn log_end(job: &ClaimedJob, disposition: &Disposition, took: Duration) {
    match disposition {
        Disposition::Achieved(
            Achieved::Stored(StoredRecording { storage_key, bytes, .. })
            | Achieved::Advanced(StoredRecording { storage_key, bytes, .. }),
        ) => tracing::info!(
            marker = "WORKER_DOWNLOAD_DONE",
            call_sid = %job.call_sid,
            file = storage_key.rsplit('/').next(),
            bytes,
            duration_ms = took.as_millis(),
            "recording stored"
        ),
        failed => log_failure(&job.call_sid, job.job_type, job.attempt, failed),
    }
}

/// The line of an attempt that failed, whoever found it out; nothing for one that did not.
pub(super) fn log_failure(call_sid: &CallSid, job_type: JobType, attempt: u16, disposition: &Disposition) {
    match disposition {
        Disposition::Retry { delay, failure } | Disposition::NotReady { delay, failure } => tracing::warn!(
            marker = "WORKER_JOB_FAILED",
            %call_sid,
            reason = %failure.code,
            r#type = %job_type,
            retry_in = format_args!("{}ms", delay.as_millis()),
            attempt,
            detail = %failure.message,
            "attempt failed"
        ),
        Disposition::Dead { failure } => tracing::error!(
            marker = "WORKER_JOB_FAILED",
            %call_sid,
            reason = %failure.code,
            r#type = %job_type,
            retry_in = "never",
            attempt,
            detail = %failure.message,
            "job failed for good"
        ),
        // The hold itself was said more loudly, once.
        Disposition::Wait { hold, failure } => tracing::info!(
            marker = "WORKER_JOB_FAILED",
            %call_sid,
            reason = %failure.code,
            r#type = %job_type,
            retry_in = "when the hold is over",
            attempt,
            %hold,
            detail = %failure.message,
            "attempt does not count: it waits"
        ),
        // Its release says so.
        Disposition::Achieved(_) | Disposition::HandBack | Disposition::Cancelled => {}
    }
}

impl Actor for RecordingWorker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.child.survives("started", ctx) {
            return;
        }
        self.child.clone().on_drain(ctx, |this: &mut Self, ctx| {
            this.draining = true;
            if matches!(this.work, Work::Idle) {
                this.become_idle(ctx);
            }
        });
        self.report(None);
    }

    hooks_for_faults!();
}

/// From the slot manager: process this job. Answered by reports.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Assign {
    /// The life that the job was claimed for.
    pub life: WorkerLife,
    pub job: Box<ClaimedJob>,
}

impl Handler<Assign> for RecordingWorker {
    type Result = ();

    fn handle(&mut self, Assign { life, job }: Assign, ctx: &mut Context<Self>) {
        if !self.child.survives("handler", ctx) {
            return;
        }
        if life == self.life && matches!(self.work, Work::Idle) && !self.draining {
            self.begin(job, ctx);
        } else {
            self.deps.reports.send(WorkerReport { life, answering: None, doing: Doing::Refused(job) });
        }
    }
}

/// From the slot manager: the report of this lease is settled, the slot is free.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Settled(pub LeaseId);

impl Handler<Settled> for RecordingWorker {
    type Result = ();

    fn handle(&mut self, Settled(lease): Settled, ctx: &mut Context<Self>) {
        if matches!(&self.work, Work::Unsettled(ended) if ended.settlement.lease == lease) {
            self.become_idle(ctx);
        }
    }
}

/// From a slot manager that recovers: say what you do. The number tells answers to this question from older news.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Announce(pub u64);

impl Handler<Announce> for RecordingWorker {
    type Result = ();

    fn handle(&mut self, Announce(question): Announce, _: &mut Context<Self>) {
        self.report(Some(question));
    }
}

/// From the slot manager, when this instance's beats fail: its leases may be given to others any moment, so stop
/// working on them. The attempt does not count.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Interrupt;

impl Handler<Interrupt> for RecordingWorker {
    type Result = ();

    fn handle(&mut self, _: Interrupt, _: &mut Context<Self>) {
        self.stop(AttemptResult::Interrupted);
    }
}

/// From the slot manager: an operator wants this lease's job cancelled. One that has just ended keeps its result.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Cancel(pub LeaseId);

impl Handler<Cancel> for RecordingWorker {
    type Result = ();

    fn handle(&mut self, Cancel(lease): Cancel, ctx: &mut Context<Self>) {
        if !self.child.survives("handler", ctx) {
            return;
        }
        if matches!(&self.work, Work::Busy { job, .. } if job.lease == lease) {
            self.stop(AttemptResult::Cancelled);
        }
    }
}
