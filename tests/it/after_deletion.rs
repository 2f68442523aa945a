//! Deletion for good, legal holds, and deletion at the provider.

use crate::{
    after_completion::{SECRET, telling},
    recordings::{ask, enqueue, get, media},
    support::{
        Answer, Database, Process, Provider, eventually, http::ask_json, process::Setup, provider::recording,
        receiver::Receiver,
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;

async fn stored(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = change(telling(&database, &provider)).run().await;
    enqueue(&process, 1, json!({ "recording_sid": "RE1" })).await;
    process.event("WORKER_RELEASE_SLOT").await;
    (database, provider, process)
}

/// So that jobs of the type `full` are taken; nobody is there.
fn with_transcription(setup: Setup) -> Setup {
    setup.var("CALLSPOOL__TRANSCRIPTION__BASE_URL", "http://127.0.0.1:1")
}

async fn hold(process: &Process, body: &Value) -> (u16, Value) {
    let answer = ask_json(process, "PATCH /v1/recordings/CA1", "", body).await;
    (answer.status, answer.json())
}

async fn delete(process: &Process) -> u16 {
    ask(process, Method::DELETE, "/v1/recordings/CA1", &[]).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_recording_is_gone_for_good_and_nothing_fetches_it_again() {
    let receiver = Receiver::start();
    let url = receiver.url("/");
    let (_database, provider, process) =
        stored(|setup| with_transcription(setup).var("CALLSPOOL__COMPLETION__URL", &url)).await;
    assert!(process.file(42, 1).exists());
    assert_eq!(delete(&process).await, 204);
    process.event("RECORDING_FILE_REMOVED").await;
    assert!(!process.file(42, 1).exists());
    for path in ["/v1/recordings/CA1", "/v1/recordings/CA1/media", "/v1/recordings/CA1?recording_sid=RE1"] {
        let gone = get(&process, path).await;
        assert_eq!(gone.problem(), (410, "recording_deleted".to_owned()), "{path}");
        assert_eq!(gone.json()["deleted_by"], "loopback");
        assert!(gone.json()["deleted_at"].is_string());
    }
    assert_eq!(delete(&process).await, 410);
    let asked = provider.asked().len();
    for job_type in ["download_only", "full"] {
        let body = json!({
            "business_id": 42, "call_sid": "CA1", "job_type": job_type,
            "recording_url": "/2010-04-01/Accounts/AC1/Recordings/RE1",
        });
        let answer = crate::support::process::json(process.post_json("/v1/jobs", &body).await).await;
        assert_eq!((&answer["deduplicated"], &answer["state"]), (&json!(true), &json!("done")), "{answer}");
    }
    assert_eq!(provider.asked().len(), asked);
    let told = eventually("that the business knows", async || {
        receiver.told().into_iter().find(|told| told.kind() == "recording.deleted")
    })
    .await;
    assert!(told.is_signed_with(SECRET) && told.json()["deleted_by"] == "loopback");
    // Another recording of the same call is another recording.
    enqueue(&process, 2, json!({ "recording_sid": "RE2" })).await;
    let played = eventually("the other one", async || {
        let got = media(&process, &[]).await;
        (got.status == 200).then_some(got)
    })
    .await;
    assert_eq!(played.bytes, recording(2));
    // Of several the one that is meant has to be named.
    enqueue(&process, 3, json!({ "recording_sid": "RE3" })).await;
    eventually("the third", async || {
        (get(&process, "/v1/recordings/CA1?recording_sid=RE3").await.status == 200).then_some(())
    })
    .await;
    let refused = ask(&process, Method::DELETE, "/v1/recordings/CA1", &[]).await;
    assert_eq!(refused.problem(), (409, "ambiguous".to_owned()));
    assert_eq!(hold(&process, &json!({"legal_hold": true})).await.0, 409);
    for status in [204, 410] {
        let named = ask(&process, Method::DELETE, "/v1/recordings/CA1?recording_sid=RE3", &[]).await;
        assert_eq!(named.status, status);
    }
    assert_eq!(media(&process, &[]).await.bytes, recording(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_keeps_a_recording_from_operators() {
    let (_database, _provider, process) = stored(|setup| setup).await;
    for wrong in [json!({}), json!({"legal_hold": "yes"}), json!({"legal_hold": true, "x": 1})] {
        assert_eq!(hold(&process, &wrong).await.0, 422, "{wrong}");
    }
    let (status, held) = hold(&process, &json!({"legal_hold": true})).await;
    assert_eq!((status, &held["legal_hold"]), (200, &json!(true)));
    let refused = ask(&process, Method::DELETE, "/v1/recordings/CA1", &[]).await;
    assert_eq!(refused.problem(), (409, "legal_hold".to_owned()));
    assert_eq!(media(&process, &[]).await.status, 200);
    assert_eq!(hold(&process, &json!({"legal_hold": false})).await.0, 200);
    assert_eq!(delete(&process).await, 204);
    assert_eq!(hold(&process, &json!({"legal_hold": true})).await.0, 410);
    let trail = get(&process, "/v1/audit?call_sid=CA1").await.json();
    let actions: Vec<_> = trail["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["delete", "release", "play", "hold"], "{trail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_deleted_while_it_is_stored_again_stays_deleted() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = with_transcription(telling(&database, &provider)).run().await;
    provider.tell(1, [Answer::Held(recording(1)), Answer::Media(recording(1))]);
    enqueue(&process, 1, json!({ "recording_sid": "RE1", "job_type": "full" })).await;
    provider.asked_times(1).await;
    enqueue(&process, 1, json!({ "recording_sid": "RE1" })).await;
    process.event("WORKER_RELEASE_SLOT").await;
    assert_eq!(delete(&process).await, 204);
    provider.release(1);
    // Its job was told to stop, or its file came too late.
    process.event_number("WORKER_RELEASE_SLOT", 2).await;
    eventually("no file", async || (!process.file(42, 1).exists()).then_some(())).await;
    assert_eq!(get(&process, "/v1/recordings/CA1").await.problem(), (410, "recording_deleted".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_copy_goes_once_ours_is_whole_and_stays_where_it_is_not() {
    let (database, _provider, process) =
        stored(|setup| setup.var("CALLSPOOL__RETENTION__DELETE_AT_PROVIDER", "true")).await;
    // The process may have stored before it had told the database its setting.
    let patched =
        ask_json(&process, "PATCH /v1/businesses/42", "", &json!({"delete_at_provider": true})).await.json();
    assert_eq!(patched["delete_at_provider"], true);
    enqueue(&process, 2, json!({ "recording_sid": "RE2", "call_sid": "CA2" })).await;
    process.line("the second", |line| line["marker"] == "PROVIDER_DELETED" && line["call_sid"] == "CA2").await;
    let shown = eventually("that it is shown", async || {
        let shown = get(&process, "/v1/recordings/CA2").await.json();
        (!shown["provider_deleted_at"].is_null()).then_some(shown)
    })
    .await;
    assert_eq!(shown["legal_hold"], false);
    let sql = "insert into follow_up (kind, business_id, recording_key, call_sid, facts)
               values ('delete_at_provider', 42, 'RE2', 'CA3',
                       '{\"recording_url\": \"http://x/y\", \"storage_key\": \"42/CA2.mp3\", \"bytes\": 9999}')";
    database.connect().await.execute(sql).await.unwrap();
    let failed = process.event("DELETION_FAILED").await;
    assert_eq!((&failed["reason"], &failed["kind"]), (&json!("storage_error"), &json!("delete_at_provider")));
    assert!(process.events("PROVIDER_DELETED").iter().all(|line| line["call_sid"] != "CA3"));
}
