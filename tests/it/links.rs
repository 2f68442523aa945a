//! Signed links: they play one recording, for a time, without a token.

use crate::{
    recordings::{Got, ask, process_with},
    support::{Database, Process, Provider, provider::recording},
};
use reqwest::Method;
use serde_json::{Value, json};

const TOKEN: &str = "Bearer 0123456789abcdef";
const SECRET: &str = "0123456789-link-secret";

async fn stored(secret: &str) -> (Database, Provider, Process) {
    let (database, provider, process) = process_with(|setup| {
        let setup = setup.var("CALLSPOOL_API_TOKENS", "app:read+enqueue+operate:0123456789abcdef");
        if secret.is_empty() { setup } else { setup.var("CALLSPOOL_LINK_SECRET", secret) }
    })
    .await;
    for number in [1, 2] {
        let body = json!({
            "business_id": 42, "call_sid": "CA1", "recording_sid": format!("RE{number}"),
            "recording_url": format!("/2010-04-01/Accounts/AC1/Recordings/RE{number}"),
        });
        post(&process, "/v1/jobs", &body).await;
    }
    process.event_number("WORKER_RELEASE_SLOT", 2).await;
    (database, provider, process)
}

async fn post(process: &Process, path: &str, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}{path}", process.url().await));
    let request = request.header("Authorization", TOKEN).header("Content-Type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// The link to recording `RE{number}`, without scheme and host.
async fn link(process: &Process, number: u32, body: &Value) -> String {
    let (status, made) = post(process, &format!("/v1/recordings/CA1/link?recording_sid=RE{number}"), body).await;
    assert_eq!(status, 200, "{made}");
    assert!(made["expires_at"].is_string());
    let url = made["url"].as_str().unwrap();
    url.strip_prefix(&process.url().await).unwrap_or_else(|| panic!("{url}")).to_owned()
}

async fn play(process: &Process, link: &str) -> Got {
    ask(process, Method::GET, link, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_plays_its_recording_without_a_token_whole_or_in_parts() {
    let (_database, _provider, process) = stored(SECRET).await;
    assert_eq!(play(&process, "/v1/recordings/CA1/media").await.status, 401);
    let link = link(&process, 1, &json!({})).await;
    let all = play(&process, &link).await;
    assert_eq!((all.status, &all.bytes), (200, &recording(1)));
    let part = ask(&process, Method::GET, &link, &[("range", "bytes=10-19")]).await;
    assert_eq!((part.status, &part.bytes), (206, &recording(1).slice(10..20)));
    let head = ask(&process, Method::HEAD, &link, &[]).await;
    assert_eq!((head.status, head.header("content-length")), (200, "10000"));
    let trail = ask(&process, Method::GET, "/v1/audit", &[("authorization", TOKEN)]).await.json();
    let entries: Vec<_> =
        trail["entries"].as_array().unwrap().iter().map(|e| (&e["operator"], &e["action"])).collect();
    assert_eq!(entries, [(&json!("link"), &json!("play")), (&json!("app"), &json!("link"))]);
    assert!(!process.everything().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_changed_plays_nothing() {
    let (_database, _provider, process) = stored(SECRET).await;
    let link = link(&process, 1, &json!({"expires_in": 600})).await;
    let (path, signature) = link.rsplit_once('=').unwrap();
    let expires = path.split("expires=").nth(1).unwrap().split('&').next().unwrap();
    let flipped = signature.chars().rev().collect::<String>();
    for changed in [
        link.replace("RE1", "RE2"),
        link.replace("recording_sid=RE1&", ""),
        link.replace("business_id=42", "business_id=43"),
        link.replace("business_id=42&", ""),
        link.replace("CA1", "CA2"),
        link.replace(expires, &(expires.parse::<i64>().unwrap() + 1).to_string()),
        link.replace(&format!("expires={expires}&"), ""),
        format!("{path}={flipped}"),
        format!("{path}="),
        format!("{link}x"),
    ] {
        assert_eq!(play(&process, &changed).await.problem(), (403, "link_invalid".to_owned()), "{changed}");
    }
    // The first of two counts, whatever stands behind it.
    assert_eq!(play(&process, &format!("{link}&recording_sid=RE2")).await.bytes, recording(1));
    // It opens nothing else.
    for path in ["/v1/recordings/CA1", "/v1/audit"] {
        assert_eq!(play(&process, &format!("{path}?{}", link.split_once('?').unwrap().1)).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_with_its_time_and_says_so_and_its_recordings_end_is_its_end() {
    let (_database, _provider, process) = stored(SECRET).await;
    let short = link(&process, 1, &json!({"expires_in": 1})).await;
    let ended = crate::support::eventually("the end of the link", async || {
        let got = play(&process, &short).await;
        (got.status != 200).then_some(got)
    })
    .await;
    assert_eq!(ended.problem(), (403, "link_expired".to_owned()));
    let long = link(&process, 1, &json!({})).await;
    let deleted =
        ask(&process, Method::DELETE, "/v1/recordings/CA1?recording_sid=RE1", &[("authorization", TOKEN)]).await;
    assert_eq!(deleted.status, 204);
    let gone = play(&process, &long).await;
    assert_eq!(gone.problem(), (410, "recording_deleted".to_owned()));
    assert!(!String::from_utf8_lossy(&gone.bytes).contains("app"), "who deleted it is nobody's business");
    for (body, field) in [(json!({"expires_in": 0}), "expires_in"), (json!({"for": 1}), "for")] {
        let (status, answer) = post(&process, "/v1/recordings/CA1/link", &body).await;
        assert_eq!((status, &answer["errors"][0]["field"]), (422, &json!(field)));
    }
    assert_eq!(post(&process, "/v1/recordings/CA9/link", &json!({})).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_rotated_without_ending_links_and_without_one_none_is_made() {
    let (_database, _provider, process) = stored("").await;
    let (status, answer) = post(&process, "/v1/recordings/CA1/link", &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("links_not_configured")));
    let forged = "/v1/recordings/CA1/media?business_id=42&expires=99999999999&signature=AAAA";
    assert_eq!(play(&process, forged).await.problem(), (403, "link_invalid".to_owned()));
    let (_database, _provider, process) = stored(&format!("a-newer-link-secret,{SECRET}")).await;
    assert_eq!(play(&process, &link(&process, 2, &json!({})).await).await.bytes, recording(2));
}
