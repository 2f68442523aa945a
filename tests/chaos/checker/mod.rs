//! Whether the promises were kept, by what others know: the provider's book, the database's rows, the storage's files.
//! Nothing here is callspool's code, so that it cannot be wrong in the same way.
//!
//! | file | what it reads |
//! |---|---|
//! | `files` | the storage: each file whole, under its name, and no other |
//! | `rows` | the database when all is over: each job done once, counters exact, slots back |
//! | `law` | the database at any moment: each job in one place, nobody without a mark or a bell |
//! | `limit` | the provider's book: downloads of a business at one time |
//! | `attempts` | which attempts counted, and why; a drain burns none |

pub mod attempts;
pub mod files;
pub mod law;
pub mod limit;
pub mod rows;

use std::time::SystemTime;

/// Microseconds since 1970.
pub type Moment = i64;

pub fn moment() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A recording of which somebody told the fleet.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub business_id: i64,
    pub call_sid: String,
    pub recording_sid: String,
    pub extension: &'static str,
    /// Of what the provider has.
    pub sha256: [u8; 32],
    /// It was answered with success. Else it may be there or not: whoever asked has no answer.
    pub accepted: bool,
}

impl Wanted {
    /// Below the storage's folder.
    pub fn file(&self) -> String {
        format!("{}/{}.{}", self.business_id, self.call_sid, self.extension)
    }
}

/// One request for media, in the provider's book.
#[derive(Debug, Clone)]
pub struct Visit {
    pub member: String,
    pub business_id: i64,
    pub recording_sid: String,
    pub from: Moment,
    pub until: Option<Moment>,
    /// All of the recording, or the rest of it, went out.
    pub whole: bool,
}

/// A time in which a process could not beat, for a reason that is ours.
#[derive(Debug, Clone)]
pub struct Window {
    pub member: String,
    pub from: Moment,
    pub until: Moment,
}

/// A lease that the database took back because its holder did not beat.
#[derive(Debug, Clone)]
pub struct LostLease {
    /// Empty where nobody knows whose life it was.
    pub member: String,
    pub recording_sid: String,
    pub leased_at: Moment,
    pub lost_at: Moment,
}

/// An ordered end, from its SIGTERM on.
#[derive(Debug, Clone)]
pub struct Drain {
    pub member: String,
    pub instance: String,
    pub from: Moment,
}
