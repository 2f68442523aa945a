//! Follow-ups: tells businesses of their recordings, deletes at the provider what is stored here, removes the files of
//! deleted recordings.
//!
//! They stand in the database, written with what caused them. Every process with workers takes some that are due; a
//! process that dies has them until its lease of them ends, and then somebody else does them again: at least once.

use super::{
    answer::answered,
    supervision::{ChildContext, hooks_for_faults},
};
use crate::domain::{
    completion::Announcement,
    failure::{Failure, FailureCode},
    follow_up::{FleetSetting, FollowUp, Persistence, Setback, Task, TryEnd},
    observation::{Observation, Observer},
    ports::{Announcer, Clock, FollowUps, Provider, Storage, StoreResult},
};
use actix::{Actor, ActorContext, Context};
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};

/// Taken, and done, at a time; and of these, of one business.
const BATCH: u16 = 32;
const OF_ONE_BUSINESS: u16 = 8;
/// From the end of a try's time to the end of its lease: to write down how it ended.
const SLACK: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct FollowUpDeps {
    pub follow_ups: Arc<dyn FollowUps>,
    pub announcer: Arc<dyn Announcer>,
    pub provider: Arc<dyn Provider>,
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub observer: Arc<dyn Observer>,
    pub setting: FleetSetting,
    pub persistence: Persistence,
    /// Longest time of one try.
    pub timeout: Duration,
    /// Longest wait between two looks for due ones.
    pub poll_interval: Duration,
}

pub struct FollowUpActor {
    child: ChildContext,
    deps: FollowUpDeps,
    /// The database knows the setting.
    configured: bool,
    working: bool,
    draining: bool,
}

impl FollowUpActor {
    pub fn new(child: ChildContext, deps: FollowUpDeps) -> Self {
        Self { child, deps, configured: false, working: false, draining: false }
    }

    fn work(&mut self, ctx: &mut Context<Self>) {
        if self.draining {
            return ctx.stop();
        }
        self.working = true;
        let (deps, configured) = (self.deps.clone(), self.configured);
        let work = async move {
            if !configured {
                answered(deps.follow_ups.configure(deps.setting)).await?;
            }
            step(&deps).await
        };
        self.child.spawn_io(ctx, work, |this, done, ctx| {
            this.working = false;
            this.configured |= done.is_ok();
            if this.draining {
                return ctx.stop();
            }
            let wait = match done {
                // One business alone fills no batch, however many of its follow-ups are due.
                Ok(taken) if taken >= usize::from(OF_ONE_BUSINESS) => Duration::ZERO,
                Ok(_) => this.deps.poll_interval.mul_f64(1.0 - 0.1 * this.deps.clock.random()),
                Err(error) => {
                    // The beat says more loudly that the database is away.
                    tracing::debug!(%error, "follow-ups were not looked for");
                    this.deps.poll_interval
                }
            };
            this.child.run_later(ctx, wait, Self::work);
        });
    }
}

/// Does what is due, one batch of it; how many were taken.
pub async fn step(deps: &FollowUpDeps) -> StoreResult<usize> {
    let lease = deps.timeout + SLACK;
    let taken = answered(deps.follow_ups.take(BATCH, OF_ONE_BUSINESS, lease)).await?;
    join_all(taken.iter().map(|follow_up| carry_out(deps, follow_up))).await;
    Ok(taken.len())
}

/// One try and how it ended. Where that cannot be written down, somebody does it again.
async fn carry_out(deps: &FollowUpDeps, follow_up: &FollowUp) {
    let tried = tokio::time::timeout(deps.timeout, attempt(deps, follow_up)).await;
    let late = |_| Err(Failure::new(FailureCode::Timeout, "it took too long").into());
    let tried = tried.unwrap_or_else(late);
    let end = match &tried {
        Ok(_) => TryEnd::Done,
        Err(setback) => deps.persistence.after(follow_up, setback, deps.clock.random()),
    };
    match &tried {
        Ok(status) => say_done(deps, follow_up, *status),
        Err(setback) => say_failed(deps, follow_up, setback, &end),
    }
    if let Err(error) = answered(deps.follow_ups.end(follow_up, &end)).await {
        tracing::warn!(%error, follow_up = follow_up.id, "the end of a follow-up was not written down; it is done again");
    }
}

