//! The watch: it says once in the fleet why ready jobs are not picked, and keeps the fleet's pulse.

use crate::{
    queue_law::{Claimer, DEFAULT_SLOTS, done, execute},
    support::{Database, business, new_job},
};
use callspool::domain::{
    business::BusinessChange,
    explain::Reason,
    failure::{Failure, FailureCode},
    job::Disposition,
    operate::Operator,
    overview::{PulseCounts, StallChange},
    ports::{FleetView, JobBook, Operations, Watch, WatchRules},
};
use std::time::Duration;

/// Every look counts, and everything older than a minute is stalled.
pub fn rules() -> WatchRules {
    WatchRules {
        every: Duration::ZERO,
        stalled_after: Duration::from_mins(1),
        beat_ttl: Duration::from_secs(10),
        keep: Duration::from_hours(24),
        default_max_slots: DEFAULT_SLOTS,
        businesses: 50_000,
    }
}

/// What two looks say, because the first one only reads the doorbell; begun as `+reason`, over as `-reason`.
async fn changes(database: &Database) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..2 {
        execute(database, NOT_LOOKED_AT).await;
        said.append(&mut database.store().watch(&rules()).await.unwrap());
    }
    let mut words: Vec<String> = said
        .iter()
        .map(|change| match change {
            StallChange::Begun(stall) => format!("+{}", stall.reason),
            StallChange::Over(stall) => format!("-{}", stall.reason),
        })
        .collect();
    words.sort();
    words
}

/// So that the next look is taken however long the last one took.
const NOT_LOOKED_AT: &str = "update queue_watch set watched_at = watched_at - interval '1 hour', took_ms = 0";

