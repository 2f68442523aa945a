//! The login of a browser: a cookie, and what another site's page cannot do with it.

use crate::support::{
    Database, Process,
    http::{RawAnswer, ask},
    process::Setup,
};
use serde_json::json;

const TOKEN: &str = "s3cret-canary-login";
const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const OURS: &str = "Sec-Fetch-Site: same-origin\r\n";
const JOB: &[u8] = br#"{"business_id":42,"call_sid":"CA1","recording_url":"/x","run_at":"2999-01-01T00:00:00Z"}"#;

async fn process() -> (Database, Process) {
    process_with(|setup| setup.var("CALLSPOOL_API_TOKENS", &format!("maria:read+enqueue:{TOKEN}"))).await
}

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Process) {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("TWILIO_API_BASE", "http://127.0.0.1:1");
    (database, change(setup).run().await)
}

async fn log_in(process: &Process, headers: &str) -> RawAnswer {
    let body = json!({ "token": TOKEN }).to_string();
    ask(process, "POST /session", &format!("{JSON}{headers}"), body.as_bytes()).await
}

/// `Cookie` with what the answer set.
fn cookie(answer: &RawAnswer) -> String {
    let (_, rest) = answer.original_head.split_once("set-cookie: ").expect("a cookie");
    format!("Cookie: theme=dark; {}\r\n", rest.split(';').next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_sets_a_cookie_that_no_script_reads_and_no_other_site_sends() {
    let (_database, process) = process().await;
    let answer = log_in(&process, OURS).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"name": "maria", "scopes": ["read", "enqueue"]})));
    for word in ["callspool_session=maria.", "httponly", "samesite=strict", "path=/", "max-age=43200"] {
        assert!(answer.head.contains(word), "{word}: {answer:?}");
    }
    assert!(!answer.head.contains("secure") && !answer.head.contains("canary"), "{answer:?}");
    let by_https = log_in(&process, "X-Forwarded-Proto: https\r\n").await;
    assert!(by_https.head.contains("; secure"), "{by_https:?}");

    let cookie = cookie(&answer);
    assert_eq!(ask(&process, "GET /session", &cookie, b"").await.json()["name"], "maria");
    assert_eq!(ask(&process, "GET /v1/jobs/1", &cookie, b"").await.status, 404);
    let job = ask(&process, "POST /v1/jobs", &format!("{cookie}{JSON}{OURS}"), JOB).await;
    assert_eq!(job.status, 202, "{job:?}");
    assert!(!process.everything().contains("canary"));
    let login = process.line("the login", |line| line["operator"] == "maria").await;
    assert!(login["message"].as_str().unwrap().starts_with("logged in"), "{login}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_logs_in_too_and_a_page_without_scripts_is_sent_on() {
    let (_database, process) = process().await;
    let form = format!("token={TOKEN}");
    let answer = ask(&process, "POST /session", FORM, form.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let page = ask(&process, "POST /session", &format!("{FORM}Accept: text/html,*/*\r\n"), form.as_bytes()).await;
    assert_eq!(page.status, 303);
    assert!(page.head.contains("location: /\r\n"), "{page:?}");
    assert_eq!(ask(&process, "GET /session", &cookie(&page), b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_sets_nothing_and_says_nothing_of_what_came() {
    let (_database, process) = process().await;
    let whole = json!({ "token": TOKEN }).to_string();
    for (headers, body, status, code) in [
        (JSON, r#"{"token":"s3cret-canary-logim"}"#, 401, "unauthorized"),
        (JSON, r#"{"token":""}"#, 401, "unauthorized"),
        (JSON, r#"{"token":["s3cret-canary-login"]}"#, 422, "invalid_field"),
        (JSON, r#"{"token":"s3cret-canary-login","x":1}"#, 422, "invalid_field"),
        (JSON, r#""s3cret-canary-login"#, 422, "invalid_field"),
        (FORM, "token=s3cret-canary", 401, "unauthorized"),
        (FORM, "x=s3cret-canary-login", 422, "invalid_field"),
        ("Content-Type: text/plain\r\n", whole.as_str(), 415, "content_type"),
        ("", whole.as_str(), 415, "content_type"),
    ] {
        let answer = ask(&process, "POST /session", headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{body}: {answer:?}");
        assert!(!answer.head.contains("set-cookie") && !answer.body.contains("canary"), "{answer:?}");
    }
    let large = "x".repeat(10_000);
    assert_eq!(ask(&process, "POST /session", JSON, large.as_bytes()).await.status, 413);
    process.line("the refusal", |line| line["message"].to_string().contains("login refused")).await;
    assert!(!process.everything().contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_tokens_is_slowed_down_and_locks_nobody_out() {
    let (_database, process) = process().await;
    let mut guesses = Vec::new();
    for _ in 0..30 {
        guesses.push(ask(&process, "POST /session", JSON, br#"{"token":"guess"}"#));
    }
    let answers = futures_util::future::join_all(guesses).await;
    let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!limited.is_empty() && answers.iter().filter(|answer| answer.status == 401).count() >= 20);
    assert_eq!(limited[0].problem(), "rate_limited");
    assert!(limited[0].head.contains("retry-after: "), "{:?}", limited[0]);
    // Behind a proxy everybody has the same address.
    for _ in 0..30 {
        assert_eq!(log_in(&process, OURS).await.status, 200);
    }
    let header = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(&process, "GET /session", &header, b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_changes_nothing_with_a_browsers_cookie() {
    let (_database, process) = process().await;
    let cookie = cookie(&log_in(&process, OURS).await);
    let host = process.url().await;
    let origin = format!("Origin: {host}\r\n");
    for (says, allowed) in [
        ("", false),
        ("Sec-Fetch-Site: cross-site\r\n", false),
        ("Sec-Fetch-Site: same-site\r\n", false),
        ("Origin: https://evil.example\r\n", false),
        ("Origin: null\r\n", false),
        ("Sec-Fetch-Site: none\r\n", true),
        (OURS, true),
        (origin.as_str(), true),
    ] {
        for (line, body, good) in [("POST /v1/jobs", JOB, 202), ("DELETE /session", b"".as_slice(), 204)] {
            let answer = ask(&process, line, &format!("{cookie}{JSON}{says}"), body).await;
            assert_eq!(answer.status, if allowed { good } else { 403 }, "{line} {says}: {answer:?}");
            assert!(allowed || answer.problem() == "cross_site");
        }
    }
    // Looking is no change, and a bearer token is no browser's.
    assert_eq!(
        ask(&process, "GET /v1/jobs/999999", &format!("{cookie}Sec-Fetch-Site: cross-site\r\n"), b"").await.status,
        404
    );
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n{JSON}Origin: https://app.example\r\n");
    assert_eq!(ask(&process, "POST /v1/jobs", &bearer, JOB).await.status, 202);
    let foreign = log_in(&process, "Sec-Fetch-Site: cross-site\r\n").await;
    assert_eq!((foreign.status, foreign.problem().as_str()), (403, "cross_site"), "nor does it log anybody in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_refused_when_anything_of_it_is_changed() {
    let (_database, process) = process().await;
    let good = cookie(&log_in(&process, OURS).await);
    let value = good.split("callspool_session=").nth(1).unwrap().trim();
    let parts: Vec<&str> = value.split('.').collect();
    let later = parts[1].parse::<i64>().unwrap() + 1;
    for bad in [
        format!("root.{}.{}", parts[1], parts[2]),
        format!("{}.{later}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{value}x"),
        "x".to_owned(),
        String::new(),
    ] {
        let answer = ask(&process, "GET /v1/jobs/1", &format!("Cookie: callspool_session={bad}\r\n"), b"").await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"), "{bad}");
    }
    // A wrong header is not made good by a cookie.
    let both = format!("{good}Authorization: Bearer wrong\r\n");
    assert_eq!(ask(&process, "GET /v1/jobs/1", &both, b"").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_takes_the_cookie_away() {
    let (_database, process) = process().await;
    let cookie = cookie(&log_in(&process, OURS).await);
    let answer = ask(&process, "DELETE /session", &format!("{cookie}{OURS}"), b"").await;
    assert_eq!(answer.status, 204);
    assert!(answer.head.contains("callspool_session=; ") && answer.head.contains("max-age=0"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_without_a_token_everybody_is_logged_in_but_another_sites_page_changes_nothing() {
    let (_database, process) = process_with(|setup| setup).await;
    let all = json!({"name": "loopback", "scopes": ["read", "enqueue", "operate"]});
    assert_eq!(ask(&process, "GET /session", "", b"").await.json(), all);
    let login = log_in(&process, "").await;
    assert_eq!((login.status, login.json()), (200, all));
    for proxy in ["Forwarded: for=10.0.0.1\r\n", "x-forwarded-for: é\r\n", "Via: 1.1 proxy\r\n"] {
        for (line, body) in [("GET /session", ""), ("GET /v1/jobs/1", ""), ("POST /session", "{}")] {
            let answer = ask(&process, line, proxy, body.as_bytes()).await;
            assert_eq!((answer.status, answer.problem().as_str()), (403, "proxy"), "{line} {proxy}");
        }
    }
    for (says, status) in
        [("", 202), (OURS, 202), ("Sec-Fetch-Site: cross-site\r\n", 403), ("Origin: http://x\r\n", 403)]
    {
        assert_eq!(ask(&process, "POST /v1/jobs", &format!("{JSON}{says}"), JOB).await.status, status, "{says}");
    }
}
