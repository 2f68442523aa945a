//! The backfill actor: runs the application's backfills, one after another, in the order of their names.
//!
//! ```text
//! read the files ─▶ begin the next ─▶ batch ─▶ pause ─┐
//!                    ▲   │              ▲─────────────┘
//!                    │   ├─ busy: another process runs it; look again
//!                    │   └─ stuck: it failed, or its file was changed; look again, seldom
//!                    └───── done: the one after it
//! ```
//!
//! A batch and its position are one transaction, so nothing has to be remembered here: whoever begins a backfill goes
//! on behind the last batch. When the process stops, the batch under way is its last one.

use super::supervision::{ChildContext, hooks_for_faults};
use crate::domain::{
    backfill::{Backfill, BackfillPlan, BackfillTrouble, Batch, Pace, ProgressLines, Verdict, rows_per_s},
    ports::{BackfillFiles, Backfills, Clock},
};
use actix::{Actor, ActorContext, Context};
use std::{
    collections::VecDeque,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two looks at a backfill that another process runs, before jitter.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// The same where somebody has to mend something.
const STUCK_WAIT: Duration = Duration::from_secs(30);
/// Between two tries to read the files and to keep what they are.
const READ_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct BackfillDeps {
    pub files: Arc<dyn BackfillFiles>,
    pub backfills: Arc<dyn Backfills>,
    pub clock: Arc<dyn Clock>,
    /// An instance that has not beaten for this long is dead: others go on with its backfill.
    pub beat_ttl: Duration,
}

pub struct BackfillActor {
    child: ChildContext,
    deps: BackfillDeps,
    /// Those after the present one.
    left: VecDeque<Backfill>,
    present: Option<Present>,
    io_under_way: bool,
    drains: bool,
}

/// The backfill whose turn it is.
struct Present {
    backfill: Arc<Backfill>,
    pace: Pace,
    /// Not looked at yet in this life: a failure that stands there is older, and is tried again.
    again: bool,
    /// Why it stands still, as it was logged.
    stuck: Option<String>,
    /// While it is in this process's hands.
    run: Option<Run>,
}

struct Run {
    since: Instant,
    changed: i64,
    lines: ProgressLines,
}

impl Present {
    fn new(backfill: Backfill) -> Self {
        let pace = Pace::new(backfill.batch, backfill.pause);
        Self { backfill: Arc::new(backfill), pace, again: true, stuck: None, run: None }
    }
}

impl BackfillActor {
    pub fn new(child: ChildContext, deps: BackfillDeps) -> Self {
        Self { child, deps, left: VecDeque::new(), present: None, io_under_way: false, drains: false }
    }

    fn io<F>(
        &mut self,
        ctx: &mut Context<Self>,
        future: F,
        then: impl FnOnce(&mut Self, F::Output, &mut Context<Self>) + 'static,
    ) where
        F: Future<Output: Send> + Send + 'static,
    {
        self.io_under_way = true;
        self.child.spawn_io(ctx, future, |this, output, ctx| {
            this.io_under_way = false;
            then(this, output, ctx);
        });
    }

    fn later(&mut self, ctx: &mut Context<Self>, wait: Duration, then: fn(&mut Self, &mut Context<Self>)) {
        if !self.ends(ctx) {
            self.child.run_later(ctx, wait, then);
        }
    }

    /// `wait`, up to a tenth shorter, so that processes that started together drift apart.
    fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(1.0 - 0.1 * self.deps.clock.random())
    }

    // --- the files

    fn read(&mut self, ctx: &mut Context<Self>) {
        let (files, backfills) = (Arc::clone(&self.deps.files), Arc::clone(&self.deps.backfills));
        let read = async move {
            let plan = BackfillPlan::new(files.read().await?);
            backfills.announce(&plan.backfills).await.map_err(|error| error.to_string())?;
            for fault in &plan.faults {
                if let Some(name) = &fault.name {
                    let failed = backfills.fail(name, &fault.checksum, &fault.to_string()).await;
                    failed.map_err(|error| error.to_string())?;
                }
            }
            Ok(plan)
        };
        self.io(ctx, read, |this, plan: Result<_, String>, ctx| match plan {
            Ok(plan) => this.planned(plan, ctx),
            Err(error) => {
                tracing::warn!(error, "the backfills are not known yet");
                this.later(ctx, this.jittered(READ_WAIT), Self::read);
            }
        });
    }

    fn planned(&mut self, mut plan: BackfillPlan, ctx: &mut Context<Self>) {
        for fault in &plan.faults {
            let name = fault.name.as_ref().map_or(&*fault.file, |name| name.as_str());
            let reason = fault.to_string();
            tracing::error!(marker = "BACKFILL_FAILED", name, reason, "a backfill's file is not understood");
        }
        let behind = plan.backfills.len() - plan.runnable;
        if behind > 0 {
            tracing::warn!(behind, "backfills wait behind a file that is not understood");
        }
        plan.backfills.truncate(plan.runnable);
        self.left = plan.backfills.into();
        self.next(ctx);
    }

    fn next(&mut self, ctx: &mut Context<Self>) {
        self.present = self.left.pop_front().map(Present::new);
        self.begin(ctx);
    }

    // --- one backfill

    fn begin(&mut self, ctx: &mut Context<Self>) {
        if self.ends(ctx) {
            return;
        }
        let Some(present) = &self.present else { return };
        let (backfill, again, beat_ttl) = (Arc::clone(&present.backfill), present.again, self.deps.beat_ttl);
        let backfills = Arc::clone(&self.deps.backfills);
        self.io(ctx, async move { backfills.begin(&backfill, again, beat_ttl).await }, Self::begun);
    }

    fn begun(&mut self, verdict: Result<Verdict, BackfillTrouble>, ctx: &mut Context<Self>) {
        let Some(present) = &mut self.present else { return };
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(trouble) => return self.troubled(trouble, Self::begin, ctx),
        };
        present.again = false;
        match verdict {
            Verdict::Run { resumed } => {
                tracing::info!(marker = "BACKFILL_STARTED", name = %present.backfill.name, resumed, "backfill started");
                present.stuck = None;
                present.run = Some(Run { since: Instant::now(), changed: 0, lines: ProgressLines::default() });
                self.batch(ctx);
            }
            Verdict::Done => self.next(ctx),
            Verdict::Busy => self.later(ctx, self.jittered(BUSY_WAIT), Self::begin),
            Verdict::Stuck(reason) => self.stand_still(reason, ctx),
        }
    }

    fn batch(&mut self, ctx: &mut Context<Self>) {
        if self.ends(ctx) {
            return;
        }
        let Some(present) = &self.present else { return };
        let (backfill, rows) = (Arc::clone(&present.backfill), present.pace.batch());
        let backfills = Arc::clone(&self.deps.backfills);
        let batch = async move {
            let begun = Instant::now();
            (backfills.run_batch(&backfill, rows).await, begun.elapsed())
        };
        self.io(ctx, batch, |this, (batch, took), ctx| match batch {
            Ok(Some(batch)) => this.committed(&batch, took, ctx),
            Ok(None) => {
                if let Some(present) = &mut this.present {
                    tracing::info!(name = %present.backfill.name, "backfill is in other hands");
                    present.run = None;
                }
                this.later(ctx, this.jittered(BUSY_WAIT), Self::begin);
            }
            Err(trouble) => this.troubled(trouble, Self::batch, ctx),
        });
    }

    fn committed(&mut self, batch: &Batch, took: Duration, ctx: &mut Context<Self>) {
        let Some(Present { backfill, pace, run: Some(run), .. }) = &mut self.present else { return };
        let Batch { rows, changed, percent, took: whole } = *batch;
        run.changed += changed;
        let name = &backfill.name;
        if let Some(whole) = whole {
            let ms = whole.as_millis();
            tracing::info!(marker = "BACKFILL_DONE", %name, rows, ms, "backfill done");
            return self.next(ctx);
        }
        if run.lines.is_due(run.since.elapsed()) {
            let rows_per_s = rows_per_s(run.changed, run.since.elapsed());
            tracing::info!(marker = "BACKFILL_PROGRESS", %name, rows, percent, rows_per_s, "backfill goes on");
        }
        let pause = pace.worked(took);
        self.later(ctx, pause, Self::batch);
    }

    // --- what does not work

    /// A step that failed: `again` tries it once more, where that can help.
    fn troubled(
        &mut self,
        trouble: BackfillTrouble,
        again: fn(&mut Self, &mut Context<Self>),
        ctx: &mut Context<Self>,
    ) {
        if !trouble.can_pass {
            return self.failed(trouble.reason, ctx);
        }
        let random = self.deps.clock.random();
        let Some(present) = &mut self.present else { return };
        let wait = present.pace.failed(trouble.timed_out, random);
        let (name, reason) = (present.backfill.name.clone(), trouble.reason);
        let (batch, retry_in_ms) = (present.pace.batch(), wait.as_millis());
        tracing::warn!(%name, reason, batch, retry_in_ms, "a batch did not work yet");
        let backfills = Arc::clone(&self.deps.backfills);
        // Where even this does not work, the log has it.
        let note = async move { backfills.note_trouble(&name, &reason).await.is_ok() };
        self.io(ctx, note, move |this, _, ctx| this.later(ctx, wait, again));
    }

    /// Somebody has to mend something. What comes after it may depend on it, and does not begin.
    fn failed(&mut self, reason: String, ctx: &mut Context<Self>) {
        let Some(present) = &mut self.present else { return };
        present.run = None;
        let (backfill, text) = (Arc::clone(&present.backfill), reason.clone());
        let backfills = Arc::clone(&self.deps.backfills);
        let fail = async move { backfills.fail(&backfill.name, &backfill.checksum, &text).await };
        self.io(ctx, fail, |this, marked, ctx| {
            if let Err(error) = marked {
                tracing::warn!(%error, "a failed backfill could not be marked so; it is tried again");
            }
            this.stand_still(reason, ctx);
        });
    }

    /// Looks again, seldom: after a restart another process may have gone on, or somebody has made it pending again.
    fn stand_still(&mut self, reason: String, ctx: &mut Context<Self>) {
        let Some(present) = &mut self.present else { return };
        if present.stuck.as_ref() != Some(&reason) {
            let (name, behind) = (&present.backfill.name, self.left.len());
            tracing::error!(marker = "BACKFILL_FAILED", %name, reason, behind, "a backfill stands still");
            present.stuck = Some(reason);
        }
        self.later(ctx, self.jittered(STUCK_WAIT), Self::begin);
    }

    // --- the end

    /// When the process stops nothing more is begun, and others may go on with the present backfill.
    fn ends(&mut self, ctx: &mut Context<Self>) -> bool {
        if !self.child.shutting_down() && !self.drains {
            return false;
        }
        if self.io_under_way {
            return true;
        }
        if self.present.take().is_some_and(|present| present.run.is_some()) {
            let backfills = Arc::clone(&self.deps.backfills);
            self.io(ctx, async move { backfills.release().await }, |this, released, ctx| {
                if let Err(error) = released {
                    tracing::debug!(%error, "others go on when this process's beats are missed");
                }
                this.ends(ctx);
            });
        } else if self.drains {
            ctx.stop();
        }
        true
    }
}

impl Actor for BackfillActor {
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
            self.read(ctx);
        }
    }

    hooks_for_faults!();
}
