//! The pool behind a PgBouncer in transaction mode: recordings go through it as they do without one.

use crate::{
    pgbouncer::PgBouncer,
    queue_law::{assert_law, execute, totals},
    support::{Answer, Database, Process, Provider, eventually, process::Setup, provider::recording},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::Path;

const BUSINESSES: u32 = 5;

/// A process, or a command, whose pool goes through `pgbouncer`.
pub fn pooled(database: &Database, pgbouncer: &PgBouncer) -> Setup {
    Setup::new(database)
        .var("DATABASE_URL", &pgbouncer.url(database))
        .var("MIGRATION_DATABASE_URL", &database.url)
        .var("CALLSPOOL__DATABASE__POOLER", "transaction")
}

/// Two that store in one place.
pub fn fleet(database: &Database, pgbouncer: &PgBouncer, provider: &Provider) -> (Setup, Setup) {
    let one = pooled(database, pgbouncer).provider(provider);
    let storage = format!("file:{}", one.storage().display());
    let two = pooled(database, pgbouncer).provider(provider).var("CALLSPOOL_STORAGE_URL", &storage);
    (one, two)
}

/// Waits until `jobs` are over; until then no business has more than its slots, and the pooler not more than its
/// `sessions`.
async fn all_over(database: &Database, jobs: i64, sessions: i64) {
    let mut connection = database.connect().await;
    let look = "select (select count(*) from business where running > max_slots),
                       (select count(*) from pg_stat_activity
                         where datname = current_database() and application_name like 'callspool/%')";
    let mut most = 0;
    eventually(&format!("the end of {jobs} jobs"), async || {
        let (over, used): (i64, i64) = sqlx::query_as(look).fetch_one(&mut connection).await.unwrap();
        assert_eq!(over, 0, "a business has more than its slots");
        most = most.max(used);
        (totals(database).await == (jobs, jobs)).then_some(())
    })
    .await;
    assert!((1..=sessions).contains(&most), "{most} sessions were used, {sessions} are allowed");
    connection.close().await.unwrap();
}

fn business_of(number: u32) -> i64 {
    i64::from(number % BUSINESSES) + 1
}

/// An application's own connection, which goes through the pooler as well.
async fn enqueue_by_sql(url: &str, provider: &Provider, numbers: impl IntoIterator<Item = u32>) {
    let options = url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().extra_float_digits(None);
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    for number in numbers {
        let sql = format!(
            "select callspool.enqueue(business_id => {}, call_sid => 'CA{number}', recording_sid => 'RE{number}',
                                      recording_url => '{}/2010-04-01/Accounts/AC1/Recordings/RE{number}')",
            business_of(number),
            provider.base()
        );
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    connection.close().await.unwrap();
}

async fn enqueue_by_command(setup: &Setup, numbers: impl IntoIterator<Item = u32>) {
    let line = |number| {
        format!(
            "{{\"business_id\":{},\"call_sid\":\"CA{number}\",\"recording_url\":\"/Accounts/AC1/Recordings/RE{number}\"}}\n",
            business_of(number)
        )
    };
    let lines: String = numbers.into_iter().map(line).collect();
    let said = setup.say_with(&["enqueue", "--file", "-"], &lines).await;
    assert_eq!((said.code, said.out.lines().count()), (0, lines.lines().count()), "{said:?}");
}

async fn enqueue_by_http(process: &Process, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        process.enqueue(business_of(number), number).await;
    }
}

fn assert_stored(storage: &Path, number: u32) {
    let file = storage.join(format!("{}/CA{number}.mp3", business_of(number)));
    assert_eq!(std::fs::read(file).unwrap(), recording(number), "recording {number}");
}

