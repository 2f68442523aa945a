//! The checker of the chaos runs sees each promise that is broken: made-up books, folders and rows.

#[allow(dead_code, reason = "shared with the chaos command")]
#[path = "../chaos/checker/mod.rs"]
mod checker;

use crate::support::Database;
use checker::{
    Drain, LostLease, Visit, Wanted, Window,
    attempts::{self, Ended},
    files, law, limit, rows,
};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::{collections::HashMap, fs, path::Path};
use tempfile::TempDir;

const INSTANCE: &str = "00000000-0000-0000-0000-000000000001";

fn wanted(number: u32, accepted: bool) -> Wanted {
    Wanted {
        business_id: 42,
        call_sid: format!("CA{number}"),
        recording_sid: format!("RE{number}"),
        extension: "mp3",
        sha256: Sha256::digest(format!("media {number}")).into(),
        accepted,
    }
}

fn visit(member: &str, number: u32, from: i64, until: i64) -> Visit {
    let recording_sid = format!("RE{number}");
    Visit { member: member.to_owned(), business_id: 42, recording_sid, from, until: Some(until), whole: true }
}

fn lost(member: &str, number: u32, leased_at: i64, lost_at: i64) -> LostLease {
    LostLease { member: member.to_owned(), recording_sid: format!("RE{number}"), leased_at, lost_at }
}

/// A storage with the files of recordings 1 and 2.
fn storage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("42")).unwrap();
    fs::create_dir_all(dir.path().join(".callspool-aside")).unwrap();
    fs::write(dir.path().join(".callspool-aside/.lock"), "").unwrap();
    for number in [1, 2] {
        fs::write(dir.path().join(format!("42/CA{number}.mp3")), format!("media {number}")).unwrap();
    }
    dir
}

#[test]
fn whole_files_under_their_names_are_no_violation_and_whatever_else_there_is_is_one() {
    let dir = storage();
    let all = [wanted(1, true), wanted(2, true), wanted(3, false)];
    let check = || files::check(dir.path(), &all);
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    assert_eq!(check(), Vec::<String>::new());
    assert_eq!(
        files::check(dir.path(), &[wanted(1, true), wanted(2, true), wanted(3, true)]),
        ["lost: no file 42/CA3.mp3"]
    );

    write("42/CA1.mp3", "media");
    assert_eq!(check(), ["torn: 42/CA1.mp3, 5 bytes"]);
    write("42/CA1.mp3", "media 1");
    write("42/CA3.mp3", "media 2");
    assert_eq!(check(), ["torn: 42/CA3.mp3, 7 bytes"], "also where nobody knows that it was accepted");
    fs::rename(dir.path().join("42/CA3.mp3"), dir.path().join("42/CA1.wav")).unwrap();
    assert_eq!(check(), ["wrong name: 42/CA1.wav"]);
    fs::rename(dir.path().join("42/CA1.wav"), dir.path().join(".callspool-aside/x#1")).unwrap();
    assert_eq!(check(), ["left aside: .callspool-aside/x#1"]);
    assert_eq!(files::aside(dir.path()), [Path::new(dir.path()).join(".callspool-aside/x#1")]);
}

#[test]
fn downloads_count_until_their_lease_was_lost_and_no_longer() {
    let check = |visits: &[Visit], lost: &[LostLease], windows: &[Window]| {
        limit::check(visits, |_| 2, lost, windows, 100_000_000)
    };
    // One after the other, the last two at the same moment.
    let in_turn = [visit("one", 1, 0, 10), visit("two", 2, 0, 20), visit("two", 3, 10, 30)];
    let counted = check(&in_turn, &[], &[]);
    assert_eq!((counted.violations.len(), counted.peaks[&42]), (0, 2));

    let three = [visit("one", 1, 0, 50), visit("two", 2, 0, 50), visit("two", 3, 10, 30)];
    assert_eq!(check(&three, &[], &[]).violations.len(), 1);
    // The first was taken back before the third began.
    let counted = check(&three, &[lost("one", 1, 0, 10)], &[]);
    assert_eq!((counted.violations.len(), counted.held_by_frozen), (0, 1));
    // Too late, of another process, of another recording, of an earlier attempt.
    let others = [lost("one", 1, 0, 11), lost("two", 1, 0, 10), lost("one", 9, 0, 10), lost("one", 1, 5, 10)];
    for other in others {
        assert_eq!(check(&three, &[other], &[]).violations.len(), 1);
    }
}

