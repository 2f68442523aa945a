//! Retry and cancel by the API: one job, many of them, and who did it.

use crate::support::{
    Answer, Database, Process, Provider, eventually,
    http::{ask, ask_json},
    new_job,
    process::Setup,
    provider::recording,
};
use callspool::domain::ports::JobBook;
use serde_json::{Value, json};

const TOKENS: &str = "maria:operate+read:0123456789abcdef,looker:read:0123456789abcdeg";
const MARIA: &str = "0123456789abcdef";
const LOOKER: &str = "0123456789abcdeg";

async fn idle() -> (Database, Process) {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("CALLSPOOL_ROLES", "api").var("CALLSPOOL_API_TOKENS", TOKENS);
    (database, setup.run().await)
}

async fn enqueued(database: &Database, numbers: std::ops::RangeInclusive<u32>) -> Vec<i64> {
    let jobs: Vec<_> = numbers.map(|number| new_job(42, number)).collect();
    database.store().enqueue(&jobs).await.unwrap().iter().map(|job| job.id.0).collect()
}

async fn operate(process: &Process, path: &str, body: &Value) -> (u16, Value) {
    let answer = ask_json(process, &format!("POST /v1/jobs/{path}"), MARIA, body).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_cancelled_and_tried_again_by_a_name() {
    let (database, process) = idle().await;
    let id = enqueued(&database, 1..=1).await[0];
    let cancelled = json!({"id": id, "outcome": "cancelled", "state": "cancelled"});
    assert_eq!(operate(&process, &format!("{id}/cancel"), &Value::Null).await, (200, cancelled));
    let (status, again) = operate(&process, &format!("{id}/cancel"), &Value::Null).await;
    assert_eq!((status, &again["code"]), (409, &json!("finished")), "{again}");
    let ready = json!({"id": id, "outcome": "ready", "state": "ready"});
    assert_eq!(operate(&process, &format!("{id}/retry"), &Value::Null).await, (200, ready));

    let job_id = id.to_string();
    let line = process.line("what was done", |line| line["operator"] == "maria" && line["job_id"] == job_id);
    assert_eq!(line.await["outcome"], "cancelled");
    let actions = ask_json(&process, "GET /v1/businesses/42/actions", LOOKER, &Value::Null).await.json();
    let done: Vec<_> =
        actions["actions"].as_array().unwrap().iter().map(|a| (&a["operator"], &a["action"])).collect();
    assert_eq!(done, [(&json!("maria"), &json!("retry")), (&json!("maria"), &json!("cancel"))], "{actions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_look_changes_nothing() {
    let (database, process) = idle().await;
    let id = enqueued(&database, 1..=1).await[0];
    for line in [
        format!("POST /v1/jobs/{id}/cancel"),
        format!("POST /v1/jobs/{id}/retry"),
        "POST /v1/jobs/cancel".to_owned(),
        "POST /v1/jobs/retry".to_owned(),
        "PATCH /v1/businesses/42".to_owned(),
    ] {
        let answer = ask_json(&process, &line, LOOKER, &json!({"ids": [id]})).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "scope"), "{line}");
    }
    let job = ask_json(&process, &format!("GET /v1/jobs/{id}"), LOOKER, &Value::Null).await.json();
    assert_eq!(job["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_there_or_not_in_a_state_for_it_is_refused_with_a_code() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    let id = process.enqueue(42, 1).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    eventually("its end", async || (process.job(id).await["state"] == "done").then_some(())).await;
    for (line, status, code) in [
        (format!("POST /v1/jobs/{id}/cancel"), 409, "finished"),
        (format!("POST /v1/jobs/{id}/retry"), 409, "done"),
        ("POST /v1/jobs/999999/cancel".to_owned(), 404, "not_found"),
        ("POST /v1/jobs/999999/retry".to_owned(), 404, "not_found"),
        ("POST /v1/jobs/x/retry".to_owned(), 422, "invalid_field"),
        (format!("POST /v1/jobs/{id}/retry?x=1"), 422, "invalid_field"),
        (format!("GET /v1/jobs/{id}/retry"), 405, "method_not_allowed"),
    ] {
        let answer = ask(&process, &line, "", b"").await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{line}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_told_to_stop_and_its_slot_is_free() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::Held(recording(1))]);
    let process = Setup::new(&database).provider(&provider).run().await;
    let id = process.enqueue(42, 1).await;
    eventually("that it runs", async || (process.job(id).await["state"] == "running").then_some(())).await;
    let answer = ask(&process, &format!("POST /v1/jobs/{id}/cancel"), "", b"").await;
    let requested = json!({"id": id, "outcome": "requested", "state": "running"});
    assert_eq!((answer.status, answer.json()), (202, requested), "{answer:?}");
    eventually("its end", async || (process.job(id).await["state"] == "cancelled").then_some(())).await;
    let business = ask(&process, "GET /v1/businesses/42", "", b"").await.json();
    assert_eq!((&business["running"], &business["cancelled"]), (&json!(0), &json!(1)), "{business}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_changed_by_their_ids_or_by_what_they_are() {
    let (database, process) = idle().await;
    let ids = enqueued(&database, 1..=30).await;
    let (status, answer) = operate(&process, "cancel", &json!({"ids": [ids[0], ids[1], 999_999]})).await;
    let results = json!([
        {"id": ids[0], "outcome": "cancelled"},
        {"id": ids[1], "outcome": "cancelled"},
        {"id": 999_999, "outcome": "unknown"},
    ]);
    assert_eq!((status, answer), (200, json!({"changed": 2, "results": results, "more": false})));

    let (_, page) = operate(&process, "cancel", &json!({"state": "ready", "business_id": 42, "limit": 20})).await;
    assert_eq!((&page["changed"], &page["more"]), (&json!(20), &json!(true)));
    let (_, rest) = operate(&process, "cancel", &json!({"state": "ready", "limit": 20})).await;
    assert_eq!((&rest["changed"], &rest["more"]), (&json!(8), &json!(false)));
    let (_, one) = operate(&process, "retry", &json!({"state": "cancelled", "call_sid": "CA7"})).await;
    assert_eq!((&one["changed"], &one["results"][0]["outcome"]), (&json!(1), &json!("ready")), "{one}");
    let after = one["results"][0]["id"].as_i64().unwrap();
    let (_, older) = operate(&process, "retry", &json!({"state": "cancelled", "after": after})).await;
    assert_eq!(older["changed"], 6, "{older}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_many_is_checked_by_field() {
    let (_database, process) = idle().await;
    let many: Vec<i64> = (1..=1_001).collect();
    for (path, body, fields) in [
        ("retry", json!({}), &["state"][..]),
        ("retry", json!({"state": "ready"}), &["state"]),
        ("cancel", json!({"state": "dead"}), &["state"]),
        ("cancel", json!({"state": "lost", "limit": 0}), &["state", "limit"]),
        ("cancel", json!({"ids": []}), &["ids"]),
        ("cancel", json!({"ids": many}), &["ids"]),
        ("cancel", json!({"ids": [1], "state": "ready"}), &["ids"]),
        ("cancel", json!({"ids": ["x"]}), &["ids", "state"]),
        (
            "cancel",
            json!({"state": "ready", "business_id": -1, "call_sid": "x", "colour": 1}),
            &["business_id", "colour", "call_sid"],
        ),
        ("cancel", json!([]), &["body"]),
    ] {
        let (status, answer) = operate(&process, path, &body).await;
        assert_eq!((status, &answer["code"]), (422, &json!("invalid_field")), "{answer}");
        let named: Vec<_> =
            answer["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{answer}");
    }
}