/// Lets that time pass, for all that waits.
async fn later(database: &Database, time: &str) {
    let waited = "update business set waiting_since = waiting_since - $1::text::interval";
    sqlx::query(waited).bind(time).execute(&mut database.connect().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_is_said_once_when_it_begins_and_once_when_it_is_over() {
    let database = Database::migrated().await;
    let store = database.store();
    store.enqueue(&[new_job(1, 1), new_job(2, 2), new_job(3, 3), new_job(3, 4)]).await.unwrap();
    assert_eq!(changes(&database).await, [] as [&str; 0], "nobody has waited long");
    later(&database, "2 min").await;
    assert_eq!(changes(&database).await, ["+no_live_workers"]);
    later(&database, "1 s").await;
    assert_eq!(changes(&database).await, [] as [&str; 0], "no process says it again");

    let mut claimer = Claimer::new(&database).await;
    let set = |id, change| {
        let store = store.clone();
        async move { store.set_business(business(id), change, &Operator::new("dana")).await.unwrap() }
    };
    set(1, BusinessChange { paused: Some(true), ..BusinessChange::default() }).await;
    set(3, BusinessChange { max_slots: Some(0), ..BusinessChange::default() }).await;
    later(&database, "1 s").await;
    assert_eq!(changes(&database).await, ["+business_paused", "+runnable", "+slots_full", "-no_live_workers"]);
    let overview = store.overview(0).await.unwrap();
    let slots = overview.stalls.iter().find(|stall| stall.reason == Reason::SlotsFull).unwrap();
    assert_eq!((slots.businesses, slots.ready, slots.business_id), (1, 2, business(3)));

    assert_eq!(claimer.claim(5).await.len(), 1);
    set(1, BusinessChange { paused: Some(false), ..BusinessChange::default() }).await;
    later(&database, "1 s").await;
    assert_eq!(changes(&database).await, ["-business_paused", "-runnable"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_another_process_has_just_taken_is_not_taken_again() {
    let database = Database::migrated().await;
    let rules = WatchRules { every: Duration::from_hours(1), ..rules() };
    database.store().watch(&rules).await.unwrap();
    let first = database.store().overview(0).await.unwrap().at;
    assert!(first.is_some());
    database.store().watch(&rules).await.unwrap();
    assert_eq!(database.store().overview(0).await.unwrap().at, first);
    execute(&database, NOT_LOOKED_AT).await;
    database.store().watch(&WatchRules { every: Duration::from_mins(10), ..rules }).await.unwrap();
    assert!(database.store().overview(0).await.unwrap().at > first);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_agrees_with_the_status_and_shows_the_busiest_first() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let batch: Vec<_> = (0..60).map(|n| new_job(i64::from(n % 30) + 1, n)).chain([new_job(7, 100)]).collect();
    claimer.store.enqueue(&batch).await.unwrap();
    claimer.claim_all(0).await;
    claimer.claim(29).await;
    let running = claimer.claim(9).await;
    claimer.settle(&running[0], done(&running[0])).await;
    claimer.store.watch(&rules()).await.unwrap();
    let overview = claimer.store.overview(5).await.unwrap();
    let status = claimer.store.fleet_status().await.unwrap();
    assert_eq!(overview.backlog, status.backlog);
    assert_eq!((overview.backlog.running, overview.backlog.done, overview.backlog.ready), (37, 1, 23));
    assert_eq!((overview.instances, overview.workers, overview.slots_in_use), (1, 1, 37));
    assert_eq!(overview.oldest_ready, status.oldest_ready);
    assert_eq!(overview.businesses.len(), 20);
    assert!(overview.businesses.is_sorted_by_key(|business| -business.running));
    let now = overview.pulse.last().unwrap();
    assert_eq!((now.ready, now.running, now.done), (Some(23), Some(37), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pulse_adds_up_what_every_process_tells() {
    let database = Database::migrated().await;
    let counts = PulseCounts { done: 3, failed: 2, dead: 1, bytes: 30, latency: vec![0, 1, 2] };
    let tell = || async { database.store().add_pulse(&counts).await.unwrap() };
    tokio::join!(tell(), tell(), tell());
    let longer = PulseCounts { done: 1, latency: vec![0, 0, 0, 0, 1], ..PulseCounts::default() };
    database.store().add_pulse(&longer).await.unwrap();
    let pulse = database.store().overview(1).await.unwrap().pulse;
    // Ten seconds may just have ended.
    let sum = |of: fn(&callspool::domain::overview::PulsePoint) -> i64| pulse.iter().map(of).sum::<i64>();
    assert_eq!((sum(|p| p.done), sum(|p| p.failed), sum(|p| p.dead), sum(|p| p.bytes)), (10, 6, 3, 90));
    assert!(pulse.iter().all(|point| point.p50_ms.is_some_and(|ms| ms <= 200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_long_enough_is_let_go() {
    let database = Database::migrated().await;
    let store = database.store();
    execute(&database, "insert into pulse (at) values (now() - interval '26 hours'), (now() - interval '2 hours')")
        .await;
    let change = BusinessChange { weight: Some(2), ..BusinessChange::default() };
    store.set_business(business(1), change, &Operator::new("dana")).await.unwrap();
    execute(&database, "update operator_action set at = at - interval '2 days'").await;
    store.watch(&rules()).await.unwrap();
    assert_eq!(store.overview(1_440).await.unwrap().pulse.len(), 2, "two hours ago, and now");
    assert!(store.actions(business(1), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_claims_the_watch_reads_the_doorbell() {
    let database = Database::migrated().await;
    let store = database.store();
    store.enqueue(&[new_job(1, 1)]).await.unwrap();
    store.watch(&rules()).await.unwrap();
    assert_eq!(store.business(business(1)).await.unwrap().unwrap().ready, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_whole_fleet_is_away_whoever_asks_looks_in_its_place() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.store.enqueue(&[new_job(1, 1), new_job(2, 2)]).await.unwrap();
    let running = claimer.claim(1).await;
    claimer.settle(&running[0], crate::queue_law::retry(Duration::from_hours(1))).await;
    claimer.store.watch(&rules()).await.unwrap();
    assert!(claimer.store.fleet_status().await.unwrap().stalls.is_empty());
    execute(&database, "update instance set beat_at = now() - interval '1 hour'").await;
    execute(&database, NOT_LOOKED_AT).await;
    let status = claimer.store.fleet_status().await.unwrap();
    assert_eq!(status.stalls.len(), 1);
    let stall = &status.stalls[0];
    assert_eq!((stall.reason, stall.businesses, stall.ready), (Reason::NoLiveWorkers, 2, 2), "{}", stall.text);
    assert!(!status.instances[0].live);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_why_jobs_fail() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let batch: Vec<_> = (0..5).map(|n| new_job(1, n)).collect();
    claimer.store.enqueue(&batch).await.unwrap();
    let jobs = claimer.claim(5).await;
    let refused = || Failure::new(FailureCode::Unauthorized, "the provider answered 401");
    for job in &jobs[..3] {
        let delay = Duration::from_hours(1);
        claimer.settle(job, Disposition::Retry { delay, failure: refused() }).await;
    }
    claimer.settle(&jobs[3], Disposition::Dead { failure: refused() }).await;
    claimer.settle(&jobs[4], crate::queue_law::dead()).await;
    let failing = claimer.store.fleet_status().await.unwrap().failing;
    let told: Vec<_> = failing.iter().map(|f| (f.code.as_str(), f.retrying, f.dead)).collect();
    assert_eq!(told, [("unauthorized", 3, 1), ("http_status", 0, 1)]);
    execute(&database, "update job_history set finished_at = finished_at - interval '2 hours'").await;
    let failing = claimer.store.overview(0).await.unwrap().failing;
    let told: Vec<_> = failing.iter().map(|f| (f.code.as_str(), f.retrying, f.dead)).collect();
    assert_eq!(told, [("unauthorized", 3, 0)]);
    // What does not say why is passed over.
    execute(&database, "update job_history set finished_at = now(), error_code = null").await;
    assert_eq!(claimer.store.overview(0).await.unwrap().failing, failing);
}
