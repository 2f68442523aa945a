//! The trail: who played, changed and deleted what.

use crate::{
    recordings::{ask, enqueue, get, media, process},
    support::http::ask_json,
};
use reqwest::Method;
use serde_json::{Value, json};

async fn trail(process: &crate::support::Process, query: &str) -> Vec<Value> {
    let got = get(process, &format!("/v1/audit{query}")).await;
    assert_eq!(got.status, 200, "{}", got.json());
    got.json()["entries"].as_array().unwrap().clone()
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_plays_is_kept_once_however_many_parts_a_player_asks_for() {
    let (_database, _provider, process) = process().await;
    enqueue(&process, 1, json!({ "recording_sid": "RE1" })).await;
    process.event("WORKER_RELEASE_SLOT").await;
    // A look plays nothing.
    ask(&process, Method::HEAD, "/v1/recordings/CA1/media", &[]).await;
    get(&process, "/v1/recordings/CA1").await;
    assert_eq!(trail(&process, "").await, Vec::<Value>::new());
    for range in ["bytes=100-", "bytes=0-10", "bytes=5-9"] {
        assert_eq!(media(&process, &[("range", range)]).await.status, 206);
    }
    let entries = trail(&process, "?call_sid=CA1").await;
    assert_eq!(actions(&entries), ["play"]);
    let entry = &entries[0];
    assert_eq!((&entry["operator"], &entry["business_id"]), (&json!("loopback"), &json!(42)));
    assert_eq!((&entry["call_sid"], &entry["recording_sid"]), (&json!("CA1"), &json!("RE1")));
    // The history of a business is of what was changed.
    let of_business = get(&process, "/v1/businesses/42/actions").await.json();
    assert_eq!(of_business["actions"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_business_is_kept_and_the_trail_is_read_in_pages_and_by_filters() {
    let (_database, _provider, process) = process().await;
    let set = |id: i64, change: Value| {
        let process = &process;
        async move {
            let answer = ask_json(process, &format!("PATCH /v1/businesses/{id}"), "", &change).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.json()
        }
    };
    let changed =
        set(1, json!({"forms": ["wav-dual", "mp3"], "retention_days": 30, "delete_at_provider": false})).await;
    assert_eq!(changed["forms"], json!(["wav-dual", "mp3"]));
    assert_eq!((&changed["retention_days"], &changed["delete_at_provider"]), (&json!(30), &json!(false)));
    set(1, json!({"forms": null, "retention_days": 30, "max_slots": 7})).await;
    set(2, json!({"paused": true})).await;
    let of_one = trail(&process, "?business_id=1").await;
    let details: Vec<&str> = of_one.iter().map(|entry| entry["detail"].as_str().unwrap()).collect();
    for detail in [
        "forms default -> wav-dual,mp3",
        "forms wav-dual,mp3 -> default",
        "retention_days default -> 30",
        "delete_at_provider default -> false",
        "max_slots 5 -> 7",
    ] {
        assert!(details.contains(&detail), "{detail}: {details:?}");
    }
    assert_eq!(details.len(), 5, "what stays as it was is no change: {details:?}");
    assert_eq!(actions(&trail(&process, "?action=pause&operator=loopback").await), ["pause"]);
    assert_eq!(trail(&process, "?operator=nobody").await, Vec::<Value>::new());
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&process, &format!("/v1/audit?limit=2{after}")).await.json();
        seen.extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["id"].as_i64().unwrap()));
        let Some(next) = page["next"].as_i64() else { break };
        after = format!("&after={next}");
    }
    assert!(seen.len() == 6 && seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    for (query, field) in
        [("?call_sid=x", "call_sid"), ("?business_id=0", "business_id"), ("?after=x", "after"), ("?who=me", "who")]
    {
        let refused = get(&process, &format!("/v1/audit{query}")).await;
        assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (422, &json!(field)));
    }
    for wrong in [json!({"forms": []}), json!({"forms": ["ogg"]}), json!({"retention_days": -1})] {
        let answer = ask_json(&process, "PATCH /v1/businesses/1", "", &wrong).await;
        assert_eq!(answer.status, 422, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_sets_and_shows_the_same() {
    let (_database, _provider, process) = process().await;
    let run = |arguments: &'static [&'static str]| {
        let mut command = process.setup().command(arguments);
        async move {
            let output = command.output().await.unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        }
    };
    let set = run(&["businesses", "set", "7", "--forms", "wav,mp3", "--retention-days", "90", "--json"]).await;
    let set: Value = serde_json::from_str(&set).unwrap();
    assert_eq!((&set["forms"], &set["retention_days"]), (&json!(["wav", "mp3"]), &json!(90)));
    run(&["businesses", "set", "7", "--forms", "default"]).await;
    let shown = run(&["businesses", "show", "7"]).await;
    assert!(shown.contains("default") && shown.contains("90"), "{shown}");
    let trail = run(&["audit", "list", "--business-id", "7", "--json"]).await;
    let trail: Vec<Value> = serde_json::from_str(&trail).unwrap();
    assert_eq!(actions(&trail).len(), 3, "{trail:?}");
    assert!(trail[0]["operator"].as_str().unwrap().starts_with("cli "));
    assert!(run(&["audit", "list"]).await.contains("retention_days default -> 90"));
}
