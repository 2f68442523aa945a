//! The database goes away and comes back: the process stays, says what is the matter, and recovers.

use crate::support::{
    Database, Provider, eventually,
    http::{Callback, raw},
    process::{Setup, json},
    way::Way,
};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_requests_are_told_to_come_again() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let (way, far) = Way::to(&database);
    let setup = Setup::new(&far).provider(&provider).var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "300ms");
    let process = setup.run().await;
    way.cut();
    eventually("that it is not ready", || async { (!process.is_ready().await).then_some(()) }).await;

    let body = r#"{"business_id":42,"call_sid":"CA1","recording_url":"/x"}"#;
    let post = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let get = "GET /v1/jobs/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for request in [post.as_str(), get] {
        let answer = raw(&process, request.as_bytes()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (503, "unavailable"), "{answer:?}");
        assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
    }
    let callback = Callback::completed(1).send(&process).await;
    assert_eq!((callback.status, callback.problem().as_str()), (503, "unavailable"));
    assert_eq!(process.get("/healthz").await.status(), 200);
    // A probe's last answer is good for a moment.
    eventually("the reason in /readyz", async || {
        let readiness = process.get("/readyz").await;
        assert_eq!(readiness.status(), 503);
        let reasons = json(readiness).await["reasons"].to_string();
        reasons.contains("the database does not answer").then_some(())
    })
    .await;

    way.mend();
    process.wait_until_ready().await;
    assert_eq!(Callback::completed(2).send(&process).await.status, 202);
    process.event("WORKER_DOWNLOAD_DONE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_old_schema_requests_and_readiness_say_so() {
    let (database, provider) = (Database::empty().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).var("RUN_MIGRATIONS", "0").start();
    process.event("SCHEMA_WAITING").await;
    let callback = Callback::completed(1).send(&process).await;
    assert_eq!((callback.status, callback.problem().as_str()), (503, "schema_behind"), "{callback:?}");
    assert!(callback.head.contains("retry-after: 1"));
    let readiness = json(process.get("/readyz").await).await["reasons"].to_string();
    assert!(readiness.contains("schema"), "{readiness}");
}
