//! What reaches the port besides good requests: two requests in one, hosts that are not ours, pages of other sites; and
//! what the port tells whoever asks. See docs/threats.md.

use crate::support::{
    Database, Process, Provider, eventually,
    http::{Callback, WEBHOOK, ask, raw},
    process::Setup,
};
use serde_json::json;

const TOKEN: &str = "0123456789abcdef-operator";
const JOB: &str = r#"{"business_id":42,"call_sid":"CA1","recording_url":"/x","run_at":"2999-01-01T00:00:00Z"}"#;

async fn process() -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database).provider(&provider);
    let process = setup.var("CALLSPOOL_API_TOKENS", &format!("op:read+enqueue+operate:{TOKEN}")).run().await;
    (database, provider, process)
}

async fn jobs(database: &Database) -> i64 {
    sqlx::query_scalar("select count(*) from job_view").fetch_one(&mut database.connect().await).await.unwrap()
}

/// A proxy before us and we have to see the same end of each request (RFC 9112, section 6.3). Each of these hides a second
/// request in the first one's body, for one who reads the length otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn no_second_request_is_smuggled_in_the_body_of_the_first() {
    let (database, _provider, process) = process().await;
    let inner = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{JOB}",
        JOB.len()
    );
    let chunked = format!("0\r\n\r\n{inner}");
    for (lines, body) in [
        (format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()), chunked.as_str()),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked.len()), &chunked),
        (format!("Content-Length: 0\r\nContent-Length: {}\r\n", inner.len()), &inner),
        (format!("Content-Length: {}\r\nContent-Length: 0\r\n", inner.len()), &inner),
        ("Content-Length: 0, 9\r\n".to_owned(), &inner),
        ("Content-Length: +0\r\n".to_owned(), &inner),
        ("Content-Length: 0x0\r\n".to_owned(), &inner),
        ("Content-Length : 0\r\n".to_owned(), &inner),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), &chunked),
        ("Transfer-Encoding: chunked, identity\r\n".to_owned(), &chunked),
        ("Transfer-Encoding : chunked\r\n".to_owned(), &chunked),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(), &chunked),
        ("X: y\r\n Transfer-Encoding: chunked\r\n".to_owned(), &chunked),
        ("X: y\rTransfer-Encoding: chunked\r\n".to_owned(), &chunked),
    ] {
        let head =
            format!("POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        let answer = raw(&process, format!("{head}{lines}\r\n{body}").as_bytes()).await;
        assert_eq!(answer.status, 400, "{lines:?}: {answer:?}");
        assert!(!answer.body.contains("HTTP/1.1"), "a second answer to {lines:?}: {answer:?}");
    }
    assert_eq!(jobs(&database).await, 0);
    // The one that was hidden is a good one when it stands for itself.
    let alone = inner.replacen("Host: x", "Host: x\r\nConnection: close", 1);
    assert_eq!(raw(&process, alone.as_bytes()).await.status, 202);
    assert_eq!(jobs(&database).await, 1);
}

