//! A process that is frozen in the middle of an upload to a bucket until others have taken its job, and is then woken:
//! as in tests/it/zombies.rs, with S3's own conditions.

use super::s3::{S3, SECRET};
use crate::{
    queue_law::assert_law,
    support::{
        Answer, Database, Process, Provider, eventually,
        process::Setup,
        provider::{mp3, recording},
    },
};
use bytes::Bytes;
use nix::sys::signal::Signal;

fn setup(database: &Database, provider: &Provider, s3: &S3) -> Setup {
    let setup = Setup::new(database).provider(provider).var("CALLSPOOL_STORAGE_URL", "s3://calls/eu");
    s3.vars().into_iter().fold(setup, |setup, (name, value)| setup.var(name, &value))
}

async fn stored(process: &Process) -> Bytes {
    process.get("/v1/recordings/CA1/media").await.bytes().await.unwrap()
}

/// `begun`: what shows that it is at its point.
async fn a_zombie_changes_nothing(first: Answer, begun: impl AsyncFn(&Provider, &S3) -> bool) {
    let (database, provider, s3) = (Database::migrated().await, Provider::start(), S3::start().await);
    let newer = recording(2);
    provider.tell(1, [first, Answer::Media(newer.clone())]);
    // Nothing of its own tells it that it was frozen.
    let zombie = setup(&database, &provider, &s3)
        .var("CALLSPOOL__QUEUE__BEAT_TTL", "10min")
        .var("CALLSPOOL__TWILIO__READ_TIMEOUT", "10min")
        .var("CALLSPOOL__TWILIO__MIN_BYTES_PER_SECOND", "0")
        .run()
        .await;
    let job = zombie.enqueue(42, 1).await;
    eventually("that it has begun", async || begun(&provider, &s3).await.then_some(())).await;
    zombie.signal(Signal::SIGSTOP);
    let other = setup(&database, &provider, &s3).run().await;
    other.event("WORKER_DOWNLOAD_DONE").await;
    eventually("done", async || (other.job(job).await["state"] == "done").then_some(())).await;
    provider.release(1);
    zombie.signal(Signal::SIGCONT);
    zombie.event("RESULT_DROPPED").await;
    let failed = zombie.event("WORKER_JOB_FAILED").await;
    assert_eq!(failed["reason"], "superseded", "{failed}");
    assert_eq!(s3.recordings().await, ["eu/42/CA1.mp3"]);
    assert_eq!(stored(&other).await, newer);
    eventually("nothing under way", async || s3.under_way().await.is_empty().then_some(())).await;
    let objects = s3.objects().await;
    assert_eq!(objects.len(), 1, "nothing is left aside: {objects:?}");
    assert_law(&database).await;
    assert!(!zombie.everything().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_in_the_middle_of_an_upload_in_parts_it_cannot_replace_the_newer_object() {
    // The first half is more than one part.
    let first = Answer::Held(mp3(1, 20_000_000));
    a_zombie_changes_nothing(first, async |_, s3| !s3.under_way().await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_before_the_first_byte_it_cannot_replace_the_newer_object() {
    let first = Answer::Late(mp3(1, 2_000_000));
    a_zombie_changes_nothing(first, async |provider, _| !provider.asked().is_empty()).await;
}
