//! Incidents that need a database of their own; docs/incidents.md has all of them.

use crate::{
    cluster::Cluster,
    queue_law::{assert_law, slots, totals},
    support::{Answer, Provider, eventually, postgres::migrate, process::Setup, provider::recording},
};

#[tokio::test(flavor = "multi_thread")]
async fn incident_29_no_job_and_no_slot_is_lost_when_the_database_is_killed() {
    const JOBS: u32 = 30;
    let (cluster, provider) = (Cluster::start("evicted").await, Provider::start());
    let database = cluster.database("evicted").await;
    // The clusters of the tests are in a hurry otherwise, and forget what they committed last.
    database.run("alter database evicted set synchronous_commit = on").await;
    migrate(&database.store()).await;
    let process = Setup::new(&database).provider(&provider).run().await;
    (1..=JOBS).for_each(|number| provider.tell(number, [Answer::Held(recording(number))]));
    for number in 1..=JOBS {
        process.enqueue(42, number).await;
    }
    provider.asked_times(5).await;
    assert_eq!(slots(&database, 42).await, (5, 5));
    cluster.restart("immediate", None).await;
    assert_eq!(totals(&database).await, (i64::from(JOBS), 0), "what was answered is there");
    provider.release(100 * JOBS as usize);
    let all = (i64::from(JOBS), i64::from(JOBS));
    eventually("the end of all", async || (totals(&database).await == all).then_some(())).await;
    for number in 1..=JOBS {
        assert_eq!(std::fs::read(process.file(42, number)).unwrap(), recording(number));
    }
    assert_eq!(slots(&database, 42).await, (0, 5));
    assert_law(&database).await;
    drop(process);
    cluster.stop().await;
}
