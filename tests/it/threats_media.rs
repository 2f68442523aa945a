//! What a provider may send that means harm, and what a row of the database may say: see docs/threats.md.

use crate::{
    recordings::{self, get},
    support::{
        Answer, Database, Provider, eventually,
        process::{Setup, json},
        provider::{mp3, recording},
    },
};
use bytes::Bytes;
use sqlx::{AssertSqlSafe, Executor};
use std::fs;

fn rss_mib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Bodies without an end, compressed zeros, headers by the thousand: each ends its own attempt, and the next recording comes.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_provider_sends_ends_its_own_attempt_and_memory_stays_bounded() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database)
        .provider(&provider)
        .var("CALLSPOOL__TWILIO__MAX_BYTES", "1048576")
        // A connection that breaks may be the host's fault: it is held and tried, and then the recording is to blame.
        .var("CALLSPOOL__HOLDS__REFRESH", "50ms")
        .var("CALLSPOOL__HOLDS__PROBE_FIRST", "100ms")
        .var("CALLSPOOL__HOLDS__PROBE_MAX", "200ms")
        .var("CALLSPOOL__QUEUE__PROMOTE_INTERVAL", "50ms")
        .var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1")
        .run()
        .await;
    let before = rss_mib(process.pid());
    let zeros = Bytes::from(vec![0_u8; 64 << 10]);
    let gzip = |name: &'static str| vec![(name, "gzip".to_owned()), ("Content-Type", "audio/mpeg".to_owned())];
    let many = (0..1_000).map(|n| (&*format!("X-Flood-{n}").leak(), "a".repeat(100))).collect();
    let answers = [
        (1, Answer::Chunked(vec![zeros.clone(); 2_000]), "bad_audio"),
        (2, Answer::Chunked([vec![mp3(2, 64 << 10)], vec![mp3(3, 64 << 10); 2_000]].concat()), "too_large"),
        (3, Answer::Status(200, gzip("Content-Encoding"), zeros.clone()), ""),
        (4, Answer::Status(200, many, recording(4)), "network"),
        (5, Answer::Lying(u64::MAX / 2, zeros.clone()), "too_large"),
    ];
    for (number, answer, reason) in answers {
        provider.tell(number, [answer]);
        let id = process.enqueue(42, number).await;
        let job = eventually("its end", async || {
            let job = process.job(id).await;
            (job["state"] == "dead").then_some(job)
        })
        .await;
        let code = job["last_error"]["code"].as_str().unwrap();
        assert!(reason.is_empty() || code == reason, "{number}: {job}");
        assert!(!process.file(42, number).exists(), "{number}");
    }
    process.enqueue(42, 9).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    let grown = rss_mib(process.pid()).saturating_sub(before);
    assert!(grown < 64, "{grown} MiB more than before");
}

/// A page that begins like a recording, or a recording that ends in a page: a browser shows neither as a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_with_a_page_in_it_is_only_ever_played() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let page = b"<html><script>fetch('/v1/jobs')</script>".as_slice();
    let ends_in_a_page = Bytes::from([&recording(1)[..], page].concat());
    provider.tell(1, [Answer::Media(ends_in_a_page)]);
    provider.tell(2, [Answer::Media(Bytes::from([page, &recording(2)[..]].concat()))]);
    let process = Setup::new(&database).provider(&provider).var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1").run().await;
    let (first, second) = (process.enqueue(42, 1).await, process.enqueue(42, 2).await);
    let states = eventually("both ends", async || {
        let states = [process.job(first).await["state"].clone(), process.job(second).await["state"].clone()];
        states.iter().all(|state| state == "done" || state == "dead").then_some(states)
    })
    .await;
    let mut played = 0;
    for (call, state) in ["CA1", "CA2"].iter().zip(states) {
        let got = get(&process, &format!("/v1/recordings/{call}/media")).await;
        if state == "dead" {
            assert_eq!(got.status, 410, "{call}");
            continue;
        }
        assert_eq!((got.status, got.header("content-type")), (200, "audio/mpeg"), "{call}");
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{call}");
        assert!(got.header("content-disposition").starts_with("inline; filename=\"CA"), "{call}");
        played += 1;
    }
    assert!(played >= 1, "what plays is stored, whatever stands behind it");
}

