//! Jobs of the type `full`: stored, then transcribed, each with attempts of its own.

use crate::{
    recordings::{Got, enqueue, get, media},
    support::{
        Answer, Database, Process, Provider, eventually,
        process::Setup,
        provider::recording,
        transcriber::{KEY, Transcriber, Words},
    },
};
use serde_json::{Value, json};

pub fn configured(setup: Setup, transcriber: &Transcriber) -> Setup {
    setup.var("CALLSPOOL__TRANSCRIPTION__BASE_URL", transcriber.base()).var("CALLSPOOL_TRANSCRIPTION_KEY", KEY)
}

pub async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Transcriber, Process) {
    let (database, provider, transcriber) = (Database::migrated().await, Provider::start(), Transcriber::start());
    let setup = configured(Setup::new(&database).provider(&provider), &transcriber);
    let process = change(setup).run().await;
    (database, provider, transcriber, process)
}

pub async fn process() -> (Database, Provider, Transcriber, Process) {
    process_with(|setup| setup).await
}

pub async fn full(process: &Process, number: u32) -> i64 {
    let more =
        json!({ "job_type": "full", "call_sid": format!("CA{number}"), "recording_sid": format!("RE{number}") });
    enqueue(process, number, more).await
}

pub async fn until(process: &Process, id: i64, state: &str) -> Value {
    eventually(&format!("job {id} {state}"), || async {
        let job = process.job(id).await;
        (job["state"] == state).then_some(job)
    })
    .await
}

