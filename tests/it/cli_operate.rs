//! The commands that ask why and that change something, by the real binary.

use crate::{
    queue_law::{Claimer, assert_law, dead, execute, retry},
    queue_watch::rules,
    support::{Database, command::Said, new_job, process::Setup},
};
use callspool::domain::{
    ids::{InstanceId, JobId},
    ports::{ActorInfo, Dispatch, InstanceInfo, JobBook, Watch},
};
use serde_json::Value;
use std::time::Duration;

/// A claimer, a command line beside it, and `n` jobs of business 1.
async fn with_jobs(n: u32) -> (Database, Claimer, Setup, Vec<JobId>) {
    let database = Database::migrated().await;
    let claimer = Claimer::new(&database).await;
    let batch: Vec<_> = (1..=n).map(|number| new_job(1, number)).collect();
    let jobs = claimer.store.enqueue(&batch).await.unwrap().into_iter().map(|job| job.id).collect();
    // The claimer of a test beats once: it lives for the whole of it.
    let setup = Setup::new(&database).var("CALLSPOOL__QUEUE__BEAT_TTL", "10min");
    (database, claimer, setup, jobs)
}

/// The explanation as JSON; the text says the same.
async fn explained(setup: &Setup, id: JobId) -> Value {
    let id = id.to_string();
    let (json, text) =
        (setup.say(&["jobs", "explain", &id, "--json"]).await, setup.say(&["jobs", "explain", &id]).await);
    assert_eq!((json.code, text.code), (0, 0), "{json:?} {text:?}");
    let json = json.json();
    for field in ["state", "reason", "text", "next"] {
        let value = json[field].as_str().unwrap_or("-");
        // Lengths of time differ from one look to the next.
        let start: String = value.chars().take(20).collect();
        assert!(text.out.contains(&start), "{field} {value} is not in:\n{}", text.out);
    }
    json
}

fn reason(explanation: &Value) -> &str {
    explanation["reason"].as_str().unwrap()
}

/// Id and outcome of each line.
fn outcomes(said: &Said) -> Vec<(i64, String)> {
    let lines = said.json_lines().into_iter();
    lines.map(|line| (line["id"].as_i64().unwrap(), line["outcome"].as_str().unwrap().to_owned())).collect()
}

