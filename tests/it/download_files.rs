//! From the provider's answer to a file and its row, through a real process.

use crate::support::{
    Answer, Database, Process, Provider, eventually,
    process::Setup,
    provider::{mp3, recording, wav},
};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = change(Setup::new(&database).provider(&provider)).run().await;
    (database, provider, process)
}

/// The names in a folder; none where it is not there.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Key, length, checksum and type of a stored recording.
async fn row(database: &Database, call_sid: &str) -> (String, i64, Vec<u8>, String) {
    let mut connection = database.connect().await;
    sqlx::query_as("select storage_key, bytes, sha256, content_type from recordings where call_sid = $1")
        .bind(call_sid)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_recording_has_one_row_that_says_what_the_file_is() {
    for fsync in ["true", "false"] {
        let (database, _provider, process) =
            process_with(|setup| setup.var("CALLSPOOL__STORAGE__FSYNC", fsync)).await;
        process.enqueue(42, 1).await;
        process.event("WORKER_RELEASE_SLOT").await;
        let (key, bytes, sha256, content_type) = row(&database, "CA1").await;
        assert_eq!((key.as_str(), content_type.as_str()), ("42/CA1.mp3", "audio/mpeg"));
        assert_eq!(bytes.cast_unsigned(), recording(1).len() as u64);
        assert_eq!(sha256, Sha256::digest(recording(1)).to_vec());
        assert_eq!(std::fs::read(process.file(42, 1)).unwrap(), recording(1));
        let done = process.event("WORKER_DOWNLOAD_DONE").await;
        assert_eq!((&done["file"], done["bytes"].as_u64()), (&"CA1.mp3".into(), Some(10_000)));
    }
}

/// Incident 19: WAV was stored as `.mp3` and served as `audio/mpeg`.
#[tokio::test(flavor = "multi_thread")]
async fn incident_19_a_wav_is_stored_and_served_as_what_it_is_whatever_it_is_called() {
    let (database, provider, process) = process_with(|setup| setup).await;
    provider.tell(1, [Answer::Status(200, vec![("Content-Type", "audio/mpeg".to_owned())], wav(1, 3))]);
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let (key, _, _, content_type) = row(&database, "CA1").await;
    assert_eq!((key.as_str(), content_type.as_str()), ("42/CA1.wav", "audio/wav"));
    assert_eq!(names(&process.storage().join("42")), ["CA1.wav"]);
    let played = process.get("/v1/recordings/CA1/media").await;
    assert_eq!(played.headers()["content-type"], "audio/wav");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_recording_is_not_stored_under_status_200() {
    let (_database, provider, process) =
        process_with(|setup| setup.var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1")).await;
    let ok = |content_type: &str, body: &'static str| {
        Answer::Status(200, vec![("Content-Type", content_type.to_owned())], Bytes::from_static(body.as_bytes()))
    };
    provider.tell(1, [ok("text/html", "<!DOCTYPE html><html>Sign in</html>")]);
    provider.tell(2, [ok("application/json", "{\"code\": 20404}")]);
    provider.tell(3, [ok("audio/mpeg", "")]);
    provider.tell(4, [ok("audio/mpeg", "x")]);
    for number in 1..=4 {
        let id = process.enqueue(42, number).await;
        let failed = process.event_number("WORKER_JOB_FAILED", number.try_into().unwrap()).await;
        assert_eq!((&failed["reason"], &failed["retry_in"]), (&"bad_audio".into(), &"never".into()));
        process.event_number("WORKER_RELEASE_SLOT", number.try_into().unwrap()).await;
        assert_eq!(process.job(id).await["last_error"]["code"], "bad_audio");
    }
    assert!(names(&process.storage().join("42")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_told_by_its_reason_and_ends_or_comes_again() {
    let limits = |setup: Setup| {
        setup.var("CALLSPOOL__TWILIO__READ_TIMEOUT", "200ms").var("CALLSPOOL__TWILIO__MAX_BYTES", "20000")
    };
    let (_database, provider, process) = process_with(limits).await;
    let location = vec![("Location", "http://169.254.169.254/".to_owned())];
    for (number, (answer, reason, comes_again)) in (1..).zip([
        (Answer::status(404), "not_ready", true),
        (Answer::status(401), "unauthorized", true),
        (Answer::Status(429, vec![("Retry-After", "0".to_owned())], Bytes::new()), "rate_limited", true),
        (Answer::status(500), "http_status", true),
        (Answer::Held(recording(5)), "timeout", true),
        (Answer::Cut(recording(6), 5_000), "truncated", true),
        (Answer::status(410), "gone", false),
        (Answer::Media(mp3(8, 20_001)), "too_large", false),
        (Answer::Chunked(vec![mp3(9, 15_000); 2]), "too_large", false),
        (Answer::Status(302, location, Bytes::new()), "url_refused", false),
    ]) {
        provider.tell(number, [answer, Answer::Media(recording(number))]);
        let id = process.enqueue(42, number).await;
        let call_sid = Value::from(format!("CA{number}"));
        let failed = process
            .line(reason, |line| line["marker"] == "WORKER_JOB_FAILED" && line["call_sid"] == call_sid)
            .await;
        assert_eq!(failed["reason"], reason);
        assert_eq!(failed["retry_in"] != "never", comes_again, "{failed}");
        let end = if comes_again { "done" } else { "dead" };
        eventually(end, || async { (process.job(id).await["state"] == end).then_some(()) }).await;
        assert_eq!(process.file(42, number).exists(), comes_again, "{reason}");
    }
    let aside = |name: &String| name.contains('#');
    assert!(!names(&process.storage().join(".callspool-aside")).iter().any(aside), "nothing half-written is left");
}

/// Incident 18: half files were played.
#[tokio::test(flavor = "multi_thread")]
async fn incident_18_a_half_written_file_is_never_under_its_name_also_after_kill_9() {
    let (_database, provider, mut process) = process_with(|setup| setup).await;
    let large = mp3(1, 2_000_000);
    provider.tell(1, [Answer::Held(large.clone())]);
    process.enqueue(42, 1).await;
    let (folder, aside) = (process.storage().join("42"), process.storage().join(".callspool-aside"));
    let left = |names: Vec<String>| names.iter().filter(|name| name.starts_with("CA1.mp3#")).count();
    eventually("a file written aside", || async { (left(names(&aside)) == 1).then_some(()) }).await;
    assert_eq!(process.get("/v1/recordings/CA1/media").await.status(), 202, "nobody hears a half");
    process.kill().await;
    assert_eq!((names(&folder).len(), left(names(&aside))), (0, 1));

    provider.tell(1, [Answer::Media(large.clone())]);
    let process = process.again();
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!((names(&folder), left(names(&aside))), (vec!["CA1.mp3".to_owned()], 1), "which a sweep removes");
    assert_eq!(std::fs::read(process.file(42, 1)).unwrap(), large);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_refuses_is_an_error_of_the_storage_until_it_takes_the_file() {
    let (_database, provider, process) = process_with(|setup| setup).await;
    // A file where the business's folder is needed: also root cannot write there.
    std::fs::write(process.storage().join("42"), "in the way").unwrap();
    let id = process.enqueue(42, 1).await;
    let failed = process.event("WORKER_JOB_FAILED").await;
    assert_eq!(failed["reason"], "storage_error");
    assert!(!failed["detail"].as_str().unwrap().contains('/'), "no path: {failed}");
    std::fs::remove_file(process.storage().join("42")).unwrap();
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(std::fs::read(process.file(42, 1)).unwrap(), recording(1));
    eventually("done", || async { (process.job(id).await["state"] == "done").then_some(()) }).await;
    drop(provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_whatever_the_size() {
    const LARGE: usize = 64 << 20;
    let (_database, provider, process) = process_with(|setup| setup).await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let before = peak_kilobytes(process.pid());
    provider.tell(2, [Answer::Media(mp3(2, LARGE))]);
    process.enqueue(42, 2).await;
    process.event_number("WORKER_DOWNLOAD_DONE", 2).await;
    assert_eq!(std::fs::metadata(process.file(42, 2)).unwrap().len(), LARGE as u64);
    let grown = peak_kilobytes(process.pid()) - before;
    assert!(grown < 30 * 1024, "{grown} kB more for a recording of 64 MB");
}

/// The most memory that a process has had (`VmHWM`).
fn peak_kilobytes(pid: i32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
