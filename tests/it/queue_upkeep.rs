//! What time brings back: reap, promote, the history's days, and the check of the invariants.

use crate::{
    queue_law::{Claimer, assert_law, dead, done, execute, retry, slots},
    support::{Database, new_job},
};
use callspool::domain::{
    job::{Disposition, JobState, NewJob},
    ports::{Dispatch, FleetView, JobBook, Upkeep},
};
use chrono::{TimeDelta, Utc};
use sqlx::{Connection, Executor};
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_leases_of_an_instance_that_does_not_beat_come_back_and_the_attempt_counts() {
    let database = Database::migrated().await;
    let (mut dying, mut living) = (Claimer::new(&database).await, Claimer::new(&database).await);
    living.store.enqueue(&[new_job(1, 1), new_job(1, 2), new_job(2, 3)]).await.unwrap();
    let lost = dying.claim(2).await;
    let kept = living.claim(1).await;
    assert!(living.store.reap(TTL, 10).await.unwrap().is_empty(), "both have beaten");
    execute(&database, "update instance set beat_at = now() - interval '11 s'").await;
    living.beat().await;
    let reaped = living.store.reap(TTL, 10).await.unwrap();
    assert_eq!(reaped.iter().map(|r| r.job).collect::<Vec<_>>(), lost.iter().map(|job| job.id).collect::<Vec<_>>());
    assert!(reaped.iter().all(|r| matches!(r.disposition, Disposition::Retry { .. })));
    assert_eq!(reaped[0].call_sid, lost[0].call_sid);
    assert!(living.store.reap(TTL, 10).await.unwrap().is_empty());
    let again = living.claim(10).await;
    assert!(again.iter().all(|job| job.attempt == 2) && again.len() == 2);
    assert!(!dying.settle(&lost[0], done(&lost[0])).await, "who was taken for dead is not believed");
    assert!(living.settle(&kept[0], done(&kept[0])).await);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_past_its_deadline_comes_back_though_its_instance_beats() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.lease_for = Duration::ZERO;
    claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap();
    for attempt in 1..=3 {
        assert_eq!(claimer.claim(1).await[0].attempt, attempt);
        let reaped = claimer.store.reap(TTL, 10).await.unwrap();
        assert_eq!(reaped.len(), 1);
        // The third attempt was the last.
        assert_eq!(matches!(reaped[0].disposition, Disposition::Dead { .. }), attempt == 3);
        assert_eq!(slots(&database, 1).await.0, 0);
        assert_law(&database).await;
    }
    let jobs =
        claimer.store.jobs(&callspool::domain::job::JobFilter { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(jobs[0].state, JobState::Dead);
    let error = jobs[0].last_error.clone().unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("lease_expired", "the attempt exceeded its lease"));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_reapers_share_the_work_and_no_job_comes_back_twice() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let batch: Vec<_> = (0..200).map(|n| new_job(i64::from(n % 40) + 1, n)).collect();
    claimer.store.enqueue(&batch).await.unwrap();
    assert_eq!(claimer.claim(200).await.len(), 200);
    execute(&database, "delete from instance").await;
    let reap = || {
        let store = database.store();
        async move {
            let mut reaped = 0;
            loop {
                match store.reap(TTL, 7).await.unwrap().len() {
                    0 => return reaped,
                    some => reaped += some,
                }
            }
        }
    };
    let (a, b, c) = tokio::join!(reap(), reap(), reap());
    // Each passed over what another had just then; one more sees that nothing is left.
    assert_eq!(a + b + c + reap().await, 200);
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_long_gone_is_forgotten_once_it_holds_nothing() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap();
    claimer.claim(1).await;
    claimer.store.deregister(claimer.instance).await.unwrap();
    assert_eq!(claimer.store.fleet_status().await.unwrap().instances.len(), 1, "it holds a lease");
    execute(&database, "update instance set beat_at = now() - interval '2 hours'").await;
    claimer.store.reap(TTL, 10).await.unwrap();
    claimer.store.reap(TTL, 10).await.unwrap();
    assert!(claimer.store.fleet_status().await.unwrap().instances.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn due_jobs_become_ready_in_order_of_time_and_by_the_batch() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let at = |number: u32| NewJob { run_at: Some(Utc::now() + TimeDelta::hours(1)), ..new_job(1, number) };
    let batch: Vec<_> = (1..=5).map(at).collect();
    let answers = claimer.store.enqueue(&batch).await.unwrap();
    execute(&database, "update job_scheduled set run_at = now() - make_interval(mins => job_id::integer)").await;
    assert_eq!(claimer.store.promote(2).await.unwrap().count, 2);
    let first = claimer.claim(5).await;
    assert_eq!(first.iter().map(|job| job.id).collect::<Vec<_>>(), [answers[3].id, answers[4].id]);
    let promoted = claimer.store.promote(2).await.unwrap();
    assert_eq!(
        (promoted.count, promoted.next_due_in),
        (2, Some(Duration::ZERO)),
        "there are more, and they are late"
    );
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_of_the_history_are_made_and_dropped() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let month = Duration::from_hours(30 * 24);
    assert_eq!(claimer.store.rotate_history(month).await.unwrap(), (0, 0), "the migration made the first days");
    claimer.store.enqueue(&[new_job(1, 1)]).await.unwrap();
    let job = claimer.claim(1).await.remove(0);
    claimer.settle(&job, dead()).await;
    // Another time: the partitions are of days long past, and today's rows lie in the default one.
    execute(
        &database,
        "do $$ declare p text; begin
           for p in select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where c.relname ~ '_p[0-9]+$' loop
             execute format('drop table %I', p);
           end loop;
           create table job_history_p20200101 partition of job_history for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00');
           create table job_attempt_p20200101 partition of job_attempt for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00');
         end $$",
    )
    .await;
    claimer.store.enqueue(&[new_job(1, 2)]).await.unwrap();
    let job = claimer.claim(1).await.remove(0);
    claimer.settle(&job, dead()).await;
    assert_eq!(claimer.store.rotate_history(month).await.unwrap(), (6, 2));
    assert_eq!(claimer.store.rotate_history(month).await.unwrap(), (0, 0));
    assert_eq!(claimer.store.job(job.id).await.unwrap().unwrap().state, JobState::Dead, "moved, not lost");
    let mut connection = database.connect().await;
    let in_default: i64 = sqlx::query_scalar(
        "select (select count(*) from job_history_default) + (select count(*) from job_attempt_default)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(in_default, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_somebody_reads_is_dropped_later_and_stops_nobody() {
    let database = Database::migrated().await;
    let store = database.store();
    execute(
        &database,
        "create table job_history_p20200101 partition of job_history for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00')",
    )
    .await;
    let mut reader = database.connect().await;
    let mut transaction = reader.begin().await.unwrap();
    transaction.execute("select from job_history").await.unwrap();
    assert_eq!(store.rotate_history(Duration::from_hours(1)).await.unwrap(), (0, 0));
    transaction.rollback().await.unwrap();
    assert_eq!(store.rotate_history(Duration::from_hours(1)).await.unwrap(), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_that_lost_its_mark_is_found_and_one_with_a_bell_is_not_meant() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    claimer.store.enqueue(&(0..9).map(|n| new_job(1, n)).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(claimer.store.heal_stranded(None, 100).await.unwrap().businesses, 0, "its bell is on the way");
    assert_eq!(claimer.claim(1).await.len(), 1);
    assert_eq!(claimer.store.heal_stranded(None, 100).await.unwrap().businesses, 0);
    execute(&database, "update business set has_more = false").await;
    assert!(claimer.claim(1).await.is_empty());
    assert_eq!(claimer.store.heal_stranded(None, 100).await.unwrap().businesses, 1);
    assert_eq!(claimer.claim(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_kept_in_counters_that_agree_with_the_rows() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let later = NewJob { run_at: Some(Utc::now() + TimeDelta::hours(1)), ..new_job(3, 50) };
    let mut batch: Vec<_> = (0..20).map(|n| new_job(i64::from(n % 2) + 1, n)).collect();
    batch.push(later);
    let answers = claimer.store.enqueue(&batch).await.unwrap();
    let unread = claimer.store.fleet_status().await.unwrap();
    assert_eq!((unread.backlog.ready, unread.backlog.scheduled), (20, 1), "also before the bells are read");
    let jobs = claimer.claim(6).await;
    claimer
        .settle_all([(&jobs[0], done(&jobs[0])), (&jobs[1], dead()), (&jobs[2], retry(Duration::from_mins(1)))])
        .await;
    let status = claimer.store.fleet_status().await.unwrap();
    let backlog = status.backlog;
    assert_eq!((backlog.ready, backlog.scheduled, backlog.running), (14, 2, 3));
    assert_eq!((backlog.done, backlog.dead, backlog.cancelled), (1, 1, 0));
    assert_eq!(status.slots_in_use, 3);
    assert_eq!(status.instances.len(), 1);
    assert_eq!(status.instances[0].info.instance, claimer.instance);
    let oldest = claimer.store.job(answers[6].id).await.unwrap().unwrap();
    assert_eq!(oldest.state, JobState::Ready);
    assert_eq!(status.oldest_ready, Some(oldest.enqueued_at));
    assert_law(&database).await;
}
