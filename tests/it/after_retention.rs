//! Retention, run by a real process with real settings (incident 31: a sweep that nobody had ever run).

use crate::{
    after_completion::telling,
    recordings::{enqueue, get},
    support::{Database, Provider, eventually, http::ask_json},
};
use serde_json::json;
use sqlx::Executor;

#[tokio::test(flavor = "multi_thread")]
async fn incident_31_recordings_go_when_their_days_are_over_and_those_that_are_held_do_not() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = telling(&database, &provider)
        .var("CALLSPOOL__RETENTION__DAYS", "30")
        .var("CALLSPOOL__RETENTION__INTERVAL", "100ms")
        .run()
        .await;
    for (business, change) in [(2, json!({"retention_days": 0})), (3, json!({"retention_days": 1}))] {
        ask_json(&process, &format!("PATCH /v1/businesses/{business}"), "", &change).await;
    }
    // Old and young ones of each, and one that is held.
    for (number, business) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 3)] {
        let more = json!({ "business_id": business, "call_sid": format!("CA{number}"), "recording_sid": format!("RE{number}") });
        enqueue(&process, number, more).await;
    }
    process.event_number("WORKER_RELEASE_SLOT", 6).await;
    ask_json(&process, "PATCH /v1/recordings/CA2", "", &json!({"legal_hold": true})).await;
    let age = "update recordings r set stored_at = now() - x.age from (values
                   ('CA1', interval '31 days'), ('CA2', interval '31 days'), ('CA3', interval '29 days'),
                   ('CA4', interval '9999 days'), ('CA5', interval '25 hours'), ('CA6', interval '23 hours')) x (call, age)
                where r.call_sid = x.call";
    database.connect().await.execute(age).await.unwrap();
    process.event_number("RECORDING_FILE_REMOVED", 2).await;
    let gone = |number: u32| {
        let process = &process;
        async move { get(process, &format!("/v1/recordings/CA{number}")).await }
    };
    for number in [1, 5] {
        let got = gone(number).await;
        assert_eq!(got.problem(), (410, "recording_deleted".to_owned()), "CA{number}");
        assert_eq!(got.json()["deleted_by"], "retention");
    }
    for number in [2, 3, 4, 6] {
        assert_eq!(gone(number).await.status, 200, "CA{number}");
    }
    assert!(!process.file(1, 1).exists() && process.file(1, 2).exists() && !process.file(3, 5).exists());
    let trail = get(&process, "/v1/audit?operator=retention&action=delete").await.json();
    assert_eq!(trail["entries"].as_array().unwrap().len(), 2, "{trail}");
    // Lifted, it goes with the next look.
    ask_json(&process, "PATCH /v1/recordings/CA2", "", &json!({"legal_hold": false})).await;
    eventually("the end of the third", async || (gone(2).await.status == 410).then_some(())).await;
}
