//! `GET /v1/jobs` and what belongs to one job: pages, filters, attempts, and why it does not run.

use crate::support::{Answer, Database, Process, Provider, eventually, http::ask, new_job, process::Setup};
use callspool::domain::{job::NewJob, ports::JobBook};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

/// A process that takes no jobs, so that they stay as they are.
async fn process() -> (Database, Process) {
    let database = Database::migrated().await;
    let process = Setup::new(&database).var("CALLSPOOL_ROLES", "api").run().await;
    (database, process)
}

async fn get(process: &Process, path: &str) -> Value {
    let answer = ask(process, &format!("GET {path}"), "", b"").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

fn ids(page: &Value) -> Vec<i64> {
    page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_from_the_last_id_and_hold_every_job_once() {
    let (database, process) = process().await;
    let jobs: Vec<NewJob> = (1..=125).map(|number| new_job(42, number)).collect();
    let mut all: Vec<i64> = database.store().enqueue(&jobs).await.unwrap().iter().map(|job| job.id.0).collect();
    all.reverse();
    assert_eq!(ids(&get(&process, "/v1/jobs").await).len(), 50, "where no limit is given");
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&process, &format!("/v1/jobs?limit=40{after}")).await;
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_i64() else { break };
        assert_eq!(ids(&page).len(), 40);
        after = format!("&after={next}");
    }
    assert_eq!(seen, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_of_state_business_and_call() {
    let (database, process) = process().await;
    let later = |number| NewJob { run_at: Some(Utc::now() + TimeDelta::hours(1)), ..new_job(7, number) };
    let jobs = [new_job(42, 1), new_job(42, 2), later(3), later(4)];
    let all: Vec<i64> = database.store().enqueue(&jobs).await.unwrap().iter().map(|job| job.id.0).collect();
    for (query, places) in [
        ("state=ready", &[1, 0][..]),
        ("state=scheduled", &[3, 2]),
        ("state=dead", &[]),
        ("business_id=42", &[1, 0]),
        ("business_id=42&state=scheduled", &[]),
        ("call_sid=CA3", &[2]),
        ("call_sid=CA3&business_id=42", &[]),
        ("business_id=7&limit=1", &[3]),
    ] {
        let wanted: Vec<i64> = places.iter().map(|place| all[*place]).collect();
        assert_eq!(ids(&get(&process, &format!("/v1/jobs?{query}")).await), wanted, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_wrong_or_unknown_is_refused_by_its_name() {
    let (_database, process) = process().await;
    for (path, fields) in [
        ("/v1/jobs?state=lost", &["state"][..]),
        ("/v1/jobs?state=", &["state"]),
        ("/v1/jobs?business_id=0&call_sid=x&limit=0&after=y", &["business_id", "call_sid", "limit", "after"]),
        ("/v1/jobs?limit=1001", &["limit"]),
        ("/v1/jobs?limit=1&limit=2", &["limit"]),
        ("/v1/jobs?colour=red&limit=5", &["colour"]),
        ("/v1/jobs?%ff%00=1", &["\u{fffd}"]),
        ("/v1/jobs/1?x=1", &["x"]),
        ("/v1/jobs/1/explain?x=1", &["x"]),
        ("/v1/businesses?after=-1&limit=x", &["after", "limit"]),
        ("/v1/businesses/0", &["id"]),
        ("/v1/overview?minutes=1441", &["minutes"]),
        ("/v1/status?x=1", &["x"]),
        ("/v1/migrations?x=1", &["x"]),
    ] {
        let answer = ask(&process, &format!("GET {path}"), "", b"").await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"), "{path}: {answer:?}");
        let body = answer.json();
        let named: Vec<&str> =
            body["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_job_that_is_not_there_is_not_there_either() {
    let (_database, process) = process().await;
    for path in ["/v1/jobs/9", "/v1/jobs/9/attempts", "/v1/jobs/9/explain"] {
        let answer = ask(&process, &format!("GET {path}"), "", b"").await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "not_found"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_failed_are_listed_with_their_errors() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::status(503), Answer::status(503), Answer::status(410)]);
    let process = Setup::new(&database).provider(&provider).var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "3").run().await;
    let id = process.enqueue(42, 1).await;
    eventually("its end", async || (process.job(id).await["state"] == "dead").then_some(())).await;
    let attempts = get(&process, &format!("/v1/jobs/{id}/attempts")).await["attempts"].clone();
    let codes: Vec<_> = attempts.as_array().unwrap().iter().map(|one| &one["error"]["code"]).collect();
    assert_eq!(codes.len(), 3, "{attempts}");
    assert_eq!(codes[0], "http_status");
    for (number, attempt) in attempts.as_array().unwrap().iter().enumerate() {
        let names: Vec<&str> = attempt.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["attempt", "started_at", "ended_at", "error", "instance"]);
        assert_eq!(attempt["attempt"], number + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_job_does_not_run_is_told_with_what_to_do() {
    let (database, process) = process().await;
    let id = database.store().enqueue(&[new_job(42, 1)]).await.unwrap()[0].id.0;
    let told = get(&process, &format!("/v1/jobs/{id}/explain")).await;
    let names: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["job_id", "state", "reason", "since", "text", "next", "also", "detail"]);
    assert_eq!((&told["job_id"], &told["reason"]), (&json!(id), &json!("no_live_workers")), "{told}");
    assert!(told["next"].as_str().unwrap().contains("CALLSPOOL_ROLES"), "{told}");
    assert!(told["detail"]["instances"].is_array(), "{told}");
}
