//! What operators do, as running processes carry it out.

use crate::{
    queue_law::{assert_law, execute},
    support::{Answer, Database, Process, Provider, business, eventually, process::Setup, provider::recording},
};
use callspool::domain::{
    ids::JobId,
    operate::{Operator, Outcome},
    ports::Operations,
};
use std::time::{Duration, Instant};

/// A process that downloads a recording whose second half does not come; its job.
async fn downloading(database: &Database, provider: &Provider, setup: Setup) -> (Process, i64) {
    provider.tell(1, [Answer::Held(recording(1))]);
    let process = setup.provider(provider).run().await;
    let job = process.enqueue(7, 1).await;
    eventually("the download", || async { (!provider.asked().is_empty()).then_some(()) }).await;
    execute(database, "update business set max_slots = 1 where business_id = 7").await;
    (process, job)
}

async fn cancel(database: &Database, job: i64) {
    let outcomes = database.store().cancel(&[JobId(job)], None, &Operator::new("dana")).await.unwrap();
    assert_eq!(outcomes[0].outcome, Outcome::Requested);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_download_stops_and_its_slot_is_the_next_jobs() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let (process, job) = downloading(&database, &provider, Setup::new(&database)).await;
    let next = process.enqueue(7, 2).await;
    assert_eq!(process.job(next).await["state"], "ready", "its business has one slot");
    let asked = Instant::now();
    cancel(&database, job).await;
    let released = process.line("the release", |line| {
        line["marker"] == "WORKER_RELEASE_SLOT" && line["reason"] == "cancelled" && line["call_sid"] == "CA1"
    });
    released.await;
    // The product's promise; a test machine may be slow, but the bell is a matter of milliseconds.
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    eventually("the next job", || async { (process.job(next).await["state"] == "done").then_some(()) }).await;
    assert_eq!(process.job(job).await["state"], "cancelled");
    assert!(!process.file(7, 1).exists());
    assert!(process.events("WORKER_JOB_FAILED").is_empty());
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_whose_bell_nobody_hears_is_found_by_a_look() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let (process, job) = downloading(&database, &provider, Setup::new(&database)).await;
    // As the store does it, but without the bell.
    execute(&database, "select cancel_jobs(array(select job_id from job_lease), null, 5, 'dana')").await;
    eventually("the end", || async { (process.job(job).await["state"] == "cancelled").then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_05_a_queue_that_nobody_consumes_says_so_and_why() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database)
        .var("CALLSPOOL_ROLES", "api,webhooks")
        .var("CALLSPOOL__QUEUE__WATCH_INTERVAL", "100ms")
        .var("CALLSPOOL__QUEUE__STALLED_AFTER", "200ms");
    let process = setup.run().await;
    let job = process.enqueue(42, 1).await;
    let stalled = process.event("QUEUE_STALLED").await;
    assert_eq!((&stalled["reason"], &stalled["ready"]), (&"no_live_workers".into(), &1.into()), "{stalled}");
    assert_eq!(stalled["business_id"], 42);
    let why = database.store().explain(JobId(job)).await.unwrap().unwrap();
    assert_eq!(why.reason.as_str(), stalled["reason"], "explain gives the same reason");

    let provider = Provider::start();
    let worker = Setup::new(&database).provider(&provider).var("CALLSPOOL_ROLES", "worker");
    let worker = worker.var("CALLSPOOL__QUEUE__WATCH_INTERVAL", "100ms").run().await;
    // Whichever of them looks says it.
    let moves = tokio::select! {
        moves = process.event("QUEUE_MOVES") => moves,
        moves = worker.event("QUEUE_MOVES") => moves,
    };
    assert_eq!(moves["reason"], "no_live_workers");
    let stalled = [process.events("QUEUE_STALLED"), worker.events("QUEUE_STALLED")].concat();
    assert_eq!(stalled.iter().filter(|event| event["reason"] == "no_live_workers").count(), 1, "{stalled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_is_in_the_fleets_pulse() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(2, [Answer::status(500), Answer::Media(recording(2))]);
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL__QUEUE__WATCH_INTERVAL", "100ms");
    let process = setup.run().await;
    for number in 1..=3 {
        process.enqueue(1, number).await;
    }
    let seen = eventually("the pulse", || async {
        use callspool::domain::ports::FleetView;
        let overview = database.store().overview(5).await.unwrap();
        let sums = overview.pulse.iter().fold((0, 0), |sum, point| (sum.0 + point.done, sum.1 + point.failed));
        (overview.backlog.done == 3 && sums == (3, 1)).then_some(overview)
    });
    let overview = seen.await;
    assert!(overview.pulse.iter().any(|point| point.p95_ms.is_some() && point.bytes > 0));
    assert_eq!(overview.businesses.iter().map(|b| b.business_id).find(|id| *id != business(1)), None);
}
