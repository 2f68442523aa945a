//! Tokens with names and scopes: who may do what.

use crate::support::{Database, Process, http::ask, process::Setup};

const READER: &str = "s3cret-canary-reader";
const APP: &str = "s3cret-canary-application";
const ALL: &str = "s3cret-canary-all";

async fn process() -> (Database, Process) {
    let database = Database::migrated().await;
    let setup = Setup::new(&database)
        .var("TWILIO_API_BASE", "http://127.0.0.1:1")
        .var("CALLSPOOL_API_TOKEN", ALL)
        .var("CALLSPOOL_API_TOKENS", &format!("reader:read:{READER},app:enqueue:{APP}"));
    (database, setup.run().await)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
}

const JOB: &[u8] = br#"{"business_id":42,"call_sid":"CA1","recording_url":"/x","run_at":"2999-01-01T00:00:00Z"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_its_scopes_say_and_the_refusal_names_the_one_that_is_missing() {
    let (_database, process) = process().await;
    for (token, line, status, missing) in [
        (READER, "GET /v1/jobs/1", 404, ""),
        (READER, "POST /v1/jobs", 403, "enqueue"),
        (APP, "POST /v1/jobs", 202, ""),
        (APP, "GET /v1/jobs/1", 403, "read"),
        (ALL, "POST /v1/jobs", 202, ""),
        (ALL, "GET /v1/jobs/999999", 404, ""),
    ] {
        let answer = ask(&process, line, &bearer(token), JOB).await;
        assert_eq!(answer.status, status, "{token} {line}: {answer:?}");
        if status == 403 {
            assert_eq!(answer.problem(), "scope");
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains(&format!("the scope {missing}")), "{detail}");
        }
    }
    assert!(!process.everything().contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_learns_as_whom() {
    let (_database, process) = process().await;
    for (token, name, scopes) in [
        (READER, "reader", &["read"][..]),
        (APP, "app", &["enqueue"]),
        (ALL, "default", &["read", "enqueue", "operate"]),
    ] {
        let answer = ask(&process, "GET /session", &bearer(token), b"").await;
        assert_eq!((answer.status, answer.json()), (200, serde_json::json!({"name": name, "scopes": scopes})));
    }
    let nobody = ask(&process, "GET /session", &bearer("s3cret-canary-readeR"), b"").await;
    assert_eq!((nobody.status, nobody.problem().as_str()), (401, "unauthorized"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_named_tokens_are_configured_nobody_is_anybody_by_being_on_loopback() {
    let database = Database::migrated().await;
    let process = Setup::new(&database).var("CALLSPOOL_API_TOKENS", &format!("reader:read:{READER}")).run().await;
    assert_eq!(ask(&process, "GET /v1/jobs/1", "", b"").await.status, 401);
    assert_eq!(ask(&process, "GET /v1/jobs/1", &bearer(READER), b"").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_list_of_tokens_ends_the_start_with_78_and_shows_none() {
    let database = Database::empty().await;
    let list = format!("reader:read:{READER},Reader:look:{APP},short:read:canary");
    let setup = Setup::new(&database).var("CALLSPOOL_API_TOKENS", &list).var("CALLSPOOL_ROLES", "api,x");
    let mut process = setup.start();
    assert_eq!(process.exit_code().await, 78);
    let said = process.everything();
    for fault in ["entry 2: a name is", "entry 2: a scope is", "entry 3: a token has at least", "process.roles"] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    assert!(!said.contains("canary"), "{said}");
}
