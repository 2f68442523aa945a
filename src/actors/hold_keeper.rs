//! The hold keeper: copies the fleet's holds for the guards of this process, tries whether their causes are gone, and ends
//! those that are over.
//!
//! Every process with workers has one. They take turns in the database: a probe that is due is taken by one of them, and
//! is due again later, also where that one dies. It holds nothing itself.

use super::{
    answer::answered,
    hold_board::HoldBoard,
    slot_manager::Rung,
    supervision::{ChildContext, Outbox, hooks_for_faults},
};
use crate::domain::{
    failure::{Failure, FailureCode},
    hold::{Hold, HoldKind, HoldRules},
    observation::{Observation, Observer},
    ports::{Clock, EndedHold, Holds, Provider, Storage, StoreResult, Transcriber},
};
use actix::{Actor, ActorContext, Context};
use chrono::SecondsFormat;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest time of one probe.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// What is old is taken away this often, also where nothing is due.
const TEND_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Clone)]
pub struct HoldKeeperDeps {
    pub holds: Arc<dyn Holds>,
    pub board: HoldBoard,
    pub provider: Arc<dyn Provider>,
    pub storage: Arc<dyn Storage>,
    /// Where transcripts are made: its holds are its own.
    pub transcriber: Option<Arc<dyn Transcriber>>,
    pub clock: Arc<dyn Clock>,
    pub rules: HoldRules,
    /// Between two looks at the holds.
    pub refresh: Duration,
    /// Told when jobs can be claimed again.
    pub slot_manager: Outbox<Rung>,
    pub observer: Arc<dyn Observer>,
}

pub struct HoldKeeper {
    child: ChildContext,
    deps: HoldKeeperDeps,
    tended_at: Option<Instant>,
}

/// What one look came to: the probes that are this process's now.
type Look = StoreResult<(Vec<Hold>, bool)>;

impl HoldKeeper {
    pub fn new(child: ChildContext, deps: HoldKeeperDeps) -> Self {
        Self { child, deps, tended_at: None }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let is_late = self.tended_at.is_none_or(|at| at.elapsed() > TEND_INTERVAL);
        let deps = self.deps.clone();
        self.child.spawn_io(ctx, async move { look(&deps, is_late).await }, |this, looked: Look, ctx| {
            match looked {
                Ok((probes, tended)) => {
                    if tended {
                        this.tended_at = Some(Instant::now());
                    }
                    for hold in probes {
                        this.probe(hold, ctx);
                    }
                }
                // The beat says more loudly that the database is away.
                Err(error) => tracing::debug!(%error, "the holds were not looked at"),
            }
            let wait = this.deps.refresh.mul_f64(1.0 - 0.1 * this.deps.clock.random());
            this.child.run_later(ctx, wait, Self::look);
        });
    }

    /// Looks go on meanwhile.
    fn probe(&mut self, hold: Hold, ctx: &mut Context<Self>) {
        let deps = self.deps.clone();
        self.child.spawn_io(ctx, async move { probe(&deps, &hold).await }, |this, is_over, ctx| {
            if is_over {
                // The jobs that wait are free as soon as this process knows.
                this.look_now(ctx);
            }
        });
    }

    /// Without a place in the rhythm of the looks.
    fn look_now(&mut self, ctx: &mut Context<Self>) {
        let deps = self.deps.clone();
        self.child.spawn_io(ctx, async move { refresh(&deps).await }, |_, refreshed, _| {
            if let Err(error) = refreshed {
                tracing::debug!(%error, "the holds were not looked at");
            }
        });
    }
}

async fn look(deps: &HoldKeeperDeps, is_late: bool) -> Look {
    let answers = deps.board.take_answers();
    if !answers.is_empty()
        && let Err(error) = answered(deps.holds.credit(&answers, &deps.rules)).await
    {
        // They only ever speak for a host; without some of them it is held a little sooner.
        tracing::debug!(%error, "good answers were not told");
    }
    let is_due = refresh(deps).await?;
    if !is_due && !is_late {
        return Ok((Vec::new(), false));
    }
    let tended = answered(deps.holds.tend(&deps.rules)).await?;
    tended.ended.iter().for_each(say_ended);
    Ok((tended.probes, true))
}

/// Copies the holds; whether one of them is due.
async fn refresh(deps: &HoldKeeperDeps) -> StoreResult<bool> {
    let noted = deps.board.noted();
    let could_claim = deps.board.lets_claim();
    let standing = answered(deps.holds.standing()).await?;
    deps.board.replace(noted, standing.holds);
    if !could_claim && deps.board.lets_claim() {
        deps.slot_manager.send(Rung);
    }
    Ok(standing.is_due)
}

/// Whether this probe ended the hold.
async fn probe(deps: &HoldKeeperDeps, hold: &Hold) -> bool {
    let tried = async {
        match hold.kind {
            HoldKind::Storage => deps.storage.check().await,
            HoldKind::Account | HoldKind::Rate | HoldKind::Host => {
                let of_transcriber = match &deps.transcriber {
                    Some(transcriber) => transcriber.probe(&hold.key).await,
                    None => None,
                };
                match of_transcriber {
                    Some(probed) => probed,
                    None => deps.provider.probe(&hold.key).await,
                }
            }
        }
    };
    let too_long = |_| Err(Failure::new(FailureCode::Timeout, "no answer"));
    let tried = tokio::time::timeout(PROBE_LIMIT, tried).await.unwrap_or_else(too_long);
    deps.observer.observe(Observation::HoldProbed { is_over: tried.is_ok() });
    if let Err(failure) = tried {
        let probe_at = hold.probe_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        tracing::info!(key = %hold.key, %failure, probe_at, "what jobs wait for is not over");
        return false;
    }
    match answered(deps.holds.end(hold)).await {
        Ok(Some(ended)) => {
            say_ended(&ended);
            true
        }
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(%error, key = %hold.key, "a hold could not be ended; its next probe tries again");
            false
        }
    }
}

fn say_ended(EndedHold { hold, by, lasted, waiting }: &EndedHold) {
    tracing::info!(
        marker = "HOLD_ENDED",
        kind = %hold.kind,
        key = %hold.key,
        reason = %hold.kind.reason(),
        by = %by,
        lasted_ms = lasted.as_millis(),
        waiting,
        met = hold.met,
        "jobs go on"
    );
}

impl Actor for HoldKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.child.survives("started", ctx) {
            self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
            self.look(ctx);
        }
    }

    hooks_for_faults!();
}
