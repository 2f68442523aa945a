//! The law of conservation under everything at once: claimers of several instances, enqueuers that commit late or roll
//! back, a claimer that froze, reapers and promoters.

use crate::{
    queue_law::{Claimer, assert_law, dead, done, retry, totals, violations},
    support::{Database, eventually, new_job},
};
use callspool::{
    domain::{
        job::{ClaimedJob, Disposition},
        ports::{JobBook, Upkeep},
    },
    store::Store,
};
use sqlx::{Connection, PgConnection};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::task::JoinSet;

const BUSINESSES: i64 = 12;
/// An instance that has not beaten for this long is taken for dead; so is, at times, one of a busy machine.
const TTL: Duration = Duration::from_millis(600);
/// Some attempts end without a report: their deadline brings them back.
const LEASE: Duration = Duration::from_millis(400);

/// What the tasks share.
#[derive(Clone)]
struct Scene {
    database: Database,
    over: Arc<AtomicBool>,
    /// Jobs whose enqueue was committed.
    enqueued: Arc<AtomicI64>,
}

impl Scene {
    fn goes_on(&self) -> bool {
        !self.over.load(SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_doubled_or_stranded_and_no_limit_is_exceeded_whatever_comes_together() {
    let database = Database::migrated().await;
    let scene = Scene { database: database.clone(), over: Arc::default(), enqueued: Arc::default() };
    let mut intake = JoinSet::new();
    for enqueuer in 0..3 {
        intake.spawn(enqueue_late(scene.clone(), enqueuer));
        intake.spawn(enqueue_the_same(scene.clone()));
    }
    let mut others = JoinSet::new();
    for _ in 0..4 {
        let instance = Claimer { lease_for: LEASE, ..Claimer::new(&database).await };
        for _ in 0..4 {
            others.spawn(claim_and_settle(scene.clone(), instance.clone()));
        }
        others.spawn(beat(scene.clone(), instance));
    }
    others.spawn(freeze(scene.clone()));
    for _ in 0..2 {
        others.spawn(reap(scene.clone(), database.store()));
        others.spawn(promote(scene.clone(), database.store()));
    }
    let samples = tokio::spawn(sample(scene.clone()));

    while let Some(ended) = intake.join_next().await {
        ended.unwrap();
    }
    let enqueued = scene.enqueued.load(SeqCst);
    assert!(enqueued > 500, "{enqueued}");
    eventually("the end of all jobs", || async {
        let (all, over) = totals(&database).await;
        assert_eq!(all, enqueued);
        (over == enqueued).then_some(())
    })
    .await;
    scene.over.store(true, SeqCst);
    while let Some(ended) = others.join_next().await {
        ended.unwrap();
    }
    let samples = samples.await.unwrap();
    assert!(samples > 10, "{samples} samples");
    assert_eq!(totals(&database).await, (enqueued, enqueued));
    assert_law(&database).await;
}

/// Two transactions are always open, and the younger one is committed first; one in five is rolled back.
async fn enqueue_late(scene: Scene, enqueuer: u32) {
    let (mut one, mut two) = (scene.database.connect().await, scene.database.connect().await);
    for round in 0..40 {
        let mut opened = Vec::new();
        for (connection, half) in [(&mut one, 0), (&mut two, 1)] {
            let mut transaction = connection.begin().await.unwrap();
            let mut fresh = 0;
            for n in 0..4_u32 {
                let number = ((enqueuer * 40 + round) * 2 + half) * 4 + n;
                let enqueue = "select deduplicated from callspool.enqueue(business_id => $1, call_sid => $2,
                                   recording_url => $3, run_at => now() + $4 * interval '1 ms')";
                let deduplicated: bool = sqlx::query_scalar(enqueue)
                    .bind(rand::random_range(1..=BUSINESSES))
                    .bind(format!("CA{number}"))
                    .bind(format!("https://h/Recordings/RE{number}"))
                    .bind(rand::random_range(-20..20))
                    .fetch_one(&mut *transaction)
                    .await
                    .unwrap();
                fresh += i64::from(!deduplicated);
            }
            opened.push((transaction, fresh));
        }
        while let Some((transaction, fresh)) = opened.pop() {
            if rand::random_ratio(1, 5) {
                transaction.rollback().await.unwrap();
            } else {
                // Counted before: the end is not to come between.
                scene.enqueued.fetch_add(fresh, SeqCst);
                transaction.commit().await.unwrap();
            }
        }
    }
}

/// Everybody asks for the same few recordings, in batches and in any order.
async fn enqueue_the_same(scene: Scene) {
    let store = scene.database.store();
    for _ in 0..30 {
        let batch: Vec<_> = (0..8)
            .map(|_| new_job(rand::random_range(1..=BUSINESSES), rand::random_range(900_000..900_050)))
            .collect();
        let answers = store.enqueue(&batch).await.unwrap();
        let fresh = answers.iter().filter(|answer| !answer.deduplicated).count();
        scene.enqueued.fetch_add(i64::try_from(fresh).unwrap(), SeqCst);
    }
}

async fn claim_and_settle(scene: Scene, mut claimer: Claimer) {
    while scene.goes_on() {
        let jobs = claimer.claim(rand::random_range(1..6)).await;
        let ends: Vec<_> = jobs.iter().filter_map(|job| Some((job, any_end(job)?))).collect();
        claimer.settle_all(ends.clone()).await;
        if rand::random_ratio(1, 10) {
            assert!(claimer.settle_all(ends).await.is_empty(), "a report that is repeated counts once");
        }
    }
}

/// `None`: the worker says nothing.
fn any_end(job: &ClaimedJob) -> Option<Disposition> {
    match rand::random_range(0..20) {
        0..12 => Some(done(job)),
        12..15 => Some(retry(Duration::from_millis(rand::random_range(0..30)))),
        15..18 => Some(Disposition::HandBack),
        18 => Some(dead()),
        _ => None,
    }
}

async fn beat(scene: Scene, claimer: Claimer) {
    let mut pace = tokio::time::interval(TTL / 6);
    while scene.goes_on() {
        pace.tick().await;
        claimer.beat().await;
    }
}

/// Takes what it gets and is never heard of again.
async fn freeze(scene: Scene) {
    let mut claimer = Claimer { lease_for: Duration::from_hours(1), ..Claimer::new(&scene.database).await };
    let mut taken = 0;
    while scene.goes_on() && taken < 60 {
        taken += claimer.claim(3).await.len();
    }
}

async fn reap(scene: Scene, store: Store) {
    while scene.goes_on() {
        store.reap(TTL, 20).await.unwrap();
    }
}

async fn promote(scene: Scene, store: Store) {
    while scene.goes_on() {
        store.promote(20).await.unwrap();
        assert_eq!(store.heal_stranded(None, 100).await.unwrap().businesses, 0);
    }
}

/// Looks again and again; each look is one moment of the database.
async fn sample(scene: Scene) -> u32 {
    let mut connection: PgConnection = scene.database.connect().await;
    let mut samples = 0;
    while scene.goes_on() {
        assert_eq!(violations(&mut connection).await, Vec::<String>::new());
        let over = "select count(*) from business where running > max_slots";
        assert_eq!(sqlx::query_scalar::<_, i64>(over).fetch_one(&mut connection).await.unwrap(), 0);
        samples += 1;
    }
    samples
}
