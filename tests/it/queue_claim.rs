//! Claim: businesses take turns, and none runs more than its slots.

use crate::{
    queue_law::{Claimer, DEFAULT_SLOTS, assert_law, businesses, done, execute, ids, key, slots},
    support::{Database, new_job},
};
use callspool::domain::{
    job::NewJob,
    lease::WorkerLife,
    ports::{Dispatch, JobBook},
    slots::RingPlace,
};
use std::collections::BTreeSet;

/// `count` jobs of a business, numbered from `business * 10,000` on.
fn jobs_of(business_id: i64, count: u32) -> Vec<NewJob> {
    let first = u32::try_from(business_id).unwrap() * 10_000;
    (first..first + count).map(|number| new_job(business_id, number)).collect()
}

async fn enqueue(claimer: &Claimer, business_id: i64, count: u32) {
    claimer.store.enqueue(&jobs_of(business_id, count)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_is_claimed_once_with_its_slot_and_its_worker() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    enqueue(&claimer, 1, 3).await;
    let answer = claimer.claim_all(4).await;
    assert_eq!(answer.bells, 1);
    let workers: BTreeSet<WorkerLife> = answer.jobs.iter().map(|(life, _)| *life).collect();
    assert_eq!(workers.len(), 3, "no worker gets two");
    for (place, (_, job)) in (1..).zip(&answer.jobs) {
        assert_eq!((job.running, job.max_slots, job.attempt, job.max_attempts), (place, DEFAULT_SLOTS, 1, 3));
    }
    assert_eq!(claimer.store.held(claimer.instance).await.unwrap().len(), 3);
    assert!(claimer.claim(4).await.is_empty());
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_takes_only_as_many_jobs_as_there_are_free_workers() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    for business in 1..=5 {
        enqueue(&claimer, business, 10).await;
    }
    for workers in [1, 3, 7] {
        assert_eq!(claimer.claim(workers).await.len(), usize::from(workers));
    }
    assert!(claimer.claim(0).await.is_empty());
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_business_gets_more_than_its_slots_over_all_instances() {
    let database = Database::migrated().await;
    let (mut one, mut two) = (Claimer::new(&database).await, Claimer::new(&database).await);
    enqueue(&one, 1, 20).await;
    let (first, second) = (one.claim(3).await, two.claim(16).await);
    assert_eq!((first.len(), second.len()), (3, 2));
    assert!(two.claim(16).await.is_empty());
    assert!(one.settle(&first[0], done(&first[0])).await);
    assert_eq!(two.claim(16).await.len(), 1, "the slot that came free, for whoever asks");
    assert_eq!(slots(&database, 1).await, (5, 5));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_business_makes_the_others_wait_one_sweep_at_most() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    enqueue(&claimer, 1, 3_000).await;
    execute(&database, "insert into business (business_id, max_slots) values (1, 1000)").await;
    assert_eq!(businesses(&claimer.claim(4).await), [1, 1, 1, 1], "alone it gets all workers");
    for business in 2..=9 {
        enqueue(&claimer, business, 2).await;
    }
    // One worker at a time, as they become free: nine turns serve all nine.
    let mut served = Vec::new();
    for _ in 0..9 {
        served.extend(businesses(&claimer.claim(1).await));
    }
    served.sort_unstable();
    assert_eq!(served, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    // One batch for all of them serves each of them, too.
    let batch: BTreeSet<i64> = businesses(&claimer.claim(9).await).into_iter().collect();
    assert_eq!(batch.len(), 9);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_that_becomes_runnable_waits_one_sweep_at_most_from_any_place_of_the_ring() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    for business in 1..=5 {
        enqueue(&claimer, business, 5).await;
    }
    for after in [0, 3, 5, i64::MAX] {
        claimer.place = RingPlace { after, turn_left: 0 };
        let served = businesses(&claimer.claim(5).await);
        assert_eq!(served.iter().collect::<BTreeSet<_>>().len(), 5, "{after}: {served:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weight_is_jobs_a_turn_in_small_claims_and_in_large_ones() {
    let database = Database::migrated().await;
    execute(
        &database,
        "insert into business (business_id, max_slots, weight) values (1, 1000, 3), (2, 1000, 1), (3, 1000, 2)",
    )
    .await;
    let mut claimer = Claimer::new(&database).await;
    for business in 1..=3 {
        enqueue(&claimer, business, 200).await;
    }
    for workers in [1_u16, 2, 4, 5, 6, 12] {
        let mut served = [0; 3];
        let claims = 60 / workers;
        for _ in 0..claims {
            let jobs = claimer.claim(workers).await;
            assert_eq!(jobs.len(), usize::from(workers));
            for id in businesses(&jobs) {
                served[usize::try_from(id).unwrap() - 1] += 1;
            }
        }
        assert_eq!(served, [30, 10, 20], "claims of {workers}");
    }
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_left_over_ends_with_the_slots_and_with_the_jobs() {
    let database = Database::migrated().await;
    execute(
        &database,
        "insert into business (business_id, max_slots, weight) values (1, 2, 5), (2, 9, 5), (3, 9, 1)",
    )
    .await;
    let mut claimer = Claimer::new(&database).await;
    enqueue(&claimer, 1, 9).await;
    enqueue(&claimer, 2, 1).await;
    enqueue(&claimer, 3, 9).await;
    let mut served = Vec::new();
    for _ in 0..6 {
        served.extend(businesses(&claimer.claim(1).await));
    }
    assert_eq!(served, [1, 1, 2, 3, 3, 3]);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_business_keeps_its_jobs_and_goes_on_when_it_is_resumed() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    enqueue(&claimer, 1, 4).await;
    let running = claimer.claim(1).await;
    execute(&database, "update business set paused = true").await;
    enqueue(&claimer, 1, 6).await;
    assert!(claimer.claim(16).await.is_empty());
    assert!(claimer.settle(&running[0], done(&running[0])).await, "what runs may finish");
    assert!(claimer.claim(16).await.is_empty());
    execute(&database, "update business set paused = false").await;
    assert_eq!(claimer.claim(16).await.len(), 5);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn max_slots_takes_effect_with_the_next_claim_raised_and_lowered() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    enqueue(&claimer, 1, 30).await;
    let mut running = claimer.claim(16).await;
    assert_eq!(running.len(), 5);
    execute(&database, "update business set max_slots = 8").await;
    running.extend(claimer.claim(16).await);
    assert_eq!(running.len(), 8);
    execute(&database, "update business set max_slots = 2").await;
    for left in (2..8).rev() {
        let job = running.remove(0);
        assert!(claimer.settle(&job, done(&job)).await);
        assert_eq!(slots(&database, 1).await, (left, 2), "nothing that runs is taken away");
        assert!(claimer.claim(16).await.is_empty());
    }
    let job = running.remove(0);
    claimer.settle(&job, done(&job)).await;
    assert_eq!(claimer.claim(16).await.len(), 1);
    execute(&database, "update business set max_slots = 0").await;
    assert!(claimer.claim(16).await.is_empty());
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_recordings_of_one_call_never_get_one_file_name() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let call = new_job(1, 1).call_sid;
    let second = || NewJob { call_sid: call.clone(), ..new_job(1, 2) };
    // One after the other, the first already stored; then two at once; then the first again while the second runs.
    claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap();
    let first = claimer.claim(1).await.remove(0);
    assert_eq!(key(&first), "1/CA1.mp3");
    claimer.store.enqueue(&[second()]).await.unwrap();
    let other = claimer.claim(1).await.remove(0);
    assert_eq!(key(&other), "1/CA1-RE2.mp3");
    claimer.settle(&first, done(&first)).await;
    assert!(claimer.settle(&other, callspool::domain::job::Disposition::HandBack).await);
    assert_eq!(key(&claimer.claim(1).await[0]), "1/CA1-RE2.mp3");
    // The same call of another business is another call.
    claimer.store.enqueue(&[new_job(2, 1)]).await.unwrap();
    assert_eq!(key(&claimer.claim(1).await[0]), "2/CA1.mp3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_waits_for_nobody_and_passes_over_who_is_locked() {
    use sqlx::{Connection, Executor};
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    enqueue(&claimer, 1, 3).await;
    enqueue(&claimer, 2, 3).await;
    assert_eq!(claimer.claim(1).await.len(), 1);
    let mut other = database.connect().await;
    let mut transaction = other.begin().await.unwrap();
    transaction.execute("select from business where business_id = 2 for no key update").await.unwrap();
    assert_eq!(businesses(&claimer.claim(16).await), [1, 1]);
    transaction.rollback().await.unwrap();
    assert_eq!(businesses(&claimer.claim(16).await), [2, 2, 2]);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_goes_with_the_last_job() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    for business in 1..=50 {
        enqueue(&claimer, business, 1).await;
    }
    assert_eq!(claimer.claim(50).await.len(), 50);
    let mut connection = database.connect().await;
    let marked: i64 = sqlx::query_scalar("select count(*) from business where has_more")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(marked, 0, "a mark on a business without jobs would cost a visit");
    enqueue(&claimer, 7, 3).await;
    assert_eq!(ids(&claimer.claim(1).await).len(), 1);
    assert_law(&database).await;
    assert_eq!(claimer.claim(5).await.len(), 1);
}
