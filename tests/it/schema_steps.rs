//! An upgrade over every release at once: each version of the schema was somebody's, with rows in it.

use crate::{
    queue_law::{Claimer, assert_law, done, totals},
    support::Database,
};
use callspool::domain::{migration::LockTry, ports::Gate};
use sqlx::AssertSqlSafe;
use std::ops::Range;

/// Versions between those of two releases, at which nothing can be enqueued: 18 reads a column that 26 adds. See
/// docs/upgrades.md.
const HALF_WAY: Range<u32> = 18..26;

/// Twice, as an application does; `false` where this version cannot yet.
async fn enqueue(database: &Database, number: u32) -> bool {
    if HALF_WAY.contains(&number) {
        return false;
    }
    if !database.one::<bool>("select to_regproc('callspool.enqueue') is not null").await {
        return false;
    }
    let mut connection = database.connect().await;
    let enqueue = format!(
        "select callspool.enqueue(business_id => {}, call_sid => 'CA{number}', recording_sid => 'RE{number}',
             recording_url => 'http://127.0.0.1:1/2010-04-01/Accounts/AC1/Recordings/RE{number}')",
        1 + number % 3
    );
    for _ in 0..2 {
        sqlx::query(AssertSqlSafe(enqueue.clone())).execute(&mut connection).await.unwrap();
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_came_in_at_any_version_of_the_schema_are_claimed_and_stored_at_the_newest() {
    let database = Database::empty().await;
    let store = database.store();
    let mut session = store.open().await.unwrap();
    assert_eq!(session.try_lock().await.unwrap(), LockTry::Acquired);
    let mut jobs = 0;
    let mut number = 0;
    while session.next().await.unwrap().is_some() {
        session.apply().await.unwrap();
        number += 1;
        jobs += i64::from(enqueue(&database, number).await);
    }
    session.close().await.unwrap();
    assert!(jobs > 15, "{jobs} versions could take a job");
    assert_eq!(totals(&database).await, (jobs, 0), "one each, though each was enqueued twice");

    let mut claimer = Claimer::new(&database).await;
    while totals(&database).await.1 < jobs {
        let jobs = claimer.claim(16).await;
        assert!(!jobs.is_empty(), "nothing is stranded");
        let ends: Vec<_> = jobs.iter().map(|job| (job, done(job))).collect();
        assert_eq!(claimer.settle_all(ends).await.len(), jobs.len());
    }
    assert_law(&database).await;
    let stored: i64 = database.one("select count(*) from callspool.recordings").await;
    assert_eq!(stored, jobs);
}
