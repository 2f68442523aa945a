//! Which recording of a call is played, and what a player gets while there is none.

use crate::{
    recordings::{ask, enqueue, get, media, process},
    support::{Answer, provider::recording},
};
use callspool::domain::{ids::JobId, operate::Operator, ports::Operations};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_on_its_way_is_202_with_the_reason_until_it_is_there() {
    let (_database, provider, process) = process().await;
    provider.tell(1, [Answer::Held(recording(1))]);
    let id = process.enqueue(42, 1).await;
    process.event("WORKER_PICKED").await;
    for path in ["/v1/recordings/CA1", "/v1/recordings/CA1/media", "/v1/recordings/CA1?business_id=42"] {
        let waiting = get(&process, path).await;
        assert_eq!((waiting.status, waiting.header("retry-after")), (202, "2"), "{waiting:?}");
        let why = waiting.json();
        assert_eq!(
            (&why["job_id"], &why["state"], &why["reason"]),
            (&id.into(), &"running".into(), &"running".into())
        );
        assert!(!why["text"].as_str().unwrap().is_empty(), "{why}");
    }
    let head = ask(&process, Method::HEAD, "/v1/recordings/CA1/media", &[("Range", "bytes=0-")]).await;
    assert_eq!((head.status, head.bytes.len(), head.header("retry-after")), (202, 0, "2"));
    provider.release(1);
    process.event("WORKER_RELEASE_SLOT").await;
    assert_eq!(media(&process, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_06_polling_raises_the_priority_once_and_then_only_reads() {
    let (database, _provider, process) = process().await;
    let id = enqueue(&process, 1, json!({ "run_at": "2999-01-01T00:00:00Z" })).await;
    let rows = async || -> (i64, i16, String, String) {
        let text = "select (select count(*) from job), j.priority, j.xmin::text, s.xmin::text
                      from job j join job_scheduled s using (job_id)";
        sqlx::query_as(text).fetch_one(&mut database.connect().await).await.unwrap()
    };
    assert_eq!(rows().await.1, 5);
    let first = get(&process, "/v1/recordings/CA1/media").await;
    assert_eq!((first.status, first.header("retry-after")), (202, "60"), "{first:?}");
    assert_eq!(
        (&first.json()["reason"], &first.json()["detail"]["why"]),
        (&"scheduled".into(), &"enqueued_for_later".into())
    );
    let raised = rows().await;
    assert_eq!((raised.0, raised.1), (1, 1));
    for _ in 0..100 {
        let again = get(&process, "/v1/recordings/CA1/media").await;
        assert_eq!((again.status, &again.json()["job_id"]), (202, &id.into()));
    }
    assert_eq!(rows().await, raised, "the same rows, written by the same transactions");
    assert_eq!(process.events("ENQUEUE").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_will_not_come_is_410_with_what_became_of_it() {
    let (database, provider, process) = process().await;
    provider.tell(1, [Answer::status(410)]);
    let id = process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    for path in ["/v1/recordings/CA1", "/v1/recordings/CA1/media"] {
        let failed = get(&process, path).await;
        assert_eq!(failed.problem(), (410, "failed".to_owned()));
        let problem = failed.json();
        assert_eq!((&problem["job_id"], &problem["last_error"]["code"]), (&id.into(), &"gone".into()), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("gone"), "{problem}");
    }
    // Tried again, it is on its way again.
    provider.tell(1, [Answer::Held(recording(1))]);
    let store = database.store();
    store.retry(&[JobId(id)], &Operator::new("test")).await.unwrap();
    assert_eq!(media(&process, &[]).await.status, 202);

    let later = enqueue(&process, 2, json!({ "call_sid": "CA2", "run_at": "2999-01-01T00:00:00Z" })).await;
    store.cancel(&[JobId(later)], None, &Operator::new("test")).await.unwrap();
    assert_eq!(get(&process, "/v1/recordings/CA2").await.problem(), (410, "cancelled".to_owned()));

    process.enqueue(42, 3).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    process.event_number("WORKER_RELEASE_SLOT", 2).await;
    assert_eq!(get(&process, "/v1/recordings/CA3").await.status, 200);
    sqlx::query("delete from recordings").execute(&mut database.connect().await).await.unwrap();
    assert_eq!(get(&process, "/v1/recordings/CA3").await.problem(), (410, "removed".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_of_two_businesses_is_told_apart_or_refused() {
    let (_database, provider, process) = process().await;
    provider.tell(1, [Answer::Held(recording(1))]);
    process.enqueue(1, 1).await;
    process.enqueue(2, 1).await;
    let ambiguous = get(&process, "/v1/recordings/CA1").await;
    assert_eq!(ambiguous.problem(), (409, "ambiguous".to_owned()), "while they are on their way");
    provider.release(2);
    process.event_number("WORKER_RELEASE_SLOT", 2).await;
    for path in ["/v1/recordings/CA1", "/v1/recordings/CA1/media"] {
        let ambiguous = get(&process, path).await;
        assert_eq!(ambiguous.problem(), (409, "ambiguous".to_owned()));
        assert_eq!(ambiguous.json()["businesses"], json!([1, 2]));
        assert!(ambiguous.json()["detail"].as_str().unwrap().contains("business_id"));
        assert_eq!(get(&process, &format!("{path}?business_id=2")).await.status, 200);
        assert_eq!(get(&process, &format!("{path}?business_id=3")).await.problem(), (404, "not_found".to_owned()));
    }
    assert_eq!(get(&process, "/v1/recordings/CA1?business_id=2").await.json()["business_id"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_recordings_of_a_call_the_newest_is_played_and_the_others_by_name() {
    let (_database, _provider, process) = process().await;
    for number in 1..=2 {
        enqueue(&process, number, json!({ "recording_sid": format!("RE{number}") })).await;
        process.event_number("WORKER_RELEASE_SLOT", number.try_into().unwrap()).await;
    }
    enqueue(&process, 3, json!({ "recording_sid": "RE3", "run_at": "2999-01-01T00:00:00Z" })).await;
    let shown = get(&process, "/v1/recordings/CA1").await.json();
    assert_eq!((&shown["recording_sid"], &shown["others"]), (&"RE2".into(), &json!(["RE1"])));
    for (query, status, number) in
        [("", 200, 2), ("?recording_sid=RE2", 200, 2), ("?_=7&recording_sid=RE1", 200, 1)]
    {
        let played = get(&process, &format!("/v1/recordings/CA1/media{query}")).await;
        assert_eq!((played.status, played.bytes), (status, recording(number)), "{query}");
    }
    assert_eq!(get(&process, "/v1/recordings/CA1/media?recording_sid=RE3").await.status, 202);
    let unknown = get(&process, "/v1/recordings/CA1/media?recording_sid=RE4").await;
    assert_eq!(unknown.problem(), (404, "not_found".to_owned()));
}
