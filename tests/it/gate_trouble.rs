//! Connections that break or fall silent while this process migrates.

use crate::support::{
    Database,
    gate::{Folder, Foreign, LOCK, MARKS, text},
    process::Setup,
    way::Way,
};

const SLOW: &str = "insert into marks (mark) values ('slow');
                    select pg_sleep(30) where not exists (select 1 from pg_class where relname = 'go_on');";

fn slow() -> Folder {
    Folder::with(&[
        ("1_marks.sql", MARKS),
        ("2_slow.sql", SLOW),
        ("3_last.sql", "insert into marks (mark) values ('last');"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_while_it_applies_is_made_anew_and_nothing_is_applied_twice() {
    let (database, folder) = (Database::migrated().await, slow());
    let process = Setup::application(&database, &folder).start();
    for _ in 0..2 {
        database.migrator_sleeps().await;
        assert!(database.end_sessions("callspool-migrator/%").await >= 1);
        process.line("another try", |line| line["retry_in_ms"].is_u64()).await;
    }
    database.run("create table go_on ()").await;
    process.event("MIGRATION_DONE").await;
    assert_eq!(database.marks().await, ["slow", "last"]);
    assert_eq!(process.events("MIGRATION_APPLIED").len(), 3);
    assert!(process.events("ACTOR_DOWN").is_empty() && process.events("MIGRATION_FAILED").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_ended_while_they_wait_do_not_lengthen_the_wait() {
    let database = Database::empty().await;
    let _holder = Foreign::after(&database, LOCK).await;
    let process = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "3").start();
    for number in 1..=3 {
        process.event("MIGRATION_LOCK_WAITING").await;
        database
            .becomes(
                "select count(pg_terminate_backend(pid)) > 0 from pg_stat_activity
                  where datname = current_database() and application_name like 'callspool-migrator/%'
                    and query like '%pg_locks%'",
            )
            .await;
        let mut seen = 0;
        process
            .line("a new connection", |line| {
                seen += usize::from(line["retry_in_ms"].is_u64());
                seen == number
            })
            .await;
    }
    process.event("MIGRATION_SKIPPED").await;
    let last = process.events("MIGRATION_LOCK_WAITING").pop().unwrap();
    let waited = last["waited_ms"].as_u64().unwrap();
    assert!((3_000..8_000).contains(&waited), "{waited}: one budget, whatever broke in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fell_silent_is_given_up_when_the_server_has_lost_its_session() {
    let (database, folder) = (Database::migrated().await, slow());
    let (way, far) = Way::to(&database);
    let process = Setup::application(&database, &folder).var("MIGRATION_DATABASE_URL", &far.url).start();
    database.migrator_sleeps().await;
    // As behind a network that swallows everything: the client is never told that its session has ended.
    way.fall_silent();
    assert!(database.end_sessions("callspool-migrator/%").await >= 1);
    database.run("create table go_on ()").await;
    let retry = process.line("another try", |line| line["retry_in_ms"].is_u64()).await;
    assert!(text(&retry, "failure").contains("lost the migrator's session"), "{retry}");
    process.event("MIGRATION_DONE").await;
    assert_eq!(database.marks().await, ["slow", "last"]);
}
