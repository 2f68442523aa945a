//! The store's pool, as it is behind a transaction-mode pooler.

use crate::{
    queue_law::{Claimer, done},
    support::{Database, eventually, new_job, way::Way},
};
use callspool::domain::ports::JobBook;
use std::{
    future::poll_fn,
    pin::pin,
    task::Poll::{Pending, Ready},
};

/// Goes on with `step` until it has waited `times` times, and gives it up there.
async fn give_up(step: impl Future, times: u32) {
    let (mut step, mut waited) = (pin!(step), 0);
    poll_fn(|context| match step.as_mut().poll(context) {
        Pending if waited < times => {
            waited += 1;
            Pending
        }
        _ => Ready(()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_given_up_anywhere_leaves_no_transaction_open() {
    let database = Database::migrated().await;
    // Each keeps its connections to the end: nothing that comes later can tidy up for it.
    let mut stores = Vec::new();
    for times in 0..16 {
        let store = database.store_with(|config| config.behind_pooler = true);
        store.ping().await.unwrap();
        give_up(store.ping(), times).await;
        stores.push(store);
    }
    let open = "select count(*) from pg_stat_activity
                 where datname = current_database() and state like 'idle in transaction%'";
    let mut connection = database.connect().await;
    eventually("the end of every transaction", async || {
        let open: i64 = sqlx::query_scalar(open).fetch_one(&mut connection).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
    for store in stores {
        store.ping().await.unwrap();
        store.close().await;
    }
}

/// How many round trips it is to the database and back; what a connection costs when it is opened is not among them.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_and_a_settlement_are_so_many_round_trips_whatever_they_carry() {
    let database = Database::migrated().await;
    let jobs: Vec<_> = (1..=64).map(|number| new_job(i64::from(number), number)).collect();
    database.store().enqueue(&jobs).await.unwrap();
    // The answer, and the driver's question whether the connection lives, before and after; the first settlement is
    // prepared. Behind a pooler each is begun, prepared and committed.
    for (behind_pooler, expected) in [(false, (3, 4)), (true, (6, 6))] {
        let (way, far) = Way::to(&database);
        let mut claimer = Claimer::new(&database).await;
        claimer.store = far.store_with(|config| {
            config.instance = claimer.instance;
            config.behind_pooler = behind_pooler;
        });
        claimer.claim(0).await;
        settled_trips(&way).await;
        let before = way.round_trips();
        let claimed = claimer.claim(16).await;
        let claim = settled_trips(&way).await - before;
        let before = way.round_trips();
        let ends: Vec<_> = claimed.iter().map(|job| (job, done(job))).collect();
        assert_eq!(claimer.settle_all(ends).await.len(), 16);
        let settlement = settled_trips(&way).await - before;
        assert_eq!((claim, settlement), expected, "behind a pooler: {behind_pooler}");
    }
}

/// When the connection is back in its pool.
async fn settled_trips(way: &Way) -> u64 {
    let mut last = way.round_trips();
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let now = way.round_trips();
        if now == last {
            return now;
        }
        last = now;
    }
}
