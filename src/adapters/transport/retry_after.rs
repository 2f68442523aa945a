//! `Retry-After` (RFC 9110, section 10.2.3).

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// How long the other side asks to be left alone, at most `longest`; `None`: it does not say.
pub(in crate::adapters) fn retry_after(headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    let asked = read(headers.get(RETRY_AFTER)?.to_str().ok()?, Utc::now())?;
    Some(asked.min(longest))
}

/// Seconds or a date.
fn read(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some((DateTime::parse_from_rfc2822(value).ok()?.to_utc() - now).to_std().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        assert_eq!(read("7", now), Some(Duration::from_secs(7)));
        assert_eq!(read("Thu, 01 Jan 2026 00:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(read("Wed, 31 Dec 2025 00:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(read("soon", now), None);
    }

    #[test]
    fn it_is_believed_up_to_a_bound() {
        let told = HeaderMap::from_iter([(RETRY_AFTER, "999999999".parse().unwrap())]);
        assert_eq!(retry_after(&told, Duration::from_hours(1)), Some(Duration::from_hours(1)));
        assert_eq!(retry_after(&HeaderMap::new(), Duration::from_hours(1)), None);
    }
}