/// Nothing is kept by `Host` or by what a proxy says of it, so nobody gets an answer that was made for another name.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_ours_changes_nothing_that_is_answered_to_others() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database)
        .provider(&provider)
        .var("CALLSPOOL_API_TOKENS", &format!("op:read+enqueue+operate:{TOKEN}"))
        .var("CALLSPOOL_LINK_SECRET", "0123456789-link-secret")
        .var("CALLSPOOL__HTTP__PUBLIC_URL", "https://calls.example.com/spool")
        .run()
        .await;
    let authorization = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let url = "/2010-04-01/Accounts/AC1/Recordings/RE1";
    let job = json!({"business_id": 42, "call_sid": "CA1", "recording_url": url}).to_string();
    assert_eq!(ask(&process, "POST /v1/jobs", &authorization, job.as_bytes()).await.status, 202);
    process.event("WORKER_RELEASE_SLOT").await;
    let forged = "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example;proto=http\r\n";
    for hosts in ["Host: evil.example\r\n", &format!("Host: x\r\n{forged}")] {
        let request = format!(
            "POST /v1/recordings/CA1/link HTTP/1.1\r\n{hosts}Connection: close\r\n{authorization}Content-Length: 2\r\n\r\n{{}}"
        );
        let made = raw(&process, request.as_bytes()).await;
        let link = made.json()["url"].as_str().unwrap().to_owned();
        assert!(link.starts_with("https://calls.example.com/spool/v1/recordings/CA1/media?"), "{link}");
        assert!(made.head.contains("cache-control: no-store"), "{made:?}");
        let page = raw(&process, format!("GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes()).await;
        assert!(page.status == 200 && !page.body.contains("evil.example"), "{page:?}");
    }
    // A signature over another host's address is none.
    let told = Callback::completed(2).told(&format!("http://evil.example{WEBHOOK}"));
    assert_eq!(told.header("X-Forwarded-Host", "evil.example").send(&process).await.status, 403);
}

/// One may ask it without a token, and see it from every page of a browser on the network.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_without_a_token_names_no_call_no_recording_and_no_address() {
    let (_database, _provider, process) = process().await;
    let authorization = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let url = "/2010-04-01/Accounts/AC1/Recordings/RE77777";
    let job = json!({"business_id": 42, "call_sid": "CA88888", "recording_url": url}).to_string();
    assert_eq!(ask(&process, "POST /v1/jobs", &authorization, job.as_bytes()).await.status, 202);
    process.event("WORKER_RELEASE_SLOT").await;
    let metrics = eventually("the stored recording in the metrics", async || {
        let page = process.get("/metrics").await.text().await.unwrap();
        page.contains("callspool_jobs_finished_total{outcome=\"done\"} 1").then_some(page)
    })
    .await;
    let mut pages = vec![("/metrics", metrics)];
    for path in ["/healthz", "/readyz", "/openapi.json", "/", "/v1/jobs", "/v1/status"] {
        pages.push((path, process.get(path).await.text().await.unwrap()));
    }
    for (path, page) in pages {
        for word in ["CA88888", "RE77777", "AC1\"", "postgres", "127.0.0.1", TOKEN] {
            // The document's examples are of nobody.
            assert!(path == "/openapi.json" && word == "127.0.0.1" || !page.contains(word), "{word} in {path}");
        }
    }
}

/// A page of another site sends a browser's cookie with no request at all (`SameSite=Strict`); where a browser were to, it
/// says whose page it is.
#[tokio::test(flavor = "multi_thread")]
async fn another_sites_form_changes_nothing_by_any_method_that_changes_something() {
    let (_database, _provider, process) = process().await;
    let body = json!({ "token": TOKEN }).to_string();
    let login = ask(&process, "POST /session", "Content-Type: application/json\r\n", body.as_bytes()).await;
    let (_, cookie) = login.original_head.split_once("set-cookie: ").unwrap();
    assert!(cookie.contains("SameSite=Strict") && cookie.contains("HttpOnly"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let routes = crate::support::http::OPENAPI["paths"].as_object().unwrap();
    let mut tried = 0;
    for (path, item) in routes.iter().filter(|(path, _)| path.starts_with("/v1")) {
        for method in item.as_object().unwrap().keys().filter(|method| *method != "get") {
            let target = path.replace("{call_sid}", "CA1").replace("{key}", "storage").replace("{id}", "1");
            let line = format!("{} {target}", method.to_uppercase());
            for says in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", ""] {
                let headers = format!("{cookie}{says}Content-Type: text/plain\r\n");
                let answer = ask(&process, &line, &headers, b"{}").await;
                assert_eq!((answer.status, answer.problem().as_str()), (403, "cross_site"), "{line} {says}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 30, "{tried}");
    // Nor does anything answer to another site's scripts.
    for headers in [
        "Origin: https://evil.example\r\n",
        "Origin: https://evil.example\r\nAccess-Control-Request-Method: PATCH\r\n",
    ] {
        for line in ["OPTIONS /v1/businesses/1", "GET /v1/jobs", "GET /metrics", "GET /openapi.json"] {
            let answer = ask(&process, line, &format!("{headers}{cookie}"), b"").await;
            assert!(!answer.head.contains("access-control-allow"), "{line}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_callback_makes_no_second_job_and_fetches_nothing_again() {
    let (database, provider, process) = process().await;
    let callback = Callback::completed(1);
    assert_eq!(callback.send(&process).await.status, 202);
    process.event("WORKER_RELEASE_SLOT").await;
    for _ in 0..20 {
        let again = callback.send(&process).await;
        assert_eq!((again.status, again.json()["deduplicated"].as_bool()), (202, Some(true)), "{again:?}");
    }
    assert_eq!((jobs(&database).await, provider.asked().len()), (1, 1));
}
