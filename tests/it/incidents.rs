//! Incidents of several parts together, through real processes; docs/incidents.md has all of them.

use crate::{
    queue_law::execute,
    recordings::{get, media},
    support::{
        Answer, Database, Process, Provider,
        backfills::{Application, COUNT_UP, Folder, along_leads},
        eventually,
        http::{Callback, OPENAPI, ask},
        process::Setup,
        provider::recording,
    },
};
use sqlx::Executor;

async fn until_done(process: &Process, id: i64) {
    eventually("done", async || (process.job(id).await["state"] == "done").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_15_a_player_is_answered_at_once_while_its_recording_is_fetched_before_the_others() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    execute(&database, "insert into business (business_id, max_slots) values (42, 1)").await;
    let process = Setup::new(&database).provider(&provider).run().await;
    provider.tell(1, [Answer::Held(recording(1))]);
    let mut ids = Vec::new();
    for number in 1..=4 {
        ids.push(process.enqueue(42, number).await);
    }
    provider.asked_times(1).await;
    // The download of the first does not end, and nobody waits for it in a request.
    for number in [1, 4] {
        let waiting = get(&process, &format!("/v1/recordings/CA{number}/media")).await;
        assert_eq!(waiting.status, 202, "{waiting:?}");
        assert!(waiting.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    assert_eq!(process.job(ids[3]).await["priority"], 1);
    provider.release(1);
    for id in ids {
        until_done(&process, id).await;
    }
    let asked: Vec<String> = provider.asked().into_iter().map(|asked| asked.path).collect();
    let number = |path: &String| path.rsplit("/RE").next().unwrap().trim_end_matches(".mp3").to_owned();
    assert_eq!(asked.iter().map(number).collect::<Vec<_>>(), ["1", "4", "2", "3"]);
    assert_eq!(get(&process, "/v1/recordings/CA4/media").await.bytes, recording(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_20_a_recording_that_is_not_ready_is_asked_for_ever_more_seldom_and_costs_no_attempt() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).var("CALLSPOOL__RETRY__JITTER", "0").run().await;
    provider.tell(1, [404, 404, 404].map(Answer::status).into_iter().chain([Answer::Media(recording(1))]));
    // The provider does not know yet how long it is.
    let answer = Callback::completed(1).field("RecordingDuration", "-1").send(&process).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    process.event("WORKER_DOWNLOAD_DONE").await;
    let waits: Vec<u32> = process
        .events("WORKER_JOB_FAILED")
        .iter()
        .map(|failed| {
            assert_eq!(failed["reason"], "not_ready");
            failed["retry_in"].as_str().unwrap().trim_end_matches("ms").parse().unwrap()
        })
        .collect();
    assert!(waits.len() == 3 && waits.is_sorted_by(|a, b| a < b), "{waits:?}");
    let id = answer.json()["id"].as_i64().unwrap();
    until_done(&process, id).await;
    assert_eq!(process.job(id).await["attempt"], 1);
    let asked = provider.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|asked| asked.path.ends_with("/Recordings/RE1.mp3")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_21_an_api_that_does_not_share_the_workers_storage_says_so() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let with_role = |role: &str| Setup::new(&database).provider(&provider).var("CALLSPOOL_ROLES", role);
    let (worker, api) = (with_role("worker"), with_role("api"));
    let storage = format!("file:{}", worker.storage().display());
    let (worker, apart) = tokio::join!(worker.run(), api.run());
    apart.enqueue(42, 1).await;
    worker.event("WORKER_RELEASE_SLOT").await;
    let missing = media(&apart, &[]).await;
    assert_eq!(missing.problem(), (404, "file_missing".to_owned()));
    let says = |line: &serde_json::Value| line["message"].to_string().contains("is not the worker's");
    let line = apart.line("why", says).await;
    assert_eq!(
        (&line["level"], &line["call_sid"], &line["file"]),
        (&"ERROR".into(), &"CA1".into(), &"CA1.mp3".into())
    );
    // It is known and never "unknown": with the one storage of all it plays.
    let together = with_role("api").var("CALLSPOOL_STORAGE_URL", &storage).run().await;
    assert_eq!(media(&together, &[]).await.bytes, recording(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_24_a_webhook_is_taken_in_before_anything_is_known_of_its_call_or_business() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    let businesses: i64 = database.one("select count(*) from callspool.business").await;
    assert_eq!(businesses, 0);
    assert_eq!(Callback::completed(1).query("?business_id=987654").send(&process).await.status, 202);
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(std::fs::read(process.file(987_654, 1)).unwrap(), recording(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_27_a_backfill_runs_apart_from_the_migrations_and_keeps_nobody_waiting() {
    let (application, provider) = (Application::with_leads(100).await, Provider::start());
    let folder = Folder::new([("count.sql", along_leads("batch=10 pause=0", COUNT_UP))]);
    let mut holder = application.locking(50).await;
    // It is ready while its backfill hangs.
    let process = folder.setup(&application.database).provider(&provider).run().await;
    application.waiting_sessions(1).await;
    process.enqueue(42, 1).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    let said = folder.setup(&application.database).var("MIGRATION_LOCK_WAIT_SECONDS", "0").migrate().await;
    assert_eq!(said.code, 0, "the migration lock is free: {}", said.err);
    let before = application.kept("count").await;
    assert_eq!((before.state.as_str(), before.rows), ("running", 40), "batches are kept as they are done");
    holder.execute("rollback").await.unwrap();
    process.event("BACKFILL_DONE").await;
    assert_eq!(application.counts().await, (100, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_29_no_table_or_index_is_of_a_kind_that_a_crash_empties() {
    let database = Database::migrated().await;
    let kinds = "select count(*) filter (where relpersistence = 'p') * 1000 + count(*) filter (where relpersistence <> 'p')
                   from pg_class where relnamespace = 'callspool'::regnamespace and relkind in ('r', 'p', 'i', 'S')";
    let counted: i64 = database.one(kinds).await;
    assert!(counted >= 30_000 && counted % 1000 == 0, "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_30_no_route_migrates_and_without_a_token_none_tells_of_the_schema() {
    let database = Database::empty().await;
    let setup = Setup::new(&database).var("RUN_MIGRATIONS", "0");
    let process = setup.var("CALLSPOOL_API_TOKEN", "token-of-the-tests").start();
    let token = "Authorization: Bearer token-of-the-tests\r\nContent-Type: application/json\r\n";
    process.event("SCHEMA_WAITING").await;
    for (template, item) in OPENAPI["paths"].as_object().unwrap() {
        let path = template.replace("{call_sid}", "CA1").replace(['{', '}'], "").replace("/id", "/1");
        for method in item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| ["get", "post", "patch", "delete"].contains(&key.as_str()))
        {
            if template.contains("migration") {
                assert_eq!(method, "get", "{template} only looks");
            }
            if template != "/v1/events" {
                ask(&process, &format!("{} {path}", method.to_uppercase()), token, b"{}").await;
            }
        }
    }
    let unknown = ask(&process, "GET /v1/migrations", "", b"").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (401, "unauthorized"));
    for path in ["/v1/migrations", "/v1/migrations/run", "/v1/migrate", "/api/admin/migrate"] {
        assert!([404, 405].contains(&ask(&process, &format!("POST {path}"), token, b"{}").await.status), "{path}");
    }
    let made: bool = database.one("select to_regclass('callspool.job') is not null").await;
    assert!(!made && process.events("MIGRATION_APPLIED").is_empty());
}
