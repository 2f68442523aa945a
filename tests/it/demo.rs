//! `callspool demo`, as a stranger runs it.

use crate::support::{eventually, within_patience};
use callspool::adapters::embedded_postgres::EmbeddedPostgres;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection, Executor, PgConnection};
use std::{path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

fn demo(folder: &Path, recordings: u32) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callspool"));
    command.current_dir(folder).args(["demo", "--businesses", "4", "--recordings", &recordings.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

async fn output(demo: Child) -> (Option<i32>, String) {
    let output = within_patience("the end of the demo", demo.wait_with_output()).await.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), text)
}

fn log(folder: &Path) -> String {
    let files = std::fs::read_dir(folder.join(".callspool/demo/logs")).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_is_stored_and_verified_although_a_worker_panics() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = output(demo(folder.path(), 60)).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("60 recordings stored and verified"), "{text}");
    assert!(text.contains("PEAK SLOTS") && text.contains("1 (noisy)"), "{text}");
    assert!(text.contains("60 of 60 stored") && !text.contains('\u{1b}'), "plain lines without a terminal: {text}");
    let log = log(folder.path());
    assert!(log.contains(r#""reason":"error: an I/O task panicked""#), "{log}");
    assert!(log.contains("[WORKER_JOB_FAILED]") && log.contains("reason=worker_died"));
    assert!(log.contains("[WORKER_RELEASE_SLOT]") && log.contains("reason=reaped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_killed_in_the_middle_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = demo(folder.path(), 150);
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let middle = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.ends_with("of 150 stored") {
                return;
            }
        }
        panic!("the demo ended before it was killed");
    };
    within_patience("the first recordings", middle).await;
    first.kill().await.unwrap();

    // Another number of recordings is asked for: what was begun is ended first.
    let (code, text) = output(demo(folder.path(), 10)).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("going on with the interrupted demo: 150 recordings"), "{text}");
    assert!(text.contains("150 recordings stored and verified"), "{text}");
}

/// Somebody holds the migration lock, so the schema never fits.
#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_stopped_before_it_is_ready_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = EmbeddedPostgres::start(&folder.path().join(".callspool")).await.unwrap();
    let url = postgres.database("callspool_demo").await.unwrap();
    let mut holder = PgConnection::connect(&url).await.unwrap();
    holder.execute("select pg_advisory_lock(1234567890)").await.unwrap();
    let demo = demo(folder.path(), 10);
    let logs = folder.path().join(".callspool/demo/logs");
    eventually("a demo that waits for the lock", async || {
        (logs.exists() && log(folder.path()).contains("MIGRATION_LOCK_WAITING")).then_some(())
    })
    .await;
    kill(Pid::from_raw(demo.id().unwrap().cast_signed()), Signal::SIGINT).unwrap();
    let (code, text) = output(demo).await;
    assert!(code == Some(1) && text.contains("interrupted; the next demo goes on"), "{code:?} {text}");
    drop(holder);
    postgres.stop().await;
}

/// As `head` does: it has seen enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_demo_whose_output_nobody_reads_leaves_no_server_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path(), 10);
    drop(demo.stdout.take());
    output(demo).await;
    assert!(!folder.path().join(".callspool/data/postmaster.pid").exists());
}
