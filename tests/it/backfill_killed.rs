//! Backfills whose processes are killed, stopped, or not alone.

use crate::support::{
    backfills::{Application, COUNT_UP, Folder, along_leads, until_empty},
    eventually,
};
use sqlx::Executor;

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_are_each_changed_once_although_three_processes_were_killed_on_the_way() {
    let application = Application::with_leads(1_000_000).await;
    let folder = Folder::new([("count.sql", along_leads("batch=20000 pause=0", COUNT_UP))]);
    for kill in 1..=3 {
        let mut process = folder.setup(&application.database).start();
        let started = process.event("BACKFILL_STARTED").await;
        assert_eq!(started["resumed"], kill > 1, "{started}");
        application.kept_as("count", |kept| kept.rows >= kill * 200_000).await;
        process.kill().await;
    }
    let killed = application.kept("count").await;
    assert!(killed.state == "running" && killed.rows < 1_000_000, "{killed:?}");
    let process = folder.setup(&application.database).start();
    let done = process.event("BACKFILL_DONE").await;
    assert_eq!((&done["name"], &done["rows"]), (&"count".into(), &1_000_000.into()));
    assert!(done["ms"].as_i64().unwrap() > 0);
    assert_eq!(application.counts().await, (1_000_000, 1, 1));
    let progress = process.event("BACKFILL_PROGRESS").await;
    assert!(progress["percent"].as_f64().unwrap() > 60.0 && progress["rows_per_s"].as_f64().unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_its_batch_waits_leaves_the_backfill_to_another() {
    let application = Application::with_leads(100).await;
    let folder = Folder::new([("count.sql", along_leads("batch=10 lock_timeout=0 statement_timeout=0", COUNT_UP))]);
    let mut locking = application.locking(55).await;
    let mut first = folder.setup(&application.database).start();
    application.waiting_sessions(1).await;
    let second = folder.setup(&application.database).run().await;
    first.kill().await;
    // The server notices that nobody wants the answer any more, although it still waits for the row.
    application.waiting_sessions(0).await;
    assert_eq!(second.event("BACKFILL_STARTED").await["resumed"], true);
    application.waiting_sessions(1).await;
    locking.execute("rollback").await.unwrap();
    assert_eq!(second.event("BACKFILL_DONE").await["rows"], 100);
    assert_eq!(application.counts().await, (100, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_one_runs_each_backfill() {
    let application = Application::with_leads(500).await;
    let files = ["a", "b"].map(|name| (format!("{name}.sql"), along_leads("batch=10 pause=20ms", COUNT_UP)));
    let folder = Folder::new(files.each_ref().map(|(name, content)| (name.as_str(), content.clone())));
    let processes = [(); 2].map(|()| folder.setup(&application.database).start());
    application.kept_as("b", |kept| kept.state == "done").await;
    for name in ["a", "b"] {
        let names = |marker| {
            let events = processes.iter().flat_map(move |process| process.events(marker));
            events.filter(|event| event["name"] == name).count()
        };
        eventually("the line of the end", || async { (names("BACKFILL_DONE") == 1).then_some(()) }).await;
        assert_eq!(names("BACKFILL_STARTED"), 1, "{name}");
        assert_eq!(application.kept(name).await.batches, 50);
    }
    assert_eq!(application.counts().await, (500, 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_after_the_batch_under_way_and_the_next_process_goes_on_at_once() {
    let application = Application::with_leads(100).await;
    let folder = Folder::new([("count.sql", along_leads("batch=10 pause=0 lock_timeout=30s", COUNT_UP))]);
    let mut locking = application.locking(55).await;
    let mut first = folder.setup(&application.database).start();
    application.waiting_sessions(1).await;
    first.terminate();
    first.event("DRAIN_STARTED").await;
    locking.execute("rollback").await.unwrap();
    assert_eq!(first.exit_code().await, 0, "{}", first.everything());
    let kept = application.kept("count").await;
    assert_eq!((kept.state.as_str(), kept.rows), ("running", 60), "the batch under way, and none after it");
    let second = folder.setup(&application.database).var("CALLSPOOL__QUEUE__BEAT_TTL", "10min").start();
    assert_eq!(second.event("BACKFILL_STARTED").await["resumed"], true);
    assert_eq!(second.event("BACKFILL_DONE").await["rows"], 100);
    assert_eq!(application.counts().await, (100, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_does_not_wait_for_the_end_of_a_pause() {
    let application = Application::with_leads(100).await;
    let folder = Folder::new([("count.sql", along_leads("batch=10 pause=30s", COUNT_UP))]);
    let mut process = folder.setup(&application.database).start();
    process.event("BACKFILL_PROGRESS").await;
    process.terminate();
    assert_eq!(process.exit_code().await, 0);
    assert_eq!(application.kept("count").await.rows, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn until_nothing_is_left_also_takes_what_comes_in_meanwhile() {
    let application = Application::with_leads(1_000).await;
    let delete = "with gone as (delete from leads where id in (select id from leads order by id limit $1
                  for update skip locked) returning id, n) insert into kept_leads select id, n from gone";
    application.run("create table public.kept_leads (id bigint primary key, n integer)").await;
    let folder = Folder::new([("move.sql", until_empty("batch=50 pause=10ms", delete))]);
    let process = folder.setup(&application.database).start();
    process.event("BACKFILL_PROGRESS").await;
    application.run("insert into leads (id) select generate_series(5001, 5100)").await;
    assert_eq!(process.event("BACKFILL_DONE").await["rows"], 1_100);
    assert_eq!(application.counts().await, (0, 0, 0));
    let kept = application.kept("move").await;
    assert_eq!((kept.rows, kept.batches), (1_100, 23), "the last batch finds nothing");
}