#[test]
fn a_process_that_wakes_may_begin_what_it_was_about_to_and_nothing_later() {
    let window = Window { member: "one".to_owned(), from: 0, until: 5_000_000 };
    let begun_at = |from| {
        let visits =
            [visit("one", 1, from, 9_000_000), visit("two", 2, 0, 9_000_000), visit("two", 3, 0, 9_000_000)];
        limit::check(&visits, |_| 2, &[lost("one", 1, -1, 2_000_000)], std::slice::from_ref(&window), 0)
            .violations
            .len()
    };
    assert_eq!(begun_at(5_500_000), 0);
    assert_eq!(begun_at(6_500_000), 1);
}

fn ended(number: u32, code: &str, from: i64, until: i64) -> Ended {
    Ended {
        recording_sid: format!("RE{number}"),
        instance: INSTANCE.to_owned(),
        code: code.to_owned(),
        from,
        until,
    }
}

#[test]
fn an_attempt_that_a_drain_ended_counts_only_for_a_cause_that_the_provider_knows() {
    let drain = Drain { member: "one".to_owned(), instance: INSTANCE.to_owned(), from: 100 };
    let check = |ended: &[Ended], visits: &[Visit]| {
        attempts::check_drains(ended, std::slice::from_ref(&drain), visits).len()
    };
    let broken = |until| Visit { whole: false, ..visit("one", 1, 10, until) };
    // Before the drain anything may happen.
    assert_eq!(check(&[ended(1, "lease_expired", 0, 99)], &[]), 0);
    assert_eq!(check(&[ended(1, "lease_expired", 0, 110)], &[broken(90)]), 1);
    assert_eq!(check(&[ended(1, "network", 0, 110)], &[broken(90)]), 0);
    assert_eq!(check(&[ended(1, "network", 0, 110)], &[broken(105)]), 1, "the drain broke it off");
    assert_eq!(check(&[ended(1, "network", 0, 110)], &[]), 1);
    assert_eq!(check(&[ended(1, "http_status", 0, 110)], &[]), 0);
    assert_eq!(check(&[Ended { instance: "another".to_owned(), ..ended(1, "network", 0, 110) }], &[]), 0);
}

#[test]
fn a_failure_of_the_storage_is_one_only_while_the_disk_is_full() {
    let ended = [ended(1, "storage_error", 0, 50), ended(2, "network", 0, 500)];
    assert_eq!(attempts::check_storage(&ended, &[(10, 50)]), Vec::<String>::new());
    assert_eq!(attempts::check_storage(&ended, &[(51, 90)]), ["failed with room on the disk: RE1"]);
}

async fn run(connection: &mut PgConnection, sql: &str) {
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}

/// One job that is ready, of a business that knows of it.
const READY: &str = "
    insert into business (business_id, max_slots, has_more, ready) values (42, 2, true, 1);
    insert into job (job_id, business_id, call_sid, recording_sid, recording_key, recording_url, job_type, priority)
    values (1, 42, 'CA1', 'RE1', 'RE1', 'http://127.0.0.1/RE1', 'download_only', 5);
    insert into job_ready (business_id, priority, job_id) values (42, 5, 1)";

#[tokio::test(flavor = "multi_thread")]
async fn each_law_is_seen_broken() {
    let breaks = [
        ("delete from job_ready; update business set ready = 0", "a job has not exactly one place: 1: none"),
        (
            "insert into job_scheduled (job_id, run_at, business_id, priority) values (1, now(), 42, 5);
             update business set scheduled = 1",
            "a job has not exactly one place: 1: ready scheduled",
        ),
        ("delete from job", "a place holds no job: 1"),
        ("update business set has_more = false", "stranded: ready jobs, and neither a mark nor a bell: 42"),
        (
            "update business set running = 1",
            "slots are not what is running: business 42: 1 counted, 0 leased, 2 allowed",
        ),
        (
            "update business set ready = 2",
            "counters are not what is there: business 42: 1 ready and 0 scheduled, counted 2 and 0",
        ),
    ];
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    run(&mut connection, READY).await;
    assert_eq!(law::check(&mut connection).await.unwrap(), Vec::<String>::new());
    for (change, broken) in breaks {
        run(&mut connection, &format!("begin; {change}")).await;
        assert_eq!(law::check(&mut connection).await.unwrap(), [broken]);
        run(&mut connection, "rollback").await;
    }
    // A bell does as well as a mark.
    let bell = "update business set has_more = false, ready = 0; insert into doorbell values (42, 1, 0)";
    run(&mut connection, bell).await;
    assert_eq!(law::check(&mut connection).await.unwrap(), Vec::<String>::new());
}