/// 100 recordings of 5 businesses with 1 to 5 slots, enqueued in every way there is. Neither of the two processes has
/// enough workers for the 15 slots.
async fn a_hundred_recordings(sessions: u32) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    execute(&database, "insert into business (business_id, max_slots) select n, n from generate_series(1, 5) n")
        .await;
    let pgbouncer = PgBouncer::transaction(&database, sessions).await;
    let commands = pooled(&database, &pgbouncer).provider(&provider);
    let (one, two) = fleet(&database, &pgbouncer, &provider);
    // A beat that is late on a busy machine is not what this is about.
    let workers =
        |setup: Setup| setup.var("CALLSPOOL__WORKER__COUNT", "8").var("CALLSPOOL__QUEUE__BEAT_TTL", "1min");
    let (one, two) = tokio::join!(workers(one).run(), workers(two).run());
    (1..=100).for_each(|number| provider.tell(number, [Answer::Held(recording(number))]));

    let url = pgbouncer.url(&database);
    tokio::join!(
        enqueue_by_http(&one, 1..=20),
        enqueue_by_http(&two, 21..=40),
        enqueue_by_command(&commands, 41..=70),
        enqueue_by_sql(&url, &provider, 71..=100),
    );
    provider.asked_times(15).await;
    assert_eq!(totals(&database).await, (100, 0), "all are in, and none is over");
    assert_eq!(provider.asked().len(), 15, "more than the slots of all");
    provider.release(100);
    all_over(&database, 100, sessions.into()).await;

    (1..=100).for_each(|number| assert_stored(&one.storage(), number));
    assert_eq!(provider.asked().len(), 100, "each was fetched once");
    let acquired = [one.events("WORKER_SLOT_ACQUIRED"), two.events("WORKER_SLOT_ACQUIRED")];
    assert!(acquired.iter().all(|events| events.len() >= 7), "one process did everything");
    for event in acquired.iter().flatten() {
        assert!(event["running"].as_i64() <= event["max_slots"].as_i64(), "{event}");
    }
    assert_law(&database).await;
    assert_eq!(left_in_sessions(&url).await, 0);

    let status = commands.say(&["status", "--json"]).await;
    assert_eq!(status.json()["backlog"]["done"], 100, "{status:?}");
    assert_eq!(status.json()["instances"].as_array().unwrap().len(), 2);
    let jobs = commands.say(&["jobs", "list", "--state", "done", "--limit", "1000", "--json"]).await;
    assert_eq!(jobs.json().as_array().unwrap().len(), 100, "{jobs:?}");
    let id = jobs.json()[0]["id"].to_string();
    assert_eq!(commands.say(&["jobs", "show", &id, "--json"]).await.json()["state"], "done");
    assert_eq!(commands.say(&["migrate", "status", "--json"]).await.json()["fits"], true);
}

/// Named statements in the session that a transaction gets now.
async fn left_in_sessions(url: &str) -> i64 {
    let options = url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().extra_float_digits(None);
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let row =
        connection.fetch_one(sqlx::raw_sql("select count(*)::text from pg_prepared_statements")).await.unwrap();
    sqlx::Row::get::<String, _>(&row, 0).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_recordings_go_through_a_pooler_with_one_session() {
    a_hundred_recordings(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_recordings_go_through_a_pooler_with_two_sessions() {
    a_hundred_recordings(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_recordings_go_through_a_pooler_with_ten_sessions() {
    a_hundred_recordings(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_gate_opens_through_a_pooler_when_a_command_has_migrated() {
    let (database, provider) = (Database::empty().await, Provider::start());
    let pgbouncer = PgBouncer::transaction(&database, 2).await;
    let commands = pooled(&database, &pgbouncer);
    let process = pooled(&database, &pgbouncer).provider(&provider).var("RUN_MIGRATIONS", "0").start();
    process.event("SCHEMA_WAITING").await;
    assert_eq!(commands.say(&["migrate", "wait", "--timeout", "0"]).await.code, 75);
    let migrated = commands.say(&["migrate", "run", "--json"]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    process.event("SCHEMA_READY").await;
    process.wait_until_ready().await;
    assert_eq!(commands.say(&["migrate", "wait", "--timeout", "30"]).await.code, 0);
    enqueue_by_http(&process, [1]).await;
    all_over(&database, 1, 2).await;
    assert_stored(&process.storage(), 1);
}
