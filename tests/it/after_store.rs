//! Follow-ups as the database writes and gives them.

use crate::{
    queue_law::{Claimer, dead, done, execute},
    support::{Database, new_job},
};
use callspool::domain::{
    audit::Kept,
    follow_up::{FleetSetting, FollowUp, Task, TryEnd},
    job::{Achieved, ClaimedJob, Disposition, JobType, NewJob, Transcript},
    operate::Operator,
    ports::{Custody, FollowUps, JobBook, RecordingBook, Upkeep},
    recording::RecordingFilter,
};
use serde_json::json;
use std::time::Duration;

const ALL: FleetSetting = FleetSetting { announces: true, delete_at_provider: true };
const LEASE: Duration = Duration::from_mins(1);

/// One claimed job of each of these.
async fn running(database: &Database, jobs: &[NewJob]) -> (Claimer, Vec<ClaimedJob>) {
    let mut claimer = Claimer::new(database).await;
    claimer.store.configure(ALL).await.unwrap();
    claimer.store.enqueue(jobs).await.unwrap();
    let taken = claimer.claim(u16::try_from(jobs.len()).unwrap()).await;
    assert_eq!(taken.len(), jobs.len());
    (claimer, taken)
}

async fn take(claimer: &Claimer) -> Vec<FollowUp> {
    let mut taken = claimer.store.take(100, 100, LEASE).await.unwrap();
    taken.sort_by_key(|follow_up| follow_up.id);
    taken
}

fn words(taken: &[FollowUp]) -> Vec<String> {
    let word = |follow_up: &FollowUp| match &follow_up.task {
        Task::Announce { event, .. } => event["type"].as_str().unwrap().to_owned(),
        task => task.kind().to_owned(),
    };
    taken.iter().map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_writes_what_follows_from_it_in_the_same_step_and_none_twice() {
    let database = Database::migrated().await;
    let (claimer, jobs) = running(&database, &[new_job(1, 1), new_job(1, 2), new_job(1, 3)]).await;
    let ends = [done(&jobs[0]), dead(), Disposition::HandBack];
    claimer.settle_all(jobs.iter().zip(ends)).await;
    // It came too late.
    claimer.settle_all(jobs.iter().map(|job| (job, dead()))).await;
    let taken = take(&claimer).await;
    assert_eq!(words(&taken), ["recording.stored", "recording.failed", "delete_at_provider"]);
    let Task::DeleteAtProvider { recording_url, storage_key, bytes } = &taken[2].task else { panic!("{taken:?}") };
    assert!(recording_url.ends_with("/Recordings/RE1"), "{recording_url}");
    assert_eq!((storage_key.as_str(), *bytes), ("1/CA1.mp3", 1));
    assert_eq!(take(&claimer).await, [], "they are taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_two_steps_tells_of_each_and_nobody_is_told_who_asked_for_nothing() {
    let database = Database::migrated().await;
    let full = NewJob { job_type: JobType::Full, ..new_job(1, 1) };
    let (mut claimer, jobs) = running(&database, &[full]).await;
    let Disposition::Achieved(Achieved::Stored(stored)) = done(&jobs[0]) else { panic!() };
    claimer.settle(&jobs[0], Disposition::Achieved(Achieved::Advanced(stored))).await;
    assert_eq!(words(&take(&claimer).await), ["recording.stored", "delete_at_provider"]);
    let job = claimer.claim(1).await.remove(0);
    let transcript = Transcript {
        text: "hello".to_owned(),
        language: Some("en".to_owned()),
        model: "m".to_owned(),
        segments: json!([]),
    };
    claimer.settle(&job, Disposition::Achieved(Achieved::Transcribed(transcript))).await;
    let taken = take(&claimer).await;
    assert_eq!(words(&taken), ["transcript.ready"]);
    let Task::Announce { event, .. } = &taken[0].task else { panic!() };
    assert_eq!((&event["language"], &event["characters"]), (&json!("en"), &json!(5)));

    claimer.store.configure(FleetSetting { announces: false, delete_at_provider: false }).await.unwrap();
    claimer.store.enqueue(&[new_job(1, 2)]).await.unwrap();
    let job = claimer.claim(1).await.remove(0);
    claimer.settle(&job, done(&job)).await;
    assert_eq!(take(&claimer).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_job_that_is_dead_is_told_as_well() {
    let database = Database::migrated().await;
    let (claimer, _) = running(&database, &[new_job(1, 1)]).await;
    execute(&database, "update job_lease set attempt = 3, deadline_at = now()").await;
    assert_eq!(claimer.store.reap(Duration::from_mins(1), 10).await.unwrap().len(), 1);
    assert_eq!(words(&take(&claimer).await), ["recording.failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_a_deleted_recording_is_nobodys_and_its_file_goes() {
    let database = Database::migrated().await;
    let full = NewJob { job_type: JobType::Full, ..new_job(1, 1) };
    let (mut claimer, jobs) = running(&database, &[new_job(1, 1)]).await;
    claimer.settle(&jobs[0], done(&jobs[0])).await;
    claimer.store.enqueue(std::slice::from_ref(&full)).await.unwrap();
    let late = claimer.claim(1).await.remove(0);
    let filter = RecordingFilter { call_sid: full.call_sid.clone(), business_id: None, recording_sid: None };
    let stored = claimer.store.recordings(&filter).await.unwrap().remove(0);
    let operator = Operator::new("somebody");
    assert_eq!(claimer.store.delete_recording(&stored, &operator).await.unwrap(), Kept::Changed);
    take(&claimer).await;
    assert!(claimer.settle(&late, done(&late)).await, "it was told to stop, and had done it by then");
    let taken = take(&claimer).await;
    assert_eq!(words(&taken), ["delete_file"]);
    let row = claimer.store.recordings(&filter).await.unwrap().remove(0);
    assert_eq!((row.job_id, row.deleted.map(|deleted| deleted.by)), (stored.job_id, Some("somebody".to_owned())));
    assert!(claimer.store.enqueue(&[full]).await.unwrap()[0].deduplicated);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_business_takes_no_more_than_its_share_and_one_out_of_reach_waits_as_a_whole() {
    let database = Database::migrated().await;
    let jobs: Vec<NewJob> = (1..=4).map(|number| new_job(1, number)).chain([new_job(2, 5)]).collect();
    let (claimer, at_work) = running(&database, &jobs).await;
    claimer.settle_all(at_work.iter().map(|job| (job, dead()))).await;
    let taken = claimer.store.take(10, 2, LEASE).await.unwrap();
    let of = |id: i64| taken.iter().filter(|follow_up| follow_up.business_id.get() == id).count();
    assert_eq!((of(1), of(2)), (2, 1));
    let first = taken.iter().find(|follow_up| follow_up.business_id.get() == 1).unwrap();
    let later = TryEnd::Retry { delay: LEASE, error: "timeout".to_owned(), all: true };
    assert!(claimer.store.end(first, &later).await.unwrap());
    assert_eq!(claimer.store.take(10, 10, LEASE).await.unwrap(), [], "the others of it wait as long");
    // A lease that has ended: somebody else has it, and the first one's end counts no more.
    execute(&database, "update follow_up set due_at = now()").await;
    assert_eq!(claimer.store.take(10, 10, LEASE).await.unwrap().len(), 5);
    assert!(!claimer.store.end(first, &TryEnd::Done).await.unwrap());
}
