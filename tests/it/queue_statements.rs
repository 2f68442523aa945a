//! Every statement and every function of the database is checked against the real schema.

use crate::{
    queue_law::{Claimer, dead, execute, retry},
    queue_watch::rules,
    support::{Database, business, eventually, new_job},
};
use callspool::{
    domain::{
        audit::{AuditFilter, Kept},
        business::{BusinessChange, BusinessFilter},
        follow_up::{FleetSetting, FollowUp, TryEnd},
        hold::{Blame, HoldKey, HoldRules},
        ids::{AccountSid, JobId, SidForm},
        job::{Achieved, ClaimedJob, Disposition, JobFilter, JobType, NewJob, Transcript},
        lease::{Holder, WorkerLife},
        operate::{Operator, Outcome},
        overview::PulseCounts,
        ports::{
            Blamed, Custody, Dispatch, FleetView, FollowUps, Gate, Holds, IntakeBook, JobBook, Operations,
            RecordingBook, TranscriptBook, Upkeep, Watch,
        },
        reconcile::{Counts, RoundRules, Standing},
        recording::RecordingFilter,
        transcript::TranscriptSearch,
    },
    store::Store,
};
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_is_understood_by_the_real_schema() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    let statements = database.store().statements();
    assert!(statements.len() > 20, "{}", statements.len());
    for (name, sql) in statements {
        let prepared = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {}", prepared.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_of_the_schema_is_run_by_the_store() {
    run_everything(false).await;
}

/// A type that the driver has to ask for would end an unnamed statement: then this fails.
#[tokio::test(flavor = "multi_thread")]
async fn every_function_of_the_schema_is_run_as_it_is_behind_a_pooler() {
    run_everything(true).await;
}

async fn run_everything(behind_pooler: bool) {
    let database = Database::migrated().await;
    let track = "do $$ begin execute format('alter database %I set track_functions = %L', current_database(), 'all'); end $$";
    execute(&database, track).await;

    let mut claimer = Claimer::new(&database).await;
    claimer.store = database.store_with(|config| {
        config.instance = claimer.instance;
        config.behind_pooler = behind_pooler;
    });
    let store = claimer.store.clone();
    store.enqueue(&[new_job(1, 1), new_job(1, 2), new_job(2, 3)]).await.unwrap();
    store.ring().await.unwrap();
    store.ping().await.unwrap();
    store.configure(FleetSetting { announces: true, delete_at_provider: false }).await.unwrap();
    let jobs = claimer.claim(2).await;
    claimer.settle_all([(&jobs[0], retry(Duration::ZERO)), (&jobs[1], dead())]).await;
    assert!(claimer.claim(1).await.len() == 1);
    let life = WorkerLife { worker: 0, generation: 1 };
    assert_eq!(store.held(claimer.instance).await.unwrap().len(), 1);
    assert_eq!(store.reclaim(Holder { instance: claimer.instance, life }, None).await.unwrap().len(), 1);
    assert_eq!(store.promote(10).await.unwrap().count, 1);
    store.reap(Duration::from_secs(10), 10).await.unwrap();
    store.rotate_history(Duration::from_hours(1)).await.unwrap();
    store.heal_stranded(None, 100).await.unwrap();
    store.fleet_status().await.unwrap();
    store.versions().await.unwrap();
    store.records().await.unwrap();
    assert!(!store.somebody_migrates().await.unwrap());
    store.progress(1).await.unwrap();
    assert!(store.job(jobs[0].id).await.unwrap().is_some());
    assert_eq!(store.jobs(&JobFilter { limit: 10, ..JobFilter::default() }).await.unwrap().len(), 3);
    let filter = RecordingFilter { call_sid: new_job(1, 1).call_sid, business_id: None, recording_sid: None };
    assert!(store.recordings(&filter).await.unwrap().is_empty());
    reconcile(&store, &jobs[1]).await;
    after(&database, &store).await;
    transcripts(&mut claimer).await;
    operate(&store, jobs[1].id).await;
    hold(&store).await;
    as_the_release_before(&database).await;
    store.deregister(claimer.instance).await.unwrap();
    execute(&database, "select enqueue(business_id => 9, call_sid => 'CA9', recording_url => 'https://h/x')").await;
    store.close().await;

    // A small function of one SELECT is inlined, and leaves no trace in the statistics.
    let not_run = "select p.proname::text from pg_proc p join pg_language l on l.oid = p.prolang
                    where p.pronamespace = 'callspool'::regnamespace and (l.lanname = 'plpgsql' or p.proconfig is not null)
                      and not exists (select 1 from pg_stat_user_functions s where s.funcid = p.oid and s.calls > 0)";
    let counted = eventually("the statistics", || async {
        let mut connection = database.connect().await;
        let missing: Vec<String> = sqlx::query_scalar(not_run).fetch_all(&mut connection).await.unwrap();
        missing.is_empty().then_some(())
    });
    counted.await;
}

