//! `/v1/recordings`: what a player, an operator and an attacker get, from real files.

use crate::support::{
    Answer, Database, Process, Provider, eventually,
    http::raw,
    process::Setup,
    provider::{mp3, plays_ms, recording, wav},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = change(Setup::new(&database).provider(&provider)).run().await;
    (database, provider, process)
}

pub async fn process() -> (Database, Provider, Process) {
    process_with(|setup| setup).await
}

#[derive(Debug)]
pub struct Got {
    pub status: u16,
    headers: HeaderMap,
    pub bytes: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// Status and stable code of a problem.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

pub async fn ask(process: &Process, method: Method, path: &str, headers: &[(&str, &str)]) -> Got {
    let request = reqwest::Client::new().request(method, format!("{}{path}", process.url().await));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Got { status, headers, bytes: answer.bytes().await.unwrap() }
}

pub async fn get(process: &Process, path: &str) -> Got {
    ask(process, Method::GET, path, &[]).await
}

pub async fn media(process: &Process, headers: &[(&str, &str)]) -> Got {
    ask(process, Method::GET, "/v1/recordings/CA1/media", headers).await
}

/// Enqueues with more than [`Process::enqueue`] says; the job's id.
pub async fn enqueue(process: &Process, number: u32, more: Value) -> i64 {
    let mut job = json!({
        "business_id": 42,
        "call_sid": "CA1",
        "recording_url": format!("/2010-04-01/Accounts/AC1/Recordings/RE{number}"),
    });
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = process.post_json("/v1/jobs", &job).await;
    crate::support::process::json(answer).await["id"].as_i64().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Bytes::copy_from_slice(&Sha256::digest(bytes)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_recording_is_described_and_played_byte_for_byte() {
    let (_database, _provider, process) = process().await;
    let id = enqueue(&process, 1, json!({ "recording_sid": "RE1" })).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let shown = get(&process, "/v1/recordings/CA1").await;
    let stored_at: DateTime<Utc> = shown.json()["stored_at"].as_str().unwrap().parse().unwrap();
    let expected = json!({
        "business_id": 42, "call_sid": "CA1", "recording_sid": "RE1", "job_type": "download_only", "job_id": id,
        "bytes": 10_000, "sha256": sha256(&recording(1)), "content_type": "audio/mpeg", "duration_ms": plays_ms(10_000),
        "stored_at": shown.json()["stored_at"], "legal_hold": false, "provider_deleted_at": null, "file": "CA1.mp3", "transcript": null, "others": [],
    });
    assert_eq!((shown.status, shown.json()), (200, expected));

    let all = media(&process, &[]).await;
    assert_eq!((all.status, &all.bytes), (200, &recording(1)));
    let etag = format!("\"{}\"", sha256(&recording(1)));
    let headers = [
        ("content-type", "audio/mpeg"),
        ("content-length", "10000"),
        ("etag", etag.as_str()),
        ("last-modified", &stored_at.to_rfc2822().replace("+0000", "GMT")),
        ("accept-ranges", "bytes"),
        ("content-disposition", "inline; filename=\"CA1.mp3\""),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "private, no-cache"),
    ];
    let head = ask(&process, Method::HEAD, "/v1/recordings/CA1/media", &[]).await;
    assert_eq!((head.status, head.bytes.len()), (200, 0));
    for (name, value) in headers {
        // A day of one digit is written with two.
        let plain = |value: &str| value.replace(", 0", ", ");
        assert_eq!(plain(all.header(name)), plain(value), "{name}");
        assert_eq!(plain(head.header(name)), plain(value), "{name} of HEAD");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_sent_and_a_client_that_has_it_gets_nothing() {
    let (_database, _provider, process) = process().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let (all, etag) = (recording(1), format!("\"{}\"", sha256(&recording(1))));
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=4000-4999", 4_000, 4_999),
        ("bytes=9990-", 9_990, 9_999),
        ("bytes=9990-99999", 9_990, 9_999),
        ("bytes=-10", 9_990, 9_999),
    ] {
        let part = media(&process, &[("Range", range), ("If-Range", &etag)]).await;
        assert_eq!((part.status, &part.bytes), (206, &all.slice(first..=last)), "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/10000"));
        assert_eq!(part.header("content-length"), (last - first + 1).to_string());
        assert_eq!(part.header("etag"), etag);
    }
    for range in ["bytes=10000-", "bytes=20000-30000", "bytes=-0"] {
        let beyond = media(&process, &[("Range", range)]).await;
        assert_eq!(beyond.problem(), (416, "out_of_range".to_owned()), "{range}");
        assert_eq!(beyond.header("content-range"), "bytes */10000");
    }
    for headers in [
        [("Range", "bytes=0-9"), ("If-Range", "\"another\"")],
        [("Range", "bytes=0-9,20-29"), ("If-Range", &etag)],
        [("Range", "nonsense"), ("If-None-Match", "\"another\"")],
    ] {
        let whole = media(&process, &headers).await;
        assert_eq!((whole.status, whole.bytes.len()), (200, 10_000), "{headers:?}");
    }
    for condition in [etag.clone(), "*".to_owned(), format!("\"x\", W/{etag}")] {
        let same = media(&process, &[("If-None-Match", &condition)]).await;
        assert_eq!((same.status, same.bytes.len(), same.header("etag")), (304, 0, etag.as_str()), "{condition}");
    }
    let other = media(&process, &[("If-Match", "\"another\"")]).await;
    assert_eq!(other.problem(), (412, "condition_failed".to_owned()));
}

/// Incident 19: WAV was served as `audio/mpeg`.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_served_as_what_it_is() {
    let (database, provider, process) = process().await;
    provider.tell(1, [Answer::Status(200, vec![("Content-Type", "audio/mpeg".to_owned())], wav(1, 3))]);
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let played = media(&process, &[]).await;
    assert_eq!((played.header("content-type"), &played.bytes), ("audio/wav", &wav(1, 3)));
    assert_eq!(played.header("content-disposition"), "inline; filename=\"CA1.wav\"");
    // A row that somebody else wrote makes no page of it.
    sqlx::query("update recordings set content_type = 'text/html'")
        .execute(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(media(&process, &[]).await.header("content-type"), "application/octet-stream");
}

/// Incident 15: a player waited for a download, in the request, until it was a 502.
/// Incident 6: a polling player enqueued the same call hundreds of times.
/// Incident 23: a call was attributed to the wrong business.
/// Incident 21: the API did not share the worker's volume, and said 404 for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_or_changed_behind_our_back_is_told_from_an_unknown_call() {
    let (_database, _provider, process) = process().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    std::fs::write(process.file(42, 1), &recording(1)[..5_000]).unwrap();
    for headers in [&[][..], &[("Range", "bytes=0-9")], &[("Range", "bytes=9000-")]] {
        assert_eq!(media(&process, headers).await.problem(), (500, "file_damaged".to_owned()), "{headers:?}");
    }
    std::fs::remove_file(process.file(42, 1)).unwrap();
    assert_eq!(media(&process, &[]).await.problem(), (404, "file_missing".to_owned()));
    let head = ask(&process, Method::HEAD, "/v1/recordings/CA1/media", &[]).await;
    assert_eq!(head.status, 404);
    let line = process.line("the missing file", |line| line["message"].to_string().contains("missing")).await;
    assert_eq!(
        (&line["level"], &line["call_sid"], &line["file"]),
        (&"ERROR".into(), &"CA1".into(), &"CA1.mp3".into())
    );
    assert_eq!(get(&process, "/v1/recordings/CA1").await.status, 200, "the row is there");
    assert_eq!(get(&process, "/v1/recordings/CA2/media").await.problem(), (404, "not_found".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out_of_the_storage_and_no_token_no_audio() {
    let token = ("CALLSPOOL_API_TOKEN", "token-of-the-tests");
    let (_database, _provider, process) = process_with(|setup| setup.var(token.0, token.1)).await;
    let long = format!("GET /v1/recordings/CA{}", "1".repeat(5_000));
    for (line, status, code) in [
        ("GET /v1/recordings/..%2f..%2fetc%2fpasswd", 422, "invalid_field"),
        ("GET /v1/recordings/..%2f..%2fetc%2fpasswd/media", 422, "invalid_field"),
        ("GET /v1/recordings/../../etc/passwd", 404, "not_found"),
        ("GET /v1/recordings/CA1%2f..%2f..%2fx/media", 422, "invalid_field"),
        ("GET /v1/recordings/CA1%00/media", 422, "invalid_field"),
        ("GET /v1/recordings/%ff/media", 422, "invalid_field"),
        ("GET /v1/recordings/42%2fCA1.mp3/media", 422, "invalid_field"),
        ("GET /v1/recordings/%2e%2e/media", 422, "invalid_field"),
        (&long, 422, "invalid_field"),
        ("GET /v1/recordings/CA1/media/../../x", 404, "not_found"),
        ("GET /v1/recordings/CA1/media/", 404, "not_found"),
        ("GET /v1/recordings/", 404, "not_found"),
        ("GET /v1/recordings/CA1?business_id=x", 422, "invalid_field"),
        ("GET /v1/recordings/CA1?business_id=-1", 422, "invalid_field"),
        ("GET /v1/recordings/CA1?recording_sid=..%2fx", 422, "invalid_field"),
        ("GET /v1/recordings/CA1?recording_sid=", 422, "invalid_field"),
        ("GET /v1/recordings/CA1", 404, "not_found"),
        ("POST /v1/recordings/CA1/media", 405, "method_not_allowed"),
    ] {
        let request = |authorization: &str| {
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n")
        };
        let answer = raw(&process, request(&format!("Authorization: Bearer {}\r\n", token.1)).as_bytes()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{line}: {answer:?}");
        if status == 422 {
            assert_eq!(raw(&process, request("").as_bytes()).await.problem(), "unauthorized", "{line}");
        }
    }
    assert!(!process.everything().contains("panic"), "{}", process.everything());
}

/// One who plays costs a little memory and an open file, as long as they listen, and no connection of the database.
#[tokio::test(flavor = "multi_thread")]
async fn slow_listeners_hold_up_nobody_and_leave_nothing_behind() {
    const LARGE: usize = 32 << 20;
    let pool = ("CALLSPOOL__DATABASE__POOL_SIZE", "3");
    // Its open files are counted.
    let open = |setup: Setup| setup.var(pool.0, pool.1).var("CALLSPOOL_ALLOW_DEBUGGER", "1");
    let (_database, provider, process) = process_with(open).await;
    provider.tell(1, [Answer::Media(mp3(1, LARGE))]);
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let before = peak_kilobytes(process.pid());
    let mut listeners = Vec::new();
    for _ in 0..6 {
        let mut listener = TcpStream::connect(&process.url().await["http://".len()..]).await.unwrap();
        listener.write_all(b"GET /v1/recordings/CA1/media HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut begin = [0; 12];
        listener.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        listeners.push(listener);
    }
    assert_eq!(times_open(&process), 6);
    assert!(process.is_ready().await, "the database is at hand");
    let all = media(&process, &[]).await;
    assert_eq!((all.status, sha256(&all.bytes)), (200, sha256(&mp3(1, LARGE))));
    drop(listeners);
    eventually("the files are closed", || async { (times_open(&process) == 0).then_some(()) }).await;
    let grown = peak_kilobytes(process.pid()) - before;
    assert!(grown < 24 * 1024, "{grown} kB more for seven listeners of 32 MB");
}

/// How often the process has the recording's file open.
fn times_open(process: &Process) -> usize {
    let file = process.file(42, 1);
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap();
    open.filter(|fd| std::fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|target| target == file)).count()
}

/// The most memory that a process has had (`VmHWM`).
fn peak_kilobytes(pid: i32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
