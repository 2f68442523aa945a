//! The fleet by the API: status, overview, migrations.

use crate::support::{Database, Provider, eventually, http::ask, process::Setup};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn status_overview_and_migrations_show_the_fleet() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    let get = async |path: &str| -> Value {
        let answer = ask(&process, &format!("GET {path}"), "", b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let status = eventually("the job in the backlog", async || {
        let status = get("/v1/status").await;
        (status["backlog"]["done"] == 1 && status["instances"][0]["actors"].is_array()).then_some(status)
    })
    .await;
    assert_eq!(status["schema"]["have"], status["schema"]["need"]);
    assert!(status["instances"][0]["roles"].as_array().unwrap().contains(&json!("worker")), "{status}");

    let overview = eventually("a pulse", async || {
        let overview = get("/v1/overview?minutes=5").await;
        let stored = overview["pulse"].as_array().unwrap().iter().any(|point| point["done"] == 1);
        stored.then_some(overview)
    })
    .await;
    for name in ["stalls", "backlog", "slots_in_use", "businesses", "instances", "pulse"] {
        assert!(overview.get(name).is_some(), "{name} in {overview}");
    }

    let migrations = get("/v1/migrations").await["migrations"].clone();
    let first = &migrations[0];
    assert_eq!(
        (&first["set"], &first["version"], &first["state"]),
        (&json!("callspool"), &json!(1), &json!("applied"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_old_schema_the_status_and_the_migrations_are_shown_all_the_same() {
    let database = Database::empty().await;
    let process = Setup::new(&database).var("RUN_MIGRATIONS", "0").start();
    process.event("SCHEMA_WAITING").await;
    for (path, status) in [("/v1/status", 200), ("/v1/migrations", 200), ("/v1/jobs", 503), ("/v1/overview", 503)] {
        let answer = ask(&process, &format!("GET {path}"), "", b"").await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if status == 503 {
            assert_eq!(answer.problem(), "schema_behind", "{path}");
        }
    }
}
