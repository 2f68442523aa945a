//! The migration gate's lock between processes: many at once, a foreign holder, a holder that dies.

use crate::support::{
    Database,
    gate::{Folder, Foreign, LOCK, MARKS, text},
    process::Setup,
};
use futures_util::future::join_all;

fn two_steps() -> Folder {
    Folder::with(&[
        ("1_marks.sql", &format!("{MARKS} insert into marks (mark) values ('one');")),
        ("2_more.sql", "insert into marks (mark) values ('two');"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_processes_at_once_apply_each_migration_of_both_sets_once_and_none_crashes() {
    let (database, folder) = (Database::empty().await, two_steps());
    let processes: Vec<_> = (0..3).map(|_| Setup::application(&database, &folder).start()).collect();
    let commands: Vec<_> = (0..17).map(|_| Setup::application(&database, &folder)).collect();
    let said = join_all(commands.iter().map(Setup::migrate)).await;
    for said in &said {
        assert_eq!(said.code, 0, "{}", said.err);
    }
    for process in &processes {
        process.wait_until_ready().await;
        process.event("MIGRATION_DONE").await;
        assert!(process.events("ACTOR_DOWN").is_empty());
    }
    assert_eq!(database.marks().await, ["one", "two"]);
    let applied = |said: &crate::support::command::Said| said.json()["applied"].as_u64().unwrap();
    let applied_by_processes: usize =
        processes.iter().map(|process| process.events("MIGRATION_APPLIED").len()).sum();
    let together = said.iter().map(applied).sum::<u64>() + applied_by_processes as u64;
    let ours: i64 = database.one("select count(*) from callspool._sqlx_migrations").await;
    let theirs: i64 = database.one("select count(*) from callspool.application_migrations").await;
    assert_eq!((together, theirs), ((ours + theirs).unsigned_abs(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wait_line_tells_who_has_the_lock_and_no_more_of_its_query_than_the_first_word() {
    let database = Database::empty().await;
    let holder = Foreign::after(&database, &format!("{LOCK}; select 'secret'")).await;
    let process = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "1").start();
    process.event("MIGRATION_SKIPPED").await;
    let lines = process.events("MIGRATION_LOCK_WAITING");
    assert!(lines.len() >= 2, "the first and the last");
    for line in lines {
        assert_eq!((&line["holder_pid"], text(&line, "holder_app")), (&holder.pid.into(), "foreign"));
        assert_eq!((text(&line, "holder_state"), text(&line, "holder_query")), ("idle", "select"));
        assert!(text(&line, "holder_since").starts_with("20"), "{line}");
        // The address: by a unix socket there is none.
        assert!(line["holder_client"].is_null() && line["waited_ms"].is_u64() && line["attempt"].is_u64());
    }
    assert!(!process.everything().contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_see_other_sessions_still_waits_and_skips() {
    let database = Database::empty().await;
    let name = database.url.split(['/', '?']).nth(3).unwrap();
    // The cluster's roles are everybody's; this one goes with its database.
    database.run(&format!("create role weak_{name} login; grant create on database {name} to weak_{name}")).await;
    let _holder = Foreign::after(&database, LOCK).await;
    let weak = Database { url: database.url.replace("callspool@", &format!("weak_{name}@")) };
    let said = Setup::new(&weak).var("MIGRATION_LOCK_WAIT_SECONDS", "0").migrate().await;
    assert_eq!((said.code, text(&said.json(), "reason")), (75, "lock_timeout"), "{}", said.err);
    assert!(said.err.contains("holder_app=foreign") && !said.err.contains("holder_since"), "{}", said.err);
    database.run(&format!("drop owned by weak_{name}; drop role weak_{name}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_skipped_migrates_by_itself_when_the_holder_has_gone() {
    let database = Database::empty().await;
    let holder = Foreign::after(&database, LOCK).await;
    let setup = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "0");
    let process = setup.var("CALLSPOOL__MIGRATIONS__HEAL_INTERVAL", "200ms").start();
    process.event("MIGRATION_SKIPPED").await;
    holder.leave().await;
    process.wait_until_ready().await;
    process.event("MIGRATION_DONE").await;
    assert_eq!(process.events("MIGRATION_SKIPPED").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_interval_to_heal_a_process_that_skipped_leaves_migrating_to_others() {
    let database = Database::empty().await;
    let holder = Foreign::after(&database, LOCK).await;
    let setup = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "0");
    let process = setup.var("CALLSPOOL__MIGRATIONS__HEAL_INTERVAL", "0s").start();
    process.event("MIGRATION_SKIPPED").await;
    holder.leave().await;
    assert_eq!(Setup::new(&database).migrates().await["outcome"], "applied");
    process.wait_until_ready().await;
    assert!(process.events("MIGRATION_LOCK_ACQUIRED").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_killed_in_a_slow_migration_frees_the_lock_and_another_goes_on() {
    let (database, folder) = (Database::migrated().await, two_steps());
    folder.write("3_slow.sql", "select pg_sleep(20); insert into marks (mark) values ('slow');");
    let mut first = Setup::application(&database, &folder).start();
    database.migrator_sleeps().await;
    let second = Setup::application(&database, &folder).start();
    second.event("MIGRATION_LOCK_WAITING").await;
    first.kill().await;
    second.event("MIGRATION_LOCK_ACQUIRED").await;
    // The second one sleeps, and nothing of the first is left.
    database.migrator_sleeps().await;
    assert_eq!(database.marks().await, ["one", "two"]);
    folder.write("3_slow.sql", "insert into marks (mark) values ('quick');");
    assert!(database.end_sessions("callspool-migrator/%").await >= 1);
    second.event("MIGRATION_DONE").await;
    assert_eq!(database.marks().await, ["one", "two", "quick"]);
    assert_eq!(second.events("MIGRATION_APPLIED").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_never_waits_for_a_session_of_its_own() {
    let database = Database::empty().await;
    let other = Foreign::after(&database, LOCK).await;
    let process = Setup::new(&database).start();
    process.event("MIGRATION_LOCK_WAITING").await;
    let name = format!("callspool-migrator/{}", process.instance().await);
    // As a life of the actor would leave it whose connection nobody closed. It stands in line, so the lock is its next.
    let mut left = Foreign::called(&name, &database, "select 1").await;
    let pid = left.pid;
    let waiting = tokio::spawn(async move {
        left.run(LOCK).await;
        left
    });
    database.becomes(&format!("select wait_event = 'advisory' from pg_stat_activity where pid = {pid}")).await;
    other.leave().await;
    let ended = process.line("the end of that session", |line| line["pid"] == pid).await;
    assert!(text(&ended, "message").contains("earlier session of this process"));
    process.event("MIGRATION_DONE").await;
    drop(waiting.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schemas_live_side_by_side_in_one_database_with_a_lock_of_their_own() {
    let (database, folder) = (Database::empty().await, two_steps());
    // The first is held up; the second has another lock and does not care.
    let _holder = Foreign::after(&database, LOCK).await;
    let first = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "0").start();
    first.event("MIGRATION_SKIPPED").await;
    let second = || {
        let setup = Setup::application(&database, &folder);
        setup.var("DATABASE_SCHEMA", "calls_b").var("MIGRATION_LOCK_ID", "-7")
    };
    let process = second().run().await;
    process.event("MIGRATION_DONE").await;
    assert_eq!(second().migrates().await["outcome"], "up_to_date");
    assert!(!first.is_ready().await);
    assert!(!database.one::<bool>("select to_regclass('callspool.job') is not null").await);
    let job = process.enqueue(1, 1).await;
    assert!(job > 0 && database.one::<bool>("select exists (select 1 from calls_b.job)").await);
    // The application's own tables are in neither.
    assert_eq!(database.marks().await, ["one", "two"]);
}
