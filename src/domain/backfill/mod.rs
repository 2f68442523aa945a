//! Backfills: changes of the application's rows in many small batches, apart from migrations.
//!
//! A migration changes the schema in one step, under the lock that every start waits for. A backfill begins after the
//! schema gate has opened and holds no migration lock; its position moves in the same transaction as each batch's rows.
//!
//! There are two kinds. A *key range* goes up a table by its key, to the largest key that was there at the start: rows
//! that come in later are written right by the program that came with the backfill. The other repeats its statement
//! *until nothing is left*: for rows that still come in, or without a number for a key.
//!
//! | file | what it holds |
//! |---|---|
//! | `file` | name, header and checksum of a file |
//! | `statement` | what is checked about its SQL |
//! | `pace` | batch sizes, pauses, waits |

mod file;
mod pace;
mod statement;

pub use file::{BackfillFault, BackfillFile, BackfillPlan};
pub use pace::{Pace, ProgressLines};

use super::{ids::InstanceId, text::clean};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::{fmt, str::FromStr, time::Duration};
use utoipa::ToSchema;

/// The file's name without its ending: 1 to 63 lower-case letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillName(String);

impl BackfillName {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        ((1..=63).contains(&text.len()) && text.chars().all(fits)).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackfillName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    pub name: BackfillName,
    /// Of what it does: the statement, and which table and key it goes along. Its pace may be changed at any time.
    pub checksum: String,
    pub kind: BackfillKind,
    /// One statement; `$1` and `$2` are the bounds of a key range, or `$1` the rows of a batch.
    pub statement: String,
    /// The statement without its `SKIP LOCKED`, where it has one. An empty answer proves nothing while rows are
    /// skipped: this one is asked before the backfill counts as done, and waits for whoever has locked them.
    pub last_look: Option<String>,
    /// Rows of one batch.
    pub batch: u32,
    pub pause: Duration,
    /// Of each statement of a batch; zero is no limit.
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackfillKind {
    /// Names that were checked; the table with or without its schema.
    KeyRange {
        table: String,
        key: String,
    },
    UntilEmpty,
}

impl BackfillKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::KeyRange { .. } => "key_range",
            Self::UntilEmpty => "until_empty",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackfillState {
    /// Its turn has not come.
    Pending,
    Running,
    Done,
    /// It cannot go on; those after it do not begin.
    Failed,
}

impl BackfillState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for BackfillState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Pending, Self::Running, Self::Done, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// Where a backfill stands, as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub state: BackfillState,
    pub checksum: String,
    pub batches: i64,
    /// Another instance that lives goes on with it.
    pub held: bool,
    pub last_error: Option<String>,
}

/// What a process may do about a backfill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// From its start, or from where it stands.
    Run {
        resumed: bool,
    },
    Done,
    /// Another process runs it: look again later.
    Busy,
    /// Somebody has to mend something first.
    Stuck(String),
}

impl Standing {
    /// `again`: a backfill that failed is tried again, as at the start of a process.
    pub fn verdict(&self, backfill: &Backfill, again: bool) -> Verdict {
        let begun = self.batches > 0 || self.state == BackfillState::Done;
        if begun && self.checksum != backfill.checksum {
            let when = if self.state == BackfillState::Done { "done" } else { "begun" };
            return Verdict::Stuck(format!(
                "{}.sql was changed after it was {when}: put it back, and the change into a new file",
                backfill.name
            ));
        }
        match self.state {
            BackfillState::Done => Verdict::Done,
            BackfillState::Running if self.held => Verdict::Busy,
            BackfillState::Failed if !again => Verdict::Stuck(self.last_error.clone().unwrap_or_default()),
            BackfillState::Pending | BackfillState::Running | BackfillState::Failed => {
                Verdict::Run { resumed: begun }
            }
        }
    }
}

/// One batch was committed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batch {
    /// Rows that all batches changed so far.
    pub rows: i64,
    /// Rows that this one changed.
    pub changed: i64,
    /// Of a key range.
    pub percent: Option<f64>,
    /// Set with the last batch: since the start, over all processes that had it.
    pub took: Option<Duration>,
}

/// A step that did not work; nothing of it was committed. The reason is clean.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BackfillTrouble {
    /// PostgreSQL's code stands first, where it answered.
    pub reason: String,
    /// Whether a later try can end otherwise: a lock timeout can, a column that is missing cannot.
    pub can_pass: bool,
    /// A smaller batch may fit into the timeout.
    pub timed_out: bool,
}

