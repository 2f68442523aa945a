//! Whose credentials go along, and who is to blame.

use crate::support::{
    Answer, Provider,
    provider::recording,
    twilio::{Setup, account, account_sid, path},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use callspool::domain::{
    account::{Account, Accounts, ApiKey},
    failure::{Failure, FailureCode},
    hold::HoldKey,
    ports::Provider as _,
};
use std::{net::TcpListener, time::Duration};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// The main account AC1, AC2 with a key, AC3 at a base of its own.
fn several(provider: &Provider, other: &Provider) -> Setup {
    Setup::new(provider.base()).config(|config| {
        let main = Account { auth_tokens: vec!["new".into(), "old".into()], ..account("AC1", "") };
        let with_key = Account { api_key: ApiKey::parse("SK2:secret").ok(), ..account("AC2", "t2") };
        config.accounts = Accounts::new(Some(main), [with_key, account("AC3", "t3")]);
        config.bases = config.bases.clone().with_account(account_sid("AC3"), other.base().parse().unwrap());
    })
}

fn at(account: &str) -> String {
    format!("/2010-04-01/Accounts/{account}/Recordings/RE5")
}

fn blamed(failure: &Failure) -> Option<(String, Option<Duration>)> {
    failure.blame.as_ref().map(|blame| (blame.key.to_string(), blame.lasts))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_in_the_url_chooses_the_credentials_and_the_base() {
    let (provider, other) = (Provider::start(), Provider::start());
    let setup = several(&provider, &other);
    for sid in ["AC1", "AC2", "AC3", "AC9"] {
        assert_eq!(setup.fetch_at(&at(sid)).await.unwrap(), recording(5));
    }
    let authorizations = |provider: &Provider| -> Vec<String> {
        provider.asked().into_iter().map(|asked| asked.authorization.unwrap()).collect()
    };
    assert_eq!(authorizations(&provider), [basic("AC1", "new"), basic("SK2", "secret"), basic("AC1", "new")]);
    assert_eq!(authorizations(&other), [basic("AC3", "t3")]);
    // Neither base is asked for what is the other's.
    for url in [format!("{}{}", provider.base(), at("AC3")), format!("{}{}", other.base(), at("AC1"))] {
        assert_eq!(setup.fetch_at(&url).await.unwrap_err().code, FailureCode::UrlRefused, "{url}");
    }
    assert_eq!(other.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_blamed_on_whose_fault_it_is() {
    let provider = Provider::start();
    let host = format!("host:{}", &provider.base()["http://".len()..]);
    let after = || vec![("Retry-After", "7".to_owned())];
    for (number, (answer, expected)) in (1..).zip([
        (Answer::status(401), Some(("account:AC1".to_owned(), None))),
        (Answer::status(403), Some(("account:AC1".to_owned(), None))),
        (Answer::Status(429, after(), Bytes::new()), Some(("rate:AC1".to_owned(), Some(Duration::from_secs(7))))),
        (Answer::status(429), Some(("rate:AC1".to_owned(), None))),
        (Answer::status(500), Some((host.clone(), None))),
        (Answer::Status(503, after(), Bytes::new()), Some((host.clone(), Some(Duration::from_secs(7))))),
        (Answer::status(404), None),
        (Answer::status(410), None),
        (Answer::status(400), None),
        (Answer::Cut(recording(1), 5_000), None),
        (Answer::Media(crate::support::provider::mp3(1, 20_001)), None),
    ]) {
        provider.tell(number, [answer]);
        let failure = Setup::new(provider.base()).fetch(number).await.unwrap_err();
        assert_eq!(blamed(&failure), expected, "{failure}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let failure = Setup::new(&format!("http://{address}")).fetch(1).await.unwrap_err();
    assert_eq!(blamed(&failure), Some((format!("host:{address}"), None)));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let setup =
        Setup::new(&format!("http://{address}")).config(|config| config.read_timeout = Duration::from_millis(200));
    let failure = setup.fetch(1).await.unwrap_err();
    assert_eq!((failure.code, blamed(&failure)), (FailureCode::Timeout, Some((format!("host:{address}"), None))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_tells_what_its_recording_depends_on() {
    let (provider, other) = (Provider::start(), Provider::start());
    let twilio = several(&provider, &other).twilio();
    let keys = |url: &str| twilio.depends(url).iter().map(ToString::to_string).collect::<Vec<_>>();
    let (host, other) = (&provider.base()["http://".len()..], &other.base()["http://".len()..]);
    for sid in ["AC1", "AC9"] {
        let expected = [format!("account:{sid}"), format!("rate:{sid}"), format!("host:{host}")];
        assert_eq!(keys(&at(sid)), expected);
    }
    assert_eq!(keys(&at("AC3"))[2], format!("host:{other}"));
    assert_eq!(keys("/x")[0], "account:AC1", "without an account it is the main one's");
    assert!(keys("https://evil.example/x").is_empty());
    assert!(provider.paths().is_empty(), "nothing is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_asks_with_what_failed() {
    let (provider, other) = (Provider::start(), Provider::start());
    let twilio = several(&provider, &other).twilio();
    let key = |text: &str| text.parse::<HoldKey>().unwrap();
    let account = "/2010-04-01/Accounts";
    // A key does not open the account itself: what it does open is asked for.
    let (whole, listed) = (format!("{account}/AC9.json"), format!("{account}/AC2/Recordings.json?PageSize=1"));
    for path in [&whole, &listed] {
        provider.tell_at(path, [Answer::status(401), Answer::status(200)]);
    }
    for (text, path, authorization) in
        [("account:AC9", &whole, basic("AC1", "new")), ("account:AC2", &listed, basic("SK2", "secret"))]
    {
        assert_eq!(twilio.probe(&key(text)).await.unwrap_err().code, FailureCode::Unauthorized, "{text}");
        twilio.probe(&key(text)).await.unwrap();
        let asked = provider.asked_all();
        let last = asked.last().unwrap();
        assert_eq!((&last.path, last.authorization.as_deref()), (path, Some(authorization.as_str())));
    }
    assert!(twilio.probe(&key("account:../../x")).await.is_err());
    let count = provider.paths().len();
    twilio.probe(&key("rate:AC1")).await.unwrap();
    assert_eq!(provider.paths().len(), count, "a rate ends by its time");
    // Any answer of a host is one, but its own failure; nobody's credentials go along.
    let host = key(&format!("host:{}", &provider.base()["http://".len()..]));
    provider.tell_at("/", [Answer::status(503), Answer::status(404), Answer::status(401)]);
    assert_eq!(twilio.probe(&host).await.unwrap_err().http_status, Some(503));
    twilio.probe(&host).await.unwrap();
    twilio.probe(&host).await.unwrap();
    assert!(provider.asked_all().last().unwrap().authorization.is_none());
    assert_eq!(twilio.probe(&key("host:127.0.0.1:1")).await.unwrap_err().code, FailureCode::UrlRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_recording_is_deleted_however_often() {
    let provider = Provider::start();
    let resource = format!("{}.json", path(1));
    provider.tell_at(&resource, [204, 404, 410, 401, 500].map(Answer::status));
    let twilio = Setup::new(provider.base()).twilio();
    for _ in 0..3 {
        twilio.delete(&path(1)).await.unwrap();
    }
    assert_eq!(twilio.delete(&format!("{}.mp3", path(1))).await.unwrap_err().code, FailureCode::Unauthorized);
    assert_eq!(twilio.delete(&path(1)).await.unwrap_err().http_status, Some(500));
    let asked = provider.asked_all();
    assert!(asked.iter().all(|asked| asked.method == "DELETE" && asked.path == resource), "{asked:?}");
    assert_eq!(asked[0].authorization.as_deref(), Some(Provider::basic_auth().as_str()));
    let count = provider.asked_all().len();
    for other in [
        "https://evil.example/x",
        "/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1",
        "/2010-04-01/Accounts/AC1/Recordings",
        "/2010-04-01/Accounts/AC1/Recordings/RE1/Transcriptions/TR1",
    ] {
        assert_eq!(twilio.delete(other).await.unwrap_err().code, FailureCode::UrlRefused, "{other}");
    }
    assert_eq!(provider.asked_all().len(), count);
}
