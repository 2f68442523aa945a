//! What goes wrong with a PgBouncer between: killed processes, a pooler that goes away, and a missing setting.

use crate::{
    pgbouncer::PgBouncer,
    pooled::{fleet, pooled},
    queue_law::{assert_law, totals},
    support::{Answer, Database, Provider, eventually, process::Setup, provider::recording},
};
use callspool::{domain::ports::JobBook, store::Store};
use secrecy::SecretString;

fn hold(provider: &Provider, numbers: std::ops::RangeInclusive<u32>) {
    numbers.for_each(|number| provider.tell(number, [Answer::Held(recording(number))]));
}

async fn all_over(database: &Database, jobs: i64) {
    eventually(&format!("the end of {jobs} jobs"), || async {
        (totals(database).await == (jobs, jobs)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_had_is_reaped_and_finished_through_a_pooler() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let pgbouncer = PgBouncer::transaction(&database, 2).await;
    let (one, two) = fleet(&database, &pgbouncer, &provider);
    let mut one = one.run().await;
    hold(&provider, 1..=4);
    for number in 1..=4 {
        one.enqueue(42, number).await;
    }
    provider.asked_times(4).await;
    let two = two.run().await;
    one.kill().await;
    provider.asked_times(8).await;
    provider.release(100);
    all_over(&database, 4).await;
    for number in 1..=4 {
        assert_eq!(std::fs::read(one.file(42, number)).unwrap(), recording(number));
    }
    let released = two.events("WORKER_RELEASE_SLOT");
    assert_eq!(released.iter().filter(|event| event["reason"] == "reaped").count(), 4, "{released:?}");
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_killed_and_comes_back_costs_no_recording_and_none_is_fetched_twice() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let mut pgbouncer = PgBouncer::transaction(&database, 2).await;
    // Long enough for the pooler's absence: what is under way goes on.
    let setup = pooled(&database, &pgbouncer).provider(&provider).var("CALLSPOOL__QUEUE__BEAT_TTL", "2min");
    let process = setup.run().await;
    hold(&provider, 1..=3);
    for number in 1..=3 {
        process.enqueue(42, number).await;
    }
    provider.asked_times(3).await;
    for round in 0..3 {
        let before = process.lines().len();
        pgbouncer.kill().await;
        eventually("a beat that fails", || async {
            process.lines()[before..]
                .iter()
                .any(|line| line["message"].as_str().is_some_and(|m| m.contains("beat")))
                .then_some(())
        })
        .await;
        pgbouncer.again().await;
        process.wait_until_ready().await;
        let id = process.enqueue(7, 100 + round).await;
        eventually("a job that goes by", || async { (process.job(id).await["state"] == "done").then_some(()) })
            .await;
    }
    provider.release(3);
    all_over(&database, 6).await;
    assert_eq!(provider.asked().len(), 6);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_the_settings_do_not_name_is_told_by_the_first_error() {
    let database = Database::migrated().await;
    let strict = PgBouncer::transaction(&database, 1).await;
    let setup = Setup::new(&database).var("DATABASE_URL", &strict.url(&database));
    let said = setup.say(&["status"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("database.pooler=transaction has to be set"), "{said:?}");

    // Two processes meet in one session.
    let lenient = PgBouncer::lenient(&database, 1).await;
    let store =
        || -> Store { database.store_with(|config| config.url = SecretString::from(lenient.url(&database))) };
    store().ping().await.unwrap();
    let met = store().ping().await.unwrap_err();
    assert_eq!(met.sqlstate.as_deref(), Some("42P05"), "{met}");
    assert!(met.message.contains("database.pooler=transaction has to be set"), "{met}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_direct_address_the_start_is_refused() {
    let database = Database::migrated().await;
    let pgbouncer = PgBouncer::transaction(&database, 1).await;
    let setup = pooled(&database, &pgbouncer).var("MIGRATION_DATABASE_URL", "");
    for command in ["run", "status"] {
        let said = setup.say(&[command]).await;
        assert_eq!(said.code, 78, "{said:?}");
        assert!(said.err.contains("transaction needs MIGRATION_DATABASE_URL"), "{said:?}");
    }
}