fn text(ids: &[JobId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_who_has_the_slots() {
    let (_database, mut claimer, setup, jobs) = with_jobs(3).await;
    assert_eq!(setup.say(&["businesses", "set", "1", "--max-slots", "2"]).await.code, 0);
    claimer.claim(5).await;
    assert_eq!(reason(&explained(&setup, jobs[2]).await), "slots_full");
    let shown = setup.say(&["jobs", "explain", &jobs[2].to_string()]).await.out;
    let row = shown.lines().find(|line| line.contains("CA1 ")).unwrap_or_else(|| panic!("no holder in:\n{shown}"));
    assert!(row.contains("here") && row.contains(&claimer.instance.to_string()), "{shown}");
    assert!(shown.contains("max_slots        2") && shown.contains("JOB  CALL"), "{shown}");
    let running = explained(&setup, jobs[0]).await;
    assert_eq!((reason(&running), &running["detail"]["host"]), ("running", &"here".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_of_pauses_times_and_ends() {
    let (_database, mut claimer, setup, jobs) = with_jobs(3).await;
    let running = claimer.claim(2).await;
    claimer.settle(&running[0], retry(Duration::from_hours(1))).await;
    claimer.settle(&running[1], dead()).await;
    assert_eq!(reason(&explained(&setup, jobs[0]).await), "scheduled");
    let finished = explained(&setup, jobs[1]).await;
    assert_eq!((reason(&finished), &finished["detail"]["error"]["code"]), ("finished", &"http_status".into()));
    assert_eq!(reason(&explained(&setup, jobs[2]).await), "runnable");
    assert_eq!(setup.say(&["businesses", "set", "1", "--pause"]).await.code, 0);
    let paused = explained(&setup, jobs[2]).await;
    assert_eq!(reason(&paused), "business_paused");
    assert!(paused["detail"]["paused_by"].as_str().unwrap().starts_with("cli "), "{paused}");
    let none = setup.say(&["jobs", "explain", "999999"]).await;
    assert!(
        none.code == 1 && none.err.contains("there is no job 999999\u{3b}") && none.err.contains("\n  next: "),
        "{none:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_that_nobody_takes_jobs_and_that_the_schema_is_behind() {
    let (database, _claimer, setup, jobs) = with_jobs(1).await;
    execute(&database, "update instance set roles = '{api}', workers = 0").await;
    let nobody = explained(&setup, jobs[0]).await;
    assert_eq!(reason(&nobody), "no_live_workers");
    let shown = setup.say(&["jobs", "explain", &jobs[0].to_string()]).await.out;
    assert!(shown.contains("ROLES") && shown.contains(" api "), "{shown}");
    execute(&database, "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .await;
    let behind = explained(&setup, jobs[0]).await;
    assert_eq!(reason(&behind), "schema_behind");
    assert!(behind["next"].as_str().unwrap().contains("callspool migrate run"), "{behind}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_and_cancel_say_what_became_of_each_job() {
    let (database, mut claimer, setup, jobs) = with_jobs(4).await;
    let running = claimer.claim(2).await;
    claimer.settle(&running[0], dead()).await;
    let ids = text(&jobs);
    let cancelled = setup.say(&["jobs", "cancel", &ids[1], &ids[2], &ids[2], "--json"]).await;
    let expected = [(jobs[1].0, "requested".to_owned()), (jobs[2].0, "cancelled".to_owned())];
    assert_eq!((cancelled.code, outcomes(&cancelled)), (0, expected.to_vec()), "{cancelled:?}");
    let retried = setup.say(&["jobs", "retry", &ids[0], &ids[2], "999999"]).await;
    assert_eq!(retried.code, 1, "{retried:?}");
    for line in [
        format!("{} ready", ids[0]),
        format!("{} ready", ids[2]),
        "999999 unknown (there is no such job, or it is no longer kept)".to_owned(),
        "3 jobs: 2 ready, 1 unknown".to_owned(),
    ] {
        assert!(retried.out.lines().any(|other| other == line), "{line} is not in:\n{}", retried.out);
    }
    assert!(retried.err.contains("1 of 3 jobs were left as they are\n  next: "), "{}", retried.err);
    assert_law(&database).await;
    let shown = setup.say(&["businesses", "show", "1", "--json"]).await.json();
    let actions = shown["actions"].as_array().unwrap();
    assert!(
        actions.len() >= 4 && actions.iter().all(|a| a["operator"].as_str().unwrap().starts_with("cli ")),
        "{shown}"
    );
    assert!(setup.say(&["businesses", "show", "1"]).await.out.contains("OPERATOR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_come_from_a_file_or_from_what_another_command_prints() {
    let (_database, _claimer, setup, jobs) = with_jobs(4).await;
    let listed = setup.say(&["jobs", "list", "--json"]).await.out;
    let all = setup.say_with(&["jobs", "cancel", "--file", "-", "--json"], listed).await;
    assert_eq!((all.code, outcomes(&all).len()), (0, 4), "{all:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n{{\"id\": {}}}\n", jobs[0], jobs[1])).unwrap();
    let path = file.path().to_str().unwrap();
    let some = setup.say(&["jobs", "retry", &jobs[2].to_string(), "--file", path, "--json"]).await;
    assert_eq!((some.code, outcomes(&some).len()), (0, 3), "{some:?}");
    let wrong = setup.say_with(&["jobs", "retry", "--file", "-"], "1\nx\n").await;
    assert!(
        wrong.code == 1 && wrong.err.contains("line 2") && wrong.err.contains("next: give one job id"),
        "{wrong:?}"
    );
    let missing = setup.say(&["jobs", "retry", "--file", "/no/such/file"]).await;
    assert!(missing.code == 1 && missing.err.contains("/no/such/file cannot be read"), "{missing:?}");
    let nothing = setup.say_with(&["jobs", "retry", "--file", "-"], "").await;
    assert!(nothing.code == 0 && nothing.err.contains("there is no job to retry"), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_changes_all_that_it_finds_a_thousand_at_a_time() {
    let (database, claimer, setup, _) = with_jobs(2_500).await;
    claimer.store.enqueue(&[new_job(2, 9_001)]).await.unwrap();
    let refused = setup.say(&["jobs", "cancel", "--business-id", "1"]).await;
    assert!(refused.code == 2 && refused.err.contains("next: ") && refused.err.contains("--yes"), "{refused:?}");
    let cancelled = setup.say(&["jobs", "cancel", "--business-id", "1", "--yes"]).await;
    assert_eq!(cancelled.code, 0, "{}", cancelled.err);
    assert!(cancelled.out.ends_with("2500 jobs: 2500 cancelled\n") && cancelled.out.lines().count() == 2_501);
    let one = setup.say(&["jobs", "retry", "--state", "cancelled", "--call-sid", "CA7", "--yes", "--json"]).await;
    assert_eq!((one.code, outcomes(&one).len()), (0, 1), "{one:?}");
    let none = setup.say(&["jobs", "retry", "--state", "dead", "--yes"]).await;
    assert!(none.code == 0 && none.out.is_empty() && none.err.contains("no job to retry"), "{none:?}");
    for (wrong, said) in [
        (&["jobs", "retry"][..], "required"),
        (&["jobs", "retry", "1", "--state", "dead"], "cannot be used with"),
        (&["jobs", "retry", "--state", "done", "--yes"], "allowed for --state: dead, cancelled, scheduled"),
        (&["jobs", "cancel", "--state", "dead", "--yes"], "allowed for --state: ready, scheduled, running"),
        (&["jobs", "cancel", "--call-sid", "x", "--yes"], "call_sid must be"),
    ] {
        let refused = setup.say(wrong).await;
        assert!(refused.code == 2 && refused.err.contains(said), "{wrong:?}: {refused:?}");
    }
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn businesses_are_listed_changed_and_shown() {
    let (_database, mut claimer, setup, _) = with_jobs(3).await;
    claimer.claim(1).await;
    let changed =
        setup.say(&["businesses", "set", "1", "--max-slots", "9", "--weight", "3", "--pause", "--json"]).await;
    let now = changed.json();
    assert_eq!((&now["max_slots"], &now["weight"], &now["paused"]), (&9.into(), &3.into(), &true.into()), "{now}");
    let resumed = setup.say(&["businesses", "set", "1", "--resume"]).await.out;
    assert!(resumed.contains("paused        no") && resumed.contains("max_slots     9"), "{resumed}");
    // One that has no job yet.
    assert_eq!(setup.say(&["businesses", "set", "7", "--max-slots", "0"]).await.code, 0);
    let list = |more: &[&'static str]| {
        let arguments = [&["businesses", "list", "--json"], more].concat();
        let setup = &setup;
        async move { setup.say(&arguments).await.json() }
    };
    let ids = |list: &Value| {
        list.as_array().unwrap().iter().map(|b| b["business_id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&list(&[]).await), [1, 7]);
    assert_eq!(ids(&list(&["--limit", "1"]).await), [1]);
    assert_eq!(ids(&list(&["--after", "1"]).await), [7]);
    let table = setup.say(&["businesses", "list"]).await.out;
    assert!(table.lines().count() == 3 && table.contains("1/9"), "{table}");
    for (wrong, said) in [
        (&["businesses", "set", "1"][..], "one of these must be given"),
        (&["businesses", "set", "1", "--pause", "--resume"], "cannot be used with"),
        (&["businesses", "set", "1", "--max-slots", "10001"], "from 0 to 10000"),
        (&["businesses", "set", "1", "--weight", "0"], "from 1 to 100"),
        (&["businesses", "set", "0", "--weight", "1"], "a positive whole number"),
    ] {
        let refused = setup.say(wrong).await;
        assert!(refused.code == 2 && refused.err.contains(said), "{wrong:?}: {refused:?}");
    }
    let none = setup.say(&["businesses", "show", "99"]).await;
    assert!(none.code == 1 && none.err.contains("there is no business 99\n  next: "), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_begins_with_what_is_stalled() {
    let database = Database::migrated().await;
    let (store, setup) = (database.store(), Setup::new(&database));
    store.enqueue(&[new_job(1, 1), new_job(1, 2)]).await.unwrap();
    assert!(setup.say(&["status"]).await.out.starts_with("schema"));
    store.watch(&rules()).await.unwrap();
    execute(&database, "update business set waiting_since = waiting_since - interval '1 hour'").await;
    execute(&database, "update queue_watch set watched_at = watched_at - interval '1 hour', took_ms = 0").await;
    store.watch(&rules()).await.unwrap();
    let status = setup.say(&["status"]).await.out;
    assert!(status.starts_with("stalled    no_live_workers\n"), "{status}");
    assert!(status.contains("2 jobs of business 1 wait") && status.contains("schema     "), "{status}");
    let json = setup.say(&["status", "--json"]).await.json();
    assert_eq!(
        (&json["stalls"][0]["reason"], &json["backlog"]["ready"]),
        (&"no_live_workers".into(), &2.into()),
        "{json}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_which_actor_panicked_and_where() {
    let (database, instance) = (Database::migrated().await, InstanceId::generate());
    let actor = |name: &str, state: &str, place: Option<&str>| ActorInfo {
        actor: name.to_owned(),
        generation: 2,
        state: state.to_owned(),
        last_panic: place.map(str::to_owned),
    };
    let info = InstanceInfo {
        instance,
        host: "here".to_owned(),
        pid: 1,
        roles: vec!["worker".to_owned()],
        version: "1".to_owned(),
        workers: 16,
        draining: true,
        actors: vec![actor("listener", "up", Some("src/x.rs:12")), actor("watcher", "restarting", None)],
    };
    database.store().beat(&info).await.unwrap();
    let status = Setup::new(&database).say(&["status"]).await.out;
    for expected in ["1 up, 2 restarts, watcher restarting, listener last panicked at src/x.rs:12", ", draining"] {
        assert!(status.contains(expected), "{expected} is not in:\n{status}");
    }
}
