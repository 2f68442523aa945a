//! From the provider to a bucket, through a real process.

use super::s3::{S3, SECRET};
use crate::support::{
    Answer, Database, Process, Provider, eventually,
    process::Setup,
    provider::{mp3, recording},
};
use futures_util::TryStreamExt;
use std::collections::BTreeSet;

fn setup(database: &Database, provider: &Provider, s3: &S3) -> Setup {
    let setup = Setup::new(database).provider(provider).var("CALLSPOOL_STORAGE_URL", "s3://calls/eu");
    let setup = setup.var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1000").var("CALLSPOOL__RETRY__MAX", "300ms");
    let setup = setup.var("CALLSPOOL__STORAGE__REQUEST_TIMEOUT", "5s").var("CALLSPOOL__STORAGE__RETRIES", "1");
    s3.vars().into_iter().fold(setup, |setup, (name, value)| setup.var(name, &value))
}

async fn done(process: &Process, id: i64) {
    eventually("done", || async { (process.job(id).await["state"] == "done").then_some(()) }).await;
}

async fn media(process: &Process, number: u32, range: &str) -> (u16, bytes::Bytes) {
    let url = format!("{}/v1/recordings/CA{number}/media", process.url().await);
    let answer = reqwest::Client::new().get(url).header("Range", range).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_go_into_a_bucket_and_are_played_from_it() {
    let (database, provider, s3) = (Database::migrated().await, Provider::start(), S3::start().await);
    let large = mp3(2, 9_000_001);
    provider.tell(2, [Answer::Media(large.clone())]);
    // The layout that holds where none is set.
    let setup = setup(&database, &provider, &s3)
        .var("CALLSPOOL__STORAGE__LAYOUT", "{business_id}/{yyyy}/{mm}/{call_sid}.{ext}");
    let process = setup.run().await;
    for (number, whole) in [(1, recording(1)), (2, large)] {
        let id = process.enqueue(42, number).await;
        done(&process, id).await;
        assert_eq!(media(&process, number, "bytes=0-").await, (206, whole.clone()));
        assert_eq!(media(&process, number, "bytes=5-104").await, (206, whole.slice(5..105)));
        assert_eq!(media(&process, number, "bytes=-7").await, (206, whole.slice(whole.len() - 7..)));
    }
    let month = chrono::Utc::now().format("%Y/%m").to_string();
    let done = process.event_number("WORKER_DOWNLOAD_DONE", 2).await;
    assert_eq!(done["file"], "CA2.mp3");
    assert_eq!(s3.recordings().await, [1, 2].map(|number| format!("eu/42/{month}/CA{number}.mp3")));
    assert_eq!(s3.under_way().await, Vec::<String>::new());
    assert!(!process.everything().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_denies_is_told_and_everything_is_stored_when_it_does_not() {
    let (database, provider, s3) = (Database::migrated().await, Provider::start(), S3::start().await);
    let process = setup(&database, &provider, &s3).run().await;
    s3.begin_fault("denied").await;
    let mut ids = Vec::new();
    for number in 1..=5 {
        ids.push(process.enqueue(42, number).await);
    }
    let failed = process.event("WORKER_JOB_FAILED").await;
    assert_eq!((&failed["reason"], &failed["detail"]), (&"storage_error".into(), &"permission denied".into()));
    s3.end_fault("denied").await;
    for id in ids {
        done(&process, id).await;
    }
    assert_eq!(s3.recordings().await.len(), 5);
    assert!(!process.everything().contains("canary"), "nothing of the server's words or of the key");
}

/// A process that starts while the bucket is out of reach says so, and is ready when it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_ready_when_its_bucket_is() {
    let (database, provider, s3) = (Database::migrated().await, Provider::start(), S3::start().await);
    s3.begin_fault("blind").await;
    let process = setup(&database, &provider, &s3).start();
    let said = |line: &serde_json::Value| line.to_string().contains("the storage cannot be used");
    process.line("the storage's fault", said).await;
    let answer = process.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("storage.conditions=off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_uploads_loses_nothing_and_shows_nothing_half() {
    const JOBS: u32 = 24;
    let (database, provider, mut s3) = (Database::migrated().await, Provider::start(), S3::start().await);
    // Every third in parts.
    let content = |number: u32| {
        if number % 3 == 0 {
            mp3(number, 8_500_000 + number as usize)
        } else {
            mp3(number, 20_000 + number as usize)
        }
    };
    for number in 1..=JOBS {
        provider.tell(number, [Answer::Media(content(number))]);
    }
    let process = setup(&database, &provider, &s3).var("CALLSPOOL__WORKER__COUNT", "4").run().await;
    s3.begin_fault("slow").await;
    let mut ids = Vec::new();
    for number in 1..=JOBS {
        ids.push(process.enqueue(42, number).await);
    }
    for round in 1..=3 {
        process.event_number("WORKER_DOWNLOAD_DONE", 4 * round).await;
        s3.kill().await;
        process.event_number("WORKER_JOB_FAILED", round).await;
        s3.start_again().await;
        assert_whole(&s3, content).await;
        s3.begin_fault("slow").await;
    }
    s3.end_fault("slow").await;
    for id in ids {
        done(&process, id).await;
    }
    assert_whole(&s3, content).await;
    let expected: BTreeSet<String> = (1..=JOBS).map(|number| format!("eu/42/CA{number}.mp3")).collect();
    assert_eq!(s3.recordings().await.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Whatever is under a final name is all of it.
async fn assert_whole(s3: &S3, content: impl Fn(u32) -> bytes::Bytes) {
    for key in s3.recordings().await {
        let Some((_, name)) = key.split_once("CA") else { continue };
        let number: u32 = name.trim_end_matches(".mp3").parse().unwrap();
        let (storage, key) = (s3.open_at("s3://calls", &s3.options()), key.as_str());
        let size = storage.size(key).await.unwrap().unwrap();
        let file = storage.read(key, 0..size).await.unwrap().unwrap();
        let read = file.stream.try_collect::<Vec<_>>().await.unwrap().concat();
        assert!(read == content(number), "{key} is not whole");
    }
}