async fn transcript(process: &Process, number: u32) -> Got {
    get(process, &format!("/v1/recordings/CA{number}/transcript")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_job_stores_the_recording_and_its_words() {
    let (_database, provider, transcriber, process) =
        process_with(|setup| setup.var("CALLSPOOL__TRANSCRIPTION__LANGUAGE", "en")).await;
    transcriber.tell(1, [Words::Spoken("Hello there. I want my money back.")]);
    let id = full(&process, 1).await;
    let job = until(&process, id, "done").await;
    assert_eq!((&job["job_type"], &job["attempt"]), (&json!("full"), &json!(1)));
    assert_eq!(provider.asked().len(), 1);

    let heard = transcriber.heard();
    let [upload] = heard.as_slice() else { panic!("{heard:?}") };
    let stored = get(&process, "/v1/recordings/CA1").await.json();
    assert_eq!(upload.authorization.as_deref(), Some(&*format!("Bearer {KEY}")));
    assert_eq!((upload.file_name.as_str(), upload.content_type.as_str()), ("CA1.mp3", "audio/mpeg"));
    assert_eq!(upload.file, std::fs::read(process.file(42, 1)).unwrap());
    for (name, value) in [
        ("model", "whisper-1"),
        ("language", "en"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "segment"),
    ] {
        assert_eq!(upload.fields.get(name).map(String::as_str), Some(value), "{name}");
    }

    let shown = transcript(&process, 1).await;
    let made_at = shown.json()["made_at"].clone();
    let expected = json!({
        "business_id": 42, "call_sid": "CA1", "recording_sid": "RE1", "job_id": id,
        "text": "Hello there. I want my money back.", "language": "english", "model": "whisper-1",
        "segments": [
            { "start": 0.0, "end": 1.5, "text": "Hello there." },
            { "start": 1.5, "end": 3.0, "text": "I want my money back." },
        ],
        "made_at": made_at,
    });
    assert_eq!((shown.status, shown.json()), (200, expected));
    assert_eq!(stored["transcript"], json!({ "language": "english", "model": "whisper-1", "made_at": made_at }));
    assert!(!process.everything().contains("money"), "what is said is not for the log");
    assert!(!process.everything().contains(KEY));
}

/// Incident 16: playback waited for the transcription.
#[tokio::test(flavor = "multi_thread")]
async fn incident_16_a_recording_is_played_while_it_is_transcribed() {
    let (_database, provider, transcriber, process) = process().await;
    transcriber.tell(1, [Words::Held("At last.")]);
    let id = full(&process, 1).await;
    transcriber.heard_times(1).await;
    let played = media(&process, &[]).await;
    assert_eq!((played.status, &played.bytes), (200, &recording(1)));
    assert_eq!(get(&process, "/v1/recordings/CA1").await.json()["transcript"], Value::Null);
    let waits = transcript(&process, 1).await;
    assert_eq!((waits.status, &waits.json()["job_id"]), (202, &json!(id)));
    assert_eq!((waits.json()["state"].as_str(), waits.header("retry-after")), (Some("running"), "2"));
    transcriber.release(1);
    until(&process, id, "done").await;
    assert_eq!(transcript(&process, 1).await.json()["text"], "At last.");
    assert_eq!(provider.asked().len(), 1);
}

/// Incident 17: the transcription was skipped because the file was already there.
#[tokio::test(flavor = "multi_thread")]
async fn incident_17_a_stored_recording_is_transcribed_and_not_downloaded_again() {
    let (_database, provider, transcriber, process) = process().await;
    let first = enqueue(&process, 1, json!({ "recording_sid": "RE1" })).await;
    until(&process, first, "done").await;
    let missing = transcript(&process, 1).await;
    assert_eq!(missing.problem(), (404, "not_found".to_owned()));
    assert!(missing.json()["detail"].as_str().unwrap().contains("job_type full"), "{missing:?}");
    let id = full(&process, 1).await;
    assert_ne!(id, first);
    until(&process, id, "done").await;
    assert_eq!((provider.asked().len(), transcriber.heard().len()), (1, 1));
    assert_eq!(transcript(&process, 1).await.json()["text"], "call CA1 says hello.");
    // And where the words are there, nobody needs it again.
    let body = json!({ "business_id": 42, "call_sid": "CA1", "job_type": "full",
                       "recording_url": "/2010-04-01/Accounts/AC1/Recordings/RE1" });
    let again = crate::support::process::json(process.post_json("/v1/jobs", &body).await).await;
    assert_eq!(again, json!({ "id": id, "state": "done", "deduplicated": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_tried_again_apart_from_the_other() {
    let (_database, provider, transcriber, process) =
        process_with(|setup| setup.var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "3")).await;
    provider.tell(1, [Answer::status(500), Answer::status(500), Answer::Media(recording(1))]);
    transcriber.tell(1, [Words::Junk("<html>"), Words::Junk("{}"), Words::Spoken("Third time lucky.")]);
    let id = full(&process, 1).await;
    let job = until(&process, id, "done").await;
    assert_eq!(job["attempt"], 3, "of the second step");
    assert_eq!((provider.asked().len(), transcriber.heard().len()), (3, 3));
    process.event_number("WORKER_RELEASE_SLOT", 6).await;
    assert_eq!(process.events("WORKER_DOWNLOAD_DONE").len(), 1);
    let is_told = |line: &Value| line["reason"] == "transcription_error" && line["type"] == "full";
    process.line("what failed", is_told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_is_down_with_passes_and_what_it_refuses_does_not() {
    let (_database, provider, transcriber, process) = process().await;
    for (number, status) in [(1, 500), (2, 503), (3, 429), (4, 408)] {
        let headers = if status == 429 { vec![("retry-after", "1".to_owned())] } else { Vec::new() };
        let Words::Status(status, _, body) = Words::status(status) else { unreachable!() };
        transcriber.tell(number, [Words::Status(status, headers, body), Words::Spoken("All is well.")]);
        let id = full(&process, number).await;
        until(&process, id, "done").await;
    }
    for (number, status) in [(11, 400), (12, 413), (13, 415), (14, 422)] {
        transcriber.tell(number, [Words::status(status)]);
        let id = full(&process, number).await;
        let job = until(&process, id, "dead").await;
        assert_eq!(job["attempt"], 1, "{status}");
        let text = format!("the transcription service answered {status}: not today [key]");
        assert_eq!(job["last_error"], json!({ "code": "transcription_error", "message": text }));
        let gone = transcript(&process, number).await;
        assert_eq!((gone.status, &gone.json()["last_error"]["code"]), (410, &json!("transcription_error")));
        // What is stored stays.
        assert_eq!(get(&process, &format!("/v1/recordings/CA{number}/media")).await.status, 200);
    }
    assert_eq!(provider.asked().len(), 8, "no download was repeated");
    assert!(!process.everything().contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_holds_transcriptions_and_no_download() {
    let (_database, _provider, transcriber, process) = process_with(|setup| {
        setup.var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1000").var("CALLSPOOL__RETRY__MAX", "100ms")
    })
    .await;
    transcriber.lock(true);
    let id = full(&process, 1).await;
    transcriber.heard_times(1).await;
    let other = enqueue(&process, 2, json!({ "call_sid": "CA2" })).await;
    until(&process, other, "done").await;
    let error = eventually("the error", || async {
        let error = process.job(id).await["last_error"].clone();
        (!error.is_null()).then_some(error)
    })
    .await;
    let text = "the transcription service answered 401: Incorrect API key provided: [key]";
    assert_eq!((error["code"].as_str(), error["message"].as_str()), (Some("transcription_error"), Some(text)));
    transcriber.lock(false);
    until(&process, id, "done").await;
    assert!(!process.everything().contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_slow_or_away_is_given_up_and_asked_again() {
    let (_database, _provider, transcriber, process) =
        process_with(|setup| setup.var("CALLSPOOL__TRANSCRIPTION__TIMEOUT", "1s")).await;
    transcriber.tell(1, [Words::Held("Too late."), Words::Spoken("In time.")]);
    let id = full(&process, 1).await;
    until(&process, id, "done").await;
    assert_eq!(transcript(&process, 1).await.json()["text"], "In time.");
    let detail = "the transcription service gave no transcript within 1 s";
    process.line(detail, |line| line["marker"] == "WORKER_JOB_FAILED" && line["detail"] == detail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_segments_is_asked_for_its_text_once_and_for_all() {
    let (_database, _provider, transcriber, process) = process().await;
    transcriber.tell(1, [Words::OnlyPlain("No times.")]);
    transcriber.tell(2, [Words::OnlyPlain("None here.")]);
    let [first, second] = [full(&process, 1).await, {
        until(&process, 1, "done").await;
        full(&process, 2).await
    }];
    until(&process, first, "done").await;
    until(&process, second, "done").await;
    let formats: Vec<String> =
        transcriber.heard().iter().map(|heard| heard.fields["response_format"].clone()).collect();
    assert_eq!(formats, ["verbose_json", "json", "json"]);
    let shown = transcript(&process, 1).await.json();
    assert_eq!(
        (&shown["text"], &shown["segments"], &shown["language"]),
        (&json!("No times."), &json!([]), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_too_large_is_not_sent() {
    let (_database, _provider, transcriber, process) =
        process_with(|setup| setup.var("CALLSPOOL__TRANSCRIPTION__MAX_BYTES", "1024")).await;
    let id = full(&process, 1).await;
    let job = until(&process, id, "dead").await;
    assert_eq!(job["last_error"]["code"], "too_large");
    assert!(job["last_error"]["message"].as_str().unwrap().contains("transcription.max_bytes"), "{job}");
    assert!(transcriber.heard().is_empty());
    assert_eq!(media(&process, &[]).await.status, 200);
}

/// What a service may say, and what would fail the settlement of others.
#[tokio::test(flavor = "multi_thread")]
async fn odd_words_are_stored_all_the_same() {
    let (database, _provider, transcriber, process) = process().await;
    transcriber.tell(1, [Words::Junk(r#"{"text": "a\u0000b\u001b[31m ünï", "segments": null, "language": ""}"#)]);
    let long = (0..300_000).map(|n| format!("w{n}-x{n}")).collect::<Vec<_>>().join(" ");
    let body: &'static str = Box::leak(json!({ "text": long }).to_string().into_boxed_str());
    transcriber.tell(2, [Words::Junk(body)]);
    for number in [1, 2] {
        let id = full(&process, number).await;
        until(&process, id, "done").await;
    }
    let shown = transcript(&process, 1).await.json();
    assert_eq!((&shown["text"], &shown["language"]), (&json!("ab[31m ünï"), &Value::Null));
    assert_eq!(transcript(&process, 2).await.json()["text"], long.as_str());
    let found = get(&process, "/v1/transcripts?q=w7").await.json();
    assert_eq!(found["transcripts"][0]["call_sid"], "CA2");
    drop(database);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_service_full_is_refused_at_the_door_and_ends_behind_the_download() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    let job = json!({ "business_id": 42, "call_sid": "CA1", "job_type": "full",
                      "recording_url": "/2010-04-01/Accounts/AC1/Recordings/RE1" });
    let text = "job_type full needs a transcription service: set transcription.base_url";
    let refused = process.post_json("/v1/jobs", &job).await;
    assert_eq!(refused.status(), 422);
    let problem = crate::support::process::json(refused).await;
    assert_eq!(problem["errors"], json!([{ "field": "job_type", "message": text }]));
    let bulk = reqwest::Client::new()
        .post(format!("{}/v1/jobs/bulk", process.url().await))
        .header("Content-Type", "application/x-ndjson")
        .body(format!("\n{job}\n"));
    let problem = crate::support::process::json(bulk.send().await.unwrap()).await;
    assert_eq!(problem["errors"], json!([{ "line": 2, "field": "job_type", "message": text }]));
    let url = format!("{}/2010-04-01/Accounts/AC1/Recordings/RE1", provider.base());
    let given =
        ["enqueue", "--business-id", "42", "--call-sid", "CA1", "--recording-url", &url, "--job-type", "full"];
    let said = process.setup().say(&given).await;
    assert_eq!((said.code, said.err.contains(text)), (2, true), "{said:?}");

    // SQL has a door of its own.
    let sql = "select job_id from callspool.enqueue(business_id => 42, call_sid => 'CA1', recording_url => $1, job_type => 'full')";
    let id: i64 = sqlx::query_scalar(sql).bind(&url).fetch_one(&mut database.connect().await).await.unwrap();
    until(&process, id, "done").await;
    let warned = process.event("TRANSCRIPTION_OFF").await;
    assert_eq!((&warned["level"], &warned["call_sid"]), (&json!("WARN"), &json!("CA1")));
    assert!(warned["message"].as_str().unwrap().contains("transcription.base_url"), "{warned}");
    assert_eq!(media(&process, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_fit_together_are_refused_together() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("CALLSPOOL_TRANSCRIPTION_KEY", KEY);
    let said = setup.say(&["config", "check"]).await;
    assert_eq!((said.code, said.err.contains("transcription.base_url: CALLSPOOL_TRANSCRIPTION_KEY")), (78, true));
    let setup = setup
        .var("CALLSPOOL__TRANSCRIPTION__BASE_URL", "https://user@api.openai.com/v1")
        .var("CALLSPOOL__TRANSCRIPTION__LANGUAGE", "Hebrew");
    let said = setup.say(&["config", "check"]).await;
    for key in ["transcription.base_url", "transcription.language"] {
        assert!(said.code == 78 && said.err.contains(key), "{said:?}");
    }
    assert!(!said.err.contains(KEY));
    let setup = setup
        .var("CALLSPOOL__TRANSCRIPTION__BASE_URL", "https://api.openai.com/v1")
        .var("CALLSPOOL__TRANSCRIPTION__LANGUAGE", "he")
        .var("CALLSPOOL__TRANSCRIPTION__TIMEOUT", "1h");
    let said = setup.say(&["config", "check"]).await;
    assert!(said.code == 78 && said.err.contains("twilio.attempt_timeout"), "{said:?}");
    let said = setup.var("CALLSPOOL__TRANSCRIPTION__TIMEOUT", "1min").say(&["config", "show"]).await;
    assert!(said.code == 0 && !said.out.contains(KEY), "{said:?}");
}
