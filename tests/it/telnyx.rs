//! Telnyx' answers, as its adapter reads them: over real HTTP, without a process around it.

use crate::support::{
    Telnyx,
    provider::recording,
    telnyx::{API_KEY, Gives, Says, recording_id, session_id},
};
use bytes::Bytes;
use callspool::{
    adapters::{
        providers::Providers,
        telnyx::{Telnyx as Adapter, TelnyxConfig},
    },
    domain::{
        details::Details,
        failure::{Failure, FailureCode},
        hold::HoldKey,
        ids::{CallSid, SidForm},
        media::{Form, Forms},
        ports::{Media, Order, Period, Provider},
        recording_url::{ProviderBase, ProviderBases},
    },
};
use chrono::{TimeZone, Utc};
use futures_util::TryStreamExt;
use std::{net::TcpListener, sync::Arc, time::Duration};
use url::Url;

const MAX_BYTES: u64 = 20_000;

fn config(telnyx: &Telnyx) -> TelnyxConfig {
    TelnyxConfig {
        base: ProviderBase::new(telnyx.base().parse().unwrap()),
        api_key: Some(API_KEY.into()),
        media_base: Some(telnyx.media_base().parse().unwrap()),
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(30),
        max_bytes: MAX_BYTES,
        min_bytes_per_second: 1,
        throughput_window: Duration::from_secs(30),
        resumes: 2,
    }
}

fn adapter(telnyx: &Telnyx) -> Adapter {
    Adapter::new(config(telnyx)).unwrap()
}

fn order(recording_url: String, forms: &[&str]) -> Order {
    Order {
        recording_url,
        call_sid: CallSid::parse(&session_id(1), SidForm::Strict).unwrap(),
        recording_sid: None,
        forms: Forms::parse(forms).unwrap(),
        details: Details::default(),
    }
}

async fn open(telnyx: &Telnyx, number: u32) -> Result<Media, Failure> {
    adapter(telnyx).fetch(&order(telnyx.url(number), &["mp3"])).await
}

async fn fetch(telnyx: &Telnyx, number: u32) -> Result<Bytes, Failure> {
    let chunks: Vec<Bytes> = open(telnyx, number).await?.stream.try_collect().await?;
    Ok(chunks.concat().into())
}

async fn failure(telnyx: &Telnyx, number: u32) -> Failure {
    fetch(telnyx, number).await.unwrap_err()
}

fn blamed(failure: &Failure) -> String {
    failure.blame.as_ref().map(|blame| blame.key.to_string()).unwrap_or_default()
}

fn host(base: &str) -> String {
    format!("host:{}", &base["http://".len()..])
}

