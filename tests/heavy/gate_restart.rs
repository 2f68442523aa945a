//! A cluster that is restarted while this process waits for the lock or migrates.

use crate::{
    cluster::Cluster,
    support::{
        Database,
        gate::{Folder, Foreign, LOCK, MARKS, text},
        process::Setup,
    },
};
use std::net::TcpListener;

const MODES: [&str; 2] = ["fast", "immediate"];

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_cluster_while_waiting_is_survived_within_the_same_wait() {
    let cluster = Cluster::start("restart_waiting").await;
    for mode in MODES {
        let database = cluster.database("waiting").await;
        // The lock goes with the cluster.
        let _holder = Foreign::after(&database, LOCK).await;
        let process = Setup::new(&database).start();
        process.event("MIGRATION_LOCK_WAITING").await;
        cluster.restart(mode, None).await;
        process.event("MIGRATION_DONE").await;
        process.wait_until_ready().await;
        assert!(
            process.events("MIGRATION_SKIPPED").is_empty() && process.events("ACTOR_DOWN").is_empty(),
            "{mode}"
        );
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_cluster_while_migrating_leaves_nothing_half_done_and_applies_nothing_twice() {
    let cluster = Cluster::start("restart_applying").await;
    let slow = "insert into marks (mark) values ('slow');
                select pg_sleep(60) where not exists (select 1 from pg_class where relname = 'go_on');";
    let folder = Folder::with(&[("1_marks.sql", MARKS), ("2_slow.sql", slow)]);
    folder.write("3_last.sql", "insert into marks (mark) values ('last');");
    for mode in MODES {
        let database = cluster.database("applying").await;
        let process = Setup::application(&database, &folder).start();
        database.migrator_sleeps().await;
        cluster.restart(mode, None).await;
        database.run("create table go_on ()").await;
        process.event("MIGRATION_DONE").await;
        process.wait_until_ready().await;
        assert_eq!(database.marks().await, ["slow", "last"], "{mode}");
        assert!(process.events("MIGRATION_FAILED").is_empty(), "{mode}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_came_over_the_network_is_told_with_its_address() {
    let cluster = Cluster::start("over_the_network").await;
    let database = cluster.database("network").await;
    let folder = database.url.split_once("host=").unwrap().1;
    // Free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = format!(
        "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off -c logging_collector=off"
    );
    cluster.restart("fast", Some(&options)).await;
    let database = Database { url: format!("postgres://callspool@127.0.0.1:{port}/network") };
    let _holder = Foreign::after(&database, LOCK).await;
    let said = Setup::new(&database).var("MIGRATION_LOCK_WAIT_SECONDS", "0").migrate().await;
    assert_eq!((said.code, text(&said.json(), "reason")), (75, "lock_timeout"));
    assert!(said.err.contains("holder_client=127.0.0.1"), "{}", said.err);
    cluster.stop().await;
}
