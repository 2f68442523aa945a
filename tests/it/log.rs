//! The log: where it goes, that all of it arrives, and what is never in it.

use crate::support::{
    Answer, Database, Provider,
    http::Callback,
    process::{Process, Setup, json},
    way::Way,
};
use bytes::Bytes;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Every line of the files, in their order.
fn file_lines(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder.join("logs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| fs::read_to_string(file).unwrap().lines().map(ToOwned::to_owned).collect::<Vec<_>>())
        .collect()
}

async fn ended(mut process: Process) -> Process {
    process.terminate();
    assert_eq!(process.exit_code().await, 0);
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_have_every_line_to_the_very_end_as_json() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let process = ended(process).await;
    let lines = file_lines(process.folder());
    let parsed: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed.last().unwrap()["dropped_log_lines"], 0, "the last line is the process's end");
    for line in &parsed {
        for name in ["timestamp", "level", "message", "target"] {
            assert!(line[name].is_string(), "{name} in {line}");
        }
        chrono::DateTime::parse_from_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
    }
    // The same lines went to stdout; two threads may reach the two of them in another order.
    let stdout = process.everything();
    let stdout = stdout.split("\n--- stderr").next().unwrap().lines();
    let stdout: Vec<Value> = stdout.map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages = |lines: &[Value]| {
        let mut messages: Vec<String> = lines.iter().map(|line| line["message"].to_string()).collect();
        messages.sort();
        messages
    };
    assert_eq!(messages(&stdout), messages(&parsed));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_lie_in_a_folder_of_their_own_that_others_cannot_enter() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL__LOG__ROTATION", "hourly");
    let process = ended(setup.run().await).await;
    let folder = process.folder().join("logs");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o007, 0);
    let hour = chrono::Utc::now().format("callspool.%Y-%m-%d-").to_string();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with(&hour) && name.split('.').next_back() == Some("jsonl"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_files_are_kept_as_were_asked_for_and_the_oldest_go() {
    let setup = Setup::new(&Database::migrated().await).var("CALLSPOOL__LOG__KEEP_FILES", "2");
    let folder = setup.storage().with_file_name("logs");
    fs::create_dir(&folder).unwrap();
    for day in 1..=4 {
        fs::write(folder.join(format!("callspool.2020-01-0{day}.jsonl")), "{}\n").unwrap();
    }
    let _process = ended(setup.run().await).await;
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() == 2 && names[0] == "callspool.2020-01-04.jsonl", "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pretty_lines_are_for_reading_and_without_colour_where_nobody_sees_it() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).var("CALLSPOOL_LOG_FORMAT", "pretty").start();
    let is = |line: &Value, text: &str| line.as_str().is_some_and(|line| line.contains(text));
    process.line("the gate", |line| is(line, " INFO [SCHEMA_READY] have=")).await;
    let process = ended(process).await;
    assert!(!process.everything().contains('\u{1b}'));
    assert!(
        file_lines(process.folder()).iter().all(|line| line.starts_with('{')),
        "the files are JSON all the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_folder_that_cannot_be_used_is_an_error_at_the_start() {
    let setup = Setup::new(&Database::migrated().await).var("CALLSPOOL_LOG_DIR", "/proc/no/such");
    let said = setup.say(&["run"]).await;
    assert!(said.code == 1 && said.err.contains("the log folder /proc/no/such cannot be used"), "{said:?}");
}

const DATABASE_CANARY: &str = "d4tabase-canary";
const TWILIO_CANARY: &str = "tw1lio-canary";
const API_CANARY: &str = "ap1-canary";

/// At the finest level, through successes and failures of every edge.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_path_is_ever_written() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let (way, far) = Way::to(&database);
    let url = far.url.replace("callspool@", &format!("callspool:{DATABASE_CANARY}@"));
    let redirect = vec![("Location", format!("http://user:{TWILIO_CANARY}@127.0.0.1:1/x?token={TWILIO_CANARY}"))];
    provider.tell(2, [Answer::Status(302, redirect, Bytes::new())]);
    provider.tell(3, [Answer::status(401)]);
    let process = Setup::new(&database)
        .provider(&provider)
        .var("DATABASE_URL", &format!("{url}&pasword={DATABASE_CANARY}"))
        .var("TWILIO_AUTH_TOKEN", TWILIO_CANARY)
        .var("CALLSPOOL_API_TOKEN", API_CANARY)
        .var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "200ms")
        .var("CALLSPOOL__LOG__LEVEL", "trace")
        .config("[[faults]]\nactor = \"listener\"\nplace = \"started\"\nkind = \"panic\"\n")
        .run()
        .await;
    for number in 1..=3 {
        let query = format!("?business_id=42&secret={TWILIO_CANARY}");
        assert_eq!(Callback::completed(number).token(TWILIO_CANARY).query(&query).send(&process).await.status, 202);
    }
    let wrong = Callback::completed(4)
        .token(TWILIO_CANARY)
        .field("RecordingUrl", &format!("http://me:{TWILIO_CANARY}@h/x"));
    let refused = wrong.send(&process).await;
    process.event_number("WORKER_JOB_FAILED", 2).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    process.line("the panic", |line| line["message"].to_string().contains("panic")).await;
    way.cut();
    let away = Callback::completed(5).token(TWILIO_CANARY).send(&process).await;
    assert_eq!((refused.status, away.status), (422, 503));
    let readiness = json(process.get("/readyz").await).await.to_string();
    way.mend();
    process.wait_until_ready().await;
    let mut connection = database.connect().await;
    let instances: String = sqlx::query_scalar("select coalesce(json_agg(i), '[]')::text from instance i")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let jobs: String =
        sqlx::query_scalar("select json_agg(j)::text from job_view j").fetch_one(&mut connection).await.unwrap();
    let process = ended(process).await;
    let files = file_lines(process.folder());
    let written =
        format!("{}{}{refused:?}{away:?}{readiness}{instances}{jobs}", process.everything(), files.join("\n"));
    for canary in [DATABASE_CANARY, TWILIO_CANARY, API_CANARY] {
        let at =
            written.find(canary).map(|at| written[..at + canary.len()].chars().rev().take(300).collect::<Vec<_>>());
        let before: Option<String> = at.map(|reversed| reversed.into_iter().rev().collect());
        assert_eq!(before, None, "{canary}");
    }
    // Ours, that is; at the level trace libraries say what they like.
    let ours = |line: &&String| line.contains("\"target\":\"callspool");
    for line in files.iter().filter(ours) {
        let folder = process.folder().display().to_string();
        for path in [folder.as_str(), "/src/", "/home/", "/root/", "/tmp/", "recordings/"] {
            assert!(!line.contains(path), "{path} in {line}");
        }
    }
}
