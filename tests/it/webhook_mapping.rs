//! Whose call it is: each rule, with a real lookup service.

use crate::support::{Database, Process, Provider, http::Callback, lookup::Lookup, process::Setup};

async fn process(lookup: &Lookup) -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL_ROLES", "api,webhooks");
    let setup = setup
        .var("CALLSPOOL__MAPPING__LOOKUP_URL", lookup.url())
        .var("CALLSPOOL__MAPPING__LOOKUP_TIMEOUT", "500ms")
        .var("CALLSPOOL_LOOKUP_TOKEN", "lookup-secret");
    let process = setup.run().await;
    (database, provider, process)
}

fn unnamed(number: u32) -> Callback {
    Callback::completed(number).query("")
}

async fn owners(database: &Database) -> Vec<(String, i64)> {
    let mut connection = database.connect().await;
    let owners = "select call_sid, business_id from job order by call_sid";
    sqlx::query_as(owners).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_of_the_webhook_says_it_and_nobody_is_asked() {
    let lookup = Lookup::start();
    lookup.knows(1, 7);
    let (database, _provider, process) = process(&lookup).await;
    assert_eq!(Callback::completed(1).send(&process).await.status, 202);
    assert_eq!(owners(&database).await, [("CA1".to_owned(), 42)]);
    // What is there and is no business is refused; nothing stands in for it.
    for query in ["?business_id=", "?business_id=x", "?business_id=0"] {
        assert_eq!(Callback::completed(1).query(query).send(&process).await.status, 422, "{query}");
    }
    assert!(lookup.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn else_the_lookup_service_is_asked_with_what_is_known_of_the_call() {
    let lookup = Lookup::start();
    lookup.knows(1, 7);
    let (database, _provider, process) = process(&lookup).await;
    let callback = unnamed(1).field("From", "+14158675309").field("To", "+1 800&x=y");
    assert_eq!(callback.send(&process).await.status, 202);
    assert_eq!(owners(&database).await, [("CA1".to_owned(), 7)]);
    let asked = lookup.asked();
    assert_eq!((asked.len(), asked[0].authorization.as_deref()), (1, Some("Bearer lookup-secret")));
    for (name, value) in [
        ("call_sid", "CA1"),
        ("account_sid", "AC1"),
        ("recording_sid", "RE1"),
        ("from", "+14158675309"),
        ("to", "+1 800&x=y"),
    ] {
        assert_eq!(asked[0].query[name], value, "{name}");
    }
    assert!(!process.everything().contains("lookup-secret"));
}

/// Incident 23.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_lookup_service_does_not_know_is_refused_with_the_reason() {
    let lookup = Lookup::start();
    let (database, _provider, process) = process(&lookup).await;
    let answer = unnamed(1).send(&process).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"), "{answer:?}");
    assert!(answer.body.contains("mapping.lookup_url does not know this call"), "{answer:?}");
    let says = |line: &serde_json::Value| line["message"].to_string().contains("webhook refused");
    assert_eq!(process.line("the refusal", says).await["call_sid"], "CA1");
    assert_eq!(owners(&database).await, []);
    // Nobody is asked about what is refused in any case.
    assert_eq!(unnamed(2).field("RecordingUrl", "https://evil.example/x").send(&process).await.status, 422);
    assert_eq!(unnamed(2).token("guessed").send(&process).await.status, 403);
    assert_eq!(lookup.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_lookup_service_fails_the_provider_is_told_to_send_it_again() {
    let lookup = Lookup::start();
    lookup.knows(1, 7);
    let (database, _provider, process) = process(&lookup).await;
    let elsewhere = Lookup::start();
    elsewhere.knows(1, 8);
    let long = format!("{{\"business_id\": 7{}}}", " ".repeat(10_000));
    for (status, headers, body) in [
        (500, vec![], "{\"business_id\": 7}"),
        (401, vec![], ""),
        (204, vec![], ""),
        (302, vec![("Location", elsewhere.url())], ""),
        (200, vec![], ""),
        (200, vec![], "42"),
        (200, vec![], "{\"business_id\": 0}"),
        (200, vec![], "{\"business_id\": \"7\"}"),
        (200, vec![], "{\"business_id\": null}"),
        (200, vec![], &long),
    ] {
        lookup.answers(status, &headers, body);
        let answer = unnamed(1).send(&process).await;
        assert_eq!((answer.status, answer.problem().as_str()), (503, "lookup_unavailable"), "{status} {body:.40}");
        assert!(answer.head.contains("retry-after"), "{answer:?}");
    }
    assert!(elsewhere.asked().is_empty(), "no redirect is followed");
    assert_eq!(owners(&database).await, []);
    lookup.answers_what_it_knows();
    assert_eq!(unnamed(1).send(&process).await.status, 202);
    assert_eq!(owners(&database).await, [("CA1".to_owned(), 7)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_service_that_is_away_or_silent_costs_no_recording() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (database, provider) = (Database::migrated().await, Provider::start());
    for port in [silent.local_addr().unwrap().port(), 1] {
        let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL_ROLES", "webhooks");
        let setup = setup.var("CALLSPOOL__MAPPING__LOOKUP_TIMEOUT", "200ms");
        let process = setup.var("CALLSPOOL__MAPPING__LOOKUP_URL", &format!("http://127.0.0.1:{port}/")).run().await;
        let answer = unnamed(1).send(&process).await;
        assert_eq!((answer.status, answer.problem().as_str()), (503, "lookup_unavailable"), "{answer:?}");
    }
}
