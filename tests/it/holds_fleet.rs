//! Holds through real processes: nothing is lost, no attempt is used up, and who is not concerned goes on.

use crate::{
    queue_law::{assert_law, execute, totals},
    support::{
        Answer, Database, Process, Provider, eventually,
        http::ask_json,
        process::{Setup, json},
        provider::recording,
    },
};
use serde_json::{Value, json};

/// With short waits.
fn setup(database: &Database, provider: &Provider) -> Setup {
    Setup::new(database)
        .provider(provider)
        .var("CALLSPOOL__HOLDS__REFRESH", "50ms")
        .var("CALLSPOOL__HOLDS__PROBE_FIRST", "100ms")
        .var("CALLSPOOL__HOLDS__PROBE_MAX", "200ms")
        .var("CALLSPOOL__HOLDS__ACCOUNT_PROBE", "100ms")
        .var("CALLSPOOL__HOLDS__STORAGE_PROBE", "100ms")
        .var("CALLSPOOL__QUEUE__PROMOTE_INTERVAL", "50ms")
        .var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "2")
}

/// Enqueues a recording of any account.
async fn enqueue(process: &Process, account: &str, number: u32) -> i64 {
    let body = json!({
        "business_id": 42,
        "call_sid": format!("CA{number}"),
        "recording_url": format!("/2010-04-01/Accounts/{account}/Recordings/RE{number}"),
    });
    let answer = process.post_json("/v1/jobs", &body).await;
    assert_eq!(answer.status(), 202);
    json(answer).await["id"].as_i64().unwrap()
}

async fn explained(process: &Process, id: i64) -> Value {
    json(process.get(&format!("/v1/jobs/{id}/explain")).await).await
}

async fn until_explained(process: &Process, id: i64, reason: &str) -> Value {
    eventually(reason, || async {
        let why = explained(process, id).await;
        (why["state"] == "scheduled" && why["reason"] == reason).then_some(why)
    })
    .await
}

