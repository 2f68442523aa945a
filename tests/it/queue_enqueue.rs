//! Enqueue: one live job a recording, all or nothing, also inside an application's own transaction.

use crate::{
    queue_law::{Claimer, assert_law, dead, done, execute, ids, totals},
    support::{Database, new_job},
};
use callspool::domain::{
    ids::CallSid,
    job::{JobState, NewJob, Priority},
    ports::{JobBook, Upkeep},
};
use chrono::{TimeDelta, Utc};
use sqlx::{Connection, Executor, PgConnection, Row};

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_has_one_live_job() {
    let database = Database::migrated().await;
    let store = database.store();
    let first = store.enqueue(&[new_job(1, 1)]).await.unwrap()[0];
    assert_eq!((first.state, first.deduplicated), (JobState::Ready, false));
    let again = store.enqueue(&[new_job(1, 1)]).await.unwrap()[0];
    assert_eq!((again.id, again.state, again.deduplicated), (first.id, JobState::Ready, true));
    // The same call at another business, and another recording of the same call, are other recordings.
    let other_recording = NewJob { call_sid: new_job(1, 1).call_sid, ..new_job(1, 2) };
    let others = store.enqueue(&[new_job(2, 1), other_recording]).await.unwrap();
    assert!(others.iter().all(|other| !other.deduplicated));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_stands_twice_in_a_batch_gets_one_job_and_two_answers() {
    let database = Database::migrated().await;
    let store = database.store();
    let known = store.enqueue(&[new_job(1, 3)]).await.unwrap()[0];
    let batch = [new_job(1, 2), new_job(1, 1), new_job(1, 2), new_job(1, 3), new_job(1, 1)];
    let answers = store.enqueue(&batch).await.unwrap();
    assert_eq!(answers.iter().map(|a| a.deduplicated).collect::<Vec<_>>(), [false, false, true, true, true]);
    assert_eq!((answers[2].id, answers[4].id, answers[3].id), (answers[0].id, answers[1].id, known.id));
    assert!(answers[0].id < answers[1].id, "jobs of one batch run in its order");
    assert_eq!(totals(&database).await, (3, 0));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_says_where_the_job_is() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let later = NewJob { run_at: Some(Utc::now() + TimeDelta::hours(1)), ..new_job(1, 1) };
    claimer.store.enqueue(&[later, new_job(1, 2), new_job(2, 3)]).await.unwrap();
    let jobs = claimer.claim(2).await;
    claimer.settle(&jobs[1], done(&jobs[1])).await;
    let answers =
        claimer.store.enqueue(&[new_job(1, 1), new_job(1, 2), new_job(2, 3), new_job(2, 4)]).await.unwrap();
    let states: Vec<_> = answers.iter().map(|answer| (answer.state, answer.deduplicated)).collect();
    let expected =
        [(JobState::Scheduled, true), (JobState::Running, true), (JobState::Done, true), (JobState::Ready, false)];
    assert_eq!(states, expected);
    assert_eq!(answers[2].id, jobs[1].id, "a stored recording is answered with the job that stored it");
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_whose_job_died_may_be_asked_for_again() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap();
    let jobs = claimer.claim(1).await;
    claimer.settle(&jobs[0], dead()).await;
    let again = claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap()[0];
    assert_eq!((again.state, again.deduplicated), (JobState::Ready, false));
    assert_ne!(again.id, jobs[0].id);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_for_later_is_scheduled_and_a_time_in_the_past_is_now() {
    let database = Database::migrated().await;
    let store = database.store();
    let at = |minutes| NewJob { run_at: Some(Utc::now() + TimeDelta::minutes(minutes)), ..new_job(1, 1) };
    let past = store.enqueue(&[NewJob { ..at(-5) }]).await.unwrap()[0];
    assert_eq!(past.state, JobState::Ready);
    let later = store.enqueue(&[NewJob { business_id: crate::support::business(2), ..at(5) }]).await.unwrap()[0];
    assert_eq!(later.state, JobState::Scheduled);
    let view = store.job(later.id).await.unwrap().unwrap();
    assert!(view.run_at.unwrap() > Utc::now() + TimeDelta::minutes(4));
    assert!(store.promote(10).await.unwrap().next_due_in.unwrap().as_secs() > 200);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_one_bad_job_leaves_nothing_and_names_its_place_and_field() {
    let database = Database::migrated().await;
    let store = database.store();
    let bad = NewJob { call_sid: CallSid::from_checked("RE1".to_owned()), ..new_job(1, 2) };
    let error = store.enqueue(&[new_job(1, 1), bad, new_job(1, 3)]).await.unwrap_err();
    assert_eq!(error.sqlstate.as_deref(), Some("22023"));
    assert!(error.message.starts_with("job 2: call_sid must be"), "{error}");
    assert_eq!(totals(&database).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sql_function_names_the_field_that_is_wrong() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let good = "business_id => 1, call_sid => 'CA1', recording_url => 'https://h/x'";
    for (arguments, field) in [
        (good.replace("business_id => 1", "business_id => 0"), "business_id"),
        (good.replace("business_id => 1", "business_id => null"), "business_id"),
        (good.replace("'CA1'", "'CA1/../x'"), "call_sid"),
        (good.replace("'CA1'", "E'CA1\\n'"), "call_sid"),
        (good.replace("https://h/x", "file:///etc/passwd"), "recording_url"),
        (good.replace("https://h/x", "https://user:word@h/x"), "recording_url"),
        (good.replace("'https://h/x'", "'https://h/' || repeat('x', 2048)"), "recording_url"),
        (format!("{good}, job_type => 'dance'"), "job_type"),
        (format!("{good}, recording_sid => 'CA1'"), "recording_sid"),
        (format!("{good}, priority => 10"), "priority"),
        (format!("{good}, priority => -70000"), "priority"),
        (format!("{good}, priority => null"), "priority"),
    ] {
        let call = format!("select * from callspool.enqueue({arguments})");
        let error = connection.execute(sqlx::AssertSqlSafe(call.clone())).await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("22023"), "{call}");
        assert!(error.message().starts_with(&format!("job 1: {field} must be")), "{call}: {}", error.message());
    }
    assert_eq!(totals(&database).await, (0, 0));
}

const BY_NAME: &str = "select job_id, deduplicated from callspool.enqueue(business_id => 42, call_sid => 'CA1',
    recording_url => 'https://api.example/2010-04-01/Accounts/AC1/Recordings/RE7.json?x=1')";

/// An application's connection: it knows nothing of our schema.
async fn application(database: &Database) -> PgConnection {
    PgConnection::connect(&database.url).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_rolls_back_leaves_nothing_and_one_that_commits_a_job_that_runs() {
    let database = Database::migrated().await;
    let (mut application, mut claimer) = (application(&database).await, Claimer::new(&database).await);

    let mut transaction = application.begin().await.unwrap();
    transaction.execute(BY_NAME).await.unwrap();
    assert!(claimer.claim(1).await.is_empty(), "nobody sees it before the commit");
    transaction.rollback().await.unwrap();
    assert_eq!(totals(&database).await, (0, 0));
    assert!(claimer.claim(1).await.is_empty());

    let mut transaction = application.begin().await.unwrap();
    let answer = transaction.fetch_one(BY_NAME).await.unwrap();
    assert!(!answer.get::<bool, _>("deduplicated"));
    transaction.commit().await.unwrap();
    let jobs = claimer.claim(1).await;
    assert_eq!(jobs[0].id.0, answer.get::<i64, _>("job_id"));
    assert_eq!(jobs[0].recording_url, "https://api.example/2010-04-01/Accounts/AC1/Recordings/RE7");
    assert_eq!(jobs[0].recording_sid.as_ref().unwrap().as_str(), "RE7", "known by its URL");
    assert!(claimer.settle(&jobs[0], done(&jobs[0])).await);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_search_path_and_temporary_tables_change_nothing() {
    let database = Database::migrated().await;
    let mut application = application(&database).await;
    for table in ["job", "job_ready", "doorbell", "recordings", "business"] {
        let sql = format!("create temporary table {table} (job_id bigint)");
        application.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
    application
        .execute("create schema decoy; create table decoy.job (x int); set search_path = decoy")
        .await
        .unwrap();
    application.execute(BY_NAME).await.unwrap();
    assert_eq!(totals(&database).await, (1, 0));
    let claim =
        "select count(*) from callspool.claim(gen_random_uuid(), array[1], array[1::bigint], 0, 0, 1, 1000, 10, 5)
                  where job_id is not null";
    assert_eq!(application.fetch_one(claim).await.unwrap().get::<i64, _>(0), 1);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_transactions_that_enqueue_one_recording_make_one_job() {
    for first_commits in [true, false] {
        let database = Database::migrated().await;
        let (mut one, mut two) = (application(&database).await, application(&database).await);
        let mut transaction = one.begin().await.unwrap();
        let first: i64 = transaction.fetch_one(BY_NAME).await.unwrap().get("job_id");
        let second = tokio::spawn(async move { two.fetch_one(BY_NAME).await.unwrap() });
        wait_for_a_lock(&database).await;
        if first_commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        let second = second.await.unwrap();
        assert_eq!(second.get::<bool, _>("deduplicated"), first_commits);
        assert_eq!(second.get::<i64, _>("job_id") == first, first_commits);
        assert_eq!(totals(&database).await, (1, 0));
        assert_law(&database).await;
    }
}

/// Somebody waits for a transaction to end.
async fn wait_for_a_lock(database: &Database) {
    crate::support::eventually("a transaction that waits", || async {
        let mut connection = database.connect().await;
        let waits = "select exists (select 1 from pg_stat_activity
                                     where datname = current_database() and wait_event_type = 'Lock')";
        connection.fetch_one(waits).await.unwrap().get::<bool, _>(0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enqueue_that_meets_the_end_of_the_same_job_waits_and_is_answered_done() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let id = claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap()[0].id;
    let job = claimer.claim(1).await.remove(0);
    let mut settling = database.connect().await;
    let mut transaction = settling.begin().await.unwrap();
    sqlx::query(
        "select settle(array[$1], array[$2], array['done'], array[0::bigint], array[null], array[null], array['k'],
                               array[1::bigint], array[sha256('x')], array['audio/mpeg'])",
    )
    .bind(job.id.0)
    .bind(job.lease.0)
    .execute(&mut *transaction)
    .await
    .unwrap();
    let store = claimer.store.clone();
    let enqueue = tokio::spawn(async move { store.enqueue(&[new_job(1, 1)]).await.unwrap()[0] });
    wait_for_a_lock(&database).await;
    transaction.commit().await.unwrap();
    let answer = enqueue.await.unwrap();
    assert_eq!((answer.id, answer.state, answer.deduplicated), (id, JobState::Done, true));
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_that_enqueues_blocks_nobody() {
    let database = Database::migrated().await;
    let (mut application, mut claimer) = (application(&database).await, Claimer::new(&database).await);
    claimer.store.enqueue(&[new_job(42, 100)]).await.unwrap();
    let mut transaction = application.begin().await.unwrap();
    transaction.execute(BY_NAME).await.unwrap();
    // The same business goes on meanwhile: enqueue, claim, settle, promote, reap.
    claimer.store.enqueue(&[new_job(42, 101)]).await.unwrap();
    let jobs = claimer.claim(5).await;
    assert_eq!(jobs.len(), 2);
    assert_eq!(claimer.settle_all(jobs.iter().map(|job| (job, done(job)))).await.len(), 2);
    transaction.commit().await.unwrap();
    assert_eq!(claimer.claim(5).await.len(), 1);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_come_in_one_batch_and_keep_their_order() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let batch: Vec<NewJob> = (0..5_000).map(|n| new_job(1 + i64::from(n % 7), 5_000 - n)).collect();
    let answers = claimer.store.enqueue(&batch).await.unwrap();
    assert!(answers.iter().all(|a| !a.deduplicated && a.state == JobState::Ready));
    assert!(answers.is_sorted_by_key(|answer| answer.id));
    assert!(
        claimer
            .store
            .enqueue(&batch)
            .await
            .unwrap()
            .iter()
            .zip(&answers)
            .all(|(a, b)| a.deduplicated && a.id == b.id)
    );
    assert_eq!(ids(&claimer.claim(7).await), answers[..7].iter().map(|a| a.id).collect::<Vec<_>>());
    assert!(claimer.store.enqueue(&[]).await.unwrap().is_empty());
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_batches_in_opposite_order_do_not_deadlock() {
    let database = Database::migrated().await;
    let up: Vec<NewJob> = (0..500).map(|n| new_job(1, n)).collect();
    let down: Vec<NewJob> = up.iter().rev().cloned().collect();
    let (one, two) = (database.store(), database.store());
    for _ in 0..5 {
        let (a, b) = tokio::join!(one.enqueue(&up), two.enqueue(&down));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a.iter().zip(b.iter().rev()).all(|(a, b)| a.id == b.id && a.deduplicated != b.deduplicated));
        assert_law(&database).await;
        execute(&database, "truncate job, job_ready, doorbell").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_job_is_claimed_before_older_ones() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let with =
        |number, priority: i16| NewJob { priority: Priority::try_from(priority).unwrap(), ..new_job(1, number) };
    let answers = claimer.store.enqueue(&[with(1, 9), with(2, 5), with(3, 0), with(4, 5)]).await.unwrap();
    let order: Vec<_> = [2, 1, 3, 0].map(|place| answers[place].id).into();
    assert_eq!(ids(&claimer.claim(4).await), order);
}
