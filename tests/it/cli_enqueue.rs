//! `callspool enqueue`, by the real binary.

use crate::support::{Database, process::Setup};

async fn setup() -> (Database, Setup) {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("TWILIO_API_BASE", "http://127.0.0.1:1");
    (database, setup)
}

async fn jobs(database: &Database) -> i64 {
    let mut connection = database.connect().await;
    sqlx::query_scalar("select count(*) from job_view").fetch_one(&mut connection).await.unwrap()
}

fn line(number: u32) -> String {
    format!(
        "{{\"business_id\": 42, \"call_sid\": \"CA{number}\", \"recording_url\": \"/Recordings/RE{number}\"}}\n"
    )
}

const ONE: [&str; 7] =
    ["enqueue", "--business-id", "42", "--call-sid", "CA1", "--recording-url", "/Recordings/RE1.json"];

#[tokio::test(flavor = "multi_thread")]
async fn one_recording_by_arguments_says_its_id_and_whether_it_was_there() {
    let (database, setup) = setup().await;
    let first = setup.say(&ONE).await;
    let id: i64 = first.out.split(' ').next().unwrap().parse().unwrap();
    assert_eq!((first.code, first.out.as_str(), first.err.as_str()), (0, format!("{id} ready\n").as_str(), ""));
    let again = setup.say(&ONE).await;
    assert_eq!((again.code, again.out), (0, format!("{id} ready (was there already)\n")));
    let json = setup.say(&[&ONE[..], &["--json"]].concat()).await;
    assert_eq!(json.json(), serde_json::json!({"id": id, "state": "ready", "deduplicated": true}));
    let later = ["--priority", "0", "--job-type", "download_only", "--run-at", "2999-01-01T00:00:00Z"];
    let other = setup.say(&[&ONE[..], &later, &["--recording-sid", "RE2", "--json"]].concat()).await;
    assert_eq!((other.json()["state"].as_str(), jobs(&database).await), (Some("scheduled"), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_come_from_a_file_or_the_standard_input() {
    let (database, setup) = setup().await;
    let lines: String = (1..=2_500).map(line).collect();
    let said = setup.say_with(&["enqueue", "--file", "-", "--json"], format!("\n{lines}\n")).await;
    assert_eq!((said.code, said.json_lines().len()), (0, 2_500), "{}", said.err);
    assert!(said.json_lines().iter().all(|answer| answer["deduplicated"] == false));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}{}", line(1), line(9_999)).replace('\n', "\r\n")).unwrap();
    let said = setup.say(&["enqueue", "--file", file.path().to_str().unwrap(), "--json"]).await;
    let deduplicated: Vec<bool> = said.json_lines().iter().map(|a| a["deduplicated"].as_bool().unwrap()).collect();
    assert_eq!((deduplicated, jobs(&database).await), (vec![true, false], 2_501));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_line_is_wrong_every_fault_is_named_and_nothing_is_enqueued() {
    let (database, setup) = setup().await;
    let good: String = (1..=1_500).map(line).collect();
    let wrong = [
        &b"{\"business_id\": 0, \"call_sid\": \"x\", \"recording_url\": \"https://evil.example/x\"}\n"[..],
        b"\n",
        b"not json\n",
        b"\xff\xfe\n",
        b"{\"business_id\": \"42\", \"call_sid\": \"CA1\"}\n",
        b"{\"business_id\": 1, \"call_sid\": \"CA1\", \"recording_url\": \"/x\", \"\\u001b[31mred\": 1}",
    ];
    let said = setup.say_with(&["enqueue", "--file", "-"], [good.as_bytes(), &wrong.concat()].concat()).await;
    assert_eq!((said.code, said.out.as_str(), jobs(&database).await), (2, "", 0), "{said:?}");
    for expected in [
        "line 1501: business_id must be",
        "line 1501: call_sid must be",
        "line 1501: recording_url must belong",
        "line 1503: body: ",
        "line 1504: body: ",
        "line 1505: business_id: invalid type",
        "line 1505: recording_url is missing",
        "line 1506: [31mred: there is no such field",
        "nothing was enqueued",
    ] {
        assert!(said.err.contains(expected), "{expected} is not in:\n{}", said.err);
    }
    assert!(!said.err.contains('\u{1b}'));
    let said = setup.say_with(&["enqueue", "--file", "-"], "x\n".repeat(1_000)).await;
    assert!(said.err.lines().count() < 60 && said.err.contains("and 950 more"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_cannot_be_are_refused_with_2() {
    let (database, setup) = setup().await;
    for arguments in [
        &["enqueue"][..],
        &["enqueue", "--file", "-", "--business-id", "42"],
        &["enqueue", "--file", "-", "--priority", "1"],
        &[&ONE[..], &["--run-at", "tomorrow"]].concat(),
        &[&ONE[..], &["--priority", "10"]].concat(),
        &[&ONE[..], &["--job-type", "dance"]].concat(),
        &ONE.map(|word| if word == "42" { "0" } else { word }),
        &ONE.map(|word| if word == "CA1" { "x" } else { word }),
        &ONE.map(|word| if word.starts_with('/') { "https://evil.example/x" } else { word }),
    ] {
        let said = setup.say(arguments).await;
        assert!(said.code == 2 && !said.err.is_empty() && said.out.is_empty(), "{arguments:?}: {said:?}");
    }
    let said = setup.say(&["enqueue", "--file", "/no/such/file"]).await;
    assert!(said.code == 1 && said.err.contains("/no/such/file cannot be read"), "{said:?}");
    assert_eq!(jobs(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_enqueued_by_hand_is_picked_by_a_process_that_runs() {
    let (database, provider) = (Database::migrated().await, crate::support::Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    let by_hand = Setup::new(&database).provider(&provider);
    assert_eq!(by_hand.say_with(&["enqueue", "--file", "-"], line(1)).await.code, 0);
    process.event("WORKER_DOWNLOAD_DONE").await;
}

/// `callspool enqueue … | head -1`
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_the_printing_and_not_the_enqueueing() {
    let (database, setup) = setup().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), (1..=3_000).map(line).collect::<String>()).unwrap();
    let mut child = setup.command(&["enqueue", "--file", file.path().to_str().unwrap()]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.as_str(), jobs(&database).await), (Some(0), "", 3_000));
}
