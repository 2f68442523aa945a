//! Holds: what work of many jobs waits for, without an attempt being used up.
//!
//! A hold belongs to the fleet and stands in its database (incident 22: a circuit breaker whose state died with each
//! process). Whoever meets its cause begins it; jobs that meet it are parked until it is over; it ends by time, by a
//! probe that succeeds, or by an operator.
//!
//! | kind | key | begins | ends |
//! |---|---|---|---|
//! | account | `account:AC…` | its credentials were refused (401, 403) | a probe is accepted, or an operator lifts it |
//! | rate | `rate:AC…` | the provider asked to slow down (429) | when the time it named is over |
//! | host | `host:api.twilio.com` | it fails broadly: see [`Blame`] | a probe is answered |
//! | storage | `storage` | the disk is full, the bucket denied or out of reach | a probe file can be written and read |

use super::{explain::Reason, text::clean};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};
use url::{Position, Url};
use utoipa::ToSchema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    Account,
    Rate,
    Host,
    Storage,
}

impl HoldKind {
    pub const ALL: [Self; 4] = [Self::Account, Self::Rate, Self::Host, Self::Storage];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Rate => "rate",
            Self::Host => "host",
            Self::Storage => "storage",
        }
    }

    /// What `explain` says of a job that waits for it.
    pub fn reason(self) -> Reason {
        match self {
            Self::Account => Reason::AccountSuspended,
            Self::Rate | Self::Host => Reason::ProviderUnavailable,
            Self::Storage => Reason::StorageUnavailable,
        }
    }
}

