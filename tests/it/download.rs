//! The provider's answers, as the adapter for Twilio reads them: over real HTTP, without a process around it.

use crate::support::{
    Answer, Provider,
    provider::recording,
    twilio::{MAX_BYTES, Setup, failure, fetch},
};
use bytes::Bytes;
use callspool::domain::failure::{Failure, FailureCode};
use std::{net::TcpListener, time::Duration};

/// From a provider that may be silent for this long.
async fn fetch_within(silence: Duration, base: &str, number: u32) -> Result<Bytes, Failure> {
    Setup::new(base).config(|config| config.read_timeout = silence).fetch(number).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_comes_as_it_is_with_and_without_an_announced_length() {
    let provider = Provider::start();
    let parts = [recording(2).slice(..3_000), recording(2).slice(3_000..)];
    provider.tell(2, [Answer::Chunked(parts.to_vec())]);
    for number in [1, 2] {
        assert_eq!(fetch(provider.base(), number).await.unwrap(), recording(number));
    }
    let asked = provider.asked();
    assert_eq!(asked[0].path, "/2010-04-01/Accounts/AC1/Recordings/RE1.mp3");
    assert_eq!(asked[0].authorization.as_deref(), Some(Provider::basic_auth().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_has_its_reason_and_the_providers_wish_is_kept() {
    let provider = Provider::start();
    for (number, (status, code)) in (1..).zip([
        (404, FailureCode::NotReady),
        (410, FailureCode::Gone),
        (401, FailureCode::Unauthorized),
        (403, FailureCode::Unauthorized),
        (429, FailureCode::RateLimited),
        (500, FailureCode::HttpStatus),
        (503, FailureCode::HttpStatus),
        (204, FailureCode::HttpStatus),
        (206, FailureCode::HttpStatus),
        (304, FailureCode::HttpStatus),
    ]) {
        provider.tell(number, [Answer::status(status)]);
        let failure = failure(&provider, number).await;
        assert_eq!((failure.code, failure.retry_after), (code, None), "{status}: {failure}");
        assert!(failure.message.contains(&status.to_string()), "{failure}");
    }
    let later = (chrono::Utc::now() + chrono::TimeDelta::seconds(120)).to_rfc2822().replace("+0000", "GMT");
    for (number, (asked, least, most)) in (20..).zip([
        ("7", 7, 7),
        (later.as_str(), 100, 120),
        ("-5", 0, 0),
        ("soon", 0, 0),
        ("99999999999", 3_600, 3_600),
    ]) {
        provider.tell(number, [Answer::Status(429, vec![("Retry-After", asked.to_owned())], Bytes::new())]);
        let wait = failure(&provider, number).await.retry_after.map_or(0, |wait| wait.as_secs());
        assert!((least..=most).contains(&wait), "{asked}: {wait}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_never_follow_a_redirect_to_elsewhere() {
    let (provider, elsewhere) = (Provider::start(), Provider::start());
    let port = provider.base().rsplit(':').next().unwrap().to_owned();
    for (number, location) in (1..).zip([
        format!("{}/stolen", elsewhere.base()),
        elsewhere.base().replace("http:", ""),
        format!("http://localhost:{port}/x"),
        format!("https://127.0.0.1:{port}/x"),
        format!("http://127.0.0.1:{port}@{}/x", &elsewhere.base()["http://".len()..]),
        "http://169.254.169.254/latest".to_owned(),
    ]) {
        provider.tell(number, [Answer::Status(302, vec![("Location", location.clone())], Bytes::new())]);
        let failure = failure(&provider, number).await;
        assert_eq!(failure.code, FailureCode::UrlRefused, "{location}: {failure}");
        assert!(!failure.message.contains("://"), "{failure}");
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_at_the_provider_is_followed_a_few_times() {
    let provider = Provider::start();
    let to = |path: &str| vec![("Location", path.to_owned())];
    provider.tell(1, [Answer::Status(307, to("/media/RE2"), Bytes::new())]);
    assert_eq!(fetch(provider.base(), 1).await.unwrap(), recording(2));
    provider.tell(3, [Answer::Status(307, to("/again/RE3"), Bytes::new())]);
    let failure = failure(&provider, 3).await;
    assert_eq!(failure.code, FailureCode::UrlRefused, "{failure}");
    let asked = provider.asked();
    assert!(asked.len() < 10 && asked.iter().all(|asked| asked.authorization.is_some()), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_provider_is_left_before_and_in_the_middle_of_the_answer() {
    // Connections are accepted by the system, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", silent.local_addr().unwrap());
    let silence = Duration::from_millis(200);
    assert_eq!(fetch_within(silence, &base, 1).await.unwrap_err().code, FailureCode::Timeout);
    let provider = Provider::start();
    provider.tell(1, [Answer::Held(recording(1))]);
    assert_eq!(fetch_within(silence, provider.base(), 1).await.unwrap_err().code, FailureCode::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_there_or_breaks_off_is_told_apart() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    assert_eq!(fetch(&base, 1).await.unwrap_err().code, FailureCode::Network);
    let provider = Provider::start();
    provider.tell(1, [Answer::Cut(recording(1), 5_000)]);
    assert_eq!(failure(&provider, 1).await.code, FailureCode::Truncated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_too_large_is_refused_announced_or_not() {
    let provider = Provider::start();
    let large = crate::support::provider::mp3(1, usize::try_from(MAX_BYTES).unwrap() + 1);
    provider.tell(1, [Answer::Media(large.clone())]);
    provider.tell(2, [Answer::Chunked(large.chunks(5_000).map(Bytes::copy_from_slice).collect())]);
    provider.tell(3, [Answer::Media(large.slice(1..))]);
    assert_eq!(failure(&provider, 1).await.code, FailureCode::TooLarge);
    assert_eq!(failure(&provider, 2).await.code, FailureCode::TooLarge);
    assert!(fetch(provider.base(), 3).await.is_ok());
}

/// An application's SQL has a door of its own: what came in by it is checked before a connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_another_host_is_never_asked() {
    let (provider, elsewhere) = (Provider::start(), Provider::start());
    let refused = Setup::new(provider.base()).fetch_at(&format!("{}/RE1", elsewhere.base())).await.unwrap_err();
    assert_eq!((refused.code, elsewhere.asked().len()), (FailureCode::UrlRefused, 0));
}