async fn reconcile(store: &Store, dead: &ClaimedJob) {
    let account = AccountSid::parse("AC1", SidForm::Short).unwrap();
    let rules = RoundRules {
        interval: Duration::ZERO,
        look_back: Duration::from_hours(1),
        beat_ttl: Duration::from_secs(10),
    };
    let sids = |number: u32| (new_job(1, number).call_sid, new_job(1, number).recording_sid.unwrap());
    let dead = (dead.call_sid.clone(), dead.recording_sid.clone().unwrap());
    let known = store.known(&[sids(99), dead]).await.unwrap();
    assert_eq!(known, [None, Some(Standing::Dead)]);
    let round = store.begin_round(&account, &rules).await.unwrap().unwrap();
    assert_eq!((round.page, round.counts), (None, Counts::default()));
    let counts = Counts { seen: 3, had: 1, dead: 1, enqueued: 1, gone: 1, unmapped: 0 };
    let round = store.note_page(&account, Some("/2"), &counts, &rules).await.unwrap().unwrap();
    assert_eq!((round.page.as_deref(), round.counts), (Some("/2"), counts));
    store.leave_round(&account, Duration::ZERO, true).await.unwrap();
    assert!(store.note_page(&account, None, &counts, &rules).await.unwrap().is_none(), "out of hand");
}

/// One is made, read and found.
async fn transcripts(claimer: &mut Claimer) {
    let job = NewJob { job_type: JobType::Full, ..new_job(7, 7) };
    let (business_id, call_sid) = (job.business_id, job.call_sid.clone());
    claimer.store.enqueue(&[job]).await.unwrap();
    let jobs = claimer.claim(10).await;
    let full = jobs.iter().find(|job| job.job_type == JobType::Full).unwrap();
    let transcript = Transcript {
        text: "some words".to_owned(),
        language: None,
        model: "m".to_owned(),
        segments: serde_json::json!([{ "start": 0, "end": 1.5, "text": "some words" }]),
    };
    for job in &jobs {
        let end = if job.id == full.id {
            Disposition::Achieved(Achieved::Transcribed(transcript.clone()))
        } else {
            Disposition::HandBack
        };
        claimer.settle_all([(job, end)]).await;
    }
    let recording_sid = full.recording_sid.clone();
    let store = &claimer.store;
    let found = store.transcript(business_id, &call_sid, recording_sid.as_ref()).await.unwrap().unwrap();
    assert_eq!((found.text.as_str(), found.segments.len()), ("some words", 1));
    for business_id in [None, Some(business_id)] {
        let question = "words".parse().unwrap();
        let search = TranscriptSearch { question, business_id, after: None, limit: 10 };
        let page = store.search_transcripts(&search).await.unwrap();
        assert_eq!(page.len(), 1);
        let search = TranscriptSearch { after: Some(page[0].place()), ..search };
        assert!(store.search_transcripts(&search).await.unwrap().is_empty());
    }
}

