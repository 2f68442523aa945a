//! `/v1/businesses`: slots, weight and pause, and what they do.

use crate::support::{
    Database, Process, Provider, eventually,
    http::{ask, ask_json},
    process::Setup,
};
use serde_json::{Value, json};

async fn patch(process: &Process, id: i64, body: &Value) -> (u16, Value) {
    let answer = ask_json(process, &format!("PATCH /v1/businesses/{id}"), "", body).await;
    (answer.status, answer.json())
}

async fn get(process: &Process, path: &str) -> (u16, Value) {
    let answer = ask(process, &format!("GET {path}"), "", b"").await;
    (answer.status, answer.json())
}

async fn idle() -> (Database, Process) {
    let database = Database::migrated().await;
    let process = Setup::new(&database).var("CALLSPOOL_ROLES", "api").run().await;
    (database, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_is_set_up_before_its_first_job_and_keeps_what_is_not_named() {
    let (_database, process) = idle().await;
    assert_eq!(get(&process, "/v1/businesses/42").await.0, 404);
    let (status, made) = patch(&process, 42, &json!({"max_slots": 3, "weight": 10})).await;
    assert_eq!(
        (status, &made["max_slots"], &made["weight"], &made["paused"]),
        (200, &json!(3), &json!(10), &json!(false))
    );
    let names: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    let shape = "business_id max_slots weight paused paused_at paused_by running ready scheduled done cancelled dead \
                 waiting_since forms retention_days delete_at_provider completion_url";
    assert_eq!(names, shape.split_whitespace().collect::<Vec<_>>());
    let (_, paused) = patch(&process, 42, &json!({"paused": true, "weight": null})).await;
    assert_eq!((&paused["max_slots"], &paused["weight"], &paused["paused"]), (&json!(3), &json!(10), &json!(true)));
    assert_eq!(paused["paused_by"], "loopback");
    assert_eq!(get(&process, "/v1/businesses/42").await, (200, paused));
    let line = process.line("the change", |line| line["operator"] == "loopback" && line["paused"] == true).await;
    assert_eq!((&line["business_id"], &line["max_slots"]), (&json!(42), &json!(3)), "{line}");
    let (_, actions) = get(&process, "/v1/businesses/42/actions?limit=1").await;
    assert_eq!(actions["actions"].as_array().unwrap().len(), 1);
    assert_eq!(actions["actions"][0]["action"], "pause");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_checked_by_field() {
    let (_database, process) = idle().await;
    for (body, fields) in [
        (json!({}), &["body"][..]),
        (json!({"paused": null}), &["body"]),
        (json!({"max_slots": -1, "weight": 0}), &["max_slots", "weight"]),
        (json!({"max_slots": 10_001, "weight": 101}), &["max_slots", "weight"]),
        (json!({"max_slots": "many"}), &["max_slots"]),
        (json!({"max_slots": 1.5, "paused": "yes"}), &["max_slots", "paused"]),
        (json!({"paused": true, "running": 0}), &["running"]),
        (json!([1]), &["body"]),
    ] {
        let (status, answer) = patch(&process, 42, &body).await;
        assert_eq!((status, &answer["code"]), (422, &json!("invalid_field")), "{answer}");
        let named: Vec<_> =
            answer["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{body}: {answer}");
    }
    assert_eq!(get(&process, "/v1/businesses/42").await.0, 404, "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn businesses_are_listed_by_number_in_pages() {
    let (_database, process) = idle().await;
    for id in [5, 3, 1, 4, 2] {
        patch(&process, id, &json!({"weight": 2})).await;
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (_, page) = get(&process, &format!("/v1/businesses?limit=2{after}")).await;
        seen.extend(page["businesses"].as_array().unwrap().iter().map(|b| b["business_id"].as_i64().unwrap()));
        let Some(next) = page["next"].as_i64() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_jobs_back_and_its_end_lets_them_go_at_once() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    patch(&process, 42, &json!({"paused": true})).await;
    let id = process.enqueue(42, 1).await;
    eventually("that the pause is the reason", async || {
        let (_, told) = get(&process, &format!("/v1/jobs/{id}/explain")).await;
        (told["reason"] == "business_paused").then_some(())
    })
    .await;
    assert_eq!(process.events("WORKER_PICKED").len(), 0);
    patch(&process, 42, &json!({"paused": false})).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
}
