//! `/v1/recordings`: what a player, an operator and an attacker get, from real files.

use crate::support::{
    Answer, Database, Process, Provider, eventually,
    http::raw,
    process::Setup,
    provider::{mp3, recording},
};
use bytes::Bytes;
use callspool::domain::{ids::JobId, operate::Operator, ports::Operations};
use chrono::{DateTime, Utc};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = change(Setup::new(&database).provider(&provider)).run().await;
    (database, provider, process)
}

async fn process() -> (Database, Provider, Process) {
    process_with(|setup| setup).await
}

#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// Status and stable code of a problem.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

async fn ask(process: &Process, method: Method, path: &str, headers: &[(&str, &str)]) -> Got {
    let request = reqwest::Client::new().request(method, format!("{}{path}", process.url().await));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Got { status, headers, bytes: answer.bytes().await.unwrap() }
}

async fn get(process: &Process, path: &str) -> Got {
    ask(process, Method::GET, path, &[]).await
}

async fn media(process: &Process, headers: &[(&str, &str)]) -> Got {
    ask(process, Method::GET, "/v1/recordings/CA1/media", headers).await
}

/// Enqueues with more than [`Process::enqueue`] says; the job's id.
async fn enqueue(process: &Process, number: u32, more: Value) -> i64 {
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

fn wav() -> Bytes {
    let mut bytes = b"RIFF\x24\x00\x00\x00WAVEfmt ".to_vec();
    bytes.resize(5_000, 7);
    bytes.into()
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
        "bytes": 10_000, "sha256": sha256(&recording(1)), "content_type": "audio/mpeg", "duration_ms": null,
        "stored_at": shown.json()["stored_at"], "file": "CA1.mp3", "others": [],
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
    provider.tell(1, [Answer::Status(200, vec![("Content-Type", "audio/mpeg".to_owned())], wav())]);
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let played = media(&process, &[]).await;
    assert_eq!((played.header("content-type"), &played.bytes), ("audio/wav", &wav()));
    assert_eq!(played.header("content-disposition"), "inline; filename=\"CA1.wav\"");
    // A row that somebody else wrote makes no page of it.
    sqlx::query("update recordings set content_type = 'text/html'")
        .execute(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(media(&process, &[]).await.header("content-type"), "application/octet-stream");
}

/// Incident 15: a player waited for a download, in the request, until it was a 502.
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

/// Incident 6: a polling player enqueued the same call hundreds of times.
#[tokio::test(flavor = "multi_thread")]
async fn polling_raises_the_priority_once_and_then_only_reads() {
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
    store.cancel(&[JobId(later)], &Operator::new("test")).await.unwrap();
    assert_eq!(get(&process, "/v1/recordings/CA2").await.problem(), (410, "cancelled".to_owned()));

    process.enqueue(42, 3).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    process.event_number("WORKER_RELEASE_SLOT", 2).await;
    assert_eq!(get(&process, "/v1/recordings/CA3").await.status, 200);
    sqlx::query("delete from recordings").execute(&mut database.connect().await).await.unwrap();
    assert_eq!(get(&process, "/v1/recordings/CA3").await.problem(), (410, "removed".to_owned()));
}

/// Incident 23: a call was attributed to the wrong business.
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
    let (_database, provider, process) = process_with(|setup| setup.var(pool.0, pool.1)).await;
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
