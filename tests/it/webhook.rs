//! Twilio's callback: what is believed, what is refused, and that nothing is answered with 2xx which is not committed.

use crate::support::{
    Database, Process, Provider,
    http::Callback,
    process::{AUTH_TOKEN, Setup},
    provider::recording,
};

async fn process() -> (Database, Provider, Process) {
    process_with(|setup| setup).await
}

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = change(Setup::new(&database).provider(&provider)).run().await;
    (database, provider, process)
}

async fn jobs(database: &Database) -> i64 {
    let mut connection = database.connect().await;
    sqlx::query_scalar("select count(*) from job_view").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_callback_is_committed_before_it_is_answered_and_its_job_runs() {
    let (database, _provider, process) = process().await;
    let answer = Callback::completed(1).send(&process).await;
    assert_eq!((answer.status, jobs(&database).await), (202, 1), "{answer:?}");
    assert_eq!(answer.json()["deduplicated"], false);
    let enqueued = process.event("ENQUEUE").await;
    assert_eq!((&enqueued["call_sid"], &enqueued["business_id"]), (&"CA1".into(), &42.into()));
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(std::fs::read(process.file(42, 1)).unwrap(), recording(1));
}

/// Incident 6: the provider calls again whatever was answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_callback_is_one_job_also_after_it_is_stored() {
    let (database, provider, process) = process().await;
    let first = Callback::completed(1).send(&process).await.json();
    process.event("WORKER_RELEASE_SLOT").await;
    let again = Callback::completed(1).send(&process).await;
    assert_eq!((again.status, &again.json()["deduplicated"]), (202, &true.into()));
    assert_eq!((&again.json()["id"], &again.json()["state"]), (&first["id"], &"done".into()));
    assert_eq!((jobs(&database).await, provider.asked().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_not_the_providers_is_refused_and_leaves_nothing() {
    let (database, _provider, process) = process().await;
    let good = || Callback::completed(1);
    for (what, callback) in [
        ("wrong token", good().token("guessed")),
        ("empty", good().signature("")),
        ("junk", good().signature("\u{1}=====")),
        ("not base64", good().signature("äöü")),
        ("of another URL", good().told("https://elsewhere.example/webhooks/twilio/recording")),
        ("another account", good().field("AccountSid", "AC2")),
        ("no account", good().without("AccountSid")),
    ] {
        let answer = callback.send(&process).await;
        assert!(answer.status == 403 || answer.status == 400, "{what}: {answer:?}");
        if answer.status == 403 {
            assert_eq!(answer.problem(), "signature", "{what}");
        }
    }
    let unsigned = process.post_json("/webhooks/twilio/recording?business_id=42", &serde_json::json!({})).await;
    assert_eq!(unsigned.status(), 403);
    assert_eq!(jobs(&database).await, 0);
    assert!(process.events("ENQUEUE").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_no_callback_can_be_checked_and_each_is_refused() {
    let database = Database::migrated().await;
    let process = Setup::new(&database).run().await;
    let says =
        |line: &serde_json::Value| line["message"].to_string().contains("TWILIO_AUTH_TOKEN: webhooks are refused");
    process.line("what is missing, at the start", says).await;
    for callback in [Callback::completed(1), Callback::completed(1).token("")] {
        let answer = callback.send(&process).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "signature"), "{answer:?}");
        assert!(answer.body.contains("TWILIO_AUTH_TOKEN"), "{answer:?}");
    }
    assert_eq!(jobs(&database).await, 0);
}

/// Incident 23: a call was attributed to the "first active business".
#[tokio::test(flavor = "multi_thread")]
async fn incident_23_no_business_is_guessed() {
    let (database, _provider, process) = process().await;
    let queries = ["", "?", "?business_id=", "?business_id=0", "?business_id=-1", "?business_id=x", "?business=42"];
    for query in queries {
        let answer = Callback::completed(1).query(query).field("business_id", "42").send(&process).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"), "{query}: {answer:?}");
        assert_eq!(answer.json()["errors"][0]["field"], "business_id", "{query}");
    }
    assert_eq!(jobs(&database).await, 0);
}

/// Incident 20: relative `.json` URLs were fetched as they came, and rewritten twice.
#[tokio::test(flavor = "multi_thread")]
async fn incident_20_the_recordings_url_is_put_right_once_at_the_door() {
    let (_database, provider, process) = process().await;
    let path = "/2010-04-01/Accounts/AC1/Recordings";
    let spellings = [
        format!("{path}/RE1.json"),
        format!("{}{path}/RE2.json", provider.base()),
        format!("{}{path}/RE3.mp3.wav", provider.base()),
        format!("{}{path}/RE4?RequestedChannels=2#x", provider.base()),
    ];
    for (number, url) in (1..).zip(&spellings) {
        let answer = Callback::completed(number).field("RecordingUrl", url).send(&process).await;
        assert_eq!(answer.status, 202, "{url}: {answer:?}");
    }
    process.event_number("WORKER_DOWNLOAD_DONE", spellings.len()).await;
    let mut asked: Vec<String> = provider.asked().into_iter().map(|asked| asked.path).collect();
    asked.sort();
    assert_eq!(asked, (1..=4).map(|n| format!("{path}/RE{n}.mp3")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_elsewhere_is_refused() {
    let (database, provider, process) = process().await;
    let port = provider.base().rsplit(':').next().unwrap().to_owned();
    for url in [
        "http://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://localhost:{port}/x"),
        format!("https://127.0.0.1:{port}/x"),
        format!("{}@evil.example/x", provider.base()),
        "//evil.example/x".to_owned(),
        "\\\\evil.example\\x".to_owned(),
        "/2010-04-01/Accounts/AC2/Recordings/RE1".to_owned(),
        format!("{}/2010-04-01/Accounts/AC%31/Recordings/RE1", provider.base()),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/x".to_owned(),
        String::new(),
        "x".repeat(5_000),
    ] {
        let answer = Callback::completed(1).field("RecordingUrl", &url).send(&process).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"), "{url}");
        assert_eq!(answer.json()["errors"][0]["field"], "recording_url", "{url}");
    }
    assert_eq!((jobs(&database).await, provider.asked().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_not_completed_is_nothing_to_fetch() {
    let (database, _provider, process) = process().await;
    for status in ["in-progress", "absent", "failed", ""] {
        let answer = Callback::completed(1).field("RecordingStatus", status).send(&process).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{status}");
    }
    assert_eq!(jobs(&database).await, 0);
    // A TwiML <Record action> sends no status.
    assert_eq!(Callback::completed(1).without("RecordingStatus").send(&process).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_public_url_is_what_was_signed() {
    let public = "https://calls.example/hooks";
    let (_database, _provider, process) =
        process_with(|setup| setup.var("CALLSPOOL__HTTP__PUBLIC_URL", public)).await;
    let told = |origin: &str| Callback::completed(1).told(&format!("{origin}/webhooks/twilio/recording"));
    assert_eq!(told(public).send(&process).await.status, 202);
    assert_eq!(told("https://calls.example:443/hooks").send(&process).await.status, 202);
    for other in ["http://calls.example/hooks", "https://calls.example", "https://calls.example:8443/hooks"] {
        assert_eq!(told(other).send(&process).await.status, 403, "{other}");
    }
    // What a caller says of the host does not replace what is configured.
    let forwarded = told("https://evil.example").header("X-Forwarded-Host", "evil.example");
    assert_eq!(forwarded.header("X-Forwarded-Proto", "https").send(&process).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_says_what_it_was_asked_needs_no_configuration() {
    let (_database, _provider, process) = process().await;
    let callback = Callback::completed(1).told("https://calls.example/webhooks/twilio/recording");
    let forwarded = callback.header("X-Forwarded-Host", "calls.example").header("X-Forwarded-Proto", "https");
    assert_eq!(forwarded.send(&process).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_is_signed_as_it_came() {
    let (_database, _provider, process) = process().await;
    let query = "?business_id=42&name=O'Neil&a=%7e~%C3%a4&b=x+y%20z&&c";
    let answer = Callback::completed(1).query(query).send(&process).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    process.event("ENQUEUE").await;
    assert!(!process.everything().contains(AUTH_TOKEN));
}
