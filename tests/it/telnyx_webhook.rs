//! Telnyx' webhook: what is believed, what is refused, and the way of a recording from there to a player.

use crate::{
    recordings::get,
    support::{
        Database, Process, Provider, Telnyx,
        http::{Callback, ask},
        process::Setup,
        provider::recording,
        telnyx::{API_KEY, Delivery, Says, WEBHOOK, recording_id, session_id},
    },
};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
};

async fn process() -> (Database, Telnyx, Process) {
    process_with(|setup| setup).await
}

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Telnyx, Process) {
    let (database, telnyx) = (Database::migrated().await, Telnyx::start());
    let process = change(telnyx.set_up(Setup::new(&database))).run().await;
    (database, telnyx, process)
}

async fn jobs(database: &Database) -> i64 {
    let mut connection = database.connect().await;
    sqlx::query_scalar("select count(*) from job_view").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_recording_comes_from_the_webhook_to_the_player() {
    let (database, telnyx, process) = process().await;
    let answer = Delivery::saved(1).send(&process, &telnyx).await;
    assert_eq!((answer.status, jobs(&database).await), (200, 1), "{answer:?}");
    assert_eq!(answer.json()["deduplicated"], false);
    process.event("WORKER_DOWNLOAD_DONE").await;
    process.event("WORKER_RELEASE_SLOT").await;
    let media = get(&process, &format!("/v1/recordings/{}/media", session_id(1))).await;
    assert_eq!((media.status, media.header("content-type"), &media.bytes), (200, "audio/mpeg", &recording(1)));
    let shown = get(&process, &format!("/v1/recordings/{}?business_id=42", session_id(1))).await.json();
    assert_eq!(shown["recording_sid"], recording_id(1), "{shown}");
    let mut connection = database.connect().await;
    let details: Value =
        sqlx::query_scalar("select details from recordings").fetch_one(&mut connection).await.unwrap();
    assert_eq!(details, json!({ "channels": 2, "started_at": "2026-02-02T22:20:27.521992Z" }));
    // Telnyx sends again what it believes not to have been taken.
    let again = Delivery::saved(1).send(&process, &telnyx).await;
    assert_eq!((again.status, &again.json()["deduplicated"]), (200, &true.into()));
    assert_eq!((jobs(&database).await, telnyx.asked().len()), (1, 1));
    for secret in [API_KEY, "canary", &telnyx.public_key()] {
        assert!(!process.everything().contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_providers_are_served_side_by_side() {
    let (database, telnyx, provider) = (Database::migrated().await, Telnyx::start(), Provider::start());
    let process = telnyx.set_up(Setup::new(&database)).provider(&provider).run().await;
    telnyx.tell(1, [Says::Expired, Says::Status(404, Vec::new()), Says::Completed("single", &["mp3"])]);
    assert_eq!(Callback::completed(2).send(&process).await.status, 202);
    assert_eq!(Delivery::saved(1).send(&process, &telnyx).await.status, 200);
    process.event_number("WORKER_DOWNLOAD_DONE", 2).await;
    let stored = |name: String| std::fs::read(process.storage().join("42").join(name)).unwrap();
    assert_eq!(stored("CA2.mp3".to_owned()), recording(2));
    assert_eq!(stored(format!("{}.mp3", session_id(1))), recording(1));
    assert_eq!(provider.asked().len(), 1);
    assert!(telnyx.media_asked().iter().all(|asked| asked.authorization.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_telnyx_did_not_sign_lately_is_refused_and_leaves_nothing() {
    let (database, telnyx, process) = process().await;
    let other = Telnyx::start();
    let good = || Delivery::saved(1);
    for (what, delivery, signer) in [
        ("another key", good(), &other),
        ("a tampered body", good().tampered(" "), &telnyx),
        ("an old one", good().at(-310), &telnyx),
        ("one of the future", good().at(310), &telnyx),
        ("no JSON, another key", good().tampered("{"), &other),
    ] {
        let answer = delivery.send(&process, signer).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "signature"), "{what}: {answer:?}");
    }
    let unsigned = ask(&process, &format!("POST {WEBHOOK}"), "Content-Type: application/json\r\n", b"{}").await;
    assert_eq!((unsigned.status, unsigned.problem().as_str()), (403, "signature"));
    assert_eq!(jobs(&database).await, 0);
    assert!(process.events("ENQUEUE").is_empty() && telnyx.asked().is_empty());
    let said = |line: &Value| line["reason"].to_string().contains("5 minutes");
    process.line("why it was refused", said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_public_key_each_webhook_is_refused() {
    let (database, telnyx) = (Database::migrated().await, Telnyx::start());
    let process = Setup::new(&database).run().await;
    let answer = Delivery::saved(1).send(&process, &telnyx).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "signature"));
    assert!(answer.body.contains("TELNYX_PUBLIC_KEY"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_bring_no_recording_are_taken_and_leave_nothing() {
    let (database, telnyx, process) = process().await;
    let odd =
        json!({ "data": { "event_type": "call.hangup", "payload": { "channels": [1], "call_session_id": 7 } } });
    for delivery in [
        Delivery::of("call.recording.error", 1).payload("reason", "Internal server error"),
        Delivery::of("call.hangup", 1),
        Delivery::of("call.recording.error", 1).event(odd),
    ] {
        let answer = delivery.send(&process, &telnyx).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    let said = |line: &Value| line["reason"] == "Internal server error" && line["call_sid"] == session_id(1);
    process.line("that there is no recording", said).await;
    assert_eq!(jobs(&database).await, 0);
    // A conference's recording is one too.
    let conference = Delivery::of("conference.recording.saved", 2).send(&process, &telnyx).await;
    assert_eq!((conference.status, jobs(&database).await), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_signed_event_is_named() {
    let (database, telnyx, process) = process().await;
    for (field, delivery) in [
        ("recording_id", Delivery::saved(1).payload("recording_id", Value::Null)),
        ("recording_id", Delivery::saved(1).payload("recording_id", "../../x")),
        ("call_session_id", Delivery::saved(1).payload("call_session_id", "CA1")),
        ("business_id", Delivery::saved(1).query("")),
        ("business_id", Delivery::saved(1).query("?business_id=0")),
        ("data.event_type", Delivery::saved(1).event(json!({ "data": {} }))),
        ("data.event_type", Delivery::saved(1).event(json!([]))),
    ] {
        let answer = delivery.send(&process, &telnyx).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_field"), "{answer:?}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{answer:?}");
    }
    assert_eq!(jobs(&database).await, 0);
}

/// Incident 23: only what is configured stands in for a business that the webhook does not name.
#[tokio::test(flavor = "multi_thread")]
async fn the_configured_business_is_the_one_of_webhooks_that_name_none() {
    let (_database, telnyx, process) = process_with(|setup| setup.var("CALLSPOOL__TELNYX__BUSINESS_ID", "7")).await;
    for (number, query, business) in [(1, "", 7), (2, "?business_id=42", 42)] {
        assert_eq!(Delivery::saved(number).query(query).send(&process, &telnyx).await.status, 200);
        let enqueued = process.event_number("ENQUEUE", number as usize).await;
        assert_eq!(enqueued["business_id"], business);
    }
    assert_eq!(Delivery::saved(3).query("?business_id=x").send(&process, &telnyx).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_and_the_log_know_a_telnyx_call_by_its_session() {
    let (_database, telnyx, process) = process().await;
    let job = |call: String, url: String| json!({ "business_id": 42, "call_sid": call, "recording_url": url });
    let answer = process.post_json("/v1/jobs", &job(session_id(5), telnyx.url(5))).await;
    assert_eq!(answer.status(), 202);
    let picked = process.event("WORKER_PICKED").await;
    assert_eq!((&picked["call_sid"], &picked["recording_sid"]), (&session_id(5).into(), &recording_id(5).into()));
    let listed = get(&process, &format!("/v1/jobs?call_sid={}", session_id(5))).await.json();
    assert_eq!(listed["jobs"][0]["call_sid"], session_id(5), "{listed}");
    // Each provider's spelling belongs to its own URLs.
    for wrong in [job("CA1".to_owned(), telnyx.url(5)), job(session_id(5), "/2010-04-01/x".to_owned())] {
        let answer = process.post_json("/v1/jobs", &wrong).await;
        assert_eq!(answer.status(), 422, "{wrong}");
    }
    let elsewhere = job(session_id(5), format!("{}/v2/calls/{}", telnyx.base(), recording_id(5)));
    assert_eq!(process.post_json("/v1/jobs", &elsewhere).await.status(), 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_telnyx_enqueues_what_no_webhook_told_of() {
    let (database, telnyx, process) = process().await;
    telnyx.list([1, 2, 0, 3]);
    assert_eq!(Delivery::saved(1).send(&process, &telnyx).await.status, 200);
    process.event_number("WORKER_RELEASE_SLOT", 1).await;
    let backfill = ["backfill", "--account", "telnyx", "--since", "24h", "--business", "42", "--json"];
    let said = process.setup().say(&backfill).await;
    let counts = said.json();
    assert_eq!((said.code, &counts["account"]), (0, &"telnyx".into()), "{said:?}");
    assert_eq!(
        (&counts["seen"], &counts["had"], &counts["enqueued"]),
        (&3.into(), &1.into(), &2.into()),
        "{counts}"
    );
    process.event_number("WORKER_RELEASE_SLOT", 3).await;
    let mut connection = database.connect().await;
    let stored: i64 =
        sqlx::query_scalar("select count(*) from recordings").fetch_one(&mut connection).await.unwrap();
    assert_eq!(stored, 3);
    let without = Setup::new(&database).say(&backfill).await;
    assert!(without.code == 2 && without.err.contains("TELNYX_API_KEY"), "{without:?}");
}

/// Whose a call is, the customer's own service may know.
#[tokio::test(flavor = "multi_thread")]
async fn the_lookup_service_is_asked_where_nothing_else_says_the_business() {
    let lookup = Lookup::start();
    let (_database, telnyx, process) =
        process_with(|setup| setup.var("CALLSPOOL__MAPPING__LOOKUP_URL", &lookup.url)).await;
    let answer = Delivery::saved(1).query("").send(&process, &telnyx).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(process.event("ENQUEUE").await["business_id"], 77);
    let question = lookup.asked.lock().unwrap().clone().unwrap();
    for part in [format!("call_sid={}", session_id(1)), "account_sid=telnyx".to_owned()] {
        assert!(question.contains(&part), "{question}");
    }
    // Recording 2 is nobody's, and for recording 3 it does not answer.
    for (number, status, code) in [(2, 422, "invalid_field"), (3, 503, "lookup_unavailable")] {
        let answer = Delivery::saved(number).query("").send(&process, &telnyx).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{answer:?}");
    }
}

/// Knows that call 1 is business 77's, does not know call 2, and cannot say for call 3.
struct Lookup {
    url: String,
    asked: Arc<Mutex<Option<String>>>,
}

impl Lookup {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/whose", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(None));
        let data = web::Data::from(Arc::clone(&asked));
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).default_service(web::to(whose));
                HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await
            })
        });
        Self { url, asked }
    }
}

async fn whose(asked: web::Data<Mutex<Option<String>>>, request: HttpRequest) -> HttpResponse {
    let question = request.query_string().to_owned();
    let known = |number| question.contains(&session_id(number));
    let answer = match (known(1), known(2)) {
        (true, _) => HttpResponse::Ok().json(json!({ "business_id": 77 })),
        (_, true) => HttpResponse::NotFound().finish(),
        _ => HttpResponse::InternalServerError().finish(),
    };
    *asked.lock().unwrap() = Some(question);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_of_telnyx_are_refused_at_the_start_and_no_secret_is_shown() {
    let database = Database::migrated().await;
    let telnyx = Telnyx::start();
    let good = telnyx.set_up(Setup::new(&database));
    let shown = good.say(&["config", "show"]).await.out;
    assert!(shown.contains("telnyx.api_base") && !shown.contains(API_KEY), "{shown}");
    for (name, value, says) in [
        ("TELNYX_PUBLIC_KEY", "c2hvcnQ=", "telnyx.public_key"),
        ("CALLSPOOL__TELNYX__BUSINESS_ID", "0", "telnyx.business_id"),
        ("CALLSPOOL__TELNYX__API_BASE", "https://api.twilio.com/x", "telnyx.api_base"),
        ("CALLSPOOL__TELNYX__COLOUR", "red", "telnyx.colour"),
    ] {
        let mut process = telnyx.set_up(Setup::new(&database)).var(name, value).start();
        assert_eq!(process.exit_code().await, 78, "{name}");
        assert!(process.everything().contains(says), "{name}: {}", process.everything());
    }
}
