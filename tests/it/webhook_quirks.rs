//! Twilio's quirks: JSON bodies, statuses, and what comes along with a callback.

use crate::support::{
    Database, Process, Provider,
    http::{Callback, WEBHOOK, raw},
    process::Setup,
};

async fn process() -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).var("CALLSPOOL_ROLES", "api,webhooks").run().await;
    (database, provider, process)
}

async fn details(database: &Database) -> serde_json::Value {
    let mut connection = database.connect().await;
    let details = "select details from job";
    sqlx::query_scalar::<_, Option<serde_json::Value>>(details)
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .unwrap_or_default()
}

async fn jobs(database: &Database) -> i64 {
    let mut connection = database.connect().await;
    sqlx::query_scalar("select count(*) from job_view").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_body_is_believed_by_the_checksum_in_its_signed_url() {
    let (database, _provider, process) = process().await;
    let json = || Callback::completed(1).json();
    let answer = json().send(&process).await;
    assert_eq!((answer.status, jobs(&database).await), (202, 1), "{answer:?}");
    assert_eq!(process.event("ENQUEUE").await["call_sid"], "CA1");
    for (what, callback) in [
        ("wrong token", json().token("guessed")),
        ("another body's checksum", json().query(&format!("?business_id=42&bodySHA256={}", "0".repeat(64)))),
        ("no checksum at all", json().query("?business_id=42&bodySHA256")),
        ("another account", json().field("AccountSid", "AC2")),
    ] {
        let answer = callback.send(&process).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "signature"), "{what}: {answer:?}");
    }
    // The checksum stands in a right URL, and the body was changed on its way.
    let unsigned = format!(
        "POST {WEBHOOK}?business_id=42 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Twilio-Signature: AAAA\r\n\
         Content-Type: application/json\r\nContent-Length: 21\r\n\r\n{{\"AccountSid\": \"AC1\"}}"
    );
    let answer = raw(&process, unsigned.as_bytes()).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("bodySHA256 is missing"), "{answer:?}");
    assert_eq!(jobs(&database).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_form_without_fields_is_refused_for_want_of_them() {
    let (database, _provider, process) = process().await;
    let mut empty = Callback::completed(1);
    for name in ["CallSid", "RecordingSid", "RecordingUrl", "RecordingStatus", "RecordingChannels"] {
        empty = empty.without(name);
    }
    let answer = empty.send(&process).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"), "{answer:?}");
    let fields: Vec<_> = answer.json()["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert_eq!(fields, ["call_sid", "recording_url"]);
    assert_eq!(jobs(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_will_never_be_there_is_said_in_the_log_and_every_other_status_is_nothing() {
    let (database, _provider, process) = process().await;
    for status in ["in-progress", "processing", "paused", "stopped", "deleted", "Completed", "one of next year", ""]
    {
        let answer = Callback::completed(1).field("RecordingStatus", status).send(&process).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{status}");
    }
    assert!(process.events("RECORDING_ABSENT").is_empty());
    // A job that lives meanwhile goes on.
    assert_eq!(Callback::completed(1).send(&process).await.status, 202);
    for (number, status) in [(1, "absent"), (2, "failed")] {
        let lost = Callback::completed(1).field("RecordingStatus", status).field("ErrorCode", "13221");
        assert_eq!(lost.send(&process).await.status, 204, "{status}");
        let line = process.event_number("RECORDING_ABSENT", number).await;
        assert_eq!((&line["status"], &line["call_sid"]), (&status.into(), &"CA1".into()), "{line}");
        assert_eq!((&line["recording_sid"], &line["error_code"]), (&"RE1".into(), &13221.into()), "{line}");
    }
    let unknown = Callback::completed(3).field("RecordingTrack", "both").field("Whatever", "\u{1}x");
    assert_eq!(unknown.send(&process).await.status, 202);
    assert_eq!(jobs(&database).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_the_recording_is_kept_with_its_job() {
    let (database, _provider, process) = process().await;
    let callback = Callback::completed(1)
        .field("RecordingDuration", "12")
        .field("RecordingChannels", "2")
        .field("RecordingStartTime", "Wed, 25 Feb 2026 12:00:01 +0000")
        .field("ParentCallSid", "CA9");
    assert_eq!(callback.send(&process).await.status, 202);
    let expected = serde_json::json!({
        "parent_call_sid": "CA9", "duration_s": 12, "channels": 2, "started_at": "2026-02-25T12:00:01Z",
    });
    assert_eq!(details(&database).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_wrongly_beside_the_url_loses_no_recording() {
    let (database, _provider, process) = process().await;
    let callback = Callback::completed(1)
        .field("RecordingDuration", "-1")
        .field("RecordingChannels", "stereo")
        .field("RecordingStartTime", "noon")
        .field("ParentCallSid", "../x");
    assert_eq!(callback.send(&process).await.status, 202);
    assert_eq!(details(&database).await, serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_be_enqueued_with_what_is_known_of_its_recording() {
    let (database, _provider, process) = process().await;
    let mut body = serde_json::json!({
        "business_id": 42, "call_sid": "CA1", "recording_url": "/2010-04-01/Accounts/AC1/Recordings/RE1",
        "parent_call_sid": "CA2", "duration_s": 7,
    });
    assert_eq!(process.post_json("/v1/jobs", &body).await.status(), 202);
    assert_eq!(details(&database).await, serde_json::json!({ "parent_call_sid": "CA2", "duration_s": 7 }));
    body["parent_call_sid"] = "x".into();
    let answer = process.post_json("/v1/jobs", &body).await;
    assert_eq!(answer.status(), 422);
    assert!(answer.text().await.unwrap().contains("parent_call_sid must be"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_of_one_callback_is_logged_with_its_token() {
    let (_database, _provider, process) = process().await;
    let token = |text: &str| Callback::completed(1).header("I-Twilio-Idempotency-Token", text);
    assert_eq!(token("97c15c05-1d46").send(&process).await.status, 202);
    assert_eq!(process.event("ENQUEUE").await["idempotency_token"], "97c15c05-1d46");
    assert_eq!(token(&"x".repeat(1_000)).send(&process).await.status, 202);
    let again = process.event_number("ENQUEUE", 2).await;
    assert_eq!((&again["deduplicated"], &again["idempotency_token"]), (&true.into(), &"x".repeat(64).into()));
}
