//! Backfills against the real database, step by step: who may have one, and what a batch is.

use crate::support::backfills::{Application, COUNT_UP, along_leads, parsed, until_empty};
use callspool::domain::{
    backfill::{Backfill, Batch, Verdict},
    ports::{Backfills, FleetView},
};
use callspool::store::Store;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);
const FRESH: Result<Verdict, ()> = Ok(Verdict::Run { resumed: false });

async fn begin(store: &Store, backfill: &Backfill) -> Result<Verdict, ()> {
    store.begin(backfill, true, TTL).await.map_err(|trouble| panic!("{trouble}"))
}

async fn announced(application: &Application, content: &str) -> (Store, Backfill) {
    let (store, backfill) = (application.database.store(), parsed("a", content));
    store.announce(std::slice::from_ref(&backfill)).await.unwrap();
    (store, backfill)
}

async fn run_to_the_end(store: &Store, backfill: &Backfill) -> Batch {
    loop {
        let batch = store.run_batch(backfill, backfill.batch).await.unwrap().unwrap();
        if batch.took.is_some() {
            return batch;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_a_backfill_runs_its_batches() {
    let application = Application::with_leads(100).await;
    let (first, backfill) = announced(&application, &along_leads("batch=10", COUNT_UP)).await;
    let second = application.database.store();
    assert_eq!(begin(&first, &backfill).await, FRESH);
    assert_eq!(begin(&second, &backfill).await, Ok(Verdict::Busy));
    assert_eq!(second.run_batch(&backfill, 10).await, Ok(None));
    let batch = first.run_batch(&backfill, 10).await.unwrap().unwrap();
    assert_eq!((batch.rows, batch.changed, batch.percent, batch.took), (10, 10, Some(10.0), None));
    first.release().await.unwrap();
    assert_eq!(begin(&second, &backfill).await, Ok(Verdict::Run { resumed: true }));
    assert_eq!(first.run_batch(&backfill, 10).await, Ok(None), "it was given away");
    assert_eq!(run_to_the_end(&second, &backfill).await.rows, 100);
    assert_eq!(begin(&first, &backfill).await, Ok(Verdict::Done));
    assert_eq!(application.counts().await, (100, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_gives_no_sign_is_left() {
    let application = Application::with_leads(100).await;
    let (first, backfill) = announced(&application, &along_leads("batch=10", COUNT_UP)).await;
    let second = application.database.store();
    begin(&first, &backfill).await.unwrap();
    application.run("update callspool.backfill set updated_at = now() - interval '20 s'").await;
    // Its beats are missing: the store's tests have none.
    assert_eq!(begin(&second, &backfill).await, FRESH);
    let beats = "insert into callspool.instance (instance_id, host, pid, roles, version, workers, draining, actors)
                 select instance_id, 'h', 1, '{}', '1', 1, false, '[]' from callspool.backfill;
                 update callspool.backfill set updated_at = now() - interval '20 s'";
    application.run(beats).await;
    assert_eq!(begin(&first, &backfill).await, Ok(Verdict::Busy), "it lives");
    application.run("update callspool.backfill set updated_at = now() - interval '2 min'").await;
    assert_eq!(begin(&first, &backfill).await, FRESH, "it lives and does nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_above_the_largest_key_at_the_start_are_left_to_the_new_program() {
    let application = Application::with_leads(25).await;
    let (store, backfill) = announced(&application, &along_leads("batch=10", COUNT_UP)).await;
    begin(&store, &backfill).await.unwrap();
    application.run("insert into leads (id, n) values (26, 1), (1000000, 1)").await;
    assert_eq!(run_to_the_end(&store, &backfill).await.rows, 25);
    assert_eq!(application.counts().await, (27, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_as_many_rows_however_far_apart_their_keys_are() {
    let application = Application::with_leads(0).await;
    application.run("insert into leads (id) select (i - 50) * 1000000000000 from generate_series(1, 100) i").await;
    let (store, backfill) = announced(&application, &along_leads("batch=10", COUNT_UP)).await;
    begin(&store, &backfill).await.unwrap();
    for number in 1..=10 {
        let batch = store.run_batch(&backfill, 10).await.unwrap().unwrap();
        assert_eq!((batch.changed, batch.took.is_some()), (10, number == 10));
    }
    assert_eq!(application.counts().await, (100, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_gone_along_is_named() {
    let application = Application::with_leads(10).await;
    application
        .run(
            "create schema crm;
             create table crm.odd (id bigint primary key, name text not null, may_be bigint, bare integer not null,
                                   code smallint not null unique);
             create index on crm.odd (may_be);
             create view crm.shown as select id from crm.odd",
        )
        .await;
    let cases = [
        ("table=nothing key=id", "there is no table nothing"),
        ("table=crm.nothing key=id", "there is no table crm.nothing"),
        ("table=crm.odd key=missing", "crm.odd has no column missing"),
        ("table=crm.odd key=name", "crm.odd.name is of type text; a key range needs bigint, integer or smallint"),
        ("table=crm.odd key=may_be", "crm.odd.may_be may be null: a key range would leave such rows out"),
        ("table=crm.odd key=bare", "no index of crm.odd begins with bare: every batch would read the whole table"),
        ("table=crm.shown key=id", "crm.shown.id may be null: a key range would leave such rows out"),
    ];
    for (place, message) in cases {
        let content = until_empty(place, "update crm.odd set name = '' where id > $1 and id <= $2");
        let (store, backfill) = announced(&application, &content).await;
        let trouble = store.begin(&backfill, true, TTL).await.unwrap_err();
        assert_eq!((trouble.reason.as_str(), trouble.can_pass), (message, false), "{place}");
    }
    let content =
        until_empty("table=crm.odd key=code", "update crm.odd set name = '' where code > $1 and code <= $2");
    let (store, backfill) = announced(&application, &content).await;
    assert_eq!(begin(&store, &backfill).await, FRESH);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refuses_is_told_with_its_code_and_changes_nothing() {
    let application = Application::with_leads(10).await;
    application.run("alter table leads add constraint small check (n < 1) not valid").await;
    let cases = [
        ("update leads set m = 1 where id > $1 and id <= $2", "SQLSTATE 42703: column \"m\""),
        ("update leads sat n = 1 where id > $1 and id <= $2", "SQLSTATE 42601: syntax error at or near \"n\""),
        ("update leads set n = 1 where id > $1 and id <= $2", "SQLSTATE 23514: new row for relation \"leads\""),
    ];
    for (statement, reason) in cases {
        let (store, backfill) = announced(&application, &along_leads("", statement)).await;
        begin(&store, &backfill).await.unwrap();
        let trouble = store.run_batch(&backfill, 10).await.unwrap_err();
        assert!(trouble.reason.starts_with(reason) && !trouble.can_pass, "{trouble:?}");
        store.release().await.unwrap();
    }
    assert_eq!(application.counts().await, (10, 0, 0));
    assert_eq!(application.kept("a").await.batches, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_a_backfill_is_shown_in_the_order_of_the_names() {
    let application = Application::with_leads(10).await;
    let store = application.database.store();
    let content = along_leads("", COUNT_UP);
    let backfills = ["b", "a-b", "a_b", "a"].map(|name| parsed(name, &content));
    store.announce(&backfills).await.unwrap();
    let names: Vec<_> = store.fleet_status().await.unwrap().backfills.into_iter().map(|b| b.name).collect();
    assert_eq!(names, ["a", "a-b", "a_b", "b"]);
}
