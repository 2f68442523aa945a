//! Migrations that do not work at once, or not at all: the process lives and says which and why.

use crate::support::{
    Database, Process, Provider, eventually, postgres::migrate, process::Setup, provider::recording,
};
use sqlx::{Connection, Executor, PgConnection};
use std::time::{Duration, Instant};

/// Makes every CREATE TABLE wait for a lock that the test holds.
const STUCK: &str = "
    create function public.wait_for_the_test() returns event_trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock(42); end $$;
    create event trigger stuck on ddl_command_end when tag in ('CREATE TABLE')
        execute function public.wait_for_the_test();";

async fn is_alive_and_says(process: &Process, what: &str) {
    assert_eq!(process.get("/healthz").await.status(), 200);
    let answer = process.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains(what), "{text}");
}

/// The session that holds the migration lock and waits for the test.
async fn stuck_migrator(connection: &mut PgConnection) -> i32 {
    let stuck = "select pid from pg_stat_activity where application_name like 'callspool-migrator/%'
                    and datname = current_database() and wait_event_type = 'Lock'";
    eventually("a migrator that is stuck", async || {
        sqlx::query_scalar(stuck).fetch_optional(&mut *connection).await.unwrap()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_03_a_migration_that_fails_is_named_and_the_process_lives() {
    let database = Database::empty().await;
    let mut connection = database.connect().await;
    connection.execute("create schema callspool; create table callspool.job (id int)").await.unwrap();
    let process = Setup::new(&database).start();
    let failed = process.event("MIGRATION_FAILED").await;
    assert_eq!(failed["version"], 2);
    assert!(failed["reason"].as_str().unwrap().contains("already exists"), "{failed}");
    assert_eq!(process.events("MIGRATION_APPLIED").len(), 1, "those before it stay");
    assert!(process.events("MIGRATION_DONE").is_empty(), "a failure is no success");
    eventually("the reason", async || {
        let text = process.get("/readyz").await.text().await.unwrap();
        text.contains("migration 2 failed").then_some(())
    })
    .await;
    is_alive_and_says(&process, "already exists").await;
    assert!(process.events("ACTOR_DOWN").is_empty());

    // Put right by somebody, whoever it is.
    connection.execute("drop table callspool.job").await.unwrap();
    migrate(&database.store()).await;
    process.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_28_a_migration_that_was_changed_afterwards_is_named() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    connection.execute("update _sqlx_migrations set checksum = '\\x00' where version = 3").await.unwrap();
    let process = Setup::new(&database).start();
    let failed = process.event("MIGRATION_FAILED").await;
    assert_eq!(failed["version"], 3);
    assert!(failed["reason"].as_str().unwrap().contains("checksum"), "{failed}");
    assert_eq!(process.get("/healthz").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_25_ddl_that_a_forgotten_transaction_blocks_is_bounded_and_tried_again() {
    let database = Database::empty().await;
    let mut forgotten = database.connect().await;
    forgotten.execute("begin; create schema callspool").await.unwrap();
    let process = Setup::new(&database).var("MIGRATION_LOCK_TIMEOUT", "200ms").start();
    let retry = process.line("another try", |line| line["retry_in_ms"].is_u64()).await;
    assert!(retry["failure"].as_str().unwrap().contains("55P03"), "{retry}");
    forgotten.execute("rollback").await.unwrap();
    process.event("MIGRATION_DONE").await;
    process.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_02_a_connection_that_breaks_while_migrating_takes_the_lock_along_and_the_rest_is_applied() {
    let database = Database::empty().await;
    let (mut connection, mut gate) = (database.connect().await, database.connect().await);
    connection.execute(STUCK).await.unwrap();
    gate.execute("select pg_advisory_lock(42)").await.unwrap();
    let process = Setup::new(&database).start();
    let pid = stuck_migrator(&mut connection).await;
    sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&mut connection).await.unwrap();
    process.line("another try", |line| line["retry_in_ms"].is_u64()).await;
    gate.execute("select pg_advisory_unlock(42)").await.unwrap();
    process.event("MIGRATION_DONE").await;
    assert_eq!(process.events("MIGRATION_LOCK_ACQUIRED").len(), 2, "once for each connection");
    process.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrator_that_is_killed_gives_the_lock_to_another_within_seconds() {
    let database = Database::empty().await;
    let (mut connection, mut gate) = (database.connect().await, database.connect().await);
    connection.execute(STUCK).await.unwrap();
    gate.execute("select pg_advisory_lock(42)").await.unwrap();
    let mut first = Setup::new(&database).var("MIGRATION_LOCK_TIMEOUT", "60s").start();
    stuck_migrator(&mut connection).await;
    let second = Setup::new(&database).start();
    let waiting = second.event("MIGRATION_LOCK_WAITING").await;
    assert!(waiting["holder_app"].as_str().unwrap().starts_with("callspool-migrator/"));
    first.kill().await;
    let killed = Instant::now();
    second.event("MIGRATION_LOCK_ACQUIRED").await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    gate.execute("select pg_advisory_unlock(42)").await.unwrap();
    second.event("MIGRATION_DONE").await;
    second.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_hold_for_the_migrator_and_nobody_else() {
    let database = Database::empty().await;
    let mut connection = database.connect().await;
    let watch = "
        create table public.seen (app text, statement text, lock text);
        create function public.look() returns event_trigger language plpgsql as $$ begin
            insert into public.seen values (current_setting('application_name'), current_setting('statement_timeout'),
                                            current_setting('lock_timeout')); end $$;
        create event trigger look on ddl_command_end when tag in ('CREATE TABLE') execute function public.look();";
    connection.execute(watch).await.unwrap();
    let process = Setup::new(&database)
        .var("MIGRATION_STATEMENT_TIMEOUT", "70s")
        .var("MIGRATION_LOCK_TIMEOUT", "1500ms")
        .start();
    process.event("MIGRATION_DONE").await;
    let watch_beats = "
        drop event trigger look;
        create function public.look_at_beats() returns trigger language plpgsql as $$ begin
            insert into public.seen values (current_setting('application_name'), current_setting('statement_timeout'),
                                            current_setting('lock_timeout')); return new; end $$;
        create trigger look before insert or update on callspool.instance
            for each row execute function public.look_at_beats();";
    connection.execute(watch_beats).await.unwrap();
    let settings =
        |app: &'static str| format!("select distinct statement, lock from public.seen where app like '{app}/%'");
    let migrator = settings("callspool-migrator");
    let migrator: Vec<(String, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(migrator)).fetch_all(&mut connection).await.unwrap();
    // A function that sets a lock_timeout for itself (rotate_history does) is not meant.
    assert!(migrator.contains(&("70s".to_owned(), "1500ms".to_owned())), "{migrator:?}");
    assert!(migrator.iter().all(|(statement, lock)| statement == "70s" && lock != "0"), "{migrator:?}");
    let pool = settings("callspool");
    let pool: (String, String) = eventually("a beat", async || {
        sqlx::query_as(sqlx::AssertSqlSafe(pool.clone())).fetch_optional(&mut connection).await.unwrap()
    })
    .await;
    assert_eq!(pool, ("0".to_owned(), "0".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_schema_and_another_lock_work_from_end_to_end() {
    let (database, provider) = (Database::empty().await, Provider::start());
    let mut holder = database.connect().await;
    // Our usual lock, in other hands: this process asks for another one.
    holder.execute("select pg_advisory_lock(1234567890)").await.unwrap();
    let process = Setup::new(&database)
        .provider(&provider)
        .var("DATABASE_SCHEMA", "tele_phony2")
        .var("MIGRATION_LOCK_ID", "-77")
        .run()
        .await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    assert_eq!(std::fs::read(process.file(42, 1)).unwrap(), recording(1));
    let schemas: Vec<String> = sqlx::query_scalar("select schemaname::text from pg_tables where tablename = 'job'")
        .fetch_all(&mut holder)
        .await
        .unwrap();
    assert_eq!(schemas, ["tele_phony2"]);
    assert!(process.events("MIGRATION_LOCK_WAITING").is_empty());
    holder.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_was_made_for_us_needs_no_right_to_make_one() {
    let database = Database::empty().await;
    let mut connection = database.connect().await;
    let role = format!("limited_{}", database.url.split('?').next().unwrap().rsplit('_').next().unwrap());
    let made = format!(
        "drop role if exists {role}; create role {role} login; create schema callspool authorization {role}"
    );
    connection.execute(sqlx::AssertSqlSafe(made)).await.unwrap();
    let (_, address) = database.url.split_once('@').unwrap();
    let limited = Database { url: format!("postgres://{role}@{address}") };
    let process = Setup::new(&limited).run().await;
    assert!(!process.events("MIGRATION_APPLIED").is_empty());
    drop(process);
    let gone = format!("drop owned by {role} cascade; drop role {role}");
    eventually("the role's end", async || connection.execute(sqlx::AssertSqlSafe(gone.clone())).await.ok()).await;
}
