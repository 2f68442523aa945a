//! What an account has, page by page.

use crate::support::{
    Answer, Provider,
    twilio::{Setup, path},
};
use callspool::domain::{
    failure::FailureCode,
    ports::{ListedPage, Period, Provider as _},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

const LIST: &str = "/2010-04-01/Accounts/AC1/Recordings.json";
const FIRST: &str = "/2010-04-01/Accounts/AC1/Recordings.json?DateCreated%3E=2026-01-01T00%3A00%3A00Z&DateCreated%3C=2026-01-02T00%3A00%3A00Z&PageSize=100";

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn period(account: &str) -> Period {
    Period { account: account.to_owned(), since: time("2026-01-01T00:00:00Z"), until: time("2026-01-02T00:00:00Z") }
}

/// As Twilio's description of its API shows one.
fn row(number: u32, change: &Value) -> Value {
    let mut row = json!({
        "sid": format!("RE{number}"), "account_sid": "AC1", "call_sid": format!("CA{number}"), "api_version": "2010-04-01",
        "conference_sid": null, "channels": 1, "source": "DialVerb", "status": "completed", "duration": "4",
        "date_created": "Thu, 01 Jan 2026 10:00:09 +0000", "start_time": "Thu, 01 Jan 2026 10:00:05 +0000",
        "price": "-0.04", "price_unit": "USD", "error_code": null, "encryption_details": null,
        "uri": format!("/2010-04-01/Accounts/AC1/Recordings/RE{number}.json"),
        "media_url": format!("https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE{number}"),
    });
    for (name, value) in change.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

fn page(rows: &[Value], next: Option<&str>) -> Value {
    json!({ "recordings": rows, "next_page_uri": next, "page": 0, "page_size": 100 })
}

async fn list(provider: &Provider, page: Option<&str>) -> ListedPage {
    Setup::new(provider.base()).twilio().list(&period("AC1"), page).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_listed_page_by_page_with_what_the_provider_says_of_them() {
    let provider = Provider::start();
    let second = format!("{LIST}?PageSize=100&Page=1&PageToken=PARE2");
    let rows = [
        row(1, &json!({})),
        row(2, &json!({ "duration": "-1", "channels": 2, "start_time": null })),
        row(3, &json!({ "status": "absent", "duration": null })),
        row(4, &json!({ "call_sid": null, "conference_sid": "CF1" })),
        row(5, &json!({ "sid": "../RE5" })),
        row(6, &json!({ "channels": "many" })),
        json!("nonsense"),
        // Still made: a later round finds them.
        row(8, &json!({ "status": "in-progress", "duration": "-1" })),
        row(9, &json!({ "status": "processing", "duration": "-1" })),
    ];
    provider.tell_json(FIRST, &page(&rows, Some(&second)));
    provider.tell_json(&second, &page(&[row(7, &json!({ "status": "deleted" }))], None));
    let first = list(&provider, None).await;
    let found: Vec<_> =
        first.recordings.iter().map(|listed| (listed.recording_sid.as_str(), listed.is_there)).collect();
    assert_eq!(found, [("RE1", true), ("RE2", true), ("RE3", false), ("RE6", true)]);
    assert_eq!(first.recordings[3].details.channels, None, "one odd field is not known, and the row is");
    let one = &first.recordings[0];
    assert_eq!((one.account_sid.as_str(), one.call_sid.as_str()), ("AC1", "CA1"));
    assert_eq!(one.recording_url, format!("{}{}", provider.base(), path(1)), "at the base, whatever the row says");
    assert_eq!((one.details.duration_s, one.details.channels), (Some(4), Some(1)));
    assert_eq!(one.details.started_at, Some(time("2026-01-01T10:00:05Z")));
    let young = &first.recordings[1].details;
    assert_eq!((young.duration_s, young.channels, young.started_at), (None, Some(2), None));
    let last = list(&provider, first.next.as_deref()).await;
    assert_eq!((last.recordings[0].is_there, last.next), (false, None));
    assert_eq!(provider.paths(), [FIRST, &second]);
    assert!(provider.asked_all().iter().all(|asked| asked.authorization.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_page_is_asked_for_at_the_providers_only() {
    let (provider, elsewhere) = (Provider::start(), Provider::start());
    for next in
        [format!("{}{LIST}?Page=1", elsewhere.base()), "/2010-04-01/Accounts/AC2/Recordings.json".to_owned()]
    {
        provider.tell_json(FIRST, &page(&[], Some(&next)));
        let twilio = Setup::new(provider.base()).twilio();
        assert_eq!(twilio.list(&period("AC1"), None).await.unwrap_err().code, FailureCode::UrlRefused);
        assert_eq!(twilio.list(&period("AC1"), Some(&next)).await.unwrap_err().code, FailureCode::UrlRefused);
    }
    assert!(elsewhere.paths().is_empty());
    // A page that names itself is the last one.
    let loops = format!("{LIST}?Page=1");
    provider.tell_json(&loops, &page(&[row(1, &json!({}))], Some(&loops)));
    assert_eq!(list(&provider, Some(&loops)).await.next, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_says_whose_fault_it_is() {
    let provider = Provider::start();
    let twilio = Setup::new(provider.base()).twilio();
    let failure = twilio.list(&period("AC1"), None).await.unwrap_err();
    assert_eq!((failure.code, failure.http_status), (FailureCode::HttpStatus, Some(404)));
    provider.tell_at(FIRST, [Answer::status(401), Answer::status(429), Answer::status(500), Answer::status(200)]);
    for kind in ["account", "rate", "host"] {
        let failure = twilio.list(&period("AC1"), None).await.unwrap_err();
        assert_eq!(failure.blame.unwrap().key.kind().as_str(), kind);
    }
    assert_eq!(
        twilio.list(&period("AC1"), None).await.unwrap_err().code,
        FailureCode::HttpStatus,
        "no list at all"
    );
    assert!(twilio.list(&period("AC1/../AC2"), None).await.is_err());
}