/// A dead job was announced; one recording is held, then deleted, another one expires.
async fn after(database: &Database, store: &Store) {
    let taken = store.take(10, 10, Duration::from_secs(1)).await.unwrap();
    assert_eq!(taken.iter().map(|follow_up| follow_up.task.kind()).collect::<Vec<_>>(), ["announce"]);
    let later = TryEnd::Retry { delay: Duration::ZERO, error: "e".to_owned(), all: true };
    assert!(FollowUps::end(store, &taken[0], &later).await.unwrap());
    assert!(!FollowUps::end(store, &FollowUp { tries: 7, ..taken[0].clone() }, &TryEnd::Done).await.unwrap());
    assert!(FollowUps::end(store, &taken[0], &TryEnd::Dead { error: "e".to_owned() }).await.unwrap());
    assert_eq!(store.follow_ups(Some(true), None, 10).await.unwrap().len(), 1);
    assert!(store.revive(taken[0].id, &Operator::new("dana")).await.unwrap());
    assert_eq!(store.forget(Duration::ZERO, 10).await.unwrap(), 0);
    execute(
        database,
        "insert into recordings (business_id, recording_key, job_type, job_id, call_sid, recording_sid, storage_key,
                                 bytes, sha256, content_type, stored_at)
         select 1, 'RE' || n, 'download_only', n, 'CA8', 'RE' || n, 'k' || n, 1, sha256('x'), 'audio/mpeg',
                now() - interval '2 days'
           from generate_series(81, 82) n",
    )
    .await;
    let (call_sid, operator) = (new_job(1, 8).call_sid, Operator::new("somebody"));
    let filter = RecordingFilter { call_sid, business_id: None, recording_sid: None };
    let stored = store.recordings(&filter).await.unwrap();
    assert_eq!(store.hold_recording(&stored[0], true, &operator).await.unwrap(), Kept::Changed);
    assert_eq!(store.delete_recording(&stored[0], &operator).await.unwrap(), Kept::Held);
    assert_eq!(store.expire(1, 10).await.unwrap().len(), 1, "the other one");
    assert_eq!(store.hold_recording(&stored[0], false, &operator).await.unwrap(), Kept::Changed);
    assert_eq!(store.delete_recording(&stored[0], &operator).await.unwrap(), Kept::Changed);
    assert_eq!(store.delete_recording(&stored[0], &operator).await.unwrap(), Kept::Gone);
    assert!(store.note_play(&stored[0], &operator, "played", Duration::from_mins(1)).await.unwrap());
    assert!(!store.note_play(&stored[0], &operator, "played", Duration::from_mins(1)).await.unwrap());
    store.note_link(&stored[0], &operator, "a link for 1h").await.unwrap();
    let of_one = AuditFilter { limit: 10, business_id: Some(business(1)), ..AuditFilter::default() };
    let actions: Vec<String> = store.audit(&of_one).await.unwrap().into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["link", "play", "delete", "release", "delete", "hold"]);
}

async fn operate(store: &Store, dead: JobId) {
    let operator = Operator::new("somebody");
    assert_eq!(store.retry(&[dead], &operator).await.unwrap()[0].outcome, Outcome::Ready);
    assert!(store.explain(dead).await.unwrap().is_some());
    let job = store.job(dead).await.unwrap().unwrap();
    assert_eq!(store.expedite(job.business_id, &job.call_sid, 0.try_into().unwrap()).await.unwrap(), 1);
    assert_eq!(store.cancel(&[dead], None, &operator).await.unwrap()[0].outcome, Outcome::Cancelled);
    let change = BusinessChange { weight: Some(2), ..BusinessChange::default() };
    assert_eq!(store.set_business(business(1), change, &operator).await.unwrap().weight, 2);
    assert!(!store.actions(job.business_id, 10).await.unwrap().is_empty());
    assert!(!store.businesses(BusinessFilter { after: None, limit: 10 }).await.unwrap().is_empty());
    store.add_pulse(&PulseCounts { done: 1, latency: vec![1, 2], ..PulseCounts::default() }).await.unwrap();
    store.watch(&rules()).await.unwrap();
    assert!(!store.overview(60).await.unwrap().pulse.is_empty());
}

