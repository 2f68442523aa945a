//! A recording's whole way, through a real process.

use crate::support::{
    Answer, Database, Provider,
    process::Setup,
    provider::{mp3, recording},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_goes_from_the_api_to_a_verified_file() {
    let (database, provider) = (Database::empty().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    let id = process.enqueue(42, 1).await;
    let released = process.event("WORKER_RELEASE_SLOT").await;
    assert_eq!((&released["reason"], &released["business_id"]), (&"success".into(), &42.into()));
    assert_eq!(std::fs::read(process.file(42, 1)).unwrap(), recording(1));
    let job = process.job(id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&"done".into(), &1.into()));
    assert_eq!(provider.asked()[0].authorization.as_deref(), Some(Provider::basic_auth().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_one_frame_is_stored_too() {
    let (database, provider) = (Database::empty().await, Provider::start());
    provider.tell(1, [Answer::Media(mp3(1, 104))]);
    let process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    assert_eq!(process.event("WORKER_RELEASE_SLOT").await["reason"], "success", "{}", process.everything());
    assert_eq!(std::fs::read(process.file(42, 1)).unwrap(), mp3(1, 104));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_not_ready_is_asked_for_again() {
    let (database, provider) = (Database::empty().await, Provider::start());
    provider.tell(1, [Answer::status(404), Answer::status(503), Answer::Media(recording(1))]);
    let process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    let reasons: Vec<_> = process.events("WORKER_JOB_FAILED").iter().map(|e| e["reason"].clone()).collect();
    assert_eq!(reasons, ["not_ready", "http_status"]);
}
