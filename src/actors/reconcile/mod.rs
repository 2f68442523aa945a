//! The reconciler: looks through what the provider has, and enqueues what no webhook told of.
//!
//! ```text
//! begin a round ─▶ page ─▶ page ─▶ … ─▶ done: its counts are logged, the next account's turn
//!     │   ▲          │ failed: wait, again; too often: out of hand, go on another time
//!     │   └──────────┘
//!     └── not due, or another process has it: the next account's turn
//! ```
//!
//! How far a round came is in the database with every page, so whoever begins next goes on behind the last one. A page
//! may be gone through twice: what was enqueued the first time is had the second time. Rounds overlap by
//! `reconcile.look_back`, since a recording is listed by when it began and is there only when it is completed.

mod page;

pub use page::{Intake, PageDone, PageRules, PageTrouble};

use super::{
    answer::answered_within,
    listener::JobsCameIn,
    slot_manager::Rung,
    supervision::{ChildContext, Outbox, hooks_for_faults},
};
use crate::domain::{
    ids::AccountSid,
    observation::{Observation, Observer},
    ports::{Clock, Period, StoreError},
    reconcile::{PAGE_TRIES, Round, RoundRules, page_wait},
};
use actix::{Actor, ActorContext, Context};
use chrono::SecondsFormat;
use std::{sync::Arc, time::Duration};

/// Longest wait between two looks whether an account is due.
const LOOK_AT_MOST: Duration = Duration::from_secs(30);
/// A step in the database that takes longer counts as lost.
const STEP_LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct ReconcileDeps {
    pub intake: Intake,
    pub rules: RoundRules,
    pub clock: Arc<dyn Clock>,
    pub slot_manager: Outbox<Rung>,
    pub jobs_came_in: Outbox<JobsCameIn>,
    pub observer: Arc<dyn Observer>,
}

pub struct Reconcile {
    child: ChildContext,
    deps: ReconcileDeps,
    /// Whose turn it is, of the accounts.
    turn: usize,
    present: Option<Present>,
    io_under_way: bool,
    drains: bool,
}

/// The round in hand.
struct Present {
    account: AccountSid,
    round: Round,
    /// Of the present page, that failed.
    tries: u32,
}

/// A page that was gone through, and the round behind it; `None`: it is in other hands.
type Paged = Result<(PageDone, Option<Round>), PageTrouble>;

impl Reconcile {
    pub fn new(child: ChildContext, deps: ReconcileDeps) -> Self {
        Self { child, deps, turn: 0, present: None, io_under_way: false, drains: false }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        if self.ends(ctx) {
            return;
        }
        let Some((account, _)) = self.deps.intake.accounts.get(self.turn).cloned() else {
            // All had their turn.
            self.turn = 0;
            let wait = self.deps.rules.interval.min(LOOK_AT_MOST).mul_f64(1.0 - 0.1 * self.deps.clock.random());
            self.child.run_later(ctx, wait, Self::begin);
            return;
        };
        let (book, rules) = (Arc::clone(&self.deps.intake.book), self.deps.rules);
        self.io_under_way = true;
        let begin = async move {
            let round = answered_within(STEP_LIMIT, book.begin_round(&account, &rules)).await;
            (account, round)
        };
        self.child.spawn_io(ctx, begin, |this, (account, round), ctx| {
            this.io_under_way = false;
            match round {
                Ok(Some(round)) => {
                    this.present = Some(Present { account, round, tries: 0 });
                    this.page(ctx);
                }
                Ok(None) => this.next_account(ctx),
                Err(error) => {
                    tracing::warn!(%error, "the provider's recordings are not looked through now");
                    this.next_account(ctx);
                }
            }
        });
    }

    fn next_account(&mut self, ctx: &mut Context<Self>) {
        self.present = None;
        self.turn += 1;
        self.begin(ctx);
    }

    fn page(&mut self, ctx: &mut Context<Self>) {
        if self.ends(ctx) {
            return;
        }
        let Some(Present { account, round, .. }) = &self.present else { return };
        let (account, page, rules) = (account.clone(), round.page.clone(), self.deps.rules);
        let period = Period { account: account.to_string(), since: round.since, until: round.until };
        let intake = self.deps.intake.clone();
        let step = async move {
            let done = intake.page(&period, page.as_deref(), PageRules::default()).await?;
            let noted = intake.book.note_page(&account, done.next.as_deref(), &done.counts, &rules);
            let round = answered_within(STEP_LIMIT, noted).await.map_err(PageTrouble::Store)?;
            Ok((done, round))
        };
        self.io_under_way = true;
        self.child.spawn_io(ctx, step, |this, paged, ctx| {
            this.io_under_way = false;
            this.paged(paged, ctx);
        });
    }

