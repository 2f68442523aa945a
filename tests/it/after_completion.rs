//! The completion webhook: businesses are told of their recordings, at least once, signed.

use crate::{
    recordings::get,
    support::{
        Answer, Database, Process, Provider, eventually,
        http::ask_json,
        process::Setup,
        receiver::{Receiver, Reply},
    },
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// With secrets, and short waits.
pub fn telling(database: &Database, provider: &Provider) -> Setup {
    Setup::new(database)
        .provider(provider)
        .var("CALLSPOOL_COMPLETION_SECRET", &format!("{SECRET},{OLD}"))
        .var("CALLSPOOL__COMPLETION__POLL_INTERVAL", "50ms")
        .var("CALLSPOOL__COMPLETION__RETRY_BASE", "50ms")
        .var("CALLSPOOL__COMPLETION__RETRY_MAX", "200ms")
}

async fn fleet(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Receiver, Process) {
    let (database, provider, receiver) = (Database::migrated().await, Provider::start(), Receiver::start());
    let setup = telling(&database, &provider).var("CALLSPOOL__COMPLETION__URL", &receiver.url("/all"));
    let process = change(setup).run().await;
    configured(&database, true).await;
    (database, provider, receiver, process)
}

async fn value(database: &Database, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut database.connect().await).await.unwrap()
}

/// The database knows whether everybody is told.
async fn configured(database: &Database, announces: bool) {
    let sql = format!("select count(*) from fleet_setting where announces = {announces}");
    eventually("the setting", async || (value(database, &sql).await == 1).then_some(())).await;
}

async fn nothing_is_left(database: &Database) {
    let sql = "select count(*) from follow_up";
    eventually("no follow-up", async || (value(database, sql).await == 0).then_some(())).await;
}

