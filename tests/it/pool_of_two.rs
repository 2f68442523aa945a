//! A process on the smallest pool that the settings allow.

use crate::{
    queue_law::{assert_law, execute, totals},
    support::{
        Answer, Database, Process, Provider, eventually,
        http::Callback,
        process::{Setup, json},
        provider::recording,
        way::Way,
    },
};
use futures_util::{StreamExt, stream};
use sqlx::{AssertSqlSafe, Connection, Executor};

/// Sessions that wait for somebody's lock.
const WAITING: &str = "select count(*) from pg_stat_activity
                        where datname = current_database() and wait_event_type = 'Lock'";

fn on_two(database: &Database, provider: &Provider) -> Setup {
    Setup::new(database).provider(provider).var("CALLSPOOL__DATABASE__POOL_SIZE", "2")
}

/// Businesses 1 to 10 call in turn.
fn callback(number: u32) -> Callback {
    Callback::completed(number).query(&format!("?business_id={}", 1 + number % 10))
}

async fn count(database: &Database, sql: &'static str) -> i64 {
    let mut connection = database.connect().await;
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

/// Lines of trouble.
fn warnings(process: &Process) -> Vec<String> {
    let is_trouble = |line: &serde_json::Value| line["level"] == "WARN" || line["level"] == "ERROR";
    process.lines().iter().filter(|line| is_trouble(line)).map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_hold_every_connection_cost_no_beat_no_lease_no_readiness_and_stop_no_other_business() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let held = on_two(&database, &provider).var("CALLSPOOL__HTTP__TIME_LIMIT", "1min").run().await;
    let other = Setup::new(&database).provider(&provider).var("CALLSPOOL_ROLES", "api").run().await;
    provider.tell(1, [Answer::Held(recording(1))]);
    held.enqueue(7, 1).await;
    provider.asked_times(1).await;
    execute(&database, "insert into business (business_id, max_slots) values (42, 5)").await;
    let mut operator = database.connect().await;
    let mut transaction = operator.begin().await.unwrap();
    transaction.execute("select 1 from business where business_id = 42 for update").await.unwrap();
    let address = held.url().await;
    let change = || {
        let request = reqwest::Client::new().patch(format!("{address}/v1/businesses/42"));
        let request = request.header("Content-Type", "application/json").body(r#"{"max_slots": 3}"#);
        tokio::spawn(async move { request.send().await.unwrap().status() })
    };
    let changes = [change(), change()];
    eventually("the one that requests may have waits", async || {
        (count(&database, WAITING).await == 1).then_some(())
    })
    .await;

    // Longer than the others would wait for a beat.
    beats_for_three_seconds(&database, async || assert!(held.is_ready().await, "{}", held.everything())).await;
    assert_eq!(count(&database, WAITING).await, 1, "it waits as before, and the other for its turn");
    other.enqueue(8, 2).await;
    held.line("another business's end", |line| line["marker"] == "WORKER_RELEASE_SLOT" && line["business_id"] == 8)
        .await;
    transaction.rollback().await.unwrap();
    for change in changes {
        assert_eq!(change.await.unwrap(), 200);
    }
    provider.release(1);
    eventually("the end of both", async || (totals(&database).await.1 == 2).then_some(())).await;
    assert_eq!(provider.asked().len(), 2, "nothing was begun twice");
    assert!(!held.everything().contains("no beat reached"), "{}", held.everything());
    assert_law(&database).await;
}

/// Until a worker has beaten that long after now, by the database's clock.
async fn beats_for_three_seconds(database: &Database, mut meanwhile: impl AsyncFnMut()) {
    let mut look = database.connect().await;
    let since = "select clock_timestamp() + interval '3 s'";
    let since: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(since).fetch_one(&mut look).await.unwrap();
    eventually("a beat that much later", async || {
        meanwhile().await;
        let beat = sqlx::query_scalar::<_, bool>("select max(beat_at) > $1 from instance where workers > 0");
        beat.bind(since).fetch_one(&mut look).await.unwrap().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_round_by_itself_leaves_a_connection_to_requests() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = on_two(&database, &provider)
        .var("CALLSPOOL__HOLDS__REFRESH", "50ms")
        .var("CALLSPOOL__QUEUE__PROMOTE_INTERVAL", "50ms")
        .run()
        .await;
    // The promotion waits for one of these, the look at the holds for the other.
    let mut operator = database.connect().await;
    let mut transaction = operator.begin().await.unwrap();
    transaction.execute("lock table job_scheduled, hold in access exclusive mode").await.unwrap();
    eventually("one waits", async || (count(&database, WAITING).await > 0).then_some(())).await;
    beats_for_three_seconds(&database, async || {
        assert_eq!(process.get("/v1/businesses").await.status(), 200, "{}", process.everything());
    })
    .await;
    assert_eq!(count(&database, WAITING).await, 1, "one of them took the only turn");
    transaction.rollback().await.unwrap();
    let id = process.enqueue(42, 1).await;
    eventually("all goes on", async || (process.job(id).await["state"] == "done").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_webhooks_with_everything_else_beside_them_are_stored_at_the_first_attempt() {
    const RECORDINGS: u32 = 300;
    let (database, provider) = (Database::migrated().await, Provider::start());
    // As it is shipped: a machine that is busy with other tests may be late with short beats.
    let process = on_two(&database, &provider)
        .var("CALLSPOOL__WORKER__COUNT", "64")
        .var("CALLSPOOL__QUEUE__BEAT_INTERVAL", "2s")
        .var("CALLSPOOL__QUEUE__BEAT_TTL", "10s")
        .run()
        .await;
    let webhooks = stream::iter(1..=RECORDINGS)
        .map(async |number| {
            let answer = callback(number).send(&process).await;
            assert_eq!(answer.status, 202, "{answer:?}");
        })
        .buffer_unordered(16)
        .collect::<Vec<_>>();
    let looks = async {
        while totals(&database).await.1 < i64::from(RECORDINGS) {
            for path in ["/v1/status", "/v1/jobs?limit=100", "/v1/businesses", "/metrics", "/readyz"] {
                assert_eq!(process.get(path).await.status(), 200, "{path}");
            }
        }
    };
    tokio::join!(webhooks, super::support::within_patience("the end of all", looks));
    let ended_at_first = "select count(*) from job_history where state = 'done' and attempt = 1";
    assert_eq!(count(&database, ended_at_first).await, i64::from(RECORDINGS));
    assert_eq!(provider.asked().len(), RECORDINGS as usize);
    for number in 1..=RECORDINGS {
        let file = process.storage().join(format!("{}/CA{number}.mp3", 1 + number % 10));
        assert_eq!(std::fs::read(file).unwrap(), recording(number));
    }
    assert_eq!(warnings(&process), Vec::<String>::new());
    assert_law(&database).await;
    eventually("the figures of all", async || {
        let status = json(process.get("/v1/status").await).await;
        (status["backlog"]["done"] == RECORDINGS).then_some(())
    })
    .await;
}

/// What was under way on one of them stays stuck for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fall_silent_again_and_again_stop_neither_beats_nor_claims() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let (way, far) = Way::to(&database);
    let process = on_two(&far, &provider).var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "1s").run().await;
    let mut application = database.connect().await;
    for number in 1..=3 {
        way.fall_silent();
        let enqueue = format!(
            "select enqueue(business_id => 42, call_sid => 'CA{number}', recording_sid => 'RE{number}',
                 recording_url => '{}/2010-04-01/Accounts/AC1/Recordings/RE{number}')",
            provider.base()
        );
        application.execute(AssertSqlSafe(enqueue)).await.unwrap();
        eventually("its end", async || (totals(&database).await.1 == number).then_some(())).await;
        process.wait_until_ready().await;
    }
    assert_law(&database).await;
}

#[tokio::test]
async fn a_pool_of_one_is_refused_with_what_is_allowed() {
    let database = Database { url: "postgres://nobody@127.0.0.1:1/none".to_owned() };
    let said = Setup::new(&database).var("CALLSPOOL__DATABASE__POOL_SIZE", "1").say(&["config", "check"]).await;
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.err.contains("database.pool_size") && said.err.contains("from 2 to 1000"), "{said:?}");
}