impl fmt::Display for HoldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which hold: a kind and whom it is about, as in `account:AC…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(as = String, example = "account:AC00000000000000000000000000000000")]
pub struct HoldKey {
    kind: HoldKind,
    /// Empty for the storage, of which there is one.
    subject: String,
}

impl HoldKey {
    /// What the transcription service is called as an account.
    pub const TRANSCRIPTION: &'static str = "transcription";

    /// `account`: as its provider names it, an account SID for one.
    pub fn account(account: &str) -> Self {
        Self { kind: HoldKind::Account, subject: clean(account) }
    }

    pub fn rate(account: &str) -> Self {
        Self { kind: HoldKind::Rate, subject: clean(account) }
    }

    /// `host`: with its port, where that is not its scheme's own.
    pub fn host(host: &str) -> Self {
        Self { kind: HoldKind::Host, subject: clean(host) }
    }

    /// Of a URL: its host, and the port where that is not its scheme's own.
    pub fn host_of(url: &Url) -> Self {
        Self::host(&url[Position::BeforeHost..Position::AfterPort])
    }

    pub fn storage() -> Self {
        Self { kind: HoldKind::Storage, subject: String::new() }
    }

    pub fn kind(&self) -> HoldKind {
        self.kind
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Display for HoldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() {
            write!(f, "{}", self.kind)
        } else {
            write!(f, "{}:{}", self.kind, self.subject)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hold is account:AC…, rate:AC…, host:NAME or storage")]
pub struct InvalidHoldKey;

impl FromStr for HoldKey {
    type Err = InvalidHoldKey;

    fn from_str(text: &str) -> Result<Self, InvalidHoldKey> {
        let (kind, subject) = text.split_once(':').unwrap_or((text, ""));
        let kind = HoldKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(InvalidHoldKey)?;
        let is_plain = subject.len() <= 300 && subject.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain && subject.is_empty() == (kind == HoldKind::Storage) {
            Ok(Self { kind, subject: subject.to_owned() })
        } else {
            Err(InvalidHoldKey)
        }
    }
}

impl TryFrom<String> for HoldKey {
    type Error = InvalidHoldKey;

    fn try_from(text: String) -> Result<Self, InvalidHoldKey> {
        text.parse()
    }
}

impl From<HoldKey> for String {
    fn from(key: HoldKey) -> Self {
        key.to_string()
    }
}

/// What a failure is the fault of, where that is not the one recording. An edge says it; whether a hold follows is
/// decided for the fleet: at once for an account, a rate and the storage, and for a host when enough of what was asked of
/// it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    pub key: HoldKey,
    /// How long the other side asks to be left alone, where it does.
    pub lasts: Option<Duration>,
}

/// When holds begin, and how long they last.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldRules {
    /// How far back a host's failures and successes are counted.
    pub window: Duration,
    /// So many of them have to be failures, and this share of all (0.0 to 1.0).
    pub min_failures: u32,
    pub failure_share: f64,
    /// Until a host's first probe, and the longest wait between two.
    pub probe_first: Duration,
    pub probe_max: Duration,
    /// Longest wait between two probes of an account, and of the storage.
    pub account_probe: Duration,
    pub storage_probe: Duration,
    /// How long a rate's hold lasts where the provider does not say it; doubles while it repeats.
    pub rate_wait: Duration,
}

impl HoldRules {
    /// A provider's wish is believed within these.
    const SHORTEST_RATE: Duration = Duration::from_secs(1);
    const LONGEST_RATE: Duration = Duration::from_hours(1);
    /// One job's own trouble with an account or the storage holds the others for no longer than this.
    const FIRST_PROBE: Duration = Duration::from_secs(2);

    /// How long its first wait is: until the first probe, or a rate's end.
    pub fn first(&self, kind: HoldKind) -> Duration {
        match kind {
            HoldKind::Account | HoldKind::Storage => Self::FIRST_PROBE.min(self.longest(kind)),
            HoldKind::Host => self.probe_first,
            HoldKind::Rate => self.rate_wait,
        }
    }

    /// The longest such wait.
    pub fn longest(&self, kind: HoldKind) -> Duration {
        match kind {
            HoldKind::Account => self.account_probe,
            HoldKind::Host => self.probe_max,
            HoldKind::Storage => self.storage_probe,
            HoldKind::Rate => Self::LONGEST_RATE,
        }
    }

    /// For how long a provider is left alone that asked for this.
    pub fn believed(asked: Duration) -> Duration {
        asked.clamp(Self::SHORTEST_RATE, Self::LONGEST_RATE)
    }
}

/// A hold that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Hold {
    pub key: HoldKey,
    pub kind: HoldKind,
    pub since: DateTime<Utc>,
    /// When it ends by itself; `None`: when a probe succeeds or an operator lifts it.
    pub until: Option<DateTime<Utc>>,
    /// When it is next tried whether the cause is gone.
    pub probe_at: Option<DateTime<Utc>>,
    /// What went wrong, clean.
    pub message: String,
    /// Attempts that met it.
    pub met: i64,
}

/// A hold as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HoldView {
    #[serde(flatten)]
    pub hold: Hold,
    /// What `explain` says of a job that waits for it.
    pub reason: Reason,
    /// Jobs that are parked for it, counted up to 1,000.
    pub waiting: i64,
}

impl HoldView {
    pub fn new(hold: Hold, waiting: i64) -> Self {
        Self { reason: hold.kind.reason(), hold, waiting }
    }
}

/// Who ended a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndedBy {
    /// One that succeeded.
    Probe,
    /// Its own `until`.
    Time,
    /// By this name.
    Operator(String),
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe => f.write_str("probe"),
            Self::Time => f.write_str("time"),
            Self::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_and_the_storage_are_tried_soon_and_a_wish_is_believed_within_bounds() {
        let rules = HoldRules {
            window: Duration::from_secs(30),
            min_failures: 5,
            failure_share: 0.5,
            probe_first: Duration::from_secs(5),
            probe_max: Duration::from_mins(1),
            account_probe: Duration::from_mins(1),
            storage_probe: Duration::from_secs(1),
            rate_wait: Duration::from_secs(3),
        };
        let first = HoldKind::ALL.map(|kind| rules.first(kind).as_secs());
        assert_eq!(first, [2, 3, 5, 1], "account, rate, host, storage");
        assert!(HoldKind::ALL.into_iter().all(|kind| rules.first(kind) <= rules.longest(kind)));
        assert_eq!([0, 7, 99_999].map(|s| HoldRules::believed(Duration::from_secs(s)).as_secs()), [1, 7, 3_600]);
    }

    #[test]
    fn a_host_is_named_with_a_port_that_is_not_its_schemes_own() {
        for (url, key) in [
            ("https://api.twilio.com/x", "host:api.twilio.com"),
            ("https://api.twilio.com:443/x", "host:api.twilio.com"),
            ("http://127.0.0.1:8080/x", "host:127.0.0.1:8080"),
            ("http://[::1]:8080/x", "host:[::1]:8080"),
        ] {
            assert_eq!(HoldKey::host_of(&Url::parse(url).expect("a constant")).to_string(), key);
        }
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for text in ["account:AC1", "rate:AC1", "host:api.twilio.com", "host:[::1]:8080", "storage"] {
            assert_eq!(text.parse::<HoldKey>().map(|key| key.to_string()), Ok(text.to_owned()));
        }
        for wrong in ["", "account", "account:", "storage:x", "moon:x", "host:a b", "host:a\n"] {
            assert_eq!(wrong.parse::<HoldKey>(), Err(InvalidHoldKey), "{wrong:?}");
        }
    }
}
