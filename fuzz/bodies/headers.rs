//! Headers, of requests and of answers: what makes no sense is as good as not there; a part lies in the file; only what was
//! signed is believed; no wait is longer than it may be.

use callspool::{
    adapters::tried::{content_range, essence, retry_after},
    domain::access::{ApiToken, LinkSecrets},
    http::{Links, Tokens, tried},
};
use std::{sync::LazyLock, time::Duration};

const SIZE: u64 = 100;
const LONGEST: Duration = Duration::from_hours(1);
/// Of a key pair that nobody has kept.
const KEY: [u8; 32] = [7; 32];
const TOKENS: &str = "a:read:0123456789abcdef,b:operate:0123456789abcdeg";

static KNOWN: LazyLock<Tokens> = LazyLock::new(|| Tokens::new(ApiToken::parse_list(TOKENS).expect("constants")));
static LINKS: LazyLock<Links> =
    LazyLock::new(|| Links::new(LinkSecrets::parse_list("fedcba9876543210,0123456789abcdef").expect("constants")));

/// A line with a request's target, then its headers.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (target, headers) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for value in headers.split(|byte| *byte == b'\n') {
        let value = value.splitn(2, |byte| *byte == b':').last().unwrap_or_default().trim_ascii();
        of_answers(value);
    }
    let Ok(target) = std::str::from_utf8(target) else { return };
    let Some(request) = tried::request(target, headers) else { return };
    if let Some((first, last)) = tried::part(&request, SIZE) {
        assert!(first <= last && last < SIZE, "{first}-{last}");
    }
    assert_eq!(tried::part(&request, 1).unwrap_or_default(), (0, 0), "of one byte");
    if let Some(parent) = tried::trace_parent(&request) {
        assert!(headers.windows(55).any(|text| text == parent.to_string().as_bytes()));
    }
    for caller in tried::callers(&request, &KNOWN).into_iter().flatten() {
        assert!(["a", "b"].contains(&caller.as_str()));
    }
    assert!(!tried::telnyx_signs(&KEY, &request, headers, chrono::DateTime::UNIX_EPOCH));
    if let Some((_, _, is_own)) = tried::plays(&LINKS, &request, "CA1") {
        assert!(is_own || !target.contains("newest"), "{target}");
    }
}

fn of_answers(value: &[u8]) {
    assert!(retry_after(value, LONGEST).is_none_or(|wait| wait <= LONGEST));
    let Ok(text) = std::str::from_utf8(value) else { return };
    if let Some((first, last, whole)) = content_range(text) {
        assert_eq!(content_range(&format!("bytes {first}-{last}/{whole}")), Some((first, last, whole)));
    }
    let kind = essence(text);
    assert_eq!(essence(&kind), kind, "it is short already");
    assert!(!kind.contains(';') && kind.len() <= text.len());
    tried::names_algorithm(text);
    let (authority, target) = text.split_once('/').unwrap_or((text, ""));
    let urls = tried::told_urls("HTTPS", authority, target, text);
    assert!((2..=8).contains(&urls.len()), "{urls:?}");
    assert!(urls.iter().all(|url| url.starts_with("https://") && url.ends_with(target)), "{urls:?}");
    assert!(urls[0].contains(authority), "as it was written comes first");
}