impl BackfillTrouble {
    /// Something that somebody has to mend.
    pub fn lasting(reason: impl AsRef<str>) -> Self {
        Self { reason: clean(reason.as_ref()), can_pass: false, timed_out: false }
    }
}

/// What `status` shows of one backfill.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BackfillStatus {
    pub name: String,
    pub state: BackfillState,
    /// Of a key range, by its keys; 100 for what is done.
    pub percent: Option<f64>,
    pub rows: i64,
    pub batches: i64,
    /// On average from the start to the last batch.
    pub rows_per_s: Option<f64>,
    /// Tries of the present batch that failed.
    pub attempts: i32,
    pub last_error: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub updated_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Who runs it, or ran it last.
    pub instance: Option<InstanceId>,
}

/// How much of the keys after `origin` up to `target` is done, in percent with one decimal.
pub fn percent(origin: i64, position: i64, target: i64) -> f64 {
    let (done, all) = (i128::from(position) - i128::from(origin), i128::from(target) - i128::from(origin));
    if all <= 0 { 100.0 } else { tenths(done.clamp(0, all) * 1_000 / all) }
}

/// With one decimal; `None` before any time has passed.
pub fn rows_per_s(rows: i64, took: Duration) -> Option<f64> {
    let ms = i128::try_from(took.as_millis()).unwrap_or(i128::MAX);
    (ms > 0).then(|| tenths(i128::from(rows) * 10_000 / ms))
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn tenths(tenths: i128) -> f64 {
    tenths as f64 / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backfill() -> Backfill {
        let content = b"-- callspool: backfill\ndelete from a where id = $1".to_vec();
        Backfill::parse(&BackfillFile { name: "a.sql".into(), content }).unwrap()
    }

    fn standing(state: BackfillState, batches: i64) -> Standing {
        Standing { state, checksum: backfill().checksum, batches, held: false, last_error: None }
    }

    #[test]
    fn one_that_is_pending_failed_before_this_start_or_held_by_nobody_is_run() {
        use BackfillState::{Failed, Pending, Running};
        for (state, batches) in [(Pending, 0), (Running, 0), (Running, 7), (Failed, 7)] {
            let verdict = standing(state, batches).verdict(&backfill(), true);
            assert_eq!(verdict, Verdict::Run { resumed: batches > 0 }, "{state:?}");
        }
    }

    #[test]
    fn one_that_another_process_runs_or_finished_is_left_alone() {
        let held = Standing { held: true, ..standing(BackfillState::Running, 7) };
        assert_eq!(held.verdict(&backfill(), true), Verdict::Busy);
        assert_eq!(standing(BackfillState::Done, 7).verdict(&backfill(), true), Verdict::Done);
    }

    #[test]
    fn one_that_failed_in_the_meantime_stays_so_until_a_start() {
        let failed = Standing { last_error: Some("why".into()), ..standing(BackfillState::Failed, 7) };
        assert_eq!(failed.verdict(&backfill(), false), Verdict::Stuck("why".into()));
    }

    #[test]
    fn a_changed_file_is_refused_once_a_batch_was_committed() {
        use BackfillState::{Done, Failed, Pending, Running};
        for (state, batches, refused) in [
            (Pending, 0, false),
            (Failed, 0, false),
            (Running, 0, false),
            (Running, 1, true),
            (Failed, 1, true),
            (Done, 0, true),
        ] {
            let changed = Standing { checksum: "other".into(), ..standing(state, batches) };
            let verdict = changed.verdict(&backfill(), true);
            assert_eq!(
                matches!(&verdict, Verdict::Stuck(why) if why.contains("a.sql was changed")),
                refused,
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn percent_is_right_over_the_whole_of_bigint() {
        let cases = [(0, 333, 1_000), (i64::MIN, 0, i64::MAX), (5, 5, 5), (0, 0, 10)];
        let shown = cases.map(|(origin, position, target)| percent(origin, position, target).to_string());
        assert_eq!(shown, ["33.3", "50", "100", "0"]);
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(rows_per_s(500, Duration::from_millis(250)), Some(2_000.0));
        assert_eq!(rows_per_s(500, Duration::ZERO), None);
    }
}