fn status(status: u16) -> Says {
    Says::Status(status, Vec::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_resource_is_asked_with_the_key_and_the_media_without_it() {
    let telnyx = Telnyx::start();
    assert_eq!(fetch(&telnyx, 1).await.unwrap(), recording(1));
    let media = open(&telnyx, 2).await.unwrap();
    assert_eq!(
        (media.length, media.content_type.as_deref(), media.form),
        (Some(10_000), Some("audio/mpeg"), Form::Mp3)
    );
    let asked = telnyx.asked();
    assert_eq!(asked[0].line, format!("GET /v2/recordings/{}", recording_id(1)));
    assert_eq!(asked[0].authorization.as_deref(), Some(format!("Bearer {API_KEY}").as_str()));
    assert!(telnyx.media_asked().iter().all(|asked| asked.authorization.is_none()), "{:?}", telnyx.media_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_wanted_form_that_there_is_is_fetched() {
    let telnyx = Telnyx::start();
    telnyx.tell(1, [Says::Completed("dual", &["wav"])]);
    let wanted = ["mp3-dual", "wav-dual", "mp3"];
    let media = adapter(&telnyx).fetch(&order(telnyx.url(1), &wanted)).await.unwrap();
    assert_eq!(media.form, Form::WavDual);
    assert!(telnyx.media_asked()[0].line.contains(".wav?"), "{:?}", telnyx.media_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_has_run_out_is_asked_for_anew_once() {
    let telnyx = Telnyx::start();
    telnyx.tell(1, [Says::Expired, Says::Completed("single", &["mp3"])]);
    assert_eq!(fetch(&telnyx, 1).await.unwrap(), recording(1));
    assert_eq!((telnyx.asked().len(), telnyx.media_asked().len()), (2, 2));
    telnyx.tell(2, [Says::Expired]);
    let failure = failure(&telnyx, 2).await;
    assert_eq!((failure.code, failure.http_status), (FailureCode::HttpStatus, Some(403)), "{failure}");
    assert!(failure.can_pass() && failure.blame.is_none(), "the key is right: {failure:?}");
    assert_eq!((telnyx.asked().len(), telnyx.media_asked().len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_the_api_has_its_reason_and_its_blame() {
    let telnyx = Telnyx::start();
    let host = host(telnyx.base());
    for (number, (says, code, blame)) in (1..).zip([
        (status(401), FailureCode::Unauthorized, "account:telnyx"),
        (status(403), FailureCode::Unauthorized, "account:telnyx"),
        (status(429), FailureCode::RateLimited, "rate:telnyx"),
        (status(404), FailureCode::NotReady, ""),
        (status(410), FailureCode::Gone, ""),
        (status(422), FailureCode::HttpStatus, ""),
        (status(302), FailureCode::HttpStatus, ""),
        (status(500), FailureCode::HttpStatus, &host),
        (status(503), FailureCode::HttpStatus, &host),
        (Says::Is("deleted"), FailureCode::Gone, ""),
        (Says::Is("partial"), FailureCode::NotReady, ""),
        (Says::Is("completed"), FailureCode::NotReady, ""),
    ]) {
        telnyx.tell(number, [says.clone()]);
        let failure = failure(&telnyx, number).await;
        assert_eq!((failure.code, blamed(&failure).as_str()), (code, blame), "{says:?}: {failure}");
    }
    telnyx.tell(20, [Says::Status(429, vec![("Retry-After", "7".to_owned())])]);
    let blame = failure(&telnyx, 20).await.blame.unwrap();
    assert_eq!(blame.lasts, Some(Duration::from_secs(7)));
    assert!(telnyx.media_asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_asked_and_the_jobs_wait_for_the_account() {
    let telnyx = Telnyx::start();
    let adapter = Adapter::new(TelnyxConfig { api_key: None, ..config(&telnyx) }).unwrap();
    let failure = adapter.fetch(&order(telnyx.url(1), &["mp3"])).await.unwrap_err();
    assert_eq!((failure.code, blamed(&failure).as_str()), (FailureCode::Unauthorized, "account:telnyx"));
    assert!(failure.message.contains("TELNYX_API_KEY"), "{failure}");
    assert!(telnyx.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_medias_host_is_blamed_for_what_is_its_own() {
    let telnyx = Telnyx::start();
    let host = host(telnyx.media_base());
    for (number, (status, code, blame)) in (1..).zip([
        (500, FailureCode::HttpStatus, host.as_str()),
        (503, FailureCode::HttpStatus, &host),
        (429, FailureCode::RateLimited, &host),
        (404, FailureCode::NotReady, ""),
        (410, FailureCode::NotReady, ""),
        (206, FailureCode::HttpStatus, ""),
    ]) {
        telnyx.give(number, Gives::Status(status, Vec::new()));
        let failure = failure(&telnyx, number).await;
        assert_eq!((failure.code, blamed(&failure).as_str()), (code, blame), "{status}: {failure}");
    }
    telnyx.give(10, Gives::Media(Bytes::from(vec![0; 20_001])));
    assert_eq!(failure(&telnyx, 10).await.code, FailureCode::TooLarge);
    // A port that nobody listens on.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let base: Url = format!("http://{closed}").parse().unwrap();
    telnyx.tell(11, [Says::At(format!("{base}x.mp3"))]);
    let adapter = Adapter::new(TelnyxConfig { media_base: Some(base), ..config(&telnyx) }).unwrap();
    let failure = adapter.fetch(&order(telnyx.url(11), &["mp3"])).await.unwrap_err();
    assert_eq!((failure.code, blamed(&failure)), (FailureCode::Network, format!("host:{closed}")), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_url_leads_to_public_https_hosts_and_configured_bases_only() {
    let (telnyx, elsewhere) = (Telnyx::start(), Telnyx::start());
    let port = elsewhere.media_base().rsplit(':').next().unwrap().to_owned();
    for (number, url) in (1..).zip([
        format!("{}/x.mp3", elsewhere.media_base()),
        format!("https://127.0.0.1:{port}/x.mp3"),
        format!("https://2130706433:{port}/x.mp3"),
        format!("https://localhost:{port}/x.mp3"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[::ffff:10.0.0.1]/x.mp3".to_owned(),
        "http://s3.amazonaws.com/x.mp3".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("{}@evil.example/x.mp3", telnyx.media_base().replace("http", "https")),
    ]) {
        telnyx.tell(number, [Says::At(url.clone())]);
        let refused = failure(&telnyx, number).await;
        assert_eq!(refused.code, FailureCode::UrlRefused, "{url}: {refused}");
        telnyx.tell(100 + number, [Says::Completed("single", &["mp3"])]);
        telnyx.give(100 + number, Gives::Status(302, vec![("Location", url.clone())]));
        let redirected = failure(&telnyx, 100 + number).await;
        assert_eq!(redirected.code, FailureCode::UrlRefused, "{url}: {redirected}");
        assert!(!format!("{refused}{redirected}").contains("://"), "{refused} {redirected}");
    }
    assert!(elsewhere.media_asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_recording_is_asked_for() {
    let telnyx = Telnyx::start();
    for url in [
        format!("{}/v2/calls/{}", telnyx.base(), recording_id(1)),
        format!("{}/v2/recordings/../calls", telnyx.base()),
        format!("{}/v2/recordings/{}?x=1", telnyx.base(), recording_id(1)),
        format!("https://evil.example/v2/recordings/{}", recording_id(1)),
        "x".to_owned(),
    ] {
        let refused = adapter(&telnyx).fetch(&order(url.clone(), &["mp3"])).await.unwrap_err();
        assert_eq!(refused.code, FailureCode::UrlRefused, "{url}");
        assert_eq!(adapter(&telnyx).delete(&url).await.unwrap_err().code, FailureCode::UrlRefused, "{url}");
    }
    assert!(telnyx.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_listed_page_by_page() {
    let telnyx = Telnyx::start();
    telnyx.list([1, 2, 0, 3]);
    let time = |hour| Utc.with_ymd_and_hms(2026, 1, 1, hour, 0, 0).unwrap();
    let period = Period { account: "telnyx".to_owned(), since: time(1), until: time(2) };
    let first = adapter(&telnyx).list(&period, None).await.unwrap();
    assert_eq!((first.recordings.len(), first.next.as_deref()), (2, Some("2")));
    let listed = &first.recordings[0];
    assert_eq!((listed.recording_url.clone(), listed.is_there), (telnyx.url(1), true));
    assert_eq!(listed.call_sid.as_str(), session_id(1));
    assert_eq!((listed.details.duration_s, listed.details.channels), (Some(2), Some(2)));
    // One has no call: it is passed over, and the rest of its page is not.
    let second = adapter(&telnyx).list(&period, first.next.as_deref()).await.unwrap();
    assert_eq!((second.recordings.len(), second.next), (1, None));
    let asked = &telnyx.asked()[1].line;
    let query = url::form_urlencoded::parse(asked.split_once('?').unwrap().1.as_bytes());
    let query: Vec<_> = query.map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        query,
        [
            "filter[created_at][gte]=2026-01-01T01:00:00.000Z",
            "filter[created_at][lte]=2026-01-01T02:00:00.000Z",
            "page[number]=2",
            "page[size]=250"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_deleted_and_one_that_is_not_there_is_deleted() {
    let telnyx = Telnyx::start();
    for _ in 0..2 {
        adapter(&telnyx).delete(&telnyx.url(1)).await.unwrap();
    }
    assert_eq!(telnyx.asked()[0].line, format!("DELETE /v2/recordings/{}", recording_id(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_the_key_the_api_and_the_medias_host_apart() {
    let telnyx = Telnyx::start();
    let wrong_key = Adapter::new(TelnyxConfig { api_key: Some("guessed".into()), ..config(&telnyx) }).unwrap();
    let api: HoldKey = host(telnyx.base()).parse().unwrap();
    let media: HoldKey = host(telnyx.media_base()).parse().unwrap();
    for key in [HoldKey::account("telnyx"), api.clone(), media.clone()] {
        adapter(&telnyx).probe(&key).await.unwrap();
    }
    assert_eq!(telnyx.media_asked()[0].line, "GET /");
    assert_eq!(wrong_key.probe(&HoldKey::account("telnyx")).await.unwrap_err().code, FailureCode::Unauthorized);
    wrong_key.probe(&api).await.unwrap();
    let inside = HoldKey::host("169.254.169.254");
    assert_eq!(adapter(&telnyx).probe(&inside).await.unwrap_err().code, FailureCode::UrlRefused);
}

/// Another Telnyx stands for the first provider: what is asked here is only which of the two is asked.
#[tokio::test(flavor = "multi_thread")]
async fn each_request_goes_to_the_provider_whose_it_is() {
    let (first, telnyx) = (Telnyx::start(), Telnyx::start());
    let bases = ProviderBases::new(first.base().parse().unwrap()).with_telnyx(telnyx.base().parse().unwrap());
    let both = Providers::new(bases, Arc::new(adapter(&first)), Arc::new(adapter(&telnyx)));
    let counts = || (first.asked().len(), telnyx.asked().len(), telnyx.media_asked().len());
    both.fetch(&order(first.url(1), &["mp3"])).await.unwrap();
    assert_eq!(counts(), (1, 0, 0));
    both.fetch(&order(telnyx.url(1), &["mp3"])).await.unwrap();
    both.delete(&telnyx.url(1)).await.unwrap();
    assert_eq!(counts(), (1, 2, 1));
    let period = |account: &str| Period { account: account.to_owned(), since: Utc::now(), until: Utc::now() };
    both.list(&period("telnyx"), None).await.unwrap();
    both.list(&period("AC1"), None).await.unwrap();
    assert_eq!(counts(), (2, 3, 1));
    for key in ["account:telnyx", &host(telnyx.base()), &host(telnyx.media_base())] {
        both.probe(&key.parse().unwrap()).await.unwrap();
    }
    assert_eq!(counts(), (2, 5, 2));
    for key in ["account:AC1", &host(first.base())] {
        both.probe(&key.parse().unwrap()).await.unwrap();
    }
    assert_eq!(counts(), (4, 5, 2));
    assert!(both.probe(&HoldKey::storage()).await.is_err());
    let depends = both.depends(&telnyx.url(1));
    assert_eq!(depends[0], HoldKey::account("telnyx"));
}
