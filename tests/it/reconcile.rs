//! The reconciler: finds what no webhook told of, once in the fleet, and goes on where it stood.

use crate::support::{Answer, Database, Process, Provider, eventually, http::Callback, process::Setup};
use serde_json::Value;

/// It looks often, and what is enqueued is business 42's.
fn setup(database: &Database, provider: &Provider) -> Setup {
    // Before anything is listed there is an empty list.
    provider.listing();
    Setup::new(database)
        .provider(provider)
        .var("CALLSPOOL__RECONCILE__INTERVAL", "200ms")
        .config("[twilio.accounts.AC1]\nbusiness_id = 42\n")
}

fn counts(done: &Value) -> [i64; 6] {
    ["seen", "had", "dead", "enqueued", "gone", "unmapped"].map(|name| done[name].as_i64().unwrap())
}

/// The first round that began after what was done before this call.
async fn next_round(process: &Process) -> Value {
    let so_far = process.events("RECONCILE_DONE").len();
    process.event_number("RECONCILE_DONE", so_far + 2).await
}

async fn rounds(database: &Database) -> Vec<(Option<String>, i64, bool)> {
    let mut connection = database.connect().await;
    let rounds = "select page, seen, instance_id is not null from reconcile";
    sqlx::query_as(rounds).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_whose_webhook_was_lost_is_fetched_all_the_same() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = setup(&database, &provider).run().await;
    assert_eq!(Callback::completed(1).send(&process).await.status, 202);
    process.event("WORKER_DOWNLOAD_DONE").await;
    provider.listing().has(1..=2);
    provider.listing().has_as(3, "absent");
    let done =
        process.line("the lost one is found", |line| line["marker"] == "RECONCILE_DONE" && line["enqueued"] == 1);
    let done = done.await;
    assert_eq!((counts(&done), &done["account_sid"]), ([3, 1, 0, 1, 1, 0], &"AC1".into()), "{done}");
    process.event_number("WORKER_RELEASE_SLOT", 2).await;
    assert!(process.file(42, 2).exists());
    let enqueued = process.event_number("ENQUEUE", 2).await;
    assert_eq!((&enqueued["call_sid"], &enqueued["business_id"]), (&"CA2".into(), &42.into()));
    assert_eq!(counts(&next_round(&process).await), [3, 2, 0, 0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_where_nobody_switched_it_on_and_where_nobody_fetches() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=2);
    let off = Setup::new(&database).provider(&provider).run().await;
    let elsewhere = setup(&database, &provider).var("CALLSPOOL_ROLES", "api,webhooks").run().await;
    for process in [&off, &elsewhere] {
        process.event("SCHEMA_READY").await;
        assert!(process.events("ACTOR_STARTED").iter().all(|line| line["actor"] != "reconcile"));
    }
    assert_eq!(provider.listing().asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_one_at_a_time_looks_through_an_account() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=6);
    provider.listing().page_size(2);
    provider.listing().hold_after(0);
    let one = setup(&database, &provider).run().await;
    eventually("a page", || async { (provider.listing().asked() == 1).then_some(()) }).await;
    let two = setup(&database, &provider).run().await;
    two.event("SCHEMA_READY").await;
    // It has had its turns by now: each is some beats long.
    eventually("beats of both", || async {
        let mut connection = database.connect().await;
        let beaten = "select count(*) from instance where beat_at > started_at + interval '1 s'";
        let beaten: i64 = sqlx::query_scalar(beaten).fetch_one(&mut connection).await.unwrap();
        (beaten == 2).then_some(())
    })
    .await;
    assert_eq!(provider.listing().asked(), 1, "one page is under way, and nobody else asks");
    provider.listing().release();
    let enqueued = |process: &Process| -> i64 {
        process.events("RECONCILE_DONE").iter().map(|done| done["enqueued"].as_i64().unwrap()).sum()
    };
    eventually("all of them", || async { (enqueued(&one) + enqueued(&two) == 6).then_some(()) }).await;
    assert_eq!(counts(&next_round(&one).await)[..2], [6, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_goes_on_behind_the_last_page_of_one_that_was_killed() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=6);
    provider.listing().page_size(2);
    provider.listing().hold_after(2);
    let mut first = setup(&database, &provider).run().await;
    eventually("the third page", || async { (provider.listing().asked() == 3).then_some(()) }).await;
    first.kill().await;
    let standing = rounds(&database).await;
    assert!(matches!(&standing[..], [(Some(page), 4, true)] if page.contains("PT4")), "{standing:?}");
    provider.listing().release();
    let second = setup(&database, &provider).run().await;
    let done = second.event("RECONCILE_DONE").await;
    assert_eq!(counts(&done), [6, 0, 0, 6, 0, 0], "those of the first process too");
    assert_eq!(provider.listing().asked(), 4, "the pages before it were not asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_gives_the_account_out_of_hand_at_once() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=4);
    provider.listing().page_size(2);
    provider.listing().hold_after(1);
    let mut first = setup(&database, &provider).run().await;
    eventually("the second page", || async { (provider.listing().asked() == 2).then_some(()) }).await;
    first.terminate();
    first.event("DRAIN_STARTED").await;
    provider.listing().release();
    assert_eq!(first.exit_code().await, 0);
    let standing = rounds(&database).await;
    assert!(matches!(&standing[..], [(None, 4, false)]), "{standing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_is_said_once_and_looked_through_another_time() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=2);
    let limited = Answer::Status(429, vec![("Retry-After", "0".to_owned())], "".into());
    provider.listing().instead([limited, Answer::status(401)]);
    let process = setup(&database, &provider).run().await;
    let failed = process.event("RECONCILE_FAILED").await;
    assert_eq!(failed["account_sid"], "AC1");
    assert!(failed["reason"].as_str().unwrap().contains("401"), "{failed}");
    assert_eq!(counts(&process.event("RECONCILE_DONE").await), [2, 0, 0, 2, 0, 0]);
    assert_eq!(process.events("RECONCILE_FAILED").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_the_provider_does_not_know_any_more_begins_the_round_anew() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=4);
    provider.listing().page_size(2);
    provider.listing().hold_after(1);
    let process = setup(&database, &provider).run().await;
    eventually("the second page", || async { (provider.listing().asked() == 2).then_some(()) }).await;
    provider.listing().instead([Answer::status(400)]);
    provider.listing().release();
    let done = process.event("RECONCILE_DONE").await;
    assert_eq!(counts(&done), [4, 2, 0, 2, 0, 0], "{done}");
}

/// A round goes back behind what the one before has reached, and after an outage as far as that.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_overlap_by_the_look_back_and_leave_no_gap() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    {
        let mut connection = database.connect().await;
        let reached = "insert into reconcile (account_sid, reached, started_at, finished_at)
                       values ('AC1', now() - interval '10 days', now(), now())";
        sqlx::query(reached).execute(&mut connection).await.unwrap();
    }
    let process = setup(&database, &provider).var("CALLSPOOL__RECONCILE__LOOK_BACK", "2d").run().await;
    let days_back = |done: &Value| {
        let since: chrono::DateTime<chrono::Utc> = done["since"].as_str().unwrap().parse().unwrap();
        (chrono::Utc::now() - since).num_hours()
    };
    assert_eq!(days_back(&process.event("RECONCILE_DONE").await), 12 * 24);
    assert_eq!(days_back(&process.event_number("RECONCILE_DONE", 2).await), 2 * 24);
}
