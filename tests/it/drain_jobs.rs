//! A drain, from SIGTERM to exit 0: what is under way ends or is handed back, what comes is refused.

use crate::support::{Answer, Database, Process, Provider, eventually, process::Setup, provider::recording};
use callspool::domain::ports::FleetView;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Where a job is and how many attempts it has used.
async fn ready_jobs(database: &Database) -> Vec<(i64, i16)> {
    let ready = "select job_id, attempt from job_ready order by job_id";
    sqlx::query_as(ready).fetch_all(&mut database.connect().await).await.unwrap()
}

async fn leases(database: &Database) -> i64 {
    sqlx::query_scalar("select count(*) from job_lease").fetch_one(&mut database.connect().await).await.unwrap()
}

async fn claims(database: &Database) -> i64 {
    let active = "select count(*) from pg_stat_activity
                   where datname = current_database() and state = 'active' and query like '%claim_work(%'
                     and pid <> pg_backend_pid()";
    sqlx::query_scalar(active).fetch_one(&mut database.connect().await).await.unwrap()
}

fn address(process_url: &str) -> String {
    process_url.trim_start_matches("http://").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_downloads_finish_within_the_grace_and_hands_the_others_back_unburnt() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::Held(recording(1)), Answer::Media(recording(1))]);
    provider.tell(2, [Answer::Held(recording(2)), Answer::Media(recording(2))]);
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL__SHUTDOWN__GRACE_SECONDS", "4");
    // A machine that is busy with other tests may delay a beat; then downloads would be interrupted, and rightly so.
    let mut process = setup.var("CALLSPOOL__QUEUE__BEAT_TTL", "10s").run().await;
    let ids = [process.enqueue(42, 1).await, process.enqueue(42, 2).await];
    provider.asked_times(2).await;
    process.terminate();
    let began = Instant::now();
    process.event("DRAIN_STARTED").await;
    provider.release(1);
    let finished = process.event("WORKER_RELEASE_SLOT").await;
    assert_eq!(finished["reason"], "success");
    assert_eq!(process.exit_code().await, 0, "{}", process.everything());
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "the other had its time, of which a quarter is kept: {took:?}");
    assert!(took < Duration::from_secs(7), "and no more: {took:?}");

    let done = &process.events("DRAIN_DONE")[0];
    assert_eq!((&done["finished"], &done["handed_back"]), (&1.into(), &1.into()));
    let reasons: Vec<_> = process.events("WORKER_RELEASE_SLOT").iter().map(|e| e["reason"].clone()).collect();
    assert_eq!(reasons, ["success", "drained"]);
    let left = ready_jobs(&database).await;
    assert_eq!(left.len(), 1, "{left:?}");
    let (id, attempt) = left[0];
    assert!(ids.contains(&id));
    assert_eq!((attempt, leases(&database).await), (0, 0), "the attempt is not burnt, the slot is free");
    assert!(database.store().fleet_status().await.unwrap().instances.is_empty(), "it said good-bye");
    the_log_is_whole(&process);

    let second = process.again();
    let picked = second.event("WORKER_PICKED").await;
    assert_eq!(picked["attempt"], 1);
    second.event("WORKER_RELEASE_SLOT").await;
    assert_eq!(second.job(id).await["state"], "done");
    for number in [1, 2] {
        assert_eq!(std::fs::read(second.file(42, number)).unwrap(), recording(number));
    }
}

/// The last line is on the standard output and in the file.
fn the_log_is_whole(process: &Process) {
    let last = "callspool has ended";
    assert!(process.everything().contains(last));
    let logs = std::fs::read_dir(process.folder().join("logs")).unwrap();
    let files: Vec<String> = logs.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(files.iter().any(|file| file.lines().last().is_some_and(|line| line.contains(last))), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn intake_stops_first_and_requests_under_way_are_answered() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::Held(recording(1))]);
    let mut process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    provider.asked_times(1).await;
    let url = process.url().await;
    let mut old = TcpStream::connect(address(&url)).await.unwrap();
    let body = br#"{"business_id":42,"call_sid":"CA2","recording_url":"/2010-04-01/Accounts/AC1/Recordings/RE2"}"#;
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        address(&url),
        body.len()
    );
    old.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let length = old.read(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer[..length]).contains("100 Continue"), "the request is under way");

    process.terminate();
    process.event("DRAIN_STARTED").await;
    eventually("refusal", async || TcpStream::connect(address(&url)).await.err()).await;
    // A claim that was under way when the drain began may still take what is committed now.
    eventually("the end of the last claim", || async { (claims(&database).await == 0).then_some(()) }).await;
    old.write_all(body).await.unwrap();
    let mut rest = String::new();
    old.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 202"), "{rest}");
    // The download still has its time.
    assert!(process.events("DRAIN_DONE").is_empty());
    provider.release(1);
    assert_eq!(process.exit_code().await, 0);
    let done = &process.events("DRAIN_DONE")[0];
    assert_eq!((&done["finished"], &done["handed_back"]), (&1.into(), &0.into()));
    let left = ready_jobs(&database).await;
    assert_eq!(left.len(), 1, "what was answered with 202 is committed, and was not begun");
}
