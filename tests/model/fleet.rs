//! A fleet on a real database: as many claimers, businesses and jobs as the model has, and what goes wrong with them.

use crate::{
    queue_law::{Claimer, assert_law, done, execute, retry},
    recorded::{self, Transaction},
    support::Database,
};
use callspool::domain::{
    ids::InstanceId,
    job::{ClaimedJob, Disposition},
    ports::Upkeep,
};
use sqlx::{Connection, PgConnection};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// Longer than a round: only those are taken for dead who are made to look so.
const TTL: Duration = Duration::from_hours(1);
/// The businesses of the jobs of each transaction that enqueues.
const PARCELS: [&[i64]; 3] = [&[1], &[2], &[1, 2]];
const EMPTY: &str = "
    truncate callspool.trace_change, callspool.trace_commit;
    truncate callspool.business, callspool.job, callspool.job_ready, callspool.job_scheduled, callspool.job_lease,
             callspool.doorbell, callspool.instance, callspool.job_history, callspool.job_attempt, callspool.recordings;
    insert into callspool.business (business_id, max_slots) values (1, 1), (2, 1)";

/// What one round was, as the database has it.
#[derive(Debug, Clone)]
pub struct Round {
    pub transactions: Vec<Transaction>,
    /// Which claimer each instance was.
    pub claimers: BTreeMap<String, usize>,
}

#[derive(Clone)]
struct Scene {
    database: Database,
    over: Arc<AtomicBool>,
    claimers: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Scene {
    fn goes_on(&self) -> bool {
        !self.over.load(SeqCst)
    }
}

/// Four jobs, from enqueue to their ends.
pub async fn round(database: &Database) -> Round {
    execute(database, EMPTY).await;
    let scene = Scene { database: database.clone(), over: Arc::default(), claimers: Arc::default() };
    let mut tasks = JoinSet::new();
    for parcel in 0..PARCELS.len() {
        tasks.spawn(enqueue(scene.clone(), parcel));
    }
    for claimer in 0..3 {
        tasks.spawn(work(scene.clone(), claimer));
    }
    tasks.spawn(keep_up(scene.clone()));
    tasks.spawn(watch(scene.clone()));
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_law(database).await;
    let mut connection = database.connect().await;
    let transactions = recorded::transactions(&mut connection).await;
    connection.close().await.unwrap();
    let claimers = scene.claimers.lock().unwrap().clone();
    Round { transactions, claimers }
}

/// Commits late, or not at all and once more.
async fn enqueue(scene: Scene, parcel: usize) {
    let mut connection = scene.database.connect().await;
    loop {
        let mut transaction = connection.begin().await.unwrap();
        for business_id in PARCELS[parcel] {
            let enqueue = "select job_id from callspool.enqueue(business_id => $1, call_sid => $2,
                                                                recording_url => 'https://h/Recordings/RE' || $3)";
            let number = parcel * 10 + usize::try_from(*business_id).unwrap();
            let enqueued =
                sqlx::query(enqueue).bind(business_id).bind(format!("CA{number}")).bind(number.to_string());
            enqueued.execute(&mut *transaction).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..10))).await;
        if rand::random_ratio(2, 3) {
            transaction.commit().await.unwrap();
            break;
        }
        transaction.rollback().await.unwrap();
    }
    connection.close().await.unwrap();
}

async fn work(scene: Scene, number: usize) {
    let mut connection = scene.database.connect().await;
    while scene.goes_on() {
        let mut claimer = Claimer::new(&scene.database).await;
        scene.claimers.lock().unwrap().insert(claimer.instance.to_string(), number);
        while scene.goes_on() {
            if rand::random_ratio(1, 8) {
                claim_and_roll_back(&mut connection, claimer.instance).await;
            }
            let Some(job) = claimer.claim(1).await.pop() else { continue };
            match rand::random_range(0..12) {
                0 => {
                    recorded::say(&mut connection, number, "crash", 0).await;
                    fall_silent(&mut connection, claimer.instance).await;
                    break;
                }
                1 => {
                    fall_silent(&mut connection, claimer.instance).await;
                    wait_until_reaped(&mut connection, &job).await;
                    claimer.beat().await;
                    assert!(
                        !claimer.settle(&job, done(&job)).await,
                        "a report of a lease that is over was believed"
                    );
                    recorded::say(&mut connection, number, "late", job.id.0).await;
                }
                2..4 => assert!(claimer.settle(&job, Disposition::HandBack).await),
                4..6 => assert!(claimer.settle(&job, retry(Duration::ZERO)).await),
                _ => assert!(claimer.settle(&job, done(&job)).await),
            }
        }
        claimer.store.close().await;
    }
    connection.close().await.unwrap();
}

/// It has its locks for a moment, and dies before the commit.
async fn claim_and_roll_back(connection: &mut PgConnection, instance: InstanceId) {
    let mut transaction = connection.begin().await.unwrap();
    let claim = "select job_id from claim_work($1, '{0}', '{1}', 0, 0, 1, 900000, 2000, 5)";
    sqlx::query(claim).bind(instance.0).fetch_all(&mut *transaction).await.unwrap();
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..5))).await;
    transaction.rollback().await.unwrap();
}

async fn fall_silent(connection: &mut PgConnection, instance: InstanceId) {
    let silent = "update instance set beat_at = now() - interval '2 hours' where instance_id = $1";
    sqlx::query(silent).bind(instance.0).execute(connection).await.unwrap();
}

async fn wait_until_reaped(connection: &mut PgConnection, job: &ClaimedJob) {
    let is_there = "select exists (select from job_lease where job_id = $1 and lease_id = $2)";
    while sqlx::query_scalar(is_there).bind(job.id.0).bind(job.lease.0).fetch_one(&mut *connection).await.unwrap() {
        tokio::task::yield_now().await;
    }
}

async fn keep_up(scene: Scene) {
    let store = scene.database.store();
    while scene.goes_on() {
        store.reap(TTL, 20).await.unwrap();
        store.promote(20).await.unwrap();
    }
    store.close().await;
}

/// Until all jobs are over.
async fn watch(scene: Scene) {
    let mut connection = scene.database.connect().await;
    let all: i64 = PARCELS.iter().map(|parcel| i64::try_from(parcel.len()).unwrap()).sum();
    let over = "select count(*) from job_history";
    while sqlx::query_scalar::<_, i64>(over).fetch_one(&mut connection).await.unwrap() < all {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    scene.over.store(true, SeqCst);
    connection.close().await.unwrap();
}
