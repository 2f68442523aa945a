//! Follow-ups: what is still to be done after a job has ended or a recording was deleted. They are written with what
//! causes them, and done at least once.

use super::{
    completion::NotTold,
    failure::Failure,
    ids::{BusinessId, CallSid, RecordingSid},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

/// One that was taken, and what it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowUp {
    pub id: i64,
    /// Tries, this one included; it counts as long as nobody has begun another.
    pub tries: i32,
    /// Since it was written.
    pub age: Duration,
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub recording_sid: Option<RecordingSid>,
    pub task: Task,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// The business is told. `url`: its own, where it has one.
    Announce { event_id: Uuid, event: Value, url: Option<String> },
    /// The provider's copy is deleted, where ours is whole.
    DeleteAtProvider { recording_url: String, storage_key: String, bytes: u64 },
    /// The file of a deleted recording is removed.
    DeleteFile { storage_key: String },
}

impl Task {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Announce { .. } => "announce",
            Self::DeleteAtProvider { .. } => "delete_at_provider",
            Self::DeleteFile { .. } => "delete_file",
        }
    }
}

/// Why one try did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    pub reason: &'static str,
    /// Clean.
    pub message: String,
    pub retry_after: Option<Duration>,
    /// Trying again is of no use.
    pub stop: bool,
    pub out_of_reach: bool,
}

impl From<NotTold> for Setback {
    fn from(NotTold { reason, message, retry_after, stop, out_of_reach }: NotTold) -> Self {
        Self { reason, message, retry_after, stop, out_of_reach }
    }
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self {
            reason: failure.code.as_str(),
            message: failure.message,
            retry_after: failure.retry_after,
            stop: false,
            out_of_reach: false,
        }
    }
}

/// How one try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryEnd {
    Done,
    /// `all`: the other announcements of its business wait as long.
    Retry {
        delay: Duration,
        error: String,
        all: bool,
    },
    /// It was given up, and stays to be seen.
    Dead {
        error: String,
    },
}

/// How long, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Persistence {
    /// Wait after the first try; each next one is twice as long.
    pub base: Duration,
    /// Longest wait, also for a `Retry-After`.
    pub max: Duration,
    /// A follow-up of this age is given up; but a file that is to go is removed however long it takes.
    pub give_up_after: Duration,
}

impl Persistence {
    /// `random`: from 0 to 1, for half of the wait.
    pub fn after(&self, follow_up: &FollowUp, setback: &Setback, random: f64) -> TryEnd {
        let error = format!("{}: {}", setback.reason, setback.message);
        let doublings = follow_up.tries.saturating_sub(1).clamp(0, 30).cast_unsigned();
        let wait = self.base.saturating_mul(1 << doublings).min(self.max).mul_f64(0.5 + 0.5 * random);
        let delay = wait.max(setback.retry_after.unwrap_or_default()).min(self.max);
        let must_be_done = matches!(follow_up.task, Task::DeleteFile { .. });
        let gives_up = setback.stop || follow_up.age.saturating_add(delay) > self.give_up_after;
        if gives_up && !must_be_done {
            return TryEnd::Dead { error };
        }
        TryEnd::Retry { delay, error, all: setback.out_of_reach }
    }
}

/// What the fleet's database has to know of this process's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetSetting {
    /// Every business is told, also one without a URL of its own.
    pub announces: bool,
    /// Of businesses that say nothing.
    pub delete_at_provider: bool,
}

/// A follow-up as an operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FollowUpView {
    pub id: i64,
    /// `announce`, `delete_at_provider` or `delete_file`.
    pub kind: String,
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub recording_sid: Option<RecordingSid>,
    /// Of an announcement: what it tells, such as `recording.stored`.
    pub event: Option<String>,
    pub made_at: DateTime<Utc>,
    pub due_at: DateTime<Utc>,
    pub tries: i32,
    pub last_error: Option<String>,
    /// When it was given up; null: it is still tried.
    pub died_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow_up(tries: i32, age_s: u64, task: Task) -> FollowUp {
        FollowUp {
            id: 1,
            tries,
            age: Duration::from_secs(age_s),
            business_id: 1.try_into().unwrap(),
            call_sid: CallSid::from_checked("CA1".to_owned()),
            recording_sid: None,
            task,
        }
    }

    fn announce() -> Task {
        Task::Announce { event_id: Uuid::nil(), event: Value::Null, url: None }
    }

    fn persistence() -> Persistence {
        Persistence {
            base: Duration::from_secs(4),
            max: Duration::from_mins(1),
            give_up_after: Duration::from_hours(1),
        }
    }

    fn setback() -> Setback {
        NotTold::new("http_status", "500").into()
    }

    fn delay(tries: i32, random: f64, setback: &Setback) -> u64 {
        match persistence().after(&follow_up(tries, 0, announce()), setback, random) {
            TryEnd::Retry { delay, .. } => delay.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_wait_is_twice_the_one_before_with_half_of_it_by_chance_and_a_longest() {
        assert_eq!([1, 2, 3, 4, 5, 1000].map(|tries| delay(tries, 1.0, &setback())), [4, 8, 16, 32, 60, 60]);
        assert_eq!([1, 2].map(|tries| delay(tries, 0.0, &setback())), [2, 4]);
        let asked = |seconds| Setback { retry_after: Some(Duration::from_secs(seconds)), ..setback() };
        assert_eq!([20, 1, 100_000].map(|seconds| delay(1, 1.0, &asked(seconds))), [20, 4, 60]);
    }

    #[test]
    fn it_is_given_up_at_an_age_or_where_nobody_wants_it_but_a_file_is_removed_however_long_it_takes() {
        let end = |age, setback: &Setback, task| persistence().after(&follow_up(9, age, task), setback, 1.0);
        assert!(matches!(end(3_500, &setback(), announce()), TryEnd::Retry { .. }));
        assert!(matches!(end(3_599, &setback(), announce()), TryEnd::Dead { .. }));
        let gone = Setback { stop: true, ..setback() };
        assert!(matches!(end(0, &gone, announce()), TryEnd::Dead { .. }));
        let file = Task::DeleteFile { storage_key: "k".to_owned() };
        assert!(matches!(end(1_000_000, &setback(), file), TryEnd::Retry { .. }));
    }
}
