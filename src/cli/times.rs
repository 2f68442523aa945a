//! Times as a person wants them: how long ago, or how soon.

use crate::store::span;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// How long ago, by this machine's clock.
fn ago(at: DateTime<Utc>) -> TimeDelta {
    Utc::now() - at
}

/// One unit, rounded down, for a column that is to be narrow: `45s`, `12m`, `3h`, `9d`.
fn short(length: TimeDelta) -> String {
    match length.num_seconds().max(0) {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7_199 => format!("{}m", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

pub fn age(at: DateTime<Utc>) -> String {
    short(ago(at))
}

/// `in 12m`; or `due`, where it is over.
pub fn until(at: DateTime<Utc>) -> String {
    let left = at - Utc::now();
    if left > TimeDelta::zero() { format!("in {}", short(left)) } else { "due".to_owned() }
}

/// A time itself, to be looked for in logs, and how long ago it was, or how long it is until then.
pub fn at(at: DateTime<Utc>) -> String {
    let left = at - Utc::now();
    let away =
        if left > TimeDelta::zero() { format!("in {}", span(left)) } else { format!("{} ago", span(ago(at))) };
    format!("{} ({away})", at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Since a process's last beat. The row of one that was killed stays for an hour.
pub fn beat(ms: i64) -> String {
    if ms < 10_000 { format!("{ms}ms") } else { short(TimeDelta::milliseconds(ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_over_is_due() {
        assert_eq!(until(Utc::now() - TimeDelta::hours(1)), "due");
        assert_eq!(until(Utc::now() + TimeDelta::minutes(10)), "in 9m");
    }

    #[test]
    fn a_narrow_length_has_one_unit_that_fits_it() {
        for (seconds, expected) in
            [(-5, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d")]
        {
            assert_eq!(short(TimeDelta::seconds(seconds)), expected);
        }
    }
}
