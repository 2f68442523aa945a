//! What one client may ask: how often, and for how long.

use crate::support::{
    Database, Process, Provider, eventually,
    http::{Callback, ask},
    process::Setup,
    way::Way,
};
use sqlx::{Connection, Executor};

const TOKENS: &str = "one:read:0123456789abcdef,two:read:0123456789abcdeg";

async fn ask_as(process: &Process, token: &str) -> (u16, String) {
    let answer = ask(process, "GET /v1/jobs/999999", &format!("Authorization: Bearer {token}\r\n"), b"").await;
    (answer.status, answer.head)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_has_its_own_rate_and_probes_and_webhooks_none() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database)
        .provider(&provider)
        .var("CALLSPOOL_API_TOKENS", TOKENS)
        .var("CALLSPOOL__HTTP__RATE_LIMIT", "1")
        .var("CALLSPOOL__HTTP__RATE_BURST", "3")
        .run()
        .await;
    let limited = eventually("that the first client is told to wait", async || {
        let (status, head) = ask_as(&process, "0123456789abcdef").await;
        assert!([404, 429].contains(&status), "{head}");
        (status == 429).then_some(head)
    })
    .await;
    for header in ["retry-after: 1", "application/problem+json", "cache-control: no-store"] {
        assert!(limited.contains(header), "{limited}");
    }
    assert_eq!(ask_as(&process, "0123456789abcdeg").await.0, 404, "another token");
    assert_eq!(ask_as(&process, "wrong").await.0, 401, "an address");
    eventually("that an address is told to wait", async || {
        (ask_as(&process, "wrong").await.0 == 429).then_some(())
    })
    .await;
    for number in 1..=10 {
        assert_eq!(process.get("/healthz").await.status(), 200);
        assert_eq!(Callback::completed(number).send(&process).await.status, 202);
    }
    eventually("that the first may come again", async || {
        (ask_as(&process, "0123456789abcdef").await.0 == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_in_time_is_a_timeout_and_a_change_is_carried_through() {
    let database = Database::migrated().await;
    let process = Setup::new(&database)
        .var("TWILIO_API_BASE", "http://127.0.0.1:1")
        .var("CALLSPOOL__HTTP__TIME_LIMIT", "300ms")
        .run()
        .await;
    let mut blocker = database.connect().await;
    let mut transaction = blocker.begin().await.unwrap();
    transaction.execute("lock table job in share mode").await.unwrap();
    let body = br#"{"business_id":42,"call_sid":"CA1","recording_url":"/x","run_at":"2999-01-01T00:00:00Z"}"#;
    let answer = ask(&process, "POST /v1/jobs", "Content-Type: application/json\r\n", body).await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "timeout"), "{answer:?}");
    assert!(answer.head.contains("retry-after: 1"));
    transaction.rollback().await.unwrap();
    process.event("ENQUEUE").await;
    let again = ask(&process, "POST /v1/jobs", "Content-Type: application/json\r\n", body).await;
    assert_eq!((again.status, &again.json()["deduplicated"]), (202, &true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fell_silent_holds_no_request_for_ever() {
    let database = Database::migrated().await;
    let (way, far) = Way::to(&database);
    let process = Setup::new(&far)
        .var("CALLSPOOL_ROLES", "api")
        .var("CALLSPOOL__DATABASE__POOL_SIZE", "2")
        .var("CALLSPOOL__HTTP__TIME_LIMIT", "300ms")
        .run()
        .await;
    way.fall_silent();
    let answer = eventually("an answer that comes too late", async || {
        let answer = ask(&process, "GET /v1/jobs/1", "", b"").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(["timeout", "unavailable"].contains(&answer.problem().as_str()), "{answer:?}");
}
