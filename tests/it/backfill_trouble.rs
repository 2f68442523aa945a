//! Backfills that meet locks and timeouts, and what `status` shows of them.

use crate::support::backfills::{Application, COUNT_UP, Folder, along_leads, until_empty};
use serde_json::Value;
use sqlx::Executor;

async fn status(application: &Application, folder: &Folder, arguments: &[&str]) -> String {
    let output = folder.setup(&application.database).command(arguments).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_how_far_a_backfill_is_and_what_it_waits_for() {
    let application = Application::with_leads(100).await;
    let pace = "batch=50 pause=0 lock_timeout=50ms";
    let folder =
        Folder::new([("count.sql", along_leads(pace, COUNT_UP)), ("later.sql", along_leads(pace, COUNT_UP))]);
    let mut locking = application.locking(51).await;
    let process = folder.setup(&application.database).start();
    application.kept_as("count", |kept| kept.rows == 50 && kept.attempts > 1).await;

    let shown: Value = serde_json::from_str(&status(&application, &folder, &["status", "--json"]).await).unwrap();
    let [count, later] = [&shown["backfills"][0], &shown["backfills"][1]];
    assert_eq!((&count["name"], &count["state"]), (&"count".into(), &"running".into()));
    assert_eq!((&count["percent"], &count["rows"]), (&50.0.into(), &50.into()));
    assert!(count["attempts"].as_i64().unwrap() > 1 && count["rows_per_s"].is_number(), "{count}");
    let waits = "SQLSTATE 55P03: canceling statement due to lock timeout";
    assert_eq!(count["last_error"], waits);
    assert!(count["started_at"].is_string() && count["instance"].is_string() && count["finished_at"].is_null());
    assert_eq!((&later["state"], &later["percent"]), (&"pending".into(), &Value::Null));
    let table = status(&application, &folder, &["status"]).await;
    assert!(table.contains("BACKFILL") && table.contains("count") && table.contains(waits), "{table}");

    locking.execute("rollback").await.unwrap();
    process.event_number("BACKFILL_DONE", 2).await;
    let shown: Value = serde_json::from_str(&status(&application, &folder, &["status", "--json"]).await).unwrap();
    let count = &shown["backfills"][0];
    assert_eq!((&count["state"], &count["percent"]), (&"done".into(), &100.0.into()));
    assert_eq!((&count["last_error"], &count["attempts"]), (&Value::Null, &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_has_locked_is_waited_for() {
    let application = Application::with_leads(100).await;
    let folder = Folder::new([("count.sql", along_leads("batch=50 lock_timeout=20ms", COUNT_UP))]);
    let mut locking = application.connect().await;
    locking.execute("begin; lock table leads in access exclusive mode").await.unwrap();
    let process = folder.setup(&application.database).start();
    let trouble = process.line("a lock timeout", |line| line["retry_in_ms"].is_number()).await;
    assert_eq!(trouble["reason"], "SQLSTATE 55P03: canceling statement due to lock timeout");
    locking.execute("rollback").await.unwrap();
    assert_eq!(process.event("BACKFILL_DONE").await["rows"], 100);
    assert!(process.events("BACKFILL_FAILED").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_skipped_because_somebody_has_locked_them_are_not_forgotten() {
    let application = Application::with_leads(100).await;
    let delete = "delete from leads where id in (select id from leads limit $1 for update skip locked)";
    let folder = Folder::new([("clear.sql", until_empty("batch=40 lock_timeout=50ms", delete))]);
    let mut locking = application.locking(7).await;
    let process = folder.setup(&application.database).start();
    let kept = application.kept_as("clear", |kept| kept.attempts > 0).await;
    assert_eq!((kept.state.as_str(), kept.rows), ("running", 99));
    locking.execute("rollback").await.unwrap();
    assert_eq!(process.event("BACKFILL_DONE").await["rows"], 100);
    assert_eq!(application.counts().await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_too_long_becomes_smaller() {
    let application = Application::with_leads(40).await;
    let slow = "update leads set n = n + 1 where id > $1 and id <= $2 and pg_sleep(0.01)::text = ''";
    let folder = Folder::new([("slow.sql", along_leads("batch=32 pause=0 statement_timeout=150ms", slow))]);
    let process = folder.setup(&application.database).start();
    let trouble = process.line("a timeout", |line| line["retry_in_ms"].is_number()).await;
    assert_eq!((&trouble["batch"], &trouble["name"]), (&16.into(), &"slow".into()));
    assert_eq!(trouble["reason"], "SQLSTATE 57014: canceling statement due to statement timeout");
    assert_eq!(process.event("BACKFILL_DONE").await["rows"], 40);
    assert_eq!(application.counts().await, (40, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_in_the_middle_of_a_batch_costs_that_batch_only() {
    let application = Application::with_leads(100).await;
    let folder = Folder::new([("count.sql", along_leads("batch=10 pause=0 lock_timeout=0", COUNT_UP))]);
    let mut locking = application.locking(55).await;
    let process = folder.setup(&application.database).start();
    application.waiting_sessions(1).await;
    application
        .run(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
                and application_name like 'callspool/%' and wait_event_type = 'Lock'",
        )
        .await;
    process.line("a connection that broke", |line| line["retry_in_ms"].is_number()).await;
    locking.execute("rollback").await.unwrap();
    assert_eq!(process.event("BACKFILL_DONE").await["rows"], 100);
    assert_eq!(application.counts().await, (100, 1, 1));
}