/// Begins, probes, ends and lifts holds.
async fn hold(store: &Store) {
    let rules = HoldRules {
        window: Duration::from_mins(1),
        min_failures: 1,
        failure_share: 0.5,
        probe_first: Duration::from_millis(1),
        probe_max: Duration::from_millis(1),
        account_probe: Duration::from_millis(1),
        storage_probe: Duration::from_millis(1),
        rate_wait: Duration::from_millis(1),
    };
    let (host, storage) = (HoldKey::host("h"), HoldKey::storage());
    store.credit(&[(host.clone(), 1)], &rules).await.unwrap();
    for key in [&host, &storage] {
        let blame = Blame { key: key.clone(), lasts: None };
        let blamed = Blamed { blame: &blame, message: "it failed", job: JobId(1), is_last: false, ok: 0 };
        assert!(store.blame(&blamed, &rules).await.unwrap().unwrap().began);
    }
    let standing = store.standing().await.unwrap().holds;
    assert_eq!(standing.len(), 2);
    eventually("the probes", || async { (store.tend(&rules).await.unwrap().probes.len() == 2).then_some(()) })
        .await;
    assert!(store.lift(&storage, &Operator::new("somebody")).await.unwrap());
    let hold = standing.into_iter().find(|hold| hold.key == host).unwrap();
    assert!(Holds::end(store, &hold).await.unwrap().is_some());
    assert!(store.holds().await.unwrap().is_empty());
    assert_eq!(store.tend(&rules).await.unwrap().ended.len(), 1);
}

/// What processes of the release before call while both run side by side.
async fn as_the_release_before(database: &Database) {
    let mut connection = database.connect().await;
    connection.execute("select set_business(1, 4, 2::smallint, false, 5, 'o')").await.unwrap();
    let claim = "select job_id, lease_id from claim(gen_random_uuid(), '{0}', '{1}', 0, 0, 1, 60000, 100, 5)";
    let (job, lease): (i64, i64) = sqlx::query_as(claim).fetch_one(&mut connection).await.unwrap();
    let settle = "select settle(array[$1], array[$2], '{hand_back}', '{0}', '{null}', '{null}', '{null}', '{null}',
                                '{null}', '{null}')";
    let held: i64 = sqlx::query_scalar(settle).bind(job).bind(lease).fetch_one(&mut connection).await.unwrap();
    assert_eq!(held, lease);
    for step in [
        "select * from watch_queue(0, 60000, 10000, 3600000, 100, 5)",
        "select * from watch_work(0, 60000, 10000, 3600000, 100, 5)",
        "select heal_stranded()",
    ] {
        connection.execute(step).await.unwrap();
    }
    sqlx::query(claim).fetch_one(&mut connection).await.unwrap();
    let reaped: i64 = sqlx::query_scalar("select count(*) from reap(10000, 10, 3::smallint)")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(reaped, 1, "of an instance that never beat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_name_is_a_queue_of_its_own() {
    let database = Database::migrated().await;
    let other = database.store_with(|config| config.schema = "second \"queue\"".to_owned());
    crate::support::postgres::migrate(&other).await;
    other.enqueue(&[new_job(1, 1)]).await.unwrap();
    assert_eq!(other.fleet_status().await.unwrap().backlog.ready, 1);
    assert_eq!(database.store().fleet_status().await.unwrap().backlog.ready, 0);
    let mut claimer = Claimer::new(&database).await;
    assert!(claimer.claim(1).await.is_empty());
    claimer.store = other;
    claimer.beat().await;
    assert_eq!(claimer.claim(1).await.len(), 1);
    for (name, sql) in claimer.store.statements() {
        let mut connection = database.connect().await;
        let prepared = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {}", prepared.unwrap_err());
    }
}
