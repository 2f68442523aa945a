//! The bytes on their way: too slow, cut, gone on with, changed.

use crate::support::{
    Answer, PATIENCE, Provider,
    provider::{mp3, recording},
    twilio::{Setup, path},
};
use bytes::Bytes;
use callspool::domain::failure::FailureCode;
use std::time::Duration;

type Headers = Vec<(&'static str, String)>;

const ETAG: &str = "\"v1\"";

fn etag(tag: &str) -> Headers {
    vec![("ETag", tag.to_owned())]
}

/// The rest of recording 1 from `first` on, as the provider should send it.
fn rest(first: usize, tag: &str) -> Answer {
    part(format!("bytes {first}-9999/10000"), tag, recording(1).slice(first..))
}

fn part(range: String, tag: &str, bytes: Bytes) -> Answer {
    Answer::Status(206, vec![("Content-Range", range), ("ETag", tag.to_owned())], bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_drips_is_left() {
    let provider = Provider::start();
    provider.tell(1, [Answer::Drip(recording(1), Duration::from_millis(2))]);
    let slow = Setup::new(provider.base()).config(|config| {
        config.min_bytes_per_second = 5_000;
        config.throughput_window = Duration::from_millis(200);
    });
    let failure = slow.fetch(1).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Timeout, "{failure}");
    assert!(failure.message.contains("slower than 5000 bytes a second"), "{failure}");
    assert_eq!(failure.blame.unwrap().key.kind().as_str(), "host");
    // Slow, and not too slow.
    provider.tell(2, [Answer::Drip(mp3(2, 300), Duration::from_millis(2))]);
    let slow = slow.config(|config| config.min_bytes_per_second = 1);
    assert_eq!(slow.fetch(2).await.unwrap(), mp3(2, 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_recording_is_gone_on_with_where_it_broke_off() {
    let provider = Provider::start();
    let again = Answer::Status(307, vec![("Location", "/elsewhere/RE2".to_owned())], Bytes::new());
    provider.tell(1, [Answer::CutOf(etag(ETAG), recording(1), 4_000), again]);
    provider.tell(2, [rest(4_000, ETAG)]);
    let media = Setup::new(provider.base()).media(1).await.unwrap();
    assert_eq!(media.length, Some(10_000));
    assert_eq!(Setup::new(provider.base()).fetch(1).await.unwrap_err().code, FailureCode::HttpStatus);
    provider.tell(3, [Answer::CutOf(etag(ETAG), recording(1), 4_000), rest(4_000, ETAG)]);
    assert_eq!(Setup::new(provider.base()).fetch(3).await.unwrap(), recording(1));
    let asked = provider.asked();
    let last = asked.last().unwrap();
    assert_eq!((last.headers["range"].as_str(), last.headers["if-range"].as_str()), ("bytes=4000-", ETAG));
    assert!(last.authorization.is_some());
    assert!(asked.iter().filter(|asked| asked.path.ends_with("RE3.mp3")).count() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_cannot_be_of_two_versions_is_as_good_as_a_tag() {
    let provider = Provider::start();
    let modified = ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT".to_owned());
    let range = ("Content-Range", "bytes 4000-9999/10000".to_owned());
    let rest = Answer::Status(206, vec![range, modified.clone()], recording(1).slice(4_000..));
    provider.tell(1, [Answer::CutOf(vec![modified], recording(1), 4_000), rest]);
    assert_eq!(Setup::new(provider.base()).fetch(1).await.unwrap(), recording(1));
    assert_eq!(provider.asked()[1].headers["if-range"], "Thu, 01 Jan 2026 00:00:00 GMT");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_are_never_mixed() {
    let provider = Provider::start();
    let ok = |tag: &str| Answer::Status(200, etag(tag), recording(1));
    for (number, (answer, what)) in (1..).zip([
        (ok("\"v2\""), "the whole of a new version"),
        (ok(ETAG), "the whole again"),
        (rest(4_000, "\"v2\""), "the rest of another version"),
        (rest(4_000, "W/\"v1\""), "a tag that is not the same"),
        (part("bytes 4001-9999/10000".into(), ETAG, recording(1).slice(4_001..)), "a gap"),
        (part("bytes 3999-9999/10000".into(), ETAG, recording(1).slice(3_999..)), "a byte twice"),
        (part("bytes 4000-8999/10000".into(), ETAG, recording(1).slice(4_000..9_000)), "not to the end"),
        (part("bytes 4000-9998/9999".into(), ETAG, recording(1).slice(4_000..9_999)), "another length"),
        (part("bytes 4000-9999/*".into(), ETAG, recording(1).slice(4_000..)), "no length"),
        (part("4000-9999".into(), ETAG, recording(1).slice(4_000..)), "no range"),
        (Answer::Status(206, etag(ETAG), recording(1).slice(4_000..)), "no range at all"),
        (part("bytes 4000-9999/10000".into(), ETAG, recording(1)), "more than its range"),
        (Answer::status(416), "no such range"),
        (Answer::status(404), "not there any more"),
    ]) {
        provider.tell(number, [Answer::CutOf(etag(ETAG), recording(1), 4_000), answer]);
        let failure = Setup::new(provider.base()).fetch(number).await.unwrap_err();
        assert_eq!((failure.code, &failure.blame), (FailureCode::Truncated, &None), "{what}: {failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_version_or_too_often_a_cut_is_the_end_of_the_attempt() {
    let provider = Provider::start();
    for (number, headers) in
        (1..).zip([Vec::new(), etag("W/\"v1\""), vec![("Last-Modified", "yesterday".to_owned())]])
    {
        provider.tell(number, [Answer::CutOf(headers, recording(1), 4_000), rest(4_000, ETAG)]);
        let failure = Setup::new(provider.base()).fetch(number).await.unwrap_err();
        assert_eq!(failure.code, FailureCode::Truncated);
    }
    assert_eq!(provider.asked().len(), 3, "nothing was asked a second time");
    // Cut again and again: the first answer and as many as the setting says.
    provider.tell(9, [Answer::CutOf(etag(ETAG), recording(1), 0)]);
    let refused = Setup::new(provider.base()).config(|config| config.resumes = 0).fetch(9).await.unwrap_err();
    assert_eq!((refused.code, provider.asked().len()), (FailureCode::Truncated, 4));
    // What stands against the rest is said as it is.
    provider.tell(10, [Answer::CutOf(etag(ETAG), recording(1), 4_000), Answer::status(401)]);
    let refused = Setup::new(provider.base()).fetch(10).await.unwrap_err();
    assert_eq!(refused.blame.unwrap().key.to_string(), "account:AC1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_a_lie_ends_as_what_it_is() {
    let provider = Provider::start();
    provider.tell(1, [Answer::Lying(1 << 40, recording(1))]);
    provider.tell(2, [Answer::Lying(15_000, recording(1))]);
    let setup = || Setup::new(provider.base()).config(|config| config.read_timeout = PATIENCE);
    assert_eq!(setup().fetch(1).await.unwrap_err().code, FailureCode::TooLarge);
    assert_eq!(setup().fetch(2).await.unwrap_err().code, FailureCode::Truncated);
    assert_eq!(provider.asked()[0].path, format!("{}.mp3", path(1)));
}
