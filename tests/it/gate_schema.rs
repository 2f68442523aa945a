//! The schema gate of a process that does not migrate: how it learns that others did.

use crate::support::{
    Database, Process,
    gate::{Folder, Foreign, text},
    process::Setup,
};

fn waiting_on(database: &Database) -> Process {
    Setup::new(database).var("RUN_MIGRATIONS", "0").start()
}

const LISTENING: &str = "select exists (select 1 from pg_stat_activity where datname = current_database()
                          and application_name like 'callspool-watcher/%' and query like 'LISTEN%')";

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_process_hears_that_another_migrated() {
    let database = Database::empty().await;
    let process = waiting_on(&database);
    process.event("SCHEMA_WAITING").await;
    database.becomes(LISTENING).await;
    let migrator = Setup::new(&database).start();
    let acquired = migrator.event("MIGRATION_LOCK_ACQUIRED").await;
    let ready = process.event("SCHEMA_READY").await;
    assert!(text(&acquired, "timestamp") < text(&ready, "timestamp"));
    process.wait_until_ready().await;
    // Nobody listens any more: it is not needed.
    database.becomes(&LISTENING.replace("select exists", "select not exists")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_process_does_not_wait_for_the_applications_migrations() {
    let (database, folder) = (Database::empty().await, Folder::with(&[("1_slow.sql", "select pg_sleep(30);")]));
    let process = waiting_on(&database);
    let migrator = Setup::application(&database, &folder).start();
    process.wait_until_ready().await;
    migrator.wait_until_ready().await;
    database.migrator_sleeps().await;
    assert!(migrator.events("MIGRATION_DONE").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_process_whose_ear_was_cut_off_looks_for_itself() {
    let database = Database::empty().await;
    let process = waiting_on(&database);
    process.event("SCHEMA_WAITING").await;
    database.becomes(LISTENING).await;
    assert_eq!(database.end_sessions("callspool-watcher/%").await, 1);
    Setup::new(&database).migrates().await;
    process.wait_until_ready().await;
    assert!(process.events("ACTOR_DOWN").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nobody_is_there_to_migrate_is_said_until_somebody_is_and_ever_more_seldom() {
    let database = Database::empty().await;
    let process = waiting_on(&database);
    let nobody = "no process with RUN_MIGRATIONS=1 is alive";
    let first = process.event("SCHEMA_WAITING").await;
    assert!(text(&first, "obstacle").contains(nobody), "{first}");
    assert!(process.obstacle().await.contains(nobody));
    process.event_number("SCHEMA_WAITING", 3).await;
    let times: Vec<i64> = process.events("SCHEMA_WAITING").iter().map(millis).collect();
    assert!(times[2] - times[1] > times[1] - times[0], "{times:?}");

    // Somebody who waits for the lock is there to migrate.
    let holder = Foreign::after(&database, crate::support::gate::LOCK).await;
    let migrator = Setup::new(&database).start();
    let said =
        process.line("somebody", |line| line["marker"] == "SCHEMA_WAITING" && !obstacle(line).contains(nobody));
    said.await;
    drop(migrator);
    let mut seen = 0;
    let again = process.line("nobody again", |line| {
        let waiting = line["marker"] == "SCHEMA_WAITING";
        seen += usize::from(waiting && !obstacle(line).contains(nobody));
        waiting && seen > 0 && obstacle(line).contains(nobody)
    });
    again.await;
    holder.leave().await;
    Setup::new(&database).migrates().await;
    process.wait_until_ready().await;
}

fn obstacle(line: &serde_json::Value) -> String {
    line["obstacle"].as_str().unwrap_or_default().to_owned()
}

fn millis(line: &serde_json::Value) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text(line, "timestamp")).unwrap().timestamp_millis()
}
