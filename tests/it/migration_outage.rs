//! A process that starts before its database.

use crate::support::{Database, eventually, process::Setup};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Passes connections to `address` on to the cluster, whose socket is named in the database's URL.
async fn forward(address: SocketAddr, database: &Database) {
    let folder = database.url.split("host=").nth(1).unwrap().to_owned();
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let socket = format!("{folder}/.s.PGSQL.5432");
            tokio::spawn(async move {
                let mut server = UnixStream::connect(socket).await.unwrap();
                // Ends when one of them does.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_before_its_database_migrates_when_it_comes() {
    let database = Database::empty().await;
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        free.local_addr().unwrap()
    };
    assert!(TcpStream::connect(address).await.is_err(), "nobody is there");
    let away = Database { url: database.url.split('?').next().unwrap().replace("localhost", &address.to_string()) };
    // One try for the lock: the time without a database is no part of that.
    let process = Setup::new(&away).var("MIGRATION_LOCK_WAIT_SECONDS", "0").start();
    process.line("a second try", |line| line["retry_in_ms"] == 500).await;
    assert_eq!(process.get("/healthz").await.status(), 200);
    let reasons = process.get("/readyz").await.text().await.unwrap();
    assert!(reasons.contains("database"), "{reasons}");
    forward(address, &database).await;
    process.event("MIGRATION_DONE").await;
    process.wait_until_ready().await;
    assert!(process.events("MIGRATION_FAILED").is_empty());
    eventually("no death", async || process.events("ACTOR_DOWN").is_empty().then_some(())).await;
}
