//! What a stolen token, link or secret opens, and what ends it: see docs/threats.md.

use crate::{
    recordings::{self, Got},
    support::{
        Answer, Database, Process, Provider, eventually,
        http::{Callback, RawAnswer, ask, ask_json},
        process::{Setup, json},
    },
};
use reqwest::Method;
use serde_json::{Value, json};

const READER: &str = "reader-token-0123";
const BOSS: &str = "boss-token-012345";
const APP: &str = "application-token";

fn guarded(setup: Setup, reader: &str) -> Setup {
    setup
        .var("CALLSPOOL_API_TOKENS", &format!("reader:read:{reader},boss:operate+read:{BOSS},app:enqueue:{APP}"))
        .var("CALLSPOOL_LINK_SECRET", "0123456789-link-secret")
}

async fn with_token(process: &Process, line: &str, token: &str) -> RawAnswer {
    ask_json(process, line, token, &Value::Null).await
}

async fn play(process: &Process, link: &str) -> Got {
    recordings::ask(process, Method::GET, link, &[]).await
}

async fn enqueue(process: &Process, url: &str, number: u32) -> i64 {
    let body = json!({"business_id": 42, "call_sid": format!("CA{number}"), "recording_url": url});
    let answer = ask_json(process, "POST /v1/jobs", APP, &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["id"].as_i64().unwrap()
}

/// Which scope each route asks for is in one table, so the answers to a token without it are asked of all routes.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_scope_is_refused_by_every_route_that_asks_for_it() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("TWILIO_API_BASE", "http://127.0.0.1:1");
    let process = guarded(setup, READER).run().await;
    let routes = crate::support::http::OPENAPI["paths"].as_object().unwrap();
    let (mut by_reader, mut by_app) = (0, 0);
    for (path, item) in routes.iter().filter(|(path, _)| path.starts_with("/v1")) {
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let target = path.replace("{call_sid}", "CA1").replace("{key}", "storage").replace("{id}", "1");
            let line = format!("{method} {target}");
            assert_eq!(with_token(&process, &line, "").await.status, 401, "{line}");
            if method == "GET" {
                assert_eq!(with_token(&process, &line, APP).await.problem(), "scope", "{line}");
                by_app += 1;
            } else if !path.ends_with("/link") {
                let refused = with_token(&process, &line, READER).await;
                assert_eq!((refused.status, refused.problem().as_str()), (403, "scope"), "{line}");
                by_reader += 1;
            }
        }
    }
    assert!(by_reader >= 8 && by_app >= 12, "{by_reader} {by_app}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_links_of_a_stolen_token_end_with_it_and_those_of_others_do_not() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = guarded(Setup::new(&database).provider(&provider), READER).run().await;
    enqueue(&process, "/2010-04-01/Accounts/AC1/Recordings/RE1", 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let mut links = Vec::new();
    for token in [READER, BOSS] {
        let made = ask_json(&process, "POST /v1/recordings/CA1/link", token, &json!({"expires_in": 604_800})).await;
        let url = made.json()["url"].as_str().unwrap().to_owned();
        links.push(url.strip_prefix(&process.url().await).unwrap().to_owned());
    }
    for link in &links {
        assert_eq!(play(&process, link).await.status, 200);
    }
    // Nor does a link become another one's by its name.
    let renamed = links[0].replace("by=reader", "by=boss");
    assert_eq!(play(&process, &renamed).await.problem(), (403, "link_invalid".to_owned()));
    assert_eq!(play(&process, &links[0].replace("by=reader&", "")).await.status, 403);

    // The secret of the links stays; the stolen token is another one now.
    let storage = format!("file:{}", process.storage().display());
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL_STORAGE_URL", &storage);
    let after = guarded(setup, "reader-token-anew").run().await;
    assert_eq!(play(&after, &links[0]).await.problem(), (403, "link_invalid".to_owned()));
    assert_eq!(play(&after, &links[1]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_look_sees_no_query_of_a_completion_url() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("CALLSPOOL_COMPLETION_SECRET", crate::after_completion::SECRET);
    let process = guarded(setup, READER).run().await;
    let url = "https://hooks.example.com/in?key=receivers-secret";
    let set = ask_json(&process, "PATCH /v1/businesses/7", BOSS, &json!({"completion_url": url})).await;
    assert_eq!((set.status, set.json()["completion_url"].as_str()), (200, Some(url)));
    assert_eq!(with_token(&process, "GET /v1/businesses/7", BOSS).await.json()["completion_url"], url);
    for line in ["GET /v1/businesses/7", "GET /v1/businesses", "GET /v1/businesses/7/actions", "GET /v1/audit"] {
        let seen = with_token(&process, line, READER).await;
        assert!(seen.status == 200 && seen.body.contains("https://hooks.example.com/in"), "{line}: {seen:?}");
        assert!(!seen.body.contains("receivers-secret"), "{line}: {seen:?}");
    }
    assert!(!process.everything().contains("receivers-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_the_trail_does_not_know_is_refused_and_hides_nothing() {
    let database = Database::migrated().await;
    let process = Setup::new(&database).run().await;
    let wrong = ask(&process, "GET /v1/audit?action=delet", "", b"").await;
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["field"]), (422, &json!("action")));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/after.md")).unwrap();
    let named = page.split("`action` is one of `").nth(1).unwrap().split('`').next().unwrap();
    let mut named: Vec<&str> = named.split_whitespace().collect();
    named.sort_unstable();
    let mut known = callspool::domain::audit::ACTIONS.to_vec();
    known.sort_unstable();
    assert_eq!(known, named);
    for action in known {
        assert_eq!(ask(&process, &format!("GET /v1/audit?action={action}"), "", b"").await.status, 200, "{action}");
    }
    let said = process.setup().say(&["audit", "list", "--action", "delet"]).await;
    assert_eq!(said.code, 2, "{said:?}");
}

/// The token of one account signs any URL.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_has_a_business_brings_nothing_into_another_one() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process =
        Setup::new(&database).provider(&provider).config("[twilio.accounts.AC1]\nbusiness_id = 42\n").run().await;
    let foreign = Callback::completed(1).query("?business_id=43").send(&process).await;
    assert_eq!((foreign.status, foreign.problem().as_str()), (422, "invalid_field"), "{foreign:?}");
    assert!(foreign.body.contains("the configuration of its account"), "{foreign:?}");
    for query in ["", "?business_id=42"] {
        assert_eq!(Callback::completed(1).query(query).send(&process).await.status, 202, "{query}");
    }
    process.event("WORKER_RELEASE_SLOT").await;
    let owners: Vec<i64> = sqlx::query_scalar("select distinct business_id from job_view")
        .fetch_all(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(owners, [42]);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_somebody_made_up_are_held_up_to_a_number_and_a_configured_one_in_any_case() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell_where("/Accounts/", Answer::status(401));
    let process = guarded(Setup::new(&database).provider(&provider), READER)
        .var("CALLSPOOL__HOLDS__MAX_UNLISTED_ACCOUNTS", "3")
        .var("CALLSPOOL__HOLDS__ACCOUNT_PROBE", "1h")
        .var("CALLSPOOL__WORKER__COUNT", "1")
        .var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "2")
        .run()
        .await;
    let mut jobs = Vec::new();
    for number in 10..20 {
        let url = format!("/2010-04-01/Accounts/AC{number}/Recordings/RE{number}");
        jobs.push(enqueue(&process, &url, number).await);
    }
    let states = async || {
        let mut states = Vec::new();
        for id in &jobs {
            let job = with_token(&process, &format!("GET /v1/jobs/{id}"), READER).await.json();
            states.push(job["state"].as_str().unwrap().to_owned());
        }
        states
    };
    let count = |states: &[String], which: &str| states.iter().filter(|state| *state == which).count();
    eventually("the end of those that nobody holds", async || (count(&states().await, "dead") == 7).then_some(()))
        .await;
    assert_eq!(count(&states().await, "scheduled"), 3);
    // The one that is configured has its hold although the others' number is reached.
    let own = enqueue(&process, "/2010-04-01/Accounts/AC1/Recordings/RE1", 1).await;
    let held = eventually("the configured account's hold", async || {
        let why = with_token(&process, &format!("GET /v1/jobs/{own}/explain"), READER).await.json();
        (why["reason"] == "account_suspended").then_some(why)
    })
    .await;
    assert_eq!(
        held["detail"]["hold"]["key"].as_str().or(held["detail"]["key"].as_str()),
        Some("account:AC1"),
        "{held}"
    );
    let holds = with_token(&process, "GET /v1/holds", READER).await.json();
    assert_eq!(holds["holds"].as_array().unwrap().len(), 4, "{holds}");
}

/// Tokens are guessed by bearer as well as by login: whoever shows a wrong one is counted by their address.
#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_by_bearer_is_limited_by_address_and_whoever_has_a_token_is_not() {
    let database = Database::migrated().await;
    let setup = guarded(Setup::new(&database), READER);
    let process = setup.var("CALLSPOOL__HTTP__RATE_LIMIT", "1").var("CALLSPOOL__HTTP__RATE_BURST", "5").run().await;
    let mut answers = Vec::new();
    for guess in 0..12 {
        answers.push(with_token(&process, "GET /v1/jobs", &format!("guess-{guess}")).await.status);
    }
    assert!(answers.contains(&429) && answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
    assert_eq!(with_token(&process, "GET /v1/jobs", READER).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_token_is_taken_away_also_in_another_process() {
    let database = Database::migrated().await;
    let process = guarded(Setup::new(&database), READER).run().await;
    let json_header = "Content-Type: application/json\r\n";
    let login =
        ask(&process, "POST /session", json_header, json!({ "token": READER }).to_string().as_bytes()).await;
    let (_, rest) = login.original_head.split_once("set-cookie: ").unwrap();
    let cookie = format!("Cookie: {}\r\n", rest.split(';').next().unwrap());
    assert_eq!(ask(&process, "GET /v1/jobs", &cookie, b"").await.status, 200);
    let other = guarded(Setup::new(&database), READER).run().await;
    assert_eq!(
        ask(&other, "GET /v1/jobs", &cookie, b"").await.status,
        200,
        "it is kept nowhere but in the browser"
    );
    let after = guarded(Setup::new(&database), "reader-token-anew").run().await;
    assert_eq!(ask(&after, "GET /v1/jobs", &cookie, b"").await.status, 401);
}

/// One who may enqueue brings in whatever they like for their business, and holds up nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_business_that_enqueues_everything_at_the_highest_priority_starves_nobody() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = guarded(Setup::new(&database).provider(&provider), READER);
    let process = setup.var("CALLSPOOL__WORKER__COUNT", "2").run().await;
    // Its downloads hang, and it has more of them than there are slots of it.
    for number in 1..=20 {
        provider.tell(number, [Answer::Held(recordings_of(number))]);
    }
    let set = ask_json(&process, "PATCH /v1/businesses/7", BOSS, &json!({"max_slots": 1})).await;
    assert_eq!(set.status, 200);
    let line = |number: u32| {
        let url = format!("/2010-04-01/Accounts/AC1/Recordings/RE{number}");
        json!({"business_id": 7, "call_sid": format!("CA{number}"), "recording_url": url, "priority": 0})
            .to_string()
    };
    let bulk = (1..=20).map(line).collect::<Vec<_>>().join("\n");
    let headers = format!("Authorization: Bearer {APP}\r\nContent-Type: application/x-ndjson\r\n");
    assert_eq!(ask(&process, "POST /v1/jobs/bulk", &headers, bulk.as_bytes()).await.status, 202);
    provider.asked_times(1).await;
    let others = enqueue(&process, "/2010-04-01/Accounts/AC1/Recordings/RE100", 100).await;
    eventually("the other business's recording", async || {
        let job = with_token(&process, &format!("GET /v1/jobs/{others}"), READER).await.json();
        (job["state"] == "done").then_some(())
    })
    .await;
    provider.release(1_000);
}

fn recordings_of(number: u32) -> bytes::Bytes {
    crate::support::provider::recording(number)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_processes_with_the_role_serve_a_route_and_health_names_no_secret() {
    let database = Database::migrated().await;
    for (roles, api, webhooks) in [("worker", 404, 404), ("webhooks", 404, 403), ("api", 200, 404)] {
        let setup = Setup::new(&database).var("CALLSPOOL_ROLES", roles).var("TWILIO_ACCOUNT_SID", "AC1");
        let process = setup.var("TWILIO_AUTH_TOKEN", "token-of-this-test").run().await;
        for path in ["/v1/jobs", "/openapi.json", "/"] {
            assert_eq!(process.get(path).await.status(), api, "{roles} {path}");
        }
        assert_eq!(Callback::completed(1).send(&process).await.status, webhooks, "{roles}");
        for path in ["/healthz", "/readyz", "/metrics"] {
            let answer = process.get(path).await;
            assert_eq!(answer.status(), 200, "{roles} {path}");
            let page = answer.text().await.unwrap();
            assert!(!page.contains("token-of-this-test") && !page.contains("postgres://"), "{page}");
        }
        let ready = json(process.get("/readyz").await).await;
        assert_eq!(ready, json!({"status": "ready"}));
    }
}
