//! The store's pool, as it is behind a transaction-mode pooler.

use crate::support::{Database, eventually};
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
