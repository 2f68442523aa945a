//! The order of backfills, what stops them, and files that are not understood or were changed.

use crate::support::backfills::{Application, COUNT_UP, Folder, along_leads, until_empty};

#[tokio::test(flavor = "multi_thread")]
async fn backfills_run_one_after_another_in_the_order_of_their_names() {
    let application = Application::with_leads(100).await;
    let step = |from: i32| {
        let statement = format!("update leads set n = n + 1 where id > $1 and id <= $2 and n = {from};");
        along_leads("batch=7 pause=0", &statement)
    };
    let folder = Folder::new([("020-b.sql", step(1)), ("100-c.sql", step(2)), ("010-a.sql", step(0))]);
    let process = folder.setup(&application.database).start();
    process.event_number("BACKFILL_DONE", 3).await;
    let names: Vec<_> = process.events("BACKFILL_DONE").iter().map(|done| done["name"].clone()).collect();
    assert_eq!(names, ["010-a", "020-b", "100-c"]);
    assert_eq!(application.counts().await, (100, 3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_is_done_at_once() {
    let application = Application::with_leads(0).await;
    let folder = Folder::new([("count.sql", along_leads("", COUNT_UP))]);
    let process = folder.setup(&application.database).start();
    assert_eq!(process.event("BACKFILL_DONE").await["rows"], 0);
    assert_eq!(application.kept("count").await.state, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_keeps_its_batches_stops_those_after_it_and_goes_on_when_it_is_mended() {
    let application = Application::with_leads(100).await;
    let divide = "update leads set n = n + 15 / (15 - id) * 0 + 1 where id > $1 and id <= $2";
    let folder = Folder::new([
        ("a.sql", along_leads("batch=10 pause=0", divide)),
        ("b.sql", along_leads("batch=10 pause=0", COUNT_UP)),
    ]);
    let first = folder.setup(&application.database).run().await;
    let failed = first.event("BACKFILL_FAILED").await;
    assert_eq!((&failed["name"], &failed["reason"]), (&"a".into(), &"SQLSTATE 22012: division by zero".into()));
    let kept = application.kept("a").await;
    assert_eq!(
        (kept.state.as_str(), kept.rows, kept.last_error.as_deref()),
        ("failed", 10, failed["reason"].as_str())
    );
    assert_eq!(application.kept("b").await.state, "pending");
    assert!(first.is_ready().await, "a backfill that failed does not stop the process");

    application.run("delete from leads where id = 15").await;
    let second = folder.setup(&application.database).start();
    second.event_number("BACKFILL_DONE", 2).await;
    assert_eq!(application.counts().await, (99, 2, 2));
    assert_eq!(application.kept("a").await.last_error, None);
    assert_eq!(first.events("BACKFILL_STARTED").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_missing_is_named_and_a_file_of_which_nothing_was_run_may_be_changed() {
    let application = Application::with_leads(10).await;
    let folder = Folder::new([("a.sql", along_leads("", COUNT_UP).replace("table=leads", "table=crm.leads"))]);
    let first = folder.setup(&application.database).start();
    let failed = first.event("BACKFILL_FAILED").await;
    assert_eq!(failed["reason"], "there is no table crm.leads");
    folder.write("a.sql", &along_leads("", COUNT_UP));
    let second = folder.setup(&application.database).start();
    assert_eq!(second.event("BACKFILL_DONE").await["rows"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_after_it_was_begun_or_done_is_refused() {
    let application = Application::with_leads(100).await;
    let folder = Folder::new([
        ("a.sql", along_leads("", COUNT_UP)),
        ("b.sql", along_leads("batch=10", "update leads set n = n + 0 / (15 - id) where id > $1 and id <= $2")),
    ]);
    let first = folder.setup(&application.database).start();
    first.event("BACKFILL_FAILED").await;

    folder.write("b.sql", &along_leads("", "update leads set n = 0 where id > $1 and id <= $2"));
    let second = folder.setup(&application.database).start();
    let refused = second.event("BACKFILL_FAILED").await;
    let reason = "b.sql was changed after it was begun: put it back, and the change into a new file";
    assert_eq!(refused["reason"], reason);

    // Another pace is no other backfill; another statement is.
    folder.write("a.sql", &along_leads("batch=7 pause=1s", COUNT_UP));
    let third = folder.setup(&application.database).start();
    assert_eq!(third.event("BACKFILL_FAILED").await["name"], "b");
    folder.write("a.sql", &along_leads("", "update leads set n = 0 where id > $1 and id <= $2"));
    let fourth = folder.setup(&application.database).start();
    let refused = fourth.event("BACKFILL_FAILED").await;
    assert!(refused["reason"].as_str().unwrap().starts_with("a.sql was changed after it was done"), "{refused}");
    assert_eq!(application.kept("a").await.state, "done");
    assert_eq!(application.counts().await, (100, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_understood_is_named_with_its_line_and_stops_those_after_it() {
    let application = Application::with_leads(10).await;
    let good = || along_leads("", COUNT_UP);
    let folder = Folder::new([
        ("a.sql", good()),
        ("b.sql", along_leads("speed=9", COUNT_UP)),
        ("c.sql", COUNT_UP.to_owned()),
        ("d.sql", until_empty("", "select 1 limit $1")),
        ("e.sql", along_leads("", &format!("{COUNT_UP}\n{COUNT_UP}"))),
        ("F.sql", good()),
        ("g.sql", good()),
    ]);
    let process = folder.setup(&application.database).start();
    process.event_number("BACKFILL_FAILED", 5).await;
    let failed = process.events("BACKFILL_FAILED");
    let reasons: Vec<_> = failed.iter().map(|failed| failed["reason"].as_str().unwrap()).collect();
    let expected = [
        "F.sql: a name has 1 to 63 of a-z",
        "b.sql line 1: speed is not known; allowed are table, key, batch, pause",
        "c.sql: no header before the statement",
        "d.sql line 2: the statement must begin with one of: update",
        "e.sql line 3: a second statement begins here",
    ];
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.starts_with(expected), "{reason}");
    }
    assert_eq!(application.kept("a").await.state, "pending", "F stands before a");
    let kept = application.kept("b").await;
    assert_eq!((kept.state.as_str(), kept.last_error.as_deref()), ("failed", Some(reasons[1])));
    assert_eq!(application.kept("g").await.state, "pending");

    folder.remove("F.sql");
    let process = folder.setup(&application.database).start();
    assert_eq!(process.event("BACKFILL_DONE").await["name"], "a");
    for name in ["b.sql", "c.sql", "d.sql", "e.sql"] {
        folder.write(name, &good());
    }
    let process = folder.setup(&application.database).start();
    process.event_number("BACKFILL_DONE", 5).await;
    assert_eq!(application.counts().await, (10, 6, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_migrate_runs_no_backfill() {
    let application = Application::with_leads(10).await;
    let folder = Folder::new([("a.sql", along_leads("", COUNT_UP))]);
    let idle = folder.setup(&application.database).var("RUN_MIGRATIONS", "0").run().await;
    assert!(!idle.everything().contains("backfill"), "{}", idle.everything());
    let process = folder.setup(&application.database).start();
    process.event("BACKFILL_DONE").await;
}
