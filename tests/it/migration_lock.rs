//! The migration lock: tried, never waited for; skipped in time; gone on with when it is free.

use crate::support::{Database, Process, eventually, postgres::migrate, process::Setup};
use sqlx::{Connection, Executor, PgConnection};
use std::time::{Duration, Instant};

const LOCK: &str = "select pg_advisory_lock(1234567890)";
const UNLOCK: &str = "select pg_advisory_unlock(1234567890)";
/// Sessions of ours that wait for any lock or have a transaction open while they do nothing.
const WAITING: &str = "select count(*) from pg_stat_activity
    where application_name like 'callspool%' and datname = current_database()
      and (wait_event_type = 'Lock' or state like 'idle in transaction%')";
const MIGRATORS: &str = "select count(*) from pg_stat_activity
    where application_name like 'callspool-migrator/%' and datname = current_database()";

async fn count(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

async fn not_ready_because(process: &Process) -> String {
    let answer = process.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    answer.text().await.unwrap()
}

async fn is_alive(process: &Process) -> bool {
    process.get("/healthz").await.status() == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_04_a_process_that_does_not_migrate_waits_for_the_schema_and_needs_no_restart() {
    let database = Database::empty().await;
    let first = Setup::new(&database).var("RUN_MIGRATIONS", "0").start();
    assert_eq!(first.event("MIGRATION_SKIPPED").await["reason"], "disabled");
    let waiting = first.event("SCHEMA_WAITING").await;
    assert_eq!(waiting["have"], 0);
    assert!(is_alive(&first).await);
    assert!(not_ready_because(&first).await.contains("schema is at 0"));
    let mut connection = database.connect().await;
    assert_eq!(count(&mut connection, MIGRATORS).await, 0, "nobody asks for the lock");
    let workers = "actor=recording_worker";
    assert!(!first.everything().contains(workers), "workers wait");

    let second = Setup::new(&database).run().await;
    assert!(!second.events("MIGRATION_APPLIED").is_empty());
    first.wait_until_ready().await;
    assert_eq!(first.event("SCHEMA_READY").await["need"], waiting["need"]);
    assert!(first.events("ACTOR_DOWN").is_empty() && first.events("MIGRATION_APPLIED").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_01_a_lock_that_stays_taken_is_skipped_in_time_and_the_process_lives() {
    let database = Database::empty().await;
    let mut holder = database.connect().await;
    let (pid, _): (i32, Option<String>) =
        sqlx::query_as("select pg_backend_pid(), set_config('application_name', 'foreign', false)")
            .fetch_one(&mut holder)
            .await
            .unwrap();
    holder.execute(LOCK).await.unwrap();
    let process = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "1").start();
    let waiting = process.event("MIGRATION_LOCK_WAITING").await;
    let began = Instant::now();
    assert_eq!((&waiting["attempt"], &waiting["holder_pid"]), (&1.into(), &pid.into()));
    assert_eq!(waiting["holder_app"], "foreign");
    assert!(waiting["waited_ms"].is_u64() && waiting["holder_since"].is_string());
    assert_eq!(process.event("MIGRATION_SKIPPED").await["reason"], "lock_timeout");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let last = process.events("MIGRATION_LOCK_WAITING").pop().unwrap();
    assert!(last["waited_ms"].as_u64().unwrap() >= 1_000 && last["attempt"].as_u64().unwrap() > 1);
    assert!(is_alive(&process).await);
    assert!(not_ready_because(&process).await.contains("schema is at 0"));

    holder.execute(UNLOCK).await.unwrap();
    migrate(&database.store()).await;
    process.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_of_zero_is_one_try() {
    let database = Database::empty().await;
    let mut holder = database.connect().await;
    holder.execute(LOCK).await.unwrap();
    let process = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "0").start();
    assert_eq!(process.event("MIGRATION_SKIPPED").await["reason"], "lock_timeout");
    let tries = process.events("MIGRATION_LOCK_WAITING");
    assert_eq!((tries.len(), &tries[0]["attempt"]), (1, &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_process_blocks_no_concurrent_index_and_migrates_when_the_lock_is_free() {
    let database = Database::empty().await;
    let (mut holder, mut other) = (database.connect().await, database.connect().await);
    other.execute("create table public.foreign_table (id int)").await.unwrap();
    holder.execute(LOCK).await.unwrap();
    let process = Setup::new(&database).start();
    process.event("MIGRATION_LOCK_WAITING").await;
    other.execute("set statement_timeout = '20s'").await.unwrap();
    for index in [
        "create index concurrently one on public.foreign_table (id)",
        "create index concurrently two on public.foreign_table (id)",
    ] {
        other.execute(index).await.unwrap();
        assert_eq!(count(&mut other, WAITING).await, 0);
    }
    assert_eq!(count(&mut other, MIGRATORS).await, 1, "it still waits");
    assert_eq!(count(&mut other, "select count(*) from pg_locks where not granted").await, 0);

    holder.execute(UNLOCK).await.unwrap();
    let done = process.event("MIGRATION_DONE").await;
    assert_eq!(done["applied"], process.events("MIGRATION_APPLIED").len());
    process.wait_until_ready().await;
    eventually("the connection's end", async || (count(&mut other, MIGRATORS).await == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_on_a_schema_that_fits_is_ready_while_it_waits_for_the_lock() {
    let database = Database::migrated().await;
    let mut holder = database.connect().await;
    holder.execute(LOCK).await.unwrap();
    let process = Setup::new(&database).run().await;
    process.event("MIGRATION_LOCK_WAITING").await;
    assert!(process.events("MIGRATION_SKIPPED").is_empty());
    holder.execute(UNLOCK).await.unwrap();
    assert_eq!(process.event("MIGRATION_DONE").await["applied"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_while_waiting_is_made_anew_within_the_same_wait() {
    let database = Database::empty().await;
    let (mut holder, mut other) = (database.connect().await, database.connect().await);
    holder.execute(LOCK).await.unwrap();
    let process = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "4").start();
    process.event("MIGRATION_LOCK_WAITING").await;
    let began = Instant::now();
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where application_name like 'callspool-migrator/%' and datname = current_database()";
    for time in 1..=2 {
        eventually("a session", async || (count(&mut other, kill).await > 0).then_some(())).await;
        let mut seen = 0;
        process
            .line("that it connects again", |line| {
                seen += usize::from(line["retry_in_ms"].is_u64());
                seen == time
            })
            .await;
    }
    assert_eq!(process.event("MIGRATION_SKIPPED").await["reason"], "lock_timeout");
    assert!(began.elapsed() < Duration::from_secs(7), "the wait did not begin anew: {:?}", began.elapsed());
    assert!(process.events("MIGRATION_FAILED").is_empty() && process.events("ACTOR_DOWN").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_at_once_apply_each_migration_once() {
    let database = Database::empty().await;
    let mut watcher = database.connect().await;
    let processes: Vec<Process> = (0..8).map(|_| Setup::new(&database).start()).collect();
    let mut seen_waiting: Vec<String> = Vec::new();
    eventually("eight that are ready", async || {
        // The one that migrates may have a transaction between two of its statements; nobody may wait for a lock. (A concurrent
        // index build waits for whoever reads just then, this look at it included: that one is not theirs.)
        let waiting = "select wait_event || ': ' || query from pg_stat_activity
                        where application_name like 'callspool-migrator/%'
                          and datname = current_database() and wait_event_type = 'Lock'
                          and pg_backend_pid() <> all (pg_blocking_pids(pid))";
        seen_waiting.extend(sqlx::query_scalar::<_, String>(waiting).fetch_all(&mut watcher).await.unwrap());
        processes.iter().all(|process| !process.events("SCHEMA_READY").is_empty()).then_some(())
    })
    .await;
    assert_eq!(seen_waiting, Vec::<String>::new());
    let mut applied: Vec<i64> = processes
        .iter()
        .flat_map(|process| process.events("MIGRATION_APPLIED"))
        .map(|event| event["version"].as_i64().unwrap())
        .collect();
    applied.sort_unstable();
    let history: Vec<i64> =
        sqlx::query_scalar("select version from _sqlx_migrations where success order by version")
            .fetch_all(&mut watcher)
            .await
            .unwrap();
    assert_eq!(applied, history);
    for process in &processes {
        process.wait_until_ready().await;
        assert!(process.events("MIGRATION_FAILED").is_empty() && process.events("ACTOR_DOWN").is_empty());
    }
    watcher.close().await.unwrap();
}