/// Whoever may write our tables is believed for the queue, and still gets no file, no address inside and no line of the log.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_another_role_wrote_lead_to_no_other_file_or_host_and_forge_no_line() {
    let (database, provider, process) = recordings::process().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let mut connection = database.connect().await;
    for key in ["../../../../etc/passwd", "/etc/passwd", "42/../../x", "42/%2e%2e/x\n2026 INFO [ENQUEUE] forged"] {
        let sql = format!("update recordings set storage_key = '{key}'");
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        let got = get(&process, "/v1/recordings/CA1/media").await;
        assert!([404, 500, 503].contains(&got.status), "{key}: {}", got.status);
        assert!(!String::from_utf8_lossy(&got.bytes).contains("root:"), "{key}");
    }
    // Jobs that were written past the door: another host, an address inside, credentials, another scheme.
    let before = provider.asked_all().len();
    for (number, url) in (100..).zip([
        "http://169.254.169.254/latest/meta-data/Recordings/RE100",
        "https://evil.example/2010-04-01/Accounts/AC1/Recordings/RE101",
        "file:///etc/passwd",
        "http://me:secret@127.0.0.1/x",
    ]) {
        let sql = format!(
            "with one as (select job_id from enqueue(42, 'CA{number}', 'https://x.example/Recordings/RE{number}', \
             run_at => now() + interval '1 hour')) update job set recording_url = '{url}' from one \
             where job.job_id = one.job_id"
        );
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection
            .execute(AssertSqlSafe(format!("update job set recording_url = '{url}' where call_sid = 'CA{number}'")))
            .await
            .unwrap();
        let id: i64 =
            sqlx::query_scalar(AssertSqlSafe(format!("select job_id from job where call_sid = 'CA{number}'")))
                .fetch_one(&mut connection)
                .await
                .unwrap();
        let retried = process.post_json(&format!("/v1/jobs/{id}/retry"), &serde_json::Value::Null).await;
        assert_eq!(retried.status(), 200);
        let job = eventually("the end of a job that was written so", async || {
            let job = process.job(id).await;
            (job["state"] == "dead").then_some(job)
        })
        .await;
        assert_eq!(job["last_error"]["code"], "url_refused", "{url}: {job}");
    }
    assert_eq!(provider.asked_all().len(), before, "nobody was asked");
    assert!(!process.everything().contains("\n2026 INFO [ENQUEUE] forged"));
    assert!(process.lines().iter().all(serde_json::Value::is_object), "each line is one object");
    let shown = json(process.get("/v1/jobs?call_sid=CA103").await).await;
    assert!(!shown.to_string().contains("secret"), "{shown}");
}

/// A role has what it was granted, and a function of ours gives it no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_an_application_has_no_right_that_nobody_granted() {
    let database = Database::migrated().await;
    let mut admin = database.connect().await;
    let role = format!("tenant_{}", std::process::id());
    for sql in [format!("drop role if exists {role}"), format!("create role {role} login")] {
        admin.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let as_role = async |sql: &str| {
        let mut connection = database.connect().await;
        connection.execute(AssertSqlSafe(format!("set role {role}"))).await.unwrap();
        connection.execute(AssertSqlSafe(sql.to_owned())).await.map(|_| ()).map_err(|error| error.to_string())
    };
    let enqueue = "select * from callspool.enqueue(42, 'CA1', 'https://x.example/Recordings/RE1')";
    for sql in [
        enqueue,
        "select * from callspool.recordings",
        "select * from callspool.job_view",
        "update callspool.business set max_slots = 100",
        "delete from callspool.job_lease",
        "select callspool.lift_hold('storage', 'me')",
    ] {
        let refused = as_role(sql).await.unwrap_err();
        assert!(refused.contains("permission denied for schema callspool"), "{sql}: {refused}");
    }
    // With the schema's usage alone, the functions run with the caller's rights: none over a table.
    admin.execute(AssertSqlSafe(format!("grant usage on schema callspool to {role}"))).await.unwrap();
    for sql in [enqueue, "select callspool.lift_hold('storage', 'me')", "select * from callspool.recordings"] {
        let refused = as_role(sql).await.unwrap_err();
        assert!(refused.contains("permission denied for"), "{sql}: {refused}");
    }
    for sql in [format!("drop owned by {role}"), format!("drop role {role}")] {
        admin.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}
