//! Settle and reclaim: how an attempt ends, and the fence before it.

use crate::{
    queue_law::{
        Claimer, advanced, assert_law, dead, done, execute, failure, not_ready, retry, slots, totals, wait,
    },
    support::{Database, eventually, new_job},
};
use callspool::domain::{
    details::Details,
    failure::{Failure, FailureCode},
    job::{Achieved, Disposition, JobState, JobType, NewJob, Transcript},
    lease::{Holder, WorkerLife},
    media::Forms,
    operate::Operator,
    ports::{Dispatch, JobBook, Operations, Upkeep},
};
use std::time::Duration;

/// A claimer that runs `count` jobs of business 1.
async fn running(database: &Database, count: u16) -> (Claimer, Vec<callspool::domain::job::ClaimedJob>) {
    let mut claimer = Claimer::new(database).await;
    let jobs: Vec<_> = (1..=u32::from(count)).map(|number| new_job(1, number)).collect();
    claimer.store.enqueue(&jobs).await.unwrap();
    let jobs = claimer.claim(count).await;
    assert_eq!(jobs.len(), usize::from(count));
    (claimer, jobs)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_an_attempt_frees_its_slot_and_leaves_the_job_where_it_belongs() {
    let database = Database::migrated().await;
    let (claimer, jobs) = running(&database, 4).await;
    let ends = [done(&jobs[0]), retry(Duration::from_mins(1)), dead(), Disposition::HandBack];
    let held = claimer.settle_all(jobs.iter().zip(ends)).await;
    assert_eq!(held.len(), 4);
    assert_eq!(slots(&database, 1).await.0, 0);
    let mut views = Vec::new();
    for job in &jobs {
        views.push(claimer.store.job(job.id).await.unwrap().unwrap());
    }
    let states: Vec<_> = views.iter().map(|view| (view.state, view.attempt)).collect();
    let expected = [(JobState::Done, 1), (JobState::Scheduled, 1), (JobState::Dead, 1), (JobState::Ready, 0)];
    assert_eq!(states, expected);
    let errors: Vec<_> =
        views.iter().map(|view| view.last_error.as_ref().map(|error| error.code.clone())).collect();
    assert_eq!(errors, [None, Some("http_status".to_owned()), Some("http_status".to_owned()), None]);
    assert!(views[1].run_at.is_some() && views[1].finished_at.is_none());
    assert!(views[0].finished_at.is_some() && views[0].started_at.is_some());
    assert_eq!(views[2].instance, Some(claimer.instance));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_recording_is_written_down_with_its_file() {
    let database = Database::migrated().await;
    let (claimer, jobs) = running(&database, 1).await;
    claimer.settle(&jobs[0], done(&jobs[0])).await;
    let mut connection = database.connect().await;
    let row: (i64, String, i64, Vec<u8>, String) =
        sqlx::query_as("select job_id, storage_key, bytes, sha256, content_type from recordings")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(row, (jobs[0].id.0, "1/CA1.mp3".to_owned(), 1, vec![7; 32], "audio/mpeg".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_comes_after_its_lease_changes_nothing() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = running(&database, 1).await;
    let stale = jobs[0].clone();
    assert!(claimer.settle(&stale, Disposition::HandBack).await);
    for disposition in [done(&stale), retry(Duration::ZERO), dead(), Disposition::HandBack] {
        assert!(!claimer.settle(&stale, disposition).await);
    }
    let next = claimer.claim(1).await.remove(0);
    assert_eq!((next.id, next.attempt), (stale.id, 1), "a job that was handed back keeps its number");
    assert_ne!(next.lease, stale.lease);
    for disposition in [done(&stale), retry(Duration::ZERO), dead(), Disposition::HandBack] {
        assert!(!claimer.settle(&stale, disposition).await, "the lease is another's now");
    }
    assert!(claimer.settle(&next, done(&next)).await);
    assert_eq!(totals(&database).await, (1, 1));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_are_settled_twice_at_once_count_once_and_do_not_deadlock() {
    let database = Database::migrated().await;
    let (claimer, mut jobs) = running(&database, 5).await;
    for round in 0..20 {
        let up: Vec<_> = jobs.iter().map(|job| (job, Disposition::HandBack)).collect();
        let down: Vec<_> = up.iter().rev().cloned().collect();
        let (one, two) = (database.store(), database.store());
        let (one, two) = (Claimer { store: one, ..claimer.clone() }, Claimer { store: two, ..claimer.clone() });
        let (a, b) = tokio::join!(one.settle_all(up), two.settle_all(down));
        assert_eq!(a.len() + b.len(), 5, "round {round}");
        assert_law(&database).await;
        jobs = claimer.clone().claim(5).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_settles_many_businesses_and_passes_over_the_stale_ones() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let batch: Vec<_> = (0..60).map(|n| new_job(i64::from(n % 12) + 1, n)).collect();
    claimer.store.enqueue(&batch).await.unwrap();
    let jobs = claimer.claim(60).await;
    assert_eq!(jobs.len(), 60);
    claimer.settle_all(jobs[..20].iter().map(|job| (job, done(job)))).await;
    let held = claimer.settle_all(jobs.iter().map(|job| (job, retry(Duration::ZERO)))).await;
    assert_eq!(held.len(), 40);
    assert!(claimer.store.settle(&[]).await.unwrap().is_empty());
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_runs_when_its_time_has_come_and_not_before() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = running(&database, 1).await;
    let waited = std::time::Instant::now();
    claimer.settle(&jobs[0], retry(Duration::from_millis(300))).await;
    let promoted = claimer.store.promote(10).await.unwrap();
    assert_eq!(promoted.count, 0);
    let due = promoted.next_due_in.unwrap();
    assert!(due <= Duration::from_millis(300), "{due:?}");
    assert!(claimer.claim(1).await.is_empty());
    let store = claimer.store.clone();
    eventually("the retry", || async { (store.promote(10).await.unwrap().count == 1).then_some(()) }).await;
    assert!(waited.elapsed() >= Duration::from_millis(300));
    let again = claimer.claim(1).await.remove(0);
    assert_eq!((again.id, again.attempt), (jobs[0].id, 2));
    assert_eq!(store.promote(10).await.unwrap().next_due_in, None);
    let view = store.job(again.id).await.unwrap().unwrap();
    assert_eq!(view.last_error.unwrap().message, failure().message, "what failed before is still said");
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failed_attempt_is_kept_with_its_error() {
    let database = Database::migrated().await;
    let (mut claimer, mut jobs) = running(&database, 1).await;
    for _ in 0..2 {
        claimer.settle(&jobs[0], retry(Duration::ZERO)).await;
        claimer.store.promote(10).await.unwrap();
        jobs = claimer.claim(1).await;
    }
    claimer.settle(&jobs[0], dead()).await;
    let mut connection = database.connect().await;
    let kept: Vec<(i16, String)> = sqlx::query_as("select attempt, error_code from job_attempt order by attempt")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, [1, 2, 3].map(|attempt| (attempt, "http_status".to_owned())));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_worker_gives_back_its_own_leases_and_no_others() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = running(&database, 3).await;
    let held = claimer.store.held(claimer.instance).await.unwrap();
    let life_of =
        |job: &callspool::domain::job::ClaimedJob| held.iter().find(|lease| lease.lease == job.lease).unwrap().life;
    let died = Failure::new(FailureCode::WorkerDied, "the worker panicked");
    let holder = |life| Holder { instance: claimer.instance, life };
    let next_life = WorkerLife { generation: 2, ..life_of(&jobs[0]) };
    assert!(claimer.store.reclaim(holder(next_life), Some(&died)).await.unwrap().is_empty());

    let reclaimed = claimer.store.reclaim(holder(life_of(&jobs[0])), Some(&died)).await.unwrap();
    assert_eq!(reclaimed.len(), 1);
    assert_eq!(reclaimed[0].job, jobs[0].id);
    assert!(matches!(&reclaimed[0].disposition, Disposition::Retry { failure, .. } if *failure == died));
    let unburnt = claimer.store.reclaim(holder(life_of(&jobs[1])), None).await.unwrap();
    assert_eq!(unburnt[0].disposition, Disposition::HandBack);
    assert!(!claimer.settle(&jobs[0], done(&jobs[0])).await);
    assert!(claimer.settle(&jobs[2], done(&jobs[2])).await);
    assert_eq!(claimer.claim(5).await[0].attempt, 1);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_with_the_last_attempt_leaves_the_job_dead() {
    let database = Database::migrated().await;
    let (claimer, jobs) = running(&database, 1).await;
    execute(&database, "update job set max_attempts = 1").await;
    let holder = Holder { instance: claimer.instance, life: WorkerLife { worker: 0, generation: 1 } };
    let reclaimed = claimer.store.reclaim(holder, Some(&failure())).await.unwrap();
    assert!(matches!(reclaimed[0].disposition, Disposition::Dead { .. }));
    assert_eq!(claimer.store.job(jobs[0].id).await.unwrap().unwrap().state, JobState::Dead);
    assert_law(&database).await;
}

/// A job that waits for a hold is there as long as the hold is, and has used up nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_meets_a_hold_waits_for_its_end_and_its_attempt_does_not_count() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = running(&database, 1).await;
    execute(&database, "insert into hold (hold_key, kind, message) values ('storage', 'storage', 'full')").await;
    claimer.settle(&jobs[0], wait()).await;
    let view = claimer.store.job(jobs[0].id).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempt, view.run_at), (JobState::Scheduled, 0, None));
    assert_eq!(claimer.store.promote(10).await.unwrap().count, 0);
    execute(&database, "delete from hold").await;
    assert_eq!(claimer.store.promote(10).await.unwrap().count, 1);
    let next = claimer.claim(1).await.remove(0);
    assert_eq!((next.id, next.attempt), (jobs[0].id, 1));
    // The hold was over before the job was parked for it.
    claimer.settle(&next, wait()).await;
    assert_eq!(claimer.store.promote(10).await.unwrap().count, 1);
    // One that ends by time is over when its time has come, whether its row is still there or not.
    let next = claimer.claim(1).await.remove(0);
    let timed = "insert into hold (hold_key, kind, message, until) values ('storage', 'storage', 'full', now())";
    execute(&database, timed).await;
    claimer.settle(&next, wait()).await;
    assert_eq!(claimer.store.promote(10).await.unwrap().count, 1);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_not_ready_uses_up_no_attempt_and_the_claim_says_for_how_long() {
    let database = Database::migrated().await;
    let (mut claimer, jobs) = running(&database, 1).await;
    assert_eq!(jobs[0].not_ready_for, None);
    claimer.settle(&jobs[0], not_ready(Duration::ZERO)).await;
    claimer.store.promote(1).await.unwrap();
    let second = claimer.claim(1).await.remove(0);
    assert!(second.not_ready_for.is_some_and(|so_far| so_far < Duration::from_hours(1)));
    // Both ends are by the database's clock, whatever this machine's says.
    execute(&database, "update job set not_ready_since = now() - interval '2 hours'").await;
    claimer.settle(&second, not_ready(Duration::ZERO)).await;
    claimer.store.promote(1).await.unwrap();
    let third = claimer.claim(1).await.remove(0);
    let so_far = third.not_ready_for.unwrap();
    assert_eq!(third.attempt, 1);
    assert!(so_far >= Duration::from_hours(2), "the first answer counts: {so_far:?}");
    // An attempt of now goes on from there.
    assert_eq!(third.tries(Duration::from_secs(5)).not_ready_for, so_far + Duration::from_secs(5));
    assert_eq!(jobs[0].tries(Duration::from_secs(5)).not_ready_for, Duration::ZERO);
    let codes: Vec<_> =
        claimer.store.attempts(third.id).await.unwrap().into_iter().map(|attempt| attempt.error.code).collect();
    assert_eq!(codes, ["not_ready", "not_ready"], "what was asked is kept all the same");
    assert_law(&database).await;
}

/// Incidents 16 and 17: playback waited for the transcription, and a transcription was skipped because the file was there.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_job_stores_first_and_goes_on_with_attempts_counted_anew() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let full = NewJob { job_type: JobType::Full, ..new_job(1, 1) };
    let id = claimer.store.enqueue(std::slice::from_ref(&full)).await.unwrap()[0].id;
    let first = claimer.claim(1).await.remove(0);
    claimer.settle(&first, retry(Duration::ZERO)).await;
    claimer.store.promote(1).await.unwrap();
    let again = claimer.claim(1).await.remove(0);
    assert_eq!((again.attempt, again.stored.clone()), (2, None));
    claimer.settle(&again, advanced(&again)).await;
    // The recording is there for everybody, while the job lives.
    let download = claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap()[0];
    assert_eq!((download.id, download.deduplicated), (id, true));
    let second_step = claimer.claim(1).await.remove(0);
    let stored = second_step.stored.clone().unwrap();
    assert_eq!((second_step.id, second_step.attempt, stored.bytes), (id, 1, 1));
    assert_eq!(stored.storage_key, "1/CA1.mp3");
    let transcript = Transcript {
        text: "shalom עולם".to_owned(),
        language: Some("he".to_owned()),
        model: "whisper-1".to_owned(),
        segments: serde_json::json!([{ "start": 0.0, "end": 1.5, "text": "shalom" }]),
    };
    claimer.settle(&second_step, Disposition::Achieved(Achieved::Transcribed(transcript))).await;
    let mut connection = database.connect().await;
    let row: (i64, String, Option<String>, i32) =
        sqlx::query_as("select job_id, text, language, jsonb_array_length(segments) from transcript")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(row, (id.0, "shalom עולם".to_owned(), Some("he".to_owned()), 1));
    let answer = claimer.store.enqueue(&[full]).await.unwrap()[0];
    assert_eq!((answer.id, answer.state, answer.deduplicated), (id, JobState::Done, true));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_said_of_a_recording_outlives_a_cancelled_and_a_dead_job() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let details = Details { duration_s: Some(12), channels: Some(2), ..Details::default() };
    let told = NewJob { details: details.clone(), ..new_job(1, 1) };
    let id = claimer.store.enqueue(&[told]).await.unwrap()[0].id;
    execute(&database, "insert into business (business_id, max_slots, forms) values (1, 5, '{wav-dual,mp3}')")
        .await;
    let job = claimer.claim(1).await.remove(0);
    assert_eq!(job.details, details);
    assert_eq!(job.forms.as_ref().map(Forms::names), Some(vec!["wav-dual", "mp3"]));
    claimer.settle(&job, dead()).await;
    claimer.store.retry(&[id], &Operator::new("dana")).await.unwrap();
    assert_eq!(claimer.claim(1).await[0].details, details);
}
