//! `/v1/jobs`: what it takes, what it answers, and who may ask.

use crate::support::{
    Database, Process,
    http::{Callback, RawAnswer, ask, raw},
    process::Setup,
};
use serde_json::{Value, json};

async fn process() -> (Database, Process) {
    process_with(|setup| setup).await
}

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Process) {
    let database = Database::migrated().await;
    // Nobody answers there: jobs stay as they were enqueued, or fail and wait.
    let setup = Setup::new(&database).var("TWILIO_API_BASE", "http://127.0.0.1:1");
    let process = change(setup).run().await;
    (database, process)
}

async fn post(process: &Process, body: &[u8]) -> RawAnswer {
    ask(process, "POST /v1/jobs", "Content-Type: application/json\r\n", body).await
}

fn whole() -> Value {
    json!({
        "business_id": 42,
        "call_sid": "CA1",
        "recording_url": "/2010-04-01/Accounts/AC1/Recordings/RE1.json",
        "job_type": "download_only",
        "recording_sid": "RE1",
        "priority": 2,
        "run_at": "2999-01-01T00:00:00+02:00",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_enqueued_with_every_field_and_shown_as_it_was_asked_for() {
    let (_database, process) = process().await;
    let answer = post(&process, whole().to_string().as_bytes()).await;
    let id = answer.json()["id"].as_i64().unwrap();
    assert_eq!(
        (answer.status, answer.json()),
        (202, json!({"id": id, "state": "scheduled", "deduplicated": false}))
    );
    assert!(answer.head.contains(&format!("location: /v1/jobs/{id}\r\n")), "{answer:?}");
    let again = post(&process, whole().to_string().as_bytes()).await;
    assert_eq!((again.status, again.json()), (202, json!({"id": id, "state": "scheduled", "deduplicated": true})));

    let job = process.job(id).await;
    let names: Vec<&str> = job.as_object().unwrap().keys().map(String::as_str).collect();
    let contract = "id business_id call_sid recording_sid job_type state attempt max_attempts priority run_at \
                        enqueued_at started_at finished_at last_error instance"
        .split_whitespace()
        .collect::<Vec<_>>();
    assert_eq!(names, contract);
    for (name, value) in [
        ("business_id", json!(42)),
        ("call_sid", json!("CA1")),
        ("recording_sid", json!("RE1")),
        ("job_type", json!("download_only")),
        ("state", json!("scheduled")),
        ("attempt", json!(0)),
        ("priority", json!(2)),
        ("run_at", json!("2998-12-31T22:00:00Z")),
        ("last_error", Value::Null),
        ("instance", Value::Null),
    ] {
        assert_eq!(job[name], value, "{name} in {job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_request_comes_at_once_with_its_field() {
    let (_database, process) = process().await;
    let wrong = json!({
        "business_id": "x", "call_sid": "nonsense", "recording_url": "https://evil.example/x", "recording_sid": 7,
        "job_type": "dance", "priority": 10, "run_at": "tomorrow", "colour": "red",
    });
    let answer = post(&process, wrong.to_string().as_bytes()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"));
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let mut fields: Vec<&str> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    let mut all: Vec<&str> = wrong.as_object().unwrap().keys().map(String::as_str).collect();
    all.sort_unstable();
    assert_eq!(fields, all);
    for error in errors {
        assert!(answer.json()["detail"].as_str().unwrap().contains(error["field"].as_str().unwrap()), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_allowed_is_a_problem_with_a_stable_code() {
    let (_database, process) = process().await;
    let json = "Content-Type: application/json\r\n";
    for (line, headers, body, status, code) in [
        ("GET /v1/jobs/999999", "", "", 404, "not_found"),
        ("GET /v1/jobs/-1", "", "", 404, "not_found"),
        ("GET /v1/jobs/x", "", "", 422, "invalid_field"),
        ("GET /v1/jobs/99999999999999999999", "", "", 422, "invalid_field"),
        ("GET /v1/jobs/%ff", "", "", 422, "invalid_field"),
        ("GET /v1/nothing", "", "", 404, "not_found"),
        ("GET /..%2f..%2fetc/passwd", "", "", 404, "not_found"),
        ("DELETE /v1/jobs/1", "", "", 405, "method_not_allowed"),
        ("PUT /v1/jobs", json, "{}", 405, "method_not_allowed"),
        ("POST /healthz", "", "", 405, "method_not_allowed"),
        ("GET /webhooks/twilio/recording", "", "", 405, "method_not_allowed"),
        ("POST /v1/jobs", "", "{}", 415, "content_type"),
        ("POST /v1/jobs", "Content-Type: text/plain\r\n", "{}", 415, "content_type"),
        ("POST /v1/jobs", json, "{}", 422, "invalid_field"),
        ("POST /v1/jobs", json, "", 422, "invalid_field"),
    ] {
        let answer = ask(&process, line, headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{line}: {answer:?}");
        assert_eq!(answer.head.contains("allow: "), status == 405, "{line}: {answer:?}");
        for header in ["cache-control: no-store", "x-content-type-options: nosniff"] {
            assert!(answer.head.contains(header), "{line}: {answer:?}");
        }
    }
    let large = format!("{{\"call_sid\":\"{}\"}}", "x".repeat(70_000));
    let answer = post(&process, large.as_bytes()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "too_large"));
    let head = ask(&process, "HEAD /healthz", "", b"").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_input_is_a_500_or_a_panic() {
    let (_database, process) = process().await;
    let values = [
        "null",
        "true",
        "0",
        "-1",
        "1e400",
        "1e30",
        "9223372036854775808",
        "-9223372036854775808",
        "32768",
        "4.5",
        "\"\"",
        "\"\\u0000\"",
        "\"CA1\\u0000\"",
        "\"\\ud800\"",
        "\"\u{feff}CA1\"",
        "\"CA../../x\"",
        "\"http://[::1\"",
        "\"http://127.0.0.1:1/\\u0000\"",
        "\"http://127.0.0.1:1/%00\"",
        "\"/%zz\"",
        "\"+262142-01-01T00:00:00Z\"",
        "\"-262143-01-01T00:00:00Z\"",
        "\"1969-12-31T23:59:60Z\"",
        "\"9999-12-31T23:59:59.999999999Z\"",
        "[]",
        "{}",
        "[[[[]]]]",
    ];
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for (name, _) in whole().as_object().unwrap() {
        for value in values {
            let mut text = whole().to_string();
            let old = whole()[name].to_string();
            text = text.replace(&format!("\"{name}\":{old}"), &format!("\"{name}\":{value}"));
            bodies.push(text.into_bytes());
        }
    }
    let long = json!({ "business_id": 1, "call_sid": "CA1", "recording_url": format!("/{}", "é".repeat(1_000)) });
    bodies.push(long.to_string().into_bytes());
    bodies.extend([b"\xff\xfe".to_vec(), b"nul\0l".to_vec(), b"{\"business_id\":".to_vec(), vec![b'['; 60_000]]);
    for body in bodies {
        let answer = post(&process, &body).await;
        let text = String::from_utf8_lossy(&body);
        assert!(answer.status == 202 || answer.problem() == "invalid_field", "{text}: {answer:?}");
    }
    assert!(!process.everything().contains("panic"), "{}", process.everything());
    assert!(process.is_ready().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_the_api_is_for_those_who_have_it() {
    const TOKEN: &str = "api-token-canary";
    let (_database, process) = process_with(|setup| setup.var("CALLSPOOL_API_TOKEN", TOKEN)).await;
    let json = "Content-Type: application/json\r\n";
    let body = whole().to_string();
    for authorization in
        ["", "Bearer", "Bearer ", "Bearer wrong", "Basic api-token-canary", "Bearer api-token-canaryy"]
    {
        let headers = if authorization.is_empty() {
            json.to_owned()
        } else {
            format!("{json}Authorization: {authorization}\r\n")
        };
        for line in ["POST /v1/jobs", "GET /v1/jobs/1"] {
            let answer = ask(&process, line, &headers, body.as_bytes()).await;
            assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"), "{authorization}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
        }
    }
    for authorization in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN}")] {
        let headers = format!("{json}Authorization: {authorization}\r\n");
        assert_eq!(ask(&process, "POST /v1/jobs", &headers, body.as_bytes()).await.status, 202);
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(process.get(path).await.status(), 200, "{path} needs no token");
    }
    assert!(!process.everything().contains(TOKEN));
}

/// A page in a browser may let a name of its own point to 127.0.0.1.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_who_calls_it_localhost_is_answered() {
    let (_database, process) = process().await;
    let request = |host: &str| format!("GET /v1/jobs/1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = raw(&process, request("evil.example:8080").as_bytes()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "host"));
    for host in ["localhost:8080", "127.0.0.1", "[::1]:80"] {
        assert_eq!(raw(&process, request(host).as_bytes()).await.status, 404, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_serves_its_own_routes_and_every_role_serves_health() {
    for (roles, api, webhooks) in [("api", 422, 404), ("webhooks", 404, 403), ("worker", 404, 404)] {
        let (_database, process) = process_with(|setup| setup.var("CALLSPOOL_ROLES", roles)).await;
        assert_eq!(post(&process, b"{}").await.status, api, "{roles}");
        assert_eq!(Callback::completed(1).send(&process).await.status, webhooks, "{roles}");
        for path in ["/healthz", "/readyz"] {
            assert_eq!(process.get(path).await.status(), 200, "{roles} {path}");
        }
    }
}
