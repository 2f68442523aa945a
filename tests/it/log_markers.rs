//! The table of events against the sources and a real log: others rely on it.

use crate::support::{Answer, Database, Provider, process::Setup};
use callspool::telemetry::events::{self, ALL};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The calls of tracing's macros that have a marker: the markers, and the call's text.
fn calls() -> Vec<(BTreeSet<String>, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut calls = Vec::new();
    for file in sources(&src).iter().filter(|file| !file.starts_with(src.join("telemetry"))) {
        let text = fs::read_to_string(file).unwrap();
        for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
            for (at, _) in text.match_indices(&format!("tracing::{level}")) {
                let call = &text[at..at + call_length(&text[at..])];
                if call.contains("marker = \"") {
                    calls.push(([quoted(call.split_once("marker = ").unwrap().1)].into(), call.to_owned()));
                } else if call.contains("marker,") {
                    // `let marker = if … { "A" } else { "B" };` stands right before.
                    let choice = &text[text[..at].rfind("let marker = ").unwrap()..at];
                    let markers = choice.split('"').skip(1).step_by(2).map(ToOwned::to_owned).collect();
                    calls.push((markers, call.to_owned()));
                }
            }
        }
    }
    calls
}

/// To the parenthesis that closes the first one.
fn call_length(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 && c == ')' {
            return at + 1;
        }
    }
    text.len()
}

fn quoted(text: &str) -> String {
    text.split('"').nth(1).unwrap().to_owned()
}

#[test]
fn every_event_of_the_table_is_written_somewhere_with_its_fields_and_no_other_is() {
    let calls = calls();
    let written: BTreeSet<&str> = calls.iter().flat_map(|(markers, _)| markers).map(String::as_str).collect();
    let table: BTreeSet<&str> = ALL.iter().map(|event| event.marker).collect();
    assert_eq!(written, table);
    for event in ALL {
        let has_all = |(markers, call): &&(BTreeSet<String>, String)| {
            let words: BTreeSet<&str> = call.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            markers.contains(event.marker) && event.fields.iter().all(|field| words.contains(field))
        };
        assert!(
            calls.iter().find(has_all).is_some(),
            "{} is nowhere written with {:?}",
            event.marker,
            event.fields
        );
    }
}

#[test]
fn the_contracts_fields_stand_in_the_contracts_order() {
    for (marker, icon, fields) in [
        ("ENQUEUE", "📥", "job_type call_sid business_id deduplicated"),
        ("WORKER_PICKED", "🎯", "job_type call_sid business_id recording_sid attempt"),
        ("WORKER_SLOT_ACQUIRED", "✅", "call_sid business_id running max_slots"),
        ("WORKER_DOWNLOAD_DONE", "✅", "call_sid file bytes duration_ms"),
        ("WORKER_RELEASE_SLOT", "🔓", "call_sid business_id reason"),
        ("WORKER_JOB_FAILED", "❌", "call_sid reason type retry_in"),
        ("MIGRATION_LOCK_WAITING", "🔒", "attempt waited_ms holder_pid holder_app holder_since"),
        ("MIGRATION_SKIPPED", "✅", "reason"),
        ("MIGRATION_FAILED", "❌", "version reason"),
    ] {
        let event = events::find(marker).unwrap();
        let contracts = fields.split(' ').collect::<Vec<_>>();
        // Ours may follow.
        assert!(event.icon == icon && event.fields.starts_with(&contracts), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recordings_way_can_be_followed_in_the_log() {
    let (database, provider) = (Database::empty().await, Provider::start());
    provider.tell(1, [Answer::status(404), Answer::Media(crate::support::provider::recording(1))]);
    let mut process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    process.event_number("WORKER_RELEASE_SLOT", 2).await;
    process.terminate();
    process.exit_code().await;
    let (mut way, mut seen) = (Vec::new(), BTreeSet::new());
    for event in ALL {
        for line in process.events(event.marker) {
            seen.insert(event.marker);
            let icon = if event.icon.is_empty() { String::new() } else { format!("{} ", event.icon) };
            let message = line["message"].as_str().unwrap();
            assert!(message.starts_with(&format!("{icon}[{}]", event.marker)), "{line}");
            for field in event.fields {
                // `restart_in` stands only where an actor is restarted.
                let there = !line[*field].is_null() && message.contains(&format!(" {field}="));
                assert!(there || *field == "restart_in", "{field} in {line}");
            }
            if line["call_sid"] == "CA1" {
                let time = line["timestamp"].as_str().unwrap().to_owned();
                way.push((time, event.marker, line["reason"].as_str().unwrap_or_default().to_owned()));
            }
        }
    }
    // In time, and within one millisecond in the order of the table, which is that of a recording's way.
    way.sort_by(|a, b| a.0.cmp(&b.0));
    let count = |marker: &str| way.iter().filter(|(_, other, _)| *other == marker).count();
    assert_eq!(
        ["ENQUEUE", "WORKER_SLOT_ACQUIRED", "WORKER_PICKED", "WORKER_JOB_FAILED", "WORKER_DOWNLOAD_DONE"]
            .map(count),
        [1, 2, 2, 1, 1]
    );
    let reasons: Vec<&str> = way
        .iter()
        .filter(|(_, marker, _)| *marker == "WORKER_RELEASE_SLOT")
        .map(|(_, _, reason)| reason.as_str())
        .collect();
    assert_eq!(reasons, ["retry", "success"]);
    for marker in [
        "MIGRATION_LOCK_ACQUIRED",
        "MIGRATION_APPLIED",
        "MIGRATION_DONE",
        "SCHEMA_READY",
        "DRAIN_STARTED",
        "DRAIN_DONE",
    ] {
        assert!(seen.contains(marker), "{marker}");
    }
}