    fn paged(&mut self, paged: Paged, ctx: &mut Context<Self>) {
        let (done, round) = match paged {
            Ok(paged) => paged,
            Err(trouble) => return self.troubled(&trouble, ctx),
        };
        self.say_enqueued(&done);
        let Some(present) = &mut self.present else { return };
        match round {
            None => {
                tracing::info!(account_sid = %present.account, "the provider's recordings are looked through elsewhere");
                self.next_account(ctx);
            }
            Some(round) if done.next.is_some() => {
                (present.round, present.tries) = (round, 0);
                self.page(ctx);
            }
            Some(round) => {
                say_done(&present.account, &round);
                self.next_account(ctx);
            }
        }
    }

    fn say_enqueued(&self, done: &PageDone) {
        for (job, enqueued) in &done.enqueued {
            self.deps.observer.observe(Observation::Enqueued { deduplicated: false });
            tracing::info!(
                marker = "ENQUEUE",
                job_type = %job.job_type,
                call_sid = %job.call_sid,
                business_id = job.business_id.get(),
                deduplicated = false,
                job_id = %enqueued.id,
                "recording enqueued that no webhook told of"
            );
        }
        if !done.enqueued.is_empty() {
            self.deps.slot_manager.send(Rung);
            self.deps.jobs_came_in.send(JobsCameIn);
        }
    }

    fn troubled(&mut self, trouble: &PageTrouble, ctx: &mut Context<Self>) {
        let spread = self.deps.clock.random();
        let Some(present) = &mut self.present else { return };
        present.tries += 1;
        let wait = page_wait(present.tries, trouble.retry_after(), spread);
        let account_sid = present.account.clone();
        if trouble.can_pass() && present.tries < PAGE_TRIES {
            let (tries, retry_in_ms) = (present.tries, wait.as_millis());
            tracing::warn!(%account_sid, %trouble, tries, retry_in_ms, "a page of the provider's recordings did not come yet");
            self.child.run_later(ctx, wait, Self::page);
            return;
        }
        // The provider may not know the page any more, where the round was begun long ago.
        let anew = present.round.page.is_some() && trouble.is_lost_page();
        let seen = present.round.counts.seen;
        tracing::error!(
            marker = "RECONCILE_FAILED",
            %account_sid,
            reason = %trouble,
            seen,
            "the provider's recordings could not be looked through; it goes on another time"
        );
        let wait = if anew { Duration::ZERO } else { wait.max(self.deps.rules.interval) };
        self.leave(wait, anew, ctx);
    }

    /// Out of hand; who is due next goes on where the round stands.
    fn leave(&mut self, wait: Duration, anew: bool, ctx: &mut Context<Self>) {
        let Some(Present { account, .. }) = self.present.take() else { return };
        let book = Arc::clone(&self.deps.intake.book);
        self.io_under_way = true;
        let leave = async move { answered_within(STEP_LIMIT, book.leave_round(&account, wait, anew)).await };
        self.child.spawn_io(ctx, leave, |this, left: Result<(), StoreError>, ctx| {
            this.io_under_way = false;
            if let Err(error) = left {
                tracing::debug!(%error, "others go on when this process's beats are missed");
            }
            this.next_account(ctx);
        });
    }

    /// When the process stops no page more is asked for, and others may go on.
    fn ends(&mut self, ctx: &mut Context<Self>) -> bool {
        if !self.child.shutting_down() && !self.drains {
            return false;
        }
        if self.io_under_way {
            return true;
        }
        if self.present.is_some() {
            self.leave(Duration::ZERO, false, ctx);
        } else if self.drains {
            ctx.stop();
        }
        true
    }
}

fn say_done(account_sid: &AccountSid, Round { since, counts, took, .. }: &Round) {
    tracing::info!(
        marker = "RECONCILE_DONE",
        %account_sid,
        seen = counts.seen,
        had = counts.had,
        dead = counts.dead,
        enqueued = counts.enqueued,
        gone = counts.gone,
        unmapped = counts.unmapped,
        since = since.to_rfc3339_opts(SecondsFormat::Secs, true),
        ms = took.as_millis(),
        "what the provider has was looked through"
    );
}

impl Actor for Reconcile {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.child.survives("started", ctx) {
            let child = self.child.clone();
            child.on_shutdown(ctx, |this: &mut Self, ctx| {
                this.ends(ctx);
            });
            child.on_drain(ctx, |this: &mut Self, ctx| {
                this.drains = true;
                this.ends(ctx);
            });
            self.begin(ctx);
        }
    }

    hooks_for_faults!();
}
