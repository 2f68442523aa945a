//! What the provider has against what is known here: the rules of `callspool backfill` and of the reconciler.
//!
//! A recording that the provider lists is one of these:
//!
//! | it is | because |
//! |---|---|
//! | gone | the provider says that it failed, is absent or was deleted |
//! | had | a job of it lives, it is stored (also where its file was removed on purpose), or a job of it is over |
//! | unmapped | nobody says whose it is, see [`super::mapping`] |
//! | enqueued | none of these |
//!
//! A job that is dead or cancelled is had as well: somebody decided that, or has to, and no listing undoes it.

use super::job::Priority;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::{ops::AddAssign, str::FromStr, time::Duration};

/// Behind everything that a webhook tells.
pub const PRIORITY: Priority = Priority::LAST;
/// Tries of one page, one after another, before it is given up for this time.
pub const PAGE_TRIES: u32 = 6;
/// Wait after the first of them that failed; each wait is twice the one before.
const WAIT_BASE: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_mins(1);

/// What became of the recordings of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All that were listed: had, enqueued, gone and unmapped together.
    pub seen: u64,
    pub had: u64,
    /// Of those that were had: their last job is dead or cancelled. They are not enqueued again.
    pub dead: u64,
    pub enqueued: u64,
    pub gone: u64,
    pub unmapped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.seen += other.seen;
        self.had += other.had;
        self.dead += other.dead;
        self.enqueued += other.enqueued;
        self.gone += other.gone;
        self.unmapped += other.unmapped;
    }
}

/// What is known here of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Live,
    Stored,
    Done,
    Dead,
    Cancelled,
}

impl Standing {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Live, "live"),
        (Self::Stored, "stored"),
        (Self::Done, "done"),
        (Self::Dead, "dead"),
        (Self::Cancelled, "cancelled"),
    ];

    /// It ended without a file.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Dead | Self::Cancelled)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("standing must be one of: live, stored, done, dead, cancelled")]
pub struct UnknownStanding;

impl FromStr for Standing {
    type Err = UnknownStanding;

    fn from_str(text: &str) -> Result<Self, UnknownStanding> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        found.map(|(standing, _)| standing).ok_or(UnknownStanding)
    }
}

/// When and how far the reconciler looks.
#[derive(Debug, Clone, Copy)]
pub struct RoundRules {
    /// From the end of one round to the next.
    pub interval: Duration,
    /// How far a round goes back behind what the one before has reached.
    pub look_back: Duration,
    /// An instance that has not beaten for this long is dead: another goes on with its round.
    pub beat_ttl: Duration,
}

/// One pass over what an account has of a time. It is in the database, and goes on where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// The page that comes next; `None`: the first.
    pub page: Option<String>,
    /// Of the pages so far, also of those that another process went through.
    pub counts: Counts,
    /// Since its first page was asked for.
    pub took: Duration,
}

/// How long to wait before a page is asked for again; `tries` counts those that failed. What the provider asks for
/// wins. `spread` is a random number from 0 to 1.
pub fn page_wait(tries: u32, asked: Option<Duration>, spread: f64) -> Duration {
    let doubled = WAIT_BASE.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
    asked.unwrap_or_else(|| doubled.min(WAIT_MAX).mul_f64(0.5 + 0.5 * spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_again_ever_later_or_when_the_provider_says() {
        let waits: Vec<u64> = (1..=8).map(|tries| page_wait(tries, None, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(page_wait(1, None, 0.0), WAIT_BASE / 2);
        assert_eq!(page_wait(u32::MAX, Some(Duration::from_secs(7)), 0.0), Duration::from_secs(7));
    }

    #[test]
    fn counts_add_up() {
        let one = Counts { seen: 6, had: 2, dead: 1, enqueued: 2, gone: 1, unmapped: 1 };
        let mut sum = one;
        sum += one;
        assert_eq!(sum, Counts { seen: 12, had: 4, dead: 2, enqueued: 4, gone: 2, unmapped: 2 });
    }
}