/// The receiver's status, of an announcement.
async fn attempt(deps: &FollowUpDeps, follow_up: &FollowUp) -> Result<Option<u16>, Setback> {
    match &follow_up.task {
        Task::Announce { event_id, event, url } => {
            let announcement = Announcement {
                event_id: *event_id,
                business_id: follow_up.business_id,
                url: url.clone(),
                body: event.to_string(),
            };
            Ok(Some(deps.announcer.announce(&announcement).await?))
        }
        Task::DeleteAtProvider { recording_url, storage_key, bytes } => {
            whole(&*deps.storage, storage_key, *bytes).await?;
            deps.provider.delete(recording_url).await?;
            Ok(None)
        }
        Task::DeleteFile { storage_key } => {
            deps.storage.remove(storage_key).await?;
            Ok(None)
        }
    }
}

/// The provider's copy goes only while ours is what was verified.
async fn whole(storage: &dyn Storage, key: &str, bytes: u64) -> Result<(), Failure> {
    let text = match storage.size(key).await? {
        Some(size) if size == bytes => return Ok(()),
        Some(size) => format!("the stored file has {size} bytes and not {bytes}: the provider's copy is kept"),
        None => "the stored file is missing: the provider's copy is kept".to_owned(),
    };
    Err(Failure::new(FailureCode::StorageError, text))
}

fn say_done(deps: &FollowUpDeps, follow_up: &FollowUp, status: Option<u16>) {
    let FollowUp { call_sid, business_id, recording_sid, tries, task, .. } = follow_up;
    let business_id = business_id.get();
    match task {
        Task::Announce { event, .. } => {
            deps.observer.observe(Observation::Announced { outcome: "sent" });
            tracing::info!(
                marker = "COMPLETION_SENT",
                r#type = event["type"].as_str().unwrap_or_default(),
                %call_sid,
                business_id,
                tries,
                http_status = status.unwrap_or_default(),
                "the business was told"
            );
        }
        Task::DeleteAtProvider { .. } => {
            deps.observer.observe(Observation::Deleted { what: "provider" });
            let recording_sid = recording_sid.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::info!(marker = "PROVIDER_DELETED", %call_sid, business_id, recording_sid, "deleted at the provider");
        }
        Task::DeleteFile { storage_key } => {
            deps.observer.observe(Observation::Deleted { what: "file" });
            let file = storage_key.rsplit('/').next().unwrap_or_default();
            tracing::info!(marker = "RECORDING_FILE_REMOVED", %call_sid, business_id, file, "file removed");
        }
    }
}

fn say_failed(deps: &FollowUpDeps, follow_up: &FollowUp, setback: &Setback, end: &TryEnd) {
    let FollowUp { call_sid, business_id, tries, task, .. } = follow_up;
    let (business_id, Setback { reason, message, .. }) = (business_id.get(), setback);
    let retry_in = match end {
        TryEnd::Retry { delay, .. } => format!("{}ms", delay.as_millis()),
        TryEnd::Done | TryEnd::Dead { .. } => "never".to_owned(),
    };
    let is_dead = matches!(end, TryEnd::Dead { .. });
    if let Task::Announce { event, .. } = task {
        let outcome = if is_dead { "given_up" } else { "failed" };
        deps.observer.observe(Observation::Announced { outcome });
        let event = event["type"].as_str().unwrap_or_default();
        tracing::warn!(
            marker = "COMPLETION_FAILED",
            r#type = event,
            %call_sid,
            business_id,
            reason,
            retry_in,
            tries,
            detail = message,
            "the business was not told"
        );
    } else {
        tracing::error!(
            marker = "DELETION_FAILED",
            kind = task.kind(),
            %call_sid,
            business_id,
            reason,
            retry_in,
            tries,
            detail = message,
            "not deleted"
        );
    }
}

impl Actor for FollowUpActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.child.survives("started", ctx) {
            self.child.clone().on_drain(ctx, |this: &mut Self, ctx| {
                this.draining = true;
                // What is under way ends first: a business is not told twice because a process is replaced.
                if !this.working {
                    ctx.stop();
                }
            });
            self.work(ctx);
        }
    }

    hooks_for_faults!();
}
