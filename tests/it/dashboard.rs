//! The dashboard's files and its stream, as a browser gets them. What a browser makes of them: `tests/browser`.

use crate::support::{
    Database, Process,
    http::{ask, raw},
    process::Setup,
    within_patience,
};
use serde_json::Value;
use std::time::{Duration, Instant};

async fn process() -> (Database, Process) {
    process_with(|setup| setup).await
}

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Process) {
    let database = Database::migrated().await;
    let process = change(Setup::new(&database).var("TWILIO_API_BASE", "http://127.0.0.1:1")).run().await;
    (database, process)
}

/// An open stream of events.
struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(process: &Process) -> Self {
        let answer = process.get("/v1/events").await;
        assert_eq!(answer.status(), 200);
        Self { answer, text: String::new() }
    }

    /// The next event's name and data; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(ToOwned::to_owned);
                if let (Some(event), Some(data)) = (field("event: "), field("data: ")) {
                    return Some((event, serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            match within_patience("more of the stream", self.answer.chunk()).await.unwrap() {
                Some(bytes) => self.text.push_str(str::from_utf8(&bytes).unwrap()),
                None => return None,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_under_a_strict_policy_and_without_a_token() {
    let (_database, process) = process_with(|setup| setup.var("CALLSPOOL_API_TOKEN", "secret")).await;
    let page = ask(&process, "GET /", "", b"").await;
    assert_eq!(page.status, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         media-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        "referrer-policy: no-referrer",
        "x-frame-options: deny",
        "x-content-type-options: nosniff",
        "cache-control: no-cache",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(page.head.lines().any(|line| line == header), "{header}: {}", page.head);
    }
    // Nothing inline: the policy would refuse it.
    assert!(!page.body.contains("<style") && !page.body.contains(" style=") && !page.body.contains(" onclick="));
    let scripts: Vec<&str> = page.body.split("<script").skip(1).collect();
    assert!(!scripts.is_empty() && scripts.iter().all(|script| script.contains(" src=\"/assets/")), "{scripts:?}");
    let data = ask(&process, "GET /v1/events", "", b"").await;
    assert_eq!((data.status, data.problem().as_str()), (401, "unauthorized"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_sent_again_only_when_they_have_changed() {
    let (_database, process) = process().await;
    for (name, content_type) in [
        ("", "text/html; charset=utf-8"),
        ("assets/main.js", "text/javascript; charset=utf-8"),
        ("assets/dashboard.css", "text/css; charset=utf-8"),
        ("assets/icon.svg", "image/svg+xml"),
    ] {
        let first = ask(&process, &format!("GET /{name}"), "", b"").await;
        assert!(first.status == 200 && !first.body.is_empty(), "{first:?}");
        assert!(first.head.contains(&format!("content-type: {content_type}")), "{}", first.head);
        let (_, tag) = first.original_head.split_once("etag: ").expect("a validator");
        let tag = tag.lines().next().unwrap();
        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = ask(&process, &format!("GET /{name}"), &format!("If-None-Match: {known}\r\n"), b"").await;
            assert_eq!((again.status, again.body.as_str()), (304, ""), "{known}");
            assert!(again.head.contains(&format!("etag: {tag}")), "{}", again.head);
        }
        let other = ask(&process, &format!("GET /{name}"), "If-None-Match: \"x\"\r\n", b"").await;
        assert_eq!(other.status, 200);
    }
    for (line, status) in [
        ("GET /assets/nothing.js", 404),
        ("GET /assets/index.html", 404),
        ("GET /assets/..%2f..%2fCargo.toml", 404),
        ("POST /", 405),
        ("DELETE /assets/main.js", 405),
        ("HEAD /", 200),
    ] {
        assert_eq!(ask(&process, line, "", b"").await.status, status, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_role_api_has_a_dashboard() {
    let (_database, process) = process_with(|setup| setup.var("CALLSPOOL_ROLES", "webhooks,worker")).await;
    for path in ["/", "/assets/main.js", "/v1/events"] {
        assert_eq!(ask(&process, &format!("GET {path}"), "", b"").await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_brings_the_overview_at_once_and_again_and_again() {
    let (_database, process) = process().await;
    let mut stream = Stream::open(&process).await;
    let head = stream.answer.headers().clone();
    assert_eq!(head["content-type"], "text/event-stream");
    assert_eq!(
        (&head["cache-control"], &head["x-accel-buffering"]),
        (&"no-store".parse().unwrap(), &"no".parse().unwrap())
    );
    let began = Instant::now();
    for _ in 0..3 {
        let (name, data) = stream.next().await.expect("an event");
        assert_eq!(name, "overview");
        assert_eq!(data["viewers"], 1);
        for field in ["now", "at", "stalls", "backlog", "slots_in_use", "businesses", "instances", "pulse"] {
            assert!(data.get(field).is_some(), "{field}: {data}");
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(3), "every two seconds, not more often");
    // What happens is seen without asking for it.
    process.enqueue(42, 1).await;
    let seen = async {
        loop {
            let (_, data) = stream.next().await.expect("an event");
            if data["backlog"]["ready"].as_i64().unwrap() + data["backlog"]["scheduled"].as_i64().unwrap() > 0 {
                return;
            }
        }
    };
    within_patience("the new job in the stream", seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_viewers_see_the_same_sample() {
    let (_database, process) = process().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Stream::open(&process).await);
    }
    // The first sample that counts them all was taken once, for all of them.
    let mut samples = Vec::new();
    for stream in &mut streams {
        let mut sample = stream.next().await.expect("an event").1;
        while sample["viewers"] != 20 {
            sample = stream.next().await.expect("an event").1;
        }
        samples.push(sample["now"].clone());
    }
    samples.dedup();
    assert_eq!(samples.len(), 1, "{samples:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_lets_only_so_many_look() {
    let (_database, process) = process().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(Stream::open(&process).await);
    }
    let request = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let refused = raw(&process, request.as_bytes()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "too_many_viewers"));
    assert!(refused.head.contains("retry-after: 10"), "{}", refused.head);
    // Somebody goes: it is noticed by the next event at the latest.
    streams.pop();
    crate::support::eventually("a place that became free", async || {
        (process.get("/v1/events").await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_does_not_wait_for_those_who_look() {
    let (_database, mut process) = process().await;
    let mut streams = [Stream::open(&process).await, Stream::open(&process).await];
    for stream in &mut streams {
        stream.next().await.expect("an event");
    }
    process.terminate();
    let began = Instant::now();
    for stream in &mut streams {
        while stream.next().await.is_some() {}
    }
    assert_eq!(process.exit_code().await, 0, "{}", process.everything());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}: less than what requests under way are given");
}
