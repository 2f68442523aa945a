//! More requests than the database takes: as many as may be wait, the others are told to come again, and the rest of the
//! process goes on.

#![expect(clippy::float_cmp, reason = "counts, which a float holds exactly")]

use crate::{
    metrics::Page,
    support::{
        Database, Process, Provider, eventually,
        http::{Callback, RawAnswer, ask},
        process::Setup,
        within_patience,
    },
};
use sqlx::{Executor, PgConnection};
use std::sync::Arc;

/// Enqueues of this business wait for as long as [`Held`] lasts; no other ones do.
const SLOW: i64 = 666;

/// The database, busy with whatever is enqueued for [`SLOW`].
struct Held(PgConnection);

impl Held {
    async fn hold(database: &Database) -> Self {
        let mut connection = database.connect().await;
        let wait = "create function wait() returns trigger language plpgsql as
                        $$ begin perform pg_advisory_xact_lock_shared(666); return new; end $$;
                    create trigger wait before insert on job for each row when (new.business_id = 666)
                        execute function wait()";
        connection.execute(wait).await.unwrap();
        connection.execute("select pg_advisory_lock(666)").await.unwrap();
        Self(connection)
    }

    async fn let_go(mut self) {
        self.0.execute("select pg_advisory_unlock(666)").await.unwrap();
    }
}

async fn enqueue(process: &Process, business: i64, number: u32) -> RawAnswer {
    let body = format!(
        r#"{{"business_id":{business},"call_sid":"CA{number}",
             "recording_url":"/2010-04-01/Accounts/AC1/Recordings/RE{number}"}}"#
    );
    ask(process, "POST /v1/jobs", "Content-Type: application/json\r\n", body.as_bytes()).await
}

/// `count` requests for [`SLOW`] that wait in the database or for their turn to ask it.
async fn fill(process: &Arc<Process>, count: u32) -> Vec<tokio::task::JoinHandle<RawAnswer>> {
    let waiting = (0..count).map(|number| {
        let process = Arc::clone(process);
        tokio::spawn(async move { enqueue(&process, SLOW, 1_000 + number).await })
    });
    let waiting = waiting.collect();
    eventually("that all of them wait", async || {
        (Page::of(process).await.value("callspool_requests_in_flight", &[]) >= f64::from(count)).then_some(())
    })
    .await;
    waiting
}

async fn all_accepted(waiting: Vec<tokio::task::JoinHandle<RawAnswer>>) {
    for request in waiting {
        let answer = within_patience("an answer", request).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
    }
}

async fn count(database: &Database, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut database.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_places_the_door_tells_everybody_to_come_again_and_loses_nothing_it_took() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL__HTTP__MAX_IN_FLIGHT", "5");
    let process = Arc::new(setup.run().await);
    let held = Held::hold(&database).await;
    let waiting = fill(&process, 5).await;

    let api = enqueue(&process, 42, 1).await;
    let webhook = Callback::completed(2).send(&process).await;
    let list = ask(&process, "GET /v1/jobs", "", b"").await;
    for refused in [&api, &webhook, &list] {
        assert_eq!((refused.status, refused.problem().as_str()), (503, "overloaded"), "{refused:?}");
        assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
    }
    // What asks nothing of a door: health, metrics, and who is refused anyhow.
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(process.get(path).await.status(), 200, "{path}");
    }
    assert_eq!(Callback::completed(3).signature("wrong").send(&process).await.status, 403);
    assert_eq!(Page::of(&process).await.value("callspool_requests_shed_total", &[]), 3.0);
    assert_eq!(
        count(&database, "select count(*) from job_view where business_id = 42").await,
        0,
        "nothing was done"
    );

    held.let_go().await;
    all_accepted(waiting).await;
    assert_eq!(count(&database, "select count(*) from job_view where business_id = 666").await, 5);
    eventually("that all places are free", async || {
        (Page::of(&process).await.value("callspool_requests_in_flight", &[]) == 0.0).then_some(())
    })
    .await;
    assert_eq!(Callback::completed(2).send(&process).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_go_on_while_requests_wait_for_a_busy_database() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL__DATABASE__POOL_SIZE", "4");
    let process = Arc::new(setup.var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "60s").run().await);
    let held = Held::hold(&database).await;
    let waiting = fill(&process, 20).await;

    let job = "select enqueue(42, 'CA1', $1)";
    let url = format!("{}/2010-04-01/Accounts/AC1/Recordings/RE1", provider.base());
    sqlx::query(job).bind(url).execute(&mut database.connect().await).await.unwrap();
    process.event("WORKER_DOWNLOAD_DONE").await;
    eventually("that its result is settled", async || {
        (count(&database, "select count(*) from job_history where business_id = 42").await == 1).then_some(())
    })
    .await;
    assert!(process.is_ready().await);

    held.let_go().await;
    all_accepted(waiting).await;
}

/// Their callers have gone, and nobody works for them any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_had_no_turn_in_its_time_is_not_done_later() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL__DATABASE__POOL_SIZE", "2");
    let process = Arc::new(setup.var("CALLSPOOL__HTTP__TIME_LIMIT", "500ms").run().await);
    let held = Held::hold(&database).await;
    let waiting = (0..4).map(|number| {
        let process = Arc::clone(&process);
        tokio::spawn(async move { enqueue(&process, SLOW, 1_000 + number).await })
    });
    for request in waiting.collect::<Vec<_>>() {
        let answer = within_patience("an answer", request).await.unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), (503, "timeout"), "{answer:?}");
    }
    held.let_go().await;
    eventually("that all places are free", async || {
        (Page::of(&process).await.value("callspool_requests_in_flight", &[]) == 0.0).then_some(())
    })
    .await;
    // The one that had begun.
    assert_eq!(count(&database, "select count(*) from job_view where business_id = 666").await, 1);
}