/// Recording 1 is done at its second attempt, and stored.
fn done() -> String {
    format!(
        "insert into business (business_id, max_slots, done) values (42, 2, 1);
         insert into job_history (job_id, business_id, call_sid, recording_sid, job_type, state, attempt, priority, enqueued_at,
                                  finished_at)
         values (1, 42, 'CA1', 'RE1', 'download_only', 'done', 2, 5, now(), now());
         insert into job_attempt (job_id, attempt, business_id, instance_id, started_at, ended_at, error_code, error_message)
         values (1, 1, 42, '{INSTANCE}', now(), now(), 'lease_expired', ''),
                (1, 1, 42, '{INSTANCE}', now(), now(), 'not_ready', '');
         insert into recordings (business_id, recording_key, job_type, job_id, call_sid, recording_sid, storage_key, bytes,
                                 sha256, content_type)
         values (42, 'RE1', 'download_only', 1, 'CA1', 'RE1', '42/CA1.mp3', 7, sha256('media 1'), 'audio/mpeg')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_seen_as_it_is() {
    let breaks = [
        ("update business set running = 1", "counters: business 42: 1 running, 0 ready, 0 scheduled, 1 done, 0 dead; done were 1"),
        ("update business set done = 2", "counters: business 42: 0 running, 0 ready, 0 scheduled, 2 done, 0 dead; done were 1"),
        ("update job_history set state = 'dead'; update business set done = 0", "lost: RE1 is dead"),
        ("update recordings set storage_key = '42/CA2.mp3'", "recordings: RE1 is not what stands at 42/CA2.mp3"),
        ("update recordings set sha256 = sha256('x')", "recordings: RE1 is not what stands at 42/CA1.mp3"),
        ("delete from recordings", "recordings: RE1 is done and not there"),
        (
            "insert into job_history select * from job_history; update business set done = 2",
            "stored 2 times: RE1",
        ),
        ("delete from job_history; update business set done = 0", "lost: RE1 was accepted and has no job"),
        (
            "insert into job_history (job_id, business_id, call_sid, recording_sid, job_type, state, attempt, priority,
                                      enqueued_at, finished_at)
             values (9, 42, 'CA9', 'RE9', 'download_only', 'done', 1, 5, now(), now()); update business set done = 2",
            "nobody asked for RE9",
        ),
        (
            "insert into job_lease (job_id, attempt, business_id, priority, instance_id, worker, generation, deadline_at)
             values (7, 1, 42, 5, gen_random_uuid(), 1, 1, now())",
            "not over: lease of 7",
        ),
    ];
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    run(&mut connection, &done()).await;
    let all = [wanted(1, true), wanted(2, false)];
    assert_eq!(rows::check(&mut connection, &all, &["RE3".to_owned()]).await.unwrap(), Vec::<String>::new());
    assert_eq!(attempts::check_numbers(&mut connection).await.unwrap(), Vec::<String>::new());
    for (change, broken) in breaks {
        run(&mut connection, &format!("begin; {change}")).await;
        assert_eq!(rows::check(&mut connection, &all, &[]).await.unwrap(), [broken]);
        run(&mut connection, "rollback").await;
    }
    assert_eq!(rows::check(&mut connection, &all, &["RE1".to_owned()]).await.unwrap(), ["undone, but stored: RE1"]);
    let read = attempts::read(&mut connection).await.unwrap();
    let members = HashMap::from([(INSTANCE.to_owned(), "one".to_owned())]);
    let lost = attempts::lost_leases(&read, &members);
    assert_eq!((read.len(), lost.len(), lost[0].member.as_str()), (2, 1, "one"));
    run(&mut connection, "update job_history set attempt = 3").await;
    assert_eq!(
        attempts::check_numbers(&mut connection).await.unwrap(),
        ["attempt 3 of RE1, but 1 of its attempts counted"]
    );
}
