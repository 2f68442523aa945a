//! What operators do: cancel, try again, run sooner, change a business. Whatever they do, the law holds.

use crate::{
    queue_law::{Claimer, assert_law, dead, done, execute, ids, retry},
    support::{Database, business, eventually, new_job},
};
use callspool::domain::{
    business::{BusinessChange, BusinessFilter},
    ids::JobId,
    job::{Disposition, JobState, Settlement},
    operate::{Operator, Outcome},
    ports::{Dispatch, JobBook, Operations, Upkeep},
};
use sqlx::Connection;
use std::time::Duration;

fn dana() -> Operator {
    Operator::new("dana")
}

async fn cancel(claimer: &Claimer, ids: &[JobId]) -> Vec<Outcome> {
    claimer.store.cancel(ids, None, &dana()).await.unwrap().into_iter().map(|job| job.outcome).collect()
}

async fn try_again(claimer: &Claimer, ids: &[JobId]) -> Vec<Outcome> {
    claimer.store.retry(ids, &dana()).await.unwrap().into_iter().map(|job| job.outcome).collect()
}

async fn state(claimer: &Claimer, id: JobId) -> JobState {
    claimer.store.job(id).await.unwrap().unwrap().state
}

/// A claimer, and `n` jobs of business 1.
async fn with_jobs(database: &Database, n: u32) -> (Claimer, Vec<JobId>) {
    let claimer = Claimer::new(database).await;
    let batch: Vec<_> = (0..n).map(|number| new_job(1, number)).collect();
    let enqueued = claimer.store.enqueue(&batch).await.unwrap();
    (claimer, enqueued.into_iter().map(|job| job.id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_is_cancelled_at_once_and_never_runs() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 3).await;
    // Before its bell was read, and after.
    assert_eq!(cancel(&claimer, &jobs[..1]).await, [Outcome::Cancelled]);
    assert_law(&database).await;
    let first = claimer.claim(1).await;
    assert_eq!(ids(&first), [jobs[1]]);
    assert!(claimer.settle(&first[0], retry(Duration::from_hours(1))).await);
    assert_eq!(cancel(&claimer, &[jobs[2], jobs[1]]).await, [Outcome::Cancelled; 2]);
    assert_law(&database).await;
    assert!(claimer.claim(5).await.is_empty());
    let scheduled = claimer.store.job(jobs[1]).await.unwrap().unwrap();
    assert_eq!((scheduled.state, scheduled.attempt), (JobState::Cancelled, 1));
    assert_eq!(scheduled.last_error.unwrap().code, "http_status");
    let business = claimer.store.business(business(1)).await.unwrap().unwrap();
    assert_eq!((business.ready, business.scheduled, business.running, business.cancelled), (0, 0, 0, 3));
    // Its recording may be enqueued anew.
    assert!(!claimer.store.enqueue(&[new_job(1, 0)]).await.unwrap()[0].deduplicated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_whose_last_ready_job_is_cancelled_is_no_longer_visited() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 2).await;
    let running = claimer.claim(1).await;
    cancel(&claimer, &jobs[1..]).await;
    let marked: bool = sqlx::query_scalar("select has_more from business where business_id = 1")
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap();
    assert!(!marked);
    assert!(claimer.settle(&running[0], done(&running[0])).await);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_keeps_its_slot_until_its_worker_has_stopped() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 1).await;
    let running = claimer.claim(1).await;
    assert_eq!(cancel(&claimer, &jobs).await, [Outcome::Requested]);
    assert_eq!(claimer.store.cancel_requests(claimer.instance).await.unwrap(), [running[0].lease]);
    assert_eq!(state(&claimer, jobs[0]).await, JobState::Running);
    assert!(claimer.settle(&running[0], Disposition::Cancelled).await);
    assert_eq!(state(&claimer, jobs[0]).await, JobState::Cancelled);
    assert_eq!(claimer.store.cancel_requests(claimer.instance).await.unwrap(), []);
    let attempts = claimer.store.attempts(jobs[0]).await.unwrap();
    assert_eq!((attempts.len(), attempts[0].error.code.as_str()), (1, "cancelled"));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_that_ends_first_is_cancelled_unless_its_file_is_there() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 4).await;
    let running = claimer.claim(4).await;
    cancel(&claimer, &jobs).await;
    let ends = [retry(Duration::ZERO), Disposition::HandBack, done(&running[2]), dead()];
    let settlements: Vec<Settlement> = running
        .iter()
        .zip(ends)
        .map(|(job, disposition)| Settlement { job: job.id, lease: job.lease, disposition })
        .collect();
    let settled = claimer.store.settle(&settlements).await.unwrap();
    let cancelled: Vec<bool> = settled.iter().map(|settled| settled.cancelled).collect();
    assert_eq!(cancelled, [true, true, false, false]);
    let mut states = Vec::new();
    for id in &jobs {
        states.push(state(&claimer, *id).await);
    }
    assert_eq!(states, [JobState::Cancelled, JobState::Cancelled, JobState::Done, JobState::Dead]);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_to_be_cancelled_whose_process_died_does_not_run_elsewhere() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 1).await;
    claimer.claim(1).await;
    cancel(&claimer, &jobs).await;
    execute(&database, "update instance set beat_at = beat_at - interval '1 hour'").await;
    let reaped = claimer.store.reap(Duration::from_secs(10), 10).await.unwrap();
    assert_eq!(reaped[0].disposition, Disposition::Cancelled);
    assert_eq!(state(&claimer, jobs[0]).await, JobState::Cancelled);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_attempt_is_just_ending_is_asked_for_again() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 1).await;
    claimer.claim(1).await;
    // Somebody is about to settle it.
    let mut settling = database.connect().await;
    let mut transaction = settling.begin().await.unwrap();
    sqlx::query("select from job_lease for update").execute(&mut *transaction).await.unwrap();
    assert_eq!(cancel(&claimer, &jobs).await, [Outcome::Moving]);
    transaction.commit().await.unwrap();
    assert_eq!(cancel(&claimer, &jobs).await, [Outcome::Requested]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_or_unknown_is_said_so() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 1).await;
    let running = claimer.claim(1).await;
    assert_eq!(try_again(&claimer, &jobs).await, [Outcome::Running]);
    claimer.settle(&running[0], done(&running[0])).await;
    let ids = [jobs[0], JobId(999)];
    assert_eq!(cancel(&claimer, &ids).await, [Outcome::Finished, Outcome::Unknown]);
    assert_eq!(try_again(&claimer, &ids).await, [Outcome::Done, Outcome::Unknown]);
    assert_eq!(cancel(&claimer, &[]).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_or_cancelled_job_runs_again_from_its_first_attempt() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 2).await;
    execute(&database, "update job set trace_parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'")
        .await;
    let running = claimer.claim(1).await;
    claimer.settle(&running[0], dead()).await;
    cancel(&claimer, &jobs[1..]).await;
    assert_eq!(try_again(&claimer, &jobs).await, [Outcome::Ready; 2]);
    assert_law(&database).await;
    assert_eq!(try_again(&claimer, &jobs).await, [Outcome::Ready; 2], "again changes nothing");
    let again = claimer.claim(5).await;
    assert_eq!(ids(&again), jobs);
    assert_eq!(again.iter().map(|job| job.attempt).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(again[0].recording_url, running[0].recording_url);
    assert!(again.iter().all(|job| job.trace_parent.is_some()), "its trace goes on");
    claimer.settle_all(again.iter().map(|job| (job, done(job)))).await;
    assert_law(&database).await;
    let business = claimer.store.business(business(1)).await.unwrap().unwrap();
    assert_eq!((business.done, business.dead, business.cancelled, business.ready), (2, 0, 0, 0));
    let history: i64 = sqlx::query_scalar("select count(*) from job_history")
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(history, 2, "a job has one row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_job_runs_now_and_keeps_its_attempts() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 1).await;
    let running = claimer.claim(1).await;
    claimer.settle(&running[0], retry(Duration::from_hours(9))).await;
    assert_eq!(try_again(&claimer, &jobs).await, [Outcome::Ready]);
    assert_law(&database).await;
    assert_eq!(claimer.claim(1).await[0].attempt, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_recording_gets_a_second_job_by_a_retry() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 2).await;
    let running = claimer.claim(2).await;
    for job in &running {
        claimer.settle(job, dead()).await;
    }
    // The first is enqueued anew; the second anew and stored.
    claimer.store.enqueue(&[new_job(1, 0), new_job(1, 1)]).await.unwrap();
    let anew = claimer.claim(2).await;
    claimer.settle(&anew[1], done(&anew[1])).await;
    assert_eq!(try_again(&claimer, &jobs).await, [Outcome::Duplicate, Outcome::Done]);
    assert_law(&database).await;
    execute(&database, "update job_history set recording_url = null where state = 'dead'").await;
    claimer.settle(&anew[0], dead()).await;
    assert_eq!(try_again(&claimer, &jobs[..1]).await, [Outcome::NotKept]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_somebody_waits_for_runs_first() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 4).await;
    let running = claimer.claim(1).await;
    claimer.settle(&running[0], retry(Duration::from_hours(1))).await;
    let view = |id| {
        let store = claimer.store.clone();
        async move { store.job(id).await.unwrap().unwrap() }
    };
    for id in [jobs[3], jobs[0]] {
        let call = view(id).await.call_sid;
        let urgent = 0.try_into().unwrap();
        assert_eq!(claimer.store.expedite(business(1), &call, urgent).await.unwrap(), 1);
        assert_eq!(claimer.store.expedite(business(1), &call, urgent).await.unwrap(), 0);
        assert_eq!(claimer.store.expedite(business(2), &call, urgent).await.unwrap(), 0, "another's call");
    }
    assert_law(&database).await;
    assert_eq!(view(jobs[0]).await.attempt, 1);
    assert_eq!(ids(&claimer.claim(1).await), [jobs[3]]);
    try_again(&claimer, &jobs[..1]).await;
    assert_eq!(ids(&claimer.claim(1).await), [jobs[0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_business_gets_no_slot_until_it_is_resumed() {
    let database = Database::migrated().await;
    let (mut claimer, _) = with_jobs(&database, 3).await;
    let store = claimer.store.clone();
    let set = |change: BusinessChange| {
        let store = store.clone();
        async move { store.set_business(business(1), change, &dana()).await.unwrap() }
    };
    let paused = set(BusinessChange { paused: Some(true), ..BusinessChange::default() }).await;
    assert!(paused.paused && paused.paused_at.is_some());
    assert_eq!(paused.paused_by.as_deref(), Some("dana"));
    assert!(claimer.claim(3).await.is_empty());
    let resumed = set(BusinessChange {
        max_slots: Some(2),
        weight: Some(3),
        paused: Some(false),
        ..BusinessChange::default()
    })
    .await;
    assert_eq!((resumed.max_slots, resumed.weight, resumed.paused), (2, 3, false));
    assert_eq!((resumed.paused_at, resumed.paused_by), (None, None));
    assert_eq!(claimer.claim(3).await.len(), 2);
    let actions = claimer.store.actions(business(1), 10).await.unwrap();
    let said: Vec<_> = actions.iter().map(|action| (action.operator.as_str(), action.detail.as_str())).collect();
    let expected =
        [("dana", "resumed"), ("dana", "weight 1 -> 3"), ("dana", "max_slots 5 -> 2"), ("dana", "paused")];
    assert_eq!(said, expected);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_is_set_up_before_its_first_job_and_pages_go_by_number() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    for id in [3, 1, 2] {
        let change = BusinessChange { max_slots: Some(1), ..BusinessChange::default() };
        claimer.store.set_business(business(id), change, &dana()).await.unwrap();
    }
    let page = |after: Option<i64>| {
        let (store, after) = (claimer.store.clone(), after.map(business));
        async move {
            let page = store.businesses(BusinessFilter { after, limit: 2 }).await.unwrap();
            page.iter().map(|business| business.business_id.get()).collect::<Vec<_>>()
        }
    };
    assert_eq!(page(None).await, [1, 2]);
    assert_eq!(page(Some(2)).await, [3]);
    assert_eq!(claimer.store.business(business(9)).await.unwrap(), None);
    claimer.store.enqueue(&[new_job(3, 1), new_job(3, 2)]).await.unwrap();
    assert_eq!(claimer.claim(5).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_for_one_state_leaves_jobs_alone_that_are_in_another_by_now() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 3).await;
    let running = claimer.claim(2).await;
    claimer.settle(&running[1], retry(Duration::from_hours(1))).await;
    let only = |state| {
        let (store, jobs) = (claimer.store.clone(), jobs.clone());
        async move {
            let outcomes = store.cancel(&jobs, Some(state), &dana()).await.unwrap();
            outcomes.into_iter().map(|job| job.outcome).collect::<Vec<_>>()
        }
    };
    assert_eq!(only(JobState::Ready).await, [Outcome::Elsewhere, Outcome::Elsewhere, Outcome::Cancelled]);
    assert_eq!(only(JobState::Scheduled).await, [Outcome::Elsewhere, Outcome::Cancelled, Outcome::Finished]);
    assert_eq!(only(JobState::Running).await, [Outcome::Requested, Outcome::Finished, Outcome::Finished]);
    assert_law(&database).await;
}

/// An application's transaction may be open for long: nobody who holds a business may wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_waits_for_an_open_transaction_holds_nobody_up() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = with_jobs(&database, 3).await;
    let running = claimer.claim(2).await;
    claimer.settle(&running[0], retry(Duration::from_hours(1))).await;
    claimer.settle(&running[1], dead()).await;
    // The recording of the dead one is being enqueued.
    let mut application = database.connect().await;
    let mut transaction = application.begin().await.unwrap();
    let again = "select e.job_id from job_history h
                   cross join lateral enqueue(business_id => h.business_id, call_sid => h.call_sid,
                                              recording_url => h.recording_url, recording_sid => h.recording_sid) e
                  where h.job_id = $1";
    sqlx::query(again).bind(jobs[1].0).execute(&mut *transaction).await.unwrap();
    let retrying = {
        let (store, both) = (claimer.store.clone(), jobs[..2].to_vec());
        tokio::spawn(async move { store.retry(&both, &dana()).await.unwrap() })
    };
    let waits = "select count(*) from pg_stat_activity
                  where datname = current_database() and wait_event_type = 'Lock' and query like '%retry_jobs%'";
    eventually("the retry's wait", || async {
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&mut database.connect().await).await.unwrap();
        (waiting == 1).then_some(())
    })
    .await;
    assert_eq!(cancel(&claimer, &jobs[..1]).await, [Outcome::Cancelled]);
    let next = claimer.claim(1).await;
    assert_eq!(ids(&next), jobs[2..]);
    assert!(claimer.settle(&next[0], done(&next[0])).await);
    transaction.commit().await.unwrap();
    let outcomes: Vec<Outcome> = retrying.await.unwrap().into_iter().map(|job| job.outcome).collect();
    assert_eq!(outcomes[1], Outcome::Duplicate);
    assert_law(&database).await;
}

/// Everybody at once: enqueue, claim, settle, cancel, retry, expedite, reap.
#[tokio::test(flavor = "multi_thread")]
async fn operators_and_workers_at_the_same_jobs_do_not_deadlock_or_lose_one() {
    let database = Database::migrated().await;
    let store = database.store();
    let batch: Vec<_> = (0..60).map(|n| new_job(i64::from(n % 3) + 1, n)).collect();
    let jobs: Vec<JobId> = store.enqueue(&batch).await.unwrap().into_iter().map(|job| job.id).collect();
    let worker = |seed: usize| {
        let database = &database;
        async move {
            let mut claimer = Claimer::new(database).await;
            for round in 0..40 {
                for (place, job) in claimer.claim(4).await.iter().enumerate() {
                    let end = match (place + round + seed) % 4 {
                        0 => dead(),
                        1 => Disposition::HandBack,
                        2 => Disposition::Cancelled,
                        _ => retry(Duration::ZERO),
                    };
                    claimer.settle(job, end).await;
                }
                claimer.store.promote(100).await.unwrap();
            }
        }
    };
    let operator = |seed: usize| {
        let (store, jobs) = (database.store(), jobs.clone());
        async move {
            for round in 0..40 {
                let some: Vec<JobId> = jobs.iter().skip((round * 7 + seed) % 40).step_by(3).copied().collect();
                store.cancel(&some, None, &dana()).await.unwrap();
                store.retry(&some, &dana()).await.unwrap();
                let job = new_job(i64::try_from(round % 3).unwrap() + 1, u32::try_from(round).unwrap());
                store.expedite(job.business_id, &job.call_sid, 1.try_into().unwrap()).await.unwrap();
            }
        }
    };
    tokio::join!(worker(0), worker(1), operator(0), operator(5));
    assert_law(&database).await;
    let mut claimer = Claimer::new(&database).await;
    for id in &jobs {
        assert!(claimer.store.job(*id).await.unwrap().is_some());
    }
    // Whatever is live can be brought to its end.
    claimer.store.retry(&jobs, &dana()).await.unwrap();
    loop {
        claimer.store.promote(1_000).await.unwrap();
        let more = claimer.claim(50).await;
        if more.is_empty() {
            break;
        }
        claimer.settle_all(more.iter().map(|job| (job, done(job)))).await;
    }
    for id in &jobs {
        assert_eq!(state(&claimer, *id).await, JobState::Done);
    }
    assert_law(&database).await;
}
