//! What is given up leaves nothing behind in a pool, nor at the server.

use crate::support::{Database, eventually, new_job};
use callspool::domain::ports::JobBook;
use sqlx::Executor;
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

/// PostgreSQL 14 and newer look whether a client is still there.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_does_not_wait_on_at_the_server() {
    let database = Database::migrated().await;
    let store = database.store();
    let mut operator = database.connect().await;
    operator.execute("begin; lock table job in access exclusive mode").await.unwrap();
    let waiting = async || -> i64 {
        let sql = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'";
        database.one(sql).await
    };
    let asking = tokio::spawn({
        let store = store.clone();
        async move { store.enqueue(&[new_job(1, 1)]).await.map(|_| ()) }
    });
    eventually("that it waits for the lock", async || (waiting().await == 1).then_some(())).await;
    asking.abort();
    eventually("that nobody waits for it", async || (waiting().await == 0).then_some(())).await;
    operator.execute("rollback").await.unwrap();
    let enqueued = store.enqueue(&[new_job(1, 1)]).await.unwrap()[0];
    assert!(!enqueued.deduplicated, "nothing of the first was done");
}
