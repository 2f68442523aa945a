//! What happened once and must not be able to happen again: the numbers are those of the record of incidents.

use crate::{
    queue_law::{Claimer, assert_law, done, execute, retry, slots, totals},
    support::{Answer, Database, Provider, eventually, new_job, process::Setup, provider::recording},
};
use callspool::domain::{
    ids::CallSid,
    job::{JobState, NewJob},
    ports::{Dispatch, JobBook, Upkeep},
};
use secrecy::SecretString;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn incident_05_what_was_enqueued_while_no_worker_lived_is_consumed_by_the_next_one() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let store = database.store();
    let url = |n: u32| format!("{}/2010-04-01/Accounts/AC1/Recordings/RE{n}", provider.base());
    let batch: Vec<_> = (1..=5).map(|n| NewJob { recording_url: url(n), ..new_job(42, n) }).collect();
    store.enqueue(&batch).await.unwrap();
    store.close().await;
    let process = Setup::new(&database).provider(&provider).run().await;
    process.event_number("WORKER_DOWNLOAD_DONE", 5).await;
    assert_eq!(provider.asked().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_06_a_call_that_is_asked_for_hundreds_of_times_is_one_job() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let stores: Vec<_> = (0..4).map(|_| database.store()).collect();
    let ask = |store: callspool::store::Store| async move {
        let mut fresh = 0;
        for _ in 0..50 {
            fresh += usize::from(!store.enqueue(&[new_job(1, 1)]).await.unwrap()[0].deduplicated);
        }
        fresh
    };
    let fresh: usize = futures_util::future::join_all(stores.into_iter().map(ask)).await.into_iter().sum();
    assert_eq!((fresh, totals(&database).await), (1, (1, 0)));
    // Neither while it runs, nor once it is stored.
    let job = claimer.claim(5).await.remove(0);
    assert!(claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap()[0].deduplicated);
    claimer.settle(&job, done(&job)).await;
    assert!(claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap()[0].deduplicated);
    assert!(claimer.claim(5).await.is_empty());
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_07_an_enqueue_that_failed_leaves_no_key_that_calls_the_next_one_a_duplicate() {
    let database = Database::migrated().await;
    let store = database.store();
    let bad = NewJob { call_sid: CallSid::from_checked("no SID".to_owned()), ..new_job(1, 2) };
    assert!(store.enqueue(&[new_job(1, 1), bad]).await.is_err());
    let answer = store.enqueue(&[new_job(1, 1)]).await.unwrap()[0];
    assert_eq!((answer.deduplicated, answer.state), (false, JobState::Ready));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_08_a_dead_workers_slots_come_back() {
    let database = Database::migrated().await;
    let (mut dead, mut next) = (Claimer::new(&database).await, Claimer::new(&database).await);
    next.store.enqueue(&(0..9).map(|n| new_job(1, n)).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(dead.claim(16).await.len(), 5);
    assert!(next.claim(16).await.is_empty());
    execute(&database, "update instance set beat_at = now() - interval '11 s'").await;
    assert_eq!(next.store.reap(TTL, 100).await.unwrap().len(), 5);
    assert_eq!(slots(&database, 1).await.0, 0);
    assert_eq!(next.claim(16).await.len(), 5);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_08_a_claim_whose_answer_never_came_gives_its_slot_back_while_its_process_lives() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    provider.tell(1, [Answer::Held(recording(1))]);
    process.enqueue(1, 1).await;
    provider.asked_times(1).await;
    // Business 2 lets nothing run until the claim below, which is this process's own and which it never hears of.
    execute(&database, "insert into business (business_id, max_slots) values (2, 0)").await;
    process.enqueue(2, 2).await;
    let claim = "update business set max_slots = 1 where business_id = 2;
                 select claim(instance_id, array[3], array[1::bigint], 1, 0, 1, 900000, 2000, 5) from instance";
    let mut connection = database.connect().await;
    let mut transaction = sqlx::Connection::begin(&mut connection).await.unwrap();
    sqlx::raw_sql(claim).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(slots(&database, 1).await.0, 1, "what runs here is no stranger");
    assert_eq!(process.events("WORKER_DOWNLOAD_DONE")[0]["call_sid"], "CA2");
    provider.release(1);
    process.event_number("WORKER_DOWNLOAD_DONE", 2).await;
    assert_eq!(provider.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_09_whoever_gets_a_job_has_its_slot_and_whoever_has_a_slot_has_a_job() {
    let database = Database::migrated().await;
    let (mut one, mut two) = (Claimer::new(&database).await, Claimer::new(&database).await);
    one.store.enqueue(&(0..40).map(|n| new_job(1, n)).collect::<Vec<_>>()).await.unwrap();
    let mut running = one.claim(16).await;
    for _ in 0..20 {
        let job = running.remove(0);
        assert!(one.settle(&job, done(&job)).await);
        // Two ask for the one slot that came free.
        let (a, b) = tokio::join!(one.claim(1), two.claim(1));
        assert_eq!(a.len() + b.len(), 1);
        running.extend(a.into_iter().chain(b));
        assert_eq!(slots(&database, 1).await.0, 5);
        assert_law(&database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_10_without_the_database_nothing_is_claimed() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap();
    let away = database.store_with(|config| {
        config.url = SecretString::from("postgres://callspool@127.0.0.1:1/nothing");
        config.acquire_timeout = Duration::from_millis(200);
    });
    let request = callspool::domain::ports::ClaimRequest {
        instance: claimer.instance,
        workers: vec![callspool::domain::lease::WorkerLife { worker: 0, generation: 1 }],
        place: claimer.place,
        quantum: 1,
        lease_for: TTL,
        drain_limit: 10,
        default_max_slots: 5,
    };
    let error = away.claim(&request).await.unwrap_err();
    assert!(error.sqlstate.is_none() && !error.message.contains("127.0.0.1"), "{error}");
    assert_eq!(claimer.claim(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_11_a_long_download_of_an_instance_that_beats_is_left_alone() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap();
    let job = claimer.claim(1).await.remove(0);
    execute(&database, "update job_lease set leased_at = now() - interval '14 min'").await;
    claimer.beat().await;
    assert!(claimer.store.reap(TTL, 100).await.unwrap().is_empty());
    assert!(claimer.settle(&job, done(&job)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_12_recovery_without_any_worker_makes_no_new_jobs() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.store.enqueue(&[new_job(1, 1), new_job(2, 2)]).await.unwrap();
    let lost = claimer.claim(2).await;
    execute(&database, "delete from instance").await;
    let store = database.store();
    let reaped = store.reap(TTL, 100).await.unwrap();
    assert_eq!(reaped.iter().map(|r| r.job).collect::<Vec<_>>(), lost.iter().map(|job| job.id).collect::<Vec<_>>());
    for _ in 0..20 {
        assert!(store.reap(TTL, 100).await.unwrap().is_empty());
        assert_eq!(totals(&database).await, (2, 0));
    }
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_13_a_retry_waits_as_long_as_it_says_in_a_real_process() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::status(500), Answer::Media(recording(1))]);
    let setup = Setup::new(&database).provider(&provider).var("CALLSPOOL__RETRY__BASE", "700ms");
    let process = setup.var("CALLSPOOL__RETRY__JITTER", "0").run().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_JOB_FAILED").await;
    let failed = std::time::Instant::now();
    process.event("WORKER_DOWNLOAD_DONE").await;
    // The log is read a little after it was written.
    assert!(failed.elapsed() > Duration::from_millis(500), "{:?}", failed.elapsed());
    assert_eq!(process.events("WORKER_PICKED").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_14_a_job_that_is_to_be_retried_is_not_overwritten_as_failed() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap();
    let job = claimer.claim(1).await.remove(0);
    assert!(claimer.settle(&job, retry(Duration::from_hours(1))).await);
    assert!(!claimer.settle(&job, crate::queue_law::dead()).await);
    assert_eq!(claimer.store.job(job.id).await.unwrap().unwrap().state, JobState::Scheduled);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_16_jobs_of_two_types_for_one_recording_are_two_jobs() {
    let database = Database::migrated().await;
    let store = database.store();
    let download = store.enqueue(&[new_job(1, 1)]).await.unwrap()[0];
    // The only other type that there is so far: one that this version does not know.
    execute(
        &database,
        "insert into job (business_id, call_sid, recording_sid, recording_key, recording_url, job_type, priority)
         select business_id, call_sid, recording_sid, recording_key, recording_url, 'another', priority from job",
    )
    .await;
    let again = store.enqueue(&[new_job(1, 1)]).await.unwrap()[0];
    assert_eq!((again.id, again.deduplicated), (download.id, true));
    assert_eq!(totals(&database).await, (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_24_a_callback_needs_no_row_of_the_call_or_the_business() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let answer = claimer.store.enqueue(&[new_job(123_456_789, 1)]).await.unwrap()[0];
    assert_eq!(claimer.claim(1).await[0].id, answer.id, "the business is made when its first bell is read");
    assert_eq!(slots(&database, 123_456_789).await, (1, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_31_each_scheduled_task_is_run_by_a_process_that_has_started() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let mut lost = Claimer::new(&database).await;
    let url = |n: u32| format!("{}/2010-04-01/Accounts/AC1/Recordings/RE{n}", provider.base());
    let batch: Vec<_> = (1..=4).map(|n| NewJob { recording_url: url(n), ..new_job(i64::from(n), n) }).collect();
    lost.store.enqueue(&batch).await.unwrap();
    // One is lost by an instance that died, one due, one stranded; and a day of the history is too old.
    let jobs = lost.claim(2).await;
    assert!(lost.settle(&jobs[1], retry(Duration::ZERO)).await);
    execute(&database, "delete from instance; update business set has_more = false where business_id = 3").await;
    execute(
        &database,
        "create table job_history_p20200101 partition of job_history for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00')",
    )
    .await;
    let process = Setup::new(&database).provider(&provider).run().await;
    process.event_number("WORKER_DOWNLOAD_DONE", 4).await;
    eventually("the old day's end", || async {
        let mut connection = database.connect().await;
        let there = "select to_regclass('job_history_p20200101') is null";
        sqlx::query_scalar::<_, bool>(there).fetch_one(&mut connection).await.unwrap().then_some(())
    })
    .await;
    assert_law(&database).await;
}
