//! A handler behind the fleet's holds: an attempt that would meet one fails at once and waits, and a failure that is not
//! its recording's fault is told to the fleet.

use super::JobHandler;
use crate::{
    actors::{answer::answered, hold_board::HoldBoard},
    domain::{
        account::Accounts,
        failure::{Failure, FailureCode},
        hold::{Blame, Hold, HoldKey, HoldKind, HoldRules},
        ids::{AccountSid, SidForm},
        job::{Achieved, ClaimedJob},
        observation::{Observation, Observer},
        ports::{Blamed, Clock, Holds, Met},
        trace::Branch,
    },
};
use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use std::{sync::Arc, time::Duration};

/// A hold that ends so soon is waited for with the job in hand.
const MOMENT: Duration = Duration::from_secs(2);

/// Accounts that no configuration names: subaccounts of the main one, or names that somebody made up. Each refusal of
/// another one begins a hold that every process copies and that is probed for ever, so there are so many of them and no
/// more.
#[derive(Debug, Clone)]
pub struct Strangers {
    pub configured: Arc<Accounts>,
    /// At one time, in the fleet; as many more as processes meet one at that moment.
    pub most: usize,
}

impl Strangers {
    fn is_one(&self, key: &HoldKey) -> bool {
        let is_of_account = [HoldKind::Account, HoldKind::Rate].contains(&key.kind());
        let sid = AccountSid::parse(key.subject(), SidForm::Short);
        is_of_account && sid.is_ok_and(|sid| self.configured.get(&sid).is_none())
    }

    fn are_enough_without(&self, key: &HoldKey, board: &HoldBoard) -> bool {
        self.is_one(key) && !board.has(key) && board.count_but(key, |other| self.is_one(other)) >= self.most
    }
}

/// What the guard asks and tells.
#[derive(Clone)]
pub struct GuardDeps {
    pub holds: Arc<dyn Holds>,
    pub board: HoldBoard,
    pub strangers: Strangers,
    pub rules: HoldRules,
    pub clock: Arc<dyn Clock>,
    pub observer: Arc<dyn Observer>,
}

pub struct Guarded {
    inner: Arc<dyn JobHandler>,
    deps: GuardDeps,
}

impl Guarded {
    pub fn new(inner: Arc<dyn JobHandler>, deps: GuardDeps) -> Self {
        Self { inner, deps }
    }

    /// The first of the holds that stand on these.
    fn standing(&self, depends: &[HoldKey]) -> Option<Hold> {
        self.deps.board.first(depends, self.deps.clock.now())
    }

    /// How long it lasts, where that is only a moment: a provider that asks for a second is obeyed by the workers that
    /// have a job of it, and the thousands behind those are neither claimed nor parked meanwhile.
    fn moment_left(&self, hold: &Hold) -> Option<Duration> {
        let left = (hold.until? - self.deps.clock.now()).to_std().ok()?;
        (left <= MOMENT).then_some(left)
    }

    /// Whether a hold stands after this failure. Where the database is away nobody knows, and the failure keeps its
    /// ordinary course.
    async fn ask(&self, blame: &Blame, job: &ClaimedJob, failure: &Failure) -> Option<Met> {
        let GuardDeps { holds, board, strangers, rules, observer, clock: _ } = &self.deps;
        if strangers.are_enough_without(&blame.key, board) {
            tracing::warn!(key = %blame.key, "too many accounts without a section are held: the attempt counts");
            return None;
        }
        let ok = board.take_answers_of(&blame.key);
        let is_last = job.attempt >= job.max_attempts;
        let blamed = Blamed { blame, message: &failure.message, job: job.id, is_last, ok };
        match answered(holds.blame(&blamed, rules)).await {
            Ok(met) => {
                let met = met?;
                board.note(&met.hold);
                if met.began {
                    observer.observe(Observation::HoldStarted { kind: met.hold.kind });
                    say_started(&met.hold);
                }
                Some(met)
            }
            Err(error) => {
                tracing::warn!(%error, key = %blame.key, "whether a hold begins could not be asked");
                None
            }
        }
    }
}

#[async_trait]
impl JobHandler for Guarded {
    async fn run(&self, job: &ClaimedJob, spans: &Branch) -> Result<Achieved, Failure> {
        let depends = self.inner.depends(job);
        if let Some(wait) = self.standing(&depends).and_then(|hold| self.moment_left(&hold)) {
            tokio::time::sleep(wait).await;
        }
        if let Some(hold) = self.standing(&depends) {
            return Err(Failure::new(code(&hold.key), &hold.message).held_by(hold.key));
        }
        let result = self.inner.run(job, spans).await;
        if has_answered(&result) {
            for host in depends.iter().filter(|key| key.kind() == HoldKind::Host) {
                self.deps.board.credit(host);
            }
        }
        let mut failure = match result {
            Ok(achieved) => return Ok(achieved),
            Err(failure) => failure,
        };
        if let Some(blame) = failure.blame.clone()
            && let Some(met) = self.ask(&blame, job, &failure).await
            && !met.counts
        {
            failure = failure.held_by(met.hold.key);
        }
        Err(failure)
    }

    fn depends(&self, job: &ClaimedJob) -> Vec<HoldKey> {
        self.inner.depends(job)
    }
}

/// Whether a host did what hosts do; what it said is another matter: a 404 is an answer.
fn has_answered(result: &Result<Achieved, Failure>) -> bool {
    match result {
        Ok(Achieved::Stored(_) | Achieved::Advanced(_) | Achieved::Transcribed(_)) => true,
        Ok(Achieved::Nothing) => false,
        Err(failure) => {
            let blames_host = failure.blame.as_ref().is_some_and(|blame| blame.key.kind() == HoldKind::Host);
            failure.http_status.is_some() && !blames_host
        }
    }
}

/// What an attempt that met the hold would have failed with.
fn code(key: &HoldKey) -> FailureCode {
    match key.kind() {
        HoldKind::Account | HoldKind::Rate if key.subject() == HoldKey::TRANSCRIPTION => {
            FailureCode::TranscriptionError
        }
        HoldKind::Account => FailureCode::Unauthorized,
        HoldKind::Rate => FailureCode::RateLimited,
        HoldKind::Host => FailureCode::Network,
        HoldKind::Storage => FailureCode::StorageError,
    }
}

fn say_started(hold: &Hold) {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    tracing::warn!(
        marker = "HOLD_STARTED",
        kind = %hold.kind,
        key = %hold.key,
        reason = %hold.kind.reason(),
        until = hold.until.map(time),
        probe_at = hold.probe_at.map(time),
        detail = %hold.message,
        "jobs wait for this"
    );
}
