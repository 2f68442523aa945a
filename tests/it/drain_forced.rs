//! Ends that are no drain: a second signal, a thread that stands still, a child that never stays up.

use crate::support::{Answer, Database, Provider, process::Setup, provider::recording};
use std::time::{Duration, Instant};

/// Two processes on one database; the first has a download under way that does not end.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once_and_its_jobs_go_to_another() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::Held(recording(1)), Answer::Media(recording(1))]);
    let mut first = Setup::new(&database).provider(&provider).run().await;
    let id = first.enqueue(42, 1).await;
    provider.asked_times(1).await;
    first.terminate();
    first.event("DRAIN_STARTED").await;
    let second = Setup::new(&database).provider(&provider).run().await;
    first.terminate();
    let began = Instant::now();
    assert_eq!(first.exit_code().await, 143);
    assert!(began.elapsed() < Duration::from_secs(5), "not after its grace of 25 s");
    assert!(first.everything().contains("a second signal"), "the log is written out");
    assert!(first.events("DRAIN_DONE").is_empty());

    let reaped = second.event("WORKER_RELEASE_SLOT").await;
    assert_eq!((&reaped["reason"], &reaped["call_sid"]), (&"reaped".into(), &"CA1".into()));
    second.event("WORKER_DOWNLOAD_DONE").await;
    second.event_number("WORKER_RELEASE_SLOT", 2).await;
    assert_eq!(second.job(id).await["state"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_ends_a_process_whose_control_thread_stands_still() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let rule = "[[faults]]\nactor = \"listener\"\nplace = \"handler\"\nkind = \"block\"\n";
    let mut process = Setup::new(&database)
        .provider(&provider)
        .config(rule)
        .var("CALLSPOOL__SHUTDOWN__GRACE_SECONDS", "1")
        .run()
        .await;
    process.enqueue(42, 1).await;
    process.line("the fault", |line| line["fault"] == "Block").await;
    process.terminate();
    let began = Instant::now();
    assert_eq!(process.exit_code().await, 70);
    assert!(began.elapsed() >= Duration::from_secs(1), "the drain had its grace");
    assert!(process.everything().contains("the watchdog ends the process"), "the log is written out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_never_stays_up_ends_the_process_with_70_and_the_jobs_are_given_back() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::Held(recording(1))]);
    let rules = "[[faults]]\nactor = \"listener\"\nplace = \"started\"\nkind = \"panic\"\nafter = 1\ntimes = 1000\n\
                 [[faults]]\nactor = \"listener\"\nplace = \"handler\"\nkind = \"error\"\nafter = 1\n";
    let mut process = Setup::new(&database)
        .provider(&provider)
        .config(rules)
        .var("CALLSPOOL__SHUTDOWN__GRACE_SECONDS", "1")
        .var("CALLSPOOL__SUPERVISION__MAX_RESTARTS", "3")
        .run()
        .await;
    process.enqueue(42, 1).await;
    provider.asked_times(1).await;
    // The listener fails when it hears of this one, and from then on at each start.
    process.enqueue(42, 2).await;
    assert_eq!(process.exit_code().await, 70, "{}", process.everything());
    let downs = process.events("ACTOR_DOWN");
    let listener: Vec<_> = downs.iter().filter(|event| event["actor"] == "listener").collect();
    assert_eq!(listener.len(), 4, "one more than is borne");
    assert!(listener[3]["restart_in"].is_null());
    let started = process.events("DRAIN_STARTED");
    assert_eq!((started.len(), &started[0]["code"]), (1, &70.into()));
    let handed_back = process.events("DRAIN_DONE")[0]["handed_back"].as_u64().unwrap();
    assert!(handed_back >= 1);
    let mut connection = database.connect().await;
    let attempt: i16 =
        sqlx::query_scalar("select q.attempt from job_ready q join job j using (job_id) where call_sid = 'CA1'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(attempt, 0, "unburnt");
    let leases: i64 =
        sqlx::query_scalar("select count(*) from job_lease").fetch_one(&mut connection).await.unwrap();
    assert_eq!(leases, 0);
}
