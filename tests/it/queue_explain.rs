//! Why a job does not run now: each reason with its detail.

use crate::{
    queue_law::{Claimer, dead, done, execute, retry},
    support::{Database, business, new_job},
};
use callspool::domain::{
    business::BusinessChange,
    failure::{Failure, FailureCode},
    ids::JobId,
    job::{Disposition, JobState, NewJob},
    operate::Operator,
    ports::{JobBook, Operations},
};
use chrono::{TimeDelta, Utc};
use serde_json::Value;
use std::time::Duration;

async fn explained(claimer: &Claimer, id: JobId) -> Value {
    serde_json::to_value(claimer.store.explain(id).await.unwrap().unwrap()).unwrap()
}

async fn enqueued(claimer: &Claimer, jobs: &[NewJob]) -> Vec<JobId> {
    claimer.store.enqueue(jobs).await.unwrap().into_iter().map(|job| job.id).collect()
}

async fn set(claimer: &Claimer, change: BusinessChange) {
    claimer.store.set_business(business(1), change, &Operator::new("dana")).await.unwrap();
}

fn text(value: &Value) -> &str {
    value["text"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn full_slots_are_explained_by_the_jobs_that_hold_them() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    set(&claimer, BusinessChange { max_slots: Some(2), ..BusinessChange::default() }).await;
    let jobs = enqueued(&claimer, &[new_job(1, 1), new_job(1, 2), new_job(1, 3)]).await;
    claimer.claim(5).await;
    let why = explained(&claimer, jobs[2]).await;
    assert_eq!((&why["state"], &why["reason"]), (&"ready".into(), &"slots_full".into()), "{why}");
    assert_eq!((&why["detail"]["running"], &why["detail"]["max_slots"]), (&2.into(), &2.into()));
    let holders = why["detail"]["holders"].as_array().unwrap();
    let ids: Vec<_> = holders.iter().map(|holder| holder["job_id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [jobs[0].0, jobs[1].0]);
    assert_eq!(holders[0]["host"], "here");
    assert_eq!(holders[0]["instance"], claimer.instance.to_string());
    assert!(holders[0]["since"].is_string() && holders[0]["beat_age_ms"].is_i64(), "{why}");
    assert!(text(&why).starts_with("2 of 2 slots of business 1 are in use; job 1 has had one for "), "{why}");
    assert!(why["next"].as_str().unwrap().contains("businesses set 1 --max-slots 3"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_business_is_explained_by_who_paused_it_and_when() {
    let database = Database::migrated().await;
    let claimer = Claimer::new(&database).await;
    let jobs = enqueued(&claimer, &[new_job(1, 1)]).await;
    set(&claimer, BusinessChange { paused: Some(true), max_slots: Some(0), ..BusinessChange::default() }).await;
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!((&why["reason"], &why["also"]), (&"business_paused".into(), &serde_json::json!(["slots_full"])));
    assert_eq!(why["detail"]["paused_by"], "dana");
    assert_eq!(why["since"], why["detail"]["paused_at"]);
    assert!(text(&why).starts_with("business 1 was paused by dana at 20"), "{why}");
    assert_eq!(why["next"], "callspool businesses set 1 --resume");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_workers_are_explained_by_the_last_one_seen_and_by_whoever_lives() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let jobs = enqueued(&claimer, &[new_job(1, 1)]).await;
    execute(&database, "update instance set beat_at = now() - interval '1 hour'").await;
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!(why["reason"], "no_live_workers");
    assert!(text(&why).starts_with("no process lives that takes jobs; the last was seen at 20"), "{why}");
    assert_eq!((&why["since"], &why["detail"]["instances"]), (&why["detail"]["last_seen"], &serde_json::json!([])));

    // An API process lives.
    execute(&database, "update instance set beat_at = now(), roles = '{api}', workers = 0").await;
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!(why["detail"]["instances"][0]["roles"], serde_json::json!(["api"]));
    assert!(text(&why).starts_with("one process lives, without the role worker; none was ever seen"), "{why}");
    execute(&database, "update instance set workers = 3, draining = true").await;
    assert!(text(&explained(&claimer, jobs[0]).await).starts_with("every process that takes jobs is draining"));
    execute(&database, "update instance set draining = false").await;
    assert_eq!(explained(&claimer, jobs[0]).await["reason"], "runnable");
    assert_eq!(claimer.claim(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_explained_by_the_attempt_that_failed_or_by_whoever_enqueued() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let jobs = enqueued(&claimer, &[new_job(1, 1)]).await;
    let running = claimer.claim(1).await;
    let failure = Failure::new(FailureCode::HttpStatus, "the provider answered 503");
    let failure = failure.retry_after(Some(Duration::from_mins(2)));
    claimer.settle(&running[0], Disposition::Retry { delay: Duration::from_mins(2), failure }).await;
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!((&why["reason"], &why["detail"]["why"]), (&"scheduled".into(), &"retry".into()));
    assert_eq!((&why["detail"]["attempt"], &why["detail"]["max_attempts"]), (&1.into(), &3.into()));
    assert_eq!(why["detail"]["error"]["code"], "http_status");
    assert_eq!(why["detail"]["retry_after_ms"], 120_000);
    assert!((110_000..=120_000).contains(&why["detail"]["due_in_ms"].as_i64().unwrap()), "{why}");
    let sentence = text(&why);
    assert!(
        sentence.starts_with("attempt 2 of 3 runs in 1 min 5")
            || sentence.starts_with("attempt 2 of 3 runs in 2 min")
    );
    assert!(
        sentence.ends_with("after http_status (the provider answered 503), whose Retry-After is 2 min 0 s"),
        "{why}"
    );

    let later = NewJob { run_at: Some(Utc::now() + TimeDelta::hours(5)), ..new_job(1, 2) };
    let jobs = enqueued(&claimer, &[later]).await;
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!(why["detail"]["why"], "enqueued_for_later");
    assert!(text(&why).contains("runs in 4 h 59 min"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_explained_by_where_and_what_is_over_by_how() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let jobs = enqueued(&claimer, &[new_job(1, 1), new_job(1, 2)]).await;
    let running = claimer.claim(2).await;
    claimer.store.cancel(&jobs[..1], None, &Operator::new("dana")).await.unwrap();
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!((&why["reason"], &why["detail"]["cancel_requested"]), (&"running".into(), &true.into()));
    assert!(text(&why).starts_with("worker 0 at here has worked on it for "), "{why}");
    assert!(text(&why).ends_with("; it is asked to stop"), "{why}");
    claimer.settle(&running[0], Disposition::Cancelled).await;
    claimer.settle(&running[1], dead()).await;
    let why = explained(&claimer, jobs[1]).await;
    assert_eq!((&why["reason"], &why["detail"]["state"]), (&"finished".into(), &"dead".into()));
    assert_eq!(why["next"], "callspool jobs retry 2");
    assert!(text(&explained(&claimer, jobs[0]).await).starts_with("it was cancelled by dana at 20"));
    claimer.store.retry(&jobs[1..], &Operator::new("dana")).await.unwrap();
    let again = claimer.claim(1).await;
    claimer.settle(&again[0], done(&again[0])).await;
    assert_eq!(explained(&claimer, jobs[1]).await["next"], Value::Null);
    assert_eq!(claimer.store.explain(JobId(99)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_turn_it_is_says_what_is_before_it_and_whether_workers_are_free() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let jobs = enqueued(&claimer, &(0..4).map(|n| new_job(1, n)).collect::<Vec<_>>()).await;
    let urgent = NewJob { priority: 1.try_into().unwrap(), ..new_job(1, 9) };
    enqueued(&claimer, &[urgent]).await;
    let why = explained(&claimer, jobs[1]).await;
    assert_eq!((&why["reason"], &why["detail"]["ahead"]), (&"runnable".into(), &2.into()), "{why}");
    assert_eq!((&why["detail"]["capacity"], &why["detail"]["in_use"]), (&16.into(), &0.into()));
    assert_eq!(why["next"], Value::Null);
    execute(&database, "update instance set workers = 1").await;
    claimer.claim(1).await;
    let why = explained(&claimer, jobs[1]).await;
    assert!(text(&why).contains("all workers are busy (1 of 1)"), "{why}");
    assert!(why["next"].as_str().unwrap().contains("worker.count"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_behind_is_the_reason_whatever_the_job() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let jobs = enqueued(&claimer, &[new_job(1, 1)]).await;
    let running = claimer.claim(1).await;
    claimer.settle(&running[0], retry(Duration::from_hours(1))).await;
    execute(&database, "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .await;
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!((&why["reason"], &why["state"]), (&"schema_behind".into(), &JobState::Scheduled.as_str().into()));
    let (have, need) = (why["detail"]["have"].as_i64().unwrap(), why["detail"]["need"].as_i64().unwrap());
    assert!(have < need, "{why}");
    assert!(why["next"].as_str().unwrap().contains("callspool migrate run"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_nobody_will_end_is_explained_by_the_missing_workers() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let jobs = enqueued(&claimer, &[new_job(1, 1)]).await;
    let running = claimer.claim(1).await;
    claimer.settle(&running[0], retry(Duration::from_hours(1))).await;
    let why = explained(&claimer, jobs[0]).await;
    assert!(why["since"].is_string(), "since its attempt failed: {why}");
    execute(&database, "update instance set beat_at = now() - interval '1 hour'").await;
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!((&why["reason"], &why["also"]), (&"scheduled".into(), &serde_json::json!(["no_live_workers"])));
    execute(&database, "update job_scheduled set run_at = now()").await;
    let why = explained(&claimer, jobs[0]).await;
    assert_eq!((&why["reason"], &why["also"]), (&"no_live_workers".into(), &serde_json::json!(["scheduled"])));
}