async fn set(process: &Process, id: i64, change: &Value) -> (u16, Value) {
    let answer = ask_json(process, &format!("PATCH /v1/businesses/{id}"), "", change).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_recording_is_told_with_a_signature_of_each_secret() {
    let (database, _provider, receiver, process) = fleet(|setup| setup).await;
    let job = process.enqueue(42, 1).await;
    let told = receiver.told_times(1).await.remove(0);
    assert!(told.is_signed_with(SECRET) && told.is_signed_with(OLD), "{told:?}");
    assert_eq!(told.path, "/all");
    let (body, shown) = (told.json(), get(&process, "/v1/recordings/CA1").await.json());
    assert_eq!((&body["type"], &body["job_id"]), (&json!("recording.stored"), &json!(job)));
    for field in ["business_id", "call_sid", "recording_sid", "bytes", "sha256", "content_type", "duration_ms"] {
        assert_eq!(body[field], shown[field], "{field}: {body}");
    }
    assert!(body["stored_at"].is_string() && body["timestamp"].is_string(), "{body}");
    let sent = process.event("COMPLETION_SENT").await;
    assert_eq!((&sent["type"], &sent["http_status"]), (&json!("recording.stored"), &json!(204)), "{sent}");
    nothing_is_left(&database).await;
    assert!(!process.everything().contains("MfKQ9r8"), "a secret is in the log");
    let metrics = process.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("callspool_completions_total{outcome=\"sent\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_is_told_again_by_the_same_id_and_a_redirect_is_not_followed() {
    let (database, _provider, receiver, process) = fleet(|setup| setup).await;
    receiver.tell([Reply::Status(500), Reply::Redirect(receiver.url("/elsewhere")), Reply::Status(429)]);
    process.enqueue(42, 1).await;
    let told = receiver.told_times(4).await;
    assert!(
        told.iter().all(|one| one.id == told[0].id && one.body == told[0].body && one.path == "/all"),
        "{told:?}"
    );
    assert!(told.iter().all(|one| one.is_signed_with(SECRET)));
    nothing_is_left(&database).await;
    let failed = process.events("COMPLETION_FAILED");
    assert_eq!(failed.len(), 3);
    assert_eq!(failed[0]["reason"], "http_status");
    assert_eq!(receiver.told().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_dead_is_told_and_who_wants_to_hear_nothing_is_given_up_and_can_be_tried_again() {
    let (_database, provider, receiver, process) = fleet(|setup| setup).await;
    provider.tell(1, [Answer::status(410)]);
    receiver.tell([Reply::Status(410)]);
    let job = process.enqueue(42, 1).await;
    let failed = process.event("COMPLETION_FAILED").await;
    assert_eq!((&failed["reason"], &failed["retry_in"]), (&json!("gone"), &json!("never")), "{failed}");
    let told = receiver.told_times(1).await.remove(0).json();
    assert_eq!((&told["type"], &told["job_id"]), (&json!("recording.failed"), &json!(job)));
    assert_eq!(told["error"]["code"], "gone");
    let dead = eventually("the dead follow-up", async || {
        let page = get(&process, "/v1/follow-ups?dead=true").await.json();
        page["follow_ups"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!((&dead["kind"], &dead["event"]), (&json!("announce"), &json!("recording.failed")), "{dead}");
    let again = ask_json(&process, &format!("POST /v1/follow-ups/{}/retry", dead["id"]), "", &json!({})).await;
    assert_eq!(again.status, 204);
    process.event("COMPLETION_SENT").await;
    assert_eq!(ask_json(&process, "POST /v1/follow-ups/999/retry", "", &json!({})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_tells_leaves_that_to_the_next() {
    let (_database, _provider, receiver, mut process) =
        fleet(|setup| setup.var("CALLSPOOL__COMPLETION__TIMEOUT", "500ms")).await;
    receiver.tell([Reply::Silence]);
    process.enqueue(42, 1).await;
    receiver.told_times(1).await;
    process.kill().await;
    let next = process.again();
    let told = receiver.told_times(2).await;
    assert_eq!(told[0].id, told[1].id);
    next.event("COMPLETION_SENT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_is_told_at_its_own_url_with_its_own_secret() {
    let (database, _provider, receiver, process) = fleet(|setup| setup).await;
    let (status, set_up) = set(&process, 42, &json!({"completion_url": receiver.url("/of/42")})).await;
    assert_eq!((status, &set_up["completion_url"]), (200, &json!(receiver.url("/of/42"))));
    process.enqueue(42, 1).await;
    let own = receiver.told_times(1).await.remove(0);
    assert_eq!(own.path, "/of/42");
    assert!(!own.is_signed_with(SECRET), "nobody else's secret");
    let printed = process.setup().command(&["businesses", "completion-secret", "42"]).output().await.unwrap();
    let secrets = String::from_utf8(printed.stdout).unwrap();
    assert!(secrets.lines().count() == 2 && secrets.lines().all(|secret| own.is_signed_with(secret)), "{secrets}");
    set(&process, 42, &json!({"completion_url": null})).await;
    process.enqueue(42, 2).await;
    assert_eq!(receiver.told_times(2).await[1].path, "/all");

    // A place inside, by an application's SQL.
    let sql = "update business set completion_url = 'https://127.0.0.1:1/' where business_id = 42";
    database.connect().await.execute(sql).await.unwrap();
    process.enqueue(42, 3).await;
    assert_eq!(process.event("COMPLETION_FAILED").await["reason"], "url_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_leads_inside_is_refused_and_without_urls_nothing_is_written() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = telling(&database, &provider).run().await;
    for url in ["http://example.com/", "https://10.0.0.1/", "https://localhost/", "https://a@example.com/", "x"] {
        let (status, answer) = set(&process, 42, &json!({"completion_url": url})).await;
        assert_eq!((status, &answer["errors"][0]["field"]), (422, &json!("completion_url")), "{answer}");
    }
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    assert_eq!(value(&database, "select count(*) from follow_up").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_without_a_secret_and_a_wrong_secret_are_refused_at_the_start() {
    let database = Database::empty().await;
    let setup = Setup::new(&database)
        .var("CALLSPOOL__COMPLETION__URL", "https://example.com/")
        .var("CALLSPOOL_LINK_SECRET", "short-canary");
    let refused = setup.command(&["config", "check"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78));
    assert!(said.contains("completion.url") && said.contains("links.secret") && !said.contains("canary"), "{said}");
}