async fn until_done(process: &Process, id: i64) -> Value {
    eventually("the end of a job", || async {
        let job = process.job(id).await;
        assert!(job["state"] != "dead", "{job}");
        (job["state"] == "done").then_some(job)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_account_waits_without_using_attempts_up_while_others_go_on() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell_where("/Accounts/AC1", Answer::status(401));
    let process = setup(&database, &provider).run().await;
    let mut suspended = Vec::new();
    for number in 1..=20 {
        suspended.push(enqueue(&process, "AC1", number).await);
    }
    for id in &suspended {
        let why = until_explained(&process, *id, "account_suspended").await;
        assert_eq!(why["detail"]["hold"]["key"], "account:AC1", "{why}");
    }
    let other = enqueue(&process, "AC2", 100).await;
    until_done(&process, other).await;
    // After the hold stands, nothing is asked of the account but whether it works again.
    let asked = |path: &str| provider.asked_all().iter().filter(|asked| asked.path.starts_with(path)).count();
    let recordings = asked("/2010-04-01/Accounts/AC1/");
    let probes = asked("/2010-04-01/Accounts/AC1.json");
    eventually("more probes", || async { (asked("/2010-04-01/Accounts/AC1.json") > probes + 3).then_some(()) })
        .await;
    assert_eq!(asked("/2010-04-01/Accounts/AC1/"), recordings);
    assert!(recordings <= 20, "{recordings}");
    for id in &suspended {
        assert_eq!(process.job(*id).await["attempt"], 0, "an attempt that waits does not count");
    }

    provider.forget_where("/Accounts/AC1");
    for id in &suspended {
        assert_eq!(until_done(&process, *id).await["attempt"], 1);
    }
    let (started, ended) = (process.event("HOLD_STARTED").await, process.event("HOLD_ENDED").await);
    assert_eq!((&started["kind"], &started["key"]), (&"account".into(), &"account:AC1".into()), "{started}");
    assert_eq!(started["reason"], "account_suspended");
    assert_eq!((&ended["by"], &ended["waiting"]), (&"probe".into(), &20.into()), "{ended}");
    assert!(ended["lasted_ms"].as_u64().is_some_and(|ms| ms > 0), "{ended}");
    assert_eq!((process.events("HOLD_STARTED").len(), process.events("HOLD_ENDED").len()), (1, 1));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_listed_and_lifted_by_the_api_and_by_the_command() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    // The probe is refused, and the recordings are not.
    provider.tell_where("/Accounts/AC1", Answer::status(403));
    let process = setup(&database, &provider).run().await;
    let first = enqueue(&process, "AC1", 1).await;
    until_explained(&process, first, "account_suspended").await;
    provider.forget_where("/Accounts/AC1");
    provider.tell_where("/Accounts/AC1.json", Answer::status(401));
    let list = json(process.get("/v1/holds").await).await;
    let hold = &list["holds"][0];
    assert_eq!(
        (&hold["key"], &hold["kind"], &hold["reason"], &hold["waiting"]),
        (&"account:AC1".into(), &"account".into(), &"account_suspended".into(), &1.into()),
        "{list}"
    );
    assert!(hold["since"].is_string() && hold["probe_at"].is_string() && hold["until"].is_null(), "{list}");
    assert_eq!(hold["message"], "the provider answered 403");
    assert_eq!(json(process.get("/v1/overview").await).await["holds"][0]["key"], "account:AC1");
    assert_eq!(json(process.get("/v1/status").await).await["holds"][0]["key"], "account:AC1");

    let lifted = ask_json(&process, "POST /v1/holds/account:AC1/lift", "", &Value::Null).await;
    assert_eq!((lifted.status, &lifted.json()["lifted"]), (200, &true.into()), "{lifted:?}");
    until_done(&process, first).await;
    let again = ask_json(&process, "POST /v1/holds/account:AC1/lift", "", &Value::Null).await;
    assert_eq!((again.status, &again.json()["lifted"]), (200, &false.into()));
    let wrong = ask_json(&process, "POST /v1/holds/moon/lift", "", &Value::Null).await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (422, "invalid_field"), "{wrong:?}");
    assert!(wrong.body.contains("account:AC"), "it says what is allowed: {wrong:?}");
    assert_eq!(process.event("HOLD_ENDED").await["by"], "operator loopback");

    provider.tell_where("/Accounts/AC1", Answer::status(403));
    let second = enqueue(&process, "AC1", 2).await;
    until_explained(&process, second, "account_suspended").await;
    let said = process.setup().say(&["holds", "list", "--json"]).await;
    assert_eq!(said.json()[0]["key"], "account:AC1", "{said:?}");
    let said = process.setup().say(&["holds", "list"]).await;
    assert!(said.out.contains("account:AC1") && said.out.contains("the provider answered 403"), "{said:?}");
    let said = process.setup().say(&["status"]).await;
    assert!(said.out.contains("account_suspended"), "{said:?}");
    provider.forget_where("/Accounts/AC1");
    let said = process.setup().say(&["holds", "lift", "account:AC1"]).await;
    assert_eq!((said.code, said.out.contains("lifted account:AC1")), (0, true), "{said:?}");
    until_done(&process, second).await;
    let said = process.setup().say(&["holds", "lift", "account:AC1"]).await;
    assert!(said.code == 1 && said.err.contains("there is no hold account:AC1"), "{said:?}");
    assert_eq!(process.setup().say(&["holds", "lift", "moon"]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_at_one_process_slows_the_whole_fleet_down() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let slow = Answer::Status(429, vec![("Retry-After", "3600".to_owned())], bytes::Bytes::new());
    provider.tell(1, [slow, Answer::Media(recording(1))]);
    let one = setup(&database, &provider).run().await;
    let first = enqueue(&one, "AC1", 1).await;
    let why = until_explained(&one, first, "provider_unavailable").await;
    assert_eq!(why["detail"]["hold"]["key"], "rate:AC1", "{why}");
    // Another process, which met nothing itself.
    let mut one = one;
    one.terminate();
    one.exit_code().await;
    let two = setup(&database, &provider).run().await;
    let second = enqueue(&two, "AC1", 2).await;
    until_explained(&two, second, "provider_unavailable").await;
    assert_eq!(provider.asked().len(), 1, "it asked nothing");
    let other = enqueue(&two, "AC2", 3).await;
    until_done(&two, other).await;

    execute(&database, "update hold set until = now()").await;
    for id in [first, second] {
        assert_eq!(until_done(&two, id).await["attempt"], 1);
    }
    assert_eq!(two.event("HOLD_ENDED").await["by"], "time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_host_with_200_jobs_kills_none_and_costs_no_more_than_one_attempt() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    execute(&database, "insert into business (business_id, max_slots) values (42, 200)").await;
    provider.tell_where("/", Answer::status(503));
    let shared = setup(&database, &provider);
    let storage = format!("file:{}", shared.storage().display());
    let one = shared.run().await;
    let two = setup(&database, &provider).var("CALLSPOOL_STORAGE_URL", &storage).run().await;
    for number in 1..=200 {
        enqueue(if number % 2 == 0 { &one } else { &two }, "AC1", number).await;
    }
    let parked = "select count(*) from job_scheduled where hold_key like 'host:%'";
    eventually("every job waits", || async {
        let count: i64 = sqlx::query_scalar(parked).fetch_one(&mut database.connect().await).await.unwrap();
        (count == 200).then_some(())
    })
    .await;
    let asked = provider.asked().iter().filter(|asked| asked.path.contains("/Recordings/")).count();
    assert!(asked < 100, "{asked} requests for 200 jobs that all would fail");
    provider.forget_where("/");
    eventually("the end", || async { (totals(&database).await == (200, 200)).then_some(()) }).await;
    let ends: Vec<(String, i64, i16)> =
        sqlx::query_as("select state, count(*), max(attempt) from job_history group by state")
            .fetch_all(&mut database.connect().await)
            .await
            .unwrap();
    assert_eq!((ends.len(), ends[0].0.as_str(), ends[0].1), (1, "done", 200), "{ends:?}");
    assert!(ends[0].2 <= 2, "{ends:?}");
    let said = |marker: &str| one.events(marker).len() + two.events(marker).len();
    assert_eq!((said("HOLD_STARTED"), said("HOLD_ENDED")), (1, 1), "once in the fleet");
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_refuses_connections_is_held_and_a_lone_job_survives_it() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let process = setup(&database, &provider).var("TWILIO_API_BASE", &format!("http://{gone}")).run().await;
    let id = enqueue(&process, "AC1", 1).await;
    let why = until_explained(&process, id, "provider_unavailable").await;
    assert_eq!(why["detail"]["hold"]["key"], format!("host:{gone}"), "{why}");
    assert_eq!(process.job(id).await["attempt"], 1, "the first failure was its own, the last one waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_cannot_be_written_stops_the_claims_and_work_goes_on_when_it_is_back() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = setup(&database, &provider).run().await;
    let before = enqueue(&process, "AC1", 1).await;
    until_done(&process, before).await;
    let (folder, away) = (process.storage(), process.folder().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let first = enqueue(&process, "AC1", 2).await;
    until_explained(&process, first, "storage_unavailable").await;
    // What comes in now is not even picked.
    let asked = provider.asked().len();
    let mut ready = Vec::new();
    for number in 3..=10 {
        ready.push(enqueue(&process, "AC1", number).await);
    }
    let count = "select probes from hold where hold_key = 'storage'";
    let probed =
        async || sqlx::query_scalar::<_, i32>(count).fetch_one(&mut database.connect().await).await.unwrap();
    let so_far = probed().await;
    eventually("more probes", || async { (probed().await > so_far + 2).then_some(()) }).await;
    for id in &ready {
        let why = explained(&process, *id).await;
        assert_eq!((&why["state"], &why["reason"]), (&"ready".into(), &"storage_unavailable".into()), "{why}");
    }
    assert_eq!(provider.asked().len(), asked);

    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    for id in ready.into_iter().chain([first]) {
        assert_eq!(until_done(&process, id).await["attempt"], 1);
    }
    assert_eq!(process.event("HOLD_ENDED").await["kind"], "storage");
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_22_a_hold_outlives_the_process_that_began_it_and_another_one_ends_it() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell_where("/Accounts/AC1", Answer::status(401));
    let mut one = setup(&database, &provider).run().await;
    let ids = [enqueue(&one, "AC1", 1).await, enqueue(&one, "AC1", 2).await];
    for id in ids {
        until_explained(&one, id, "account_suspended").await;
    }
    one.kill().await;
    let two = setup(&database, &provider).run().await;
    let asked = || provider.asked().iter().filter(|asked| asked.path.contains("/AC1/Recordings/")).count();
    let before = asked();
    let third = enqueue(&two, "AC1", 3).await;
    until_explained(&two, third, "account_suspended").await;
    assert_eq!(asked(), before, "it knows without asking");
    provider.forget_where("/Accounts/AC1");
    for id in ids.into_iter().chain([third]) {
        assert_eq!(until_done(&two, id).await["attempt"], 1);
    }
    assert!(two.events("HOLD_STARTED").is_empty());
    two.event("HOLD_ENDED").await;
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_recording_that_is_always_refused_dies_and_does_not_stop_its_account_for_ever() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::status(403)]);
    let process = setup(&database, &provider).run().await;
    let refused = enqueue(&process, "AC1", 1).await;
    let others = [enqueue(&process, "AC1", 2).await, enqueue(&process, "AC1", 3).await];
    eventually("its end", || async { (process.job(refused).await["state"] == "dead").then_some(()) }).await;
    for id in others {
        until_done(&process, id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_cannot_be_told_keeps_its_ordinary_course() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::status(401), Answer::Media(recording(1))]);
    let process = setup(&database, &provider).run().await;
    execute(&database, "alter function blame_hold rename to blame_hold_gone").await;
    let id = enqueue(&process, "AC1", 1).await;
    assert_eq!(until_done(&process, id).await["attempt"], 2);
    assert!(process.events("HOLD_STARTED").is_empty());
}
