//! `callspool demo`, as a stranger runs it.

use crate::support::within_patience;
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
