//! The release before this one and this one side by side on one database, while load runs and the schema migrates.

use crate::{
    previous::Release::{self, Previous, This},
    queue_law::{assert_law, totals},
    support::{
        Answer, Database, Process, Provider, eventually, gate::Folder, http::Callback, process::Setup,
        provider::recording, within_patience,
    },
};
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What locks hard while everybody works, also where this release brings no migration of its own.
const HARD: &str = "lock table callspool.job, callspool.job_ready, callspool.job_lease in access exclusive mode;
                    select pg_sleep(0.5); create table public.marks (id bigint primary key);";
/// Calls that are enqueued in SQL have numbers above this.
const BY_SQL: u32 = 100_000;

fn business_of(number: u32) -> u32 {
    1 + number % 7
}

/// Webhooks and enqueues in SQL, until it is told to stop.
struct Load {
    /// Where a webhook may be sent to: some of these are gone.
    doors: Arc<Mutex<Vec<String>>>,
    over: CancellationToken,
    callers: Vec<JoinHandle<Vec<u32>>>,
}

impl Load {
    fn start(database: &Database, provider: &Provider) -> Self {
        let (doors, over) = (Arc::<Mutex<Vec<String>>>::default(), CancellationToken::new());
        let by_webhook = |first: u32| tokio::spawn(call(first, Arc::clone(&doors), over.clone()));
        let mut callers: Vec<_> = (0..3).map(by_webhook).collect();
        callers.push(tokio::spawn(enqueue(database.clone(), provider.base().to_owned(), over.clone())));
        Self { doors, over, callers }
    }

    async fn opens(&self, process: &Process) {
        let url = process.url().await;
        self.doors.lock().unwrap().push(url);
    }

    /// The numbers of the calls that were answered with 2xx or committed.
    async fn stop(self) -> BTreeSet<u32> {
        self.over.cancel();
        let mut accepted = BTreeSet::new();
        for caller in self.callers {
            accepted.extend(caller.await.unwrap());
        }
        accepted
    }
}

/// Each call is told of until some door has taken it, as a provider with a fallback URL does.
async fn call(first: u32, doors: Arc<Mutex<Vec<String>>>, over: CancellationToken) -> Vec<u32> {
    let mut accepted = Vec::new();
    for number in (first + 1..BY_SQL).step_by(3) {
        let callback = Callback::completed(number).query(&format!("?business_id={}", business_of(number)));
        within_patience("a door that takes a call", is_taken(&callback, &doors)).await;
        accepted.push(number);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if over.is_cancelled() {
            break;
        }
    }
    accepted
}

async fn is_taken(callback: &Callback, doors: &Mutex<Vec<String>>) {
    loop {
        let open = doors.lock().unwrap().clone();
        for door in open.iter().rev() {
            if callback.send_to(door).await.is_ok_and(|answer| answer.status == 202) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn enqueue(database: Database, base: String, over: CancellationToken) -> Vec<u32> {
    let mut connection = database.connect().await;
    let mut accepted = Vec::new();
    for number in BY_SQL.. {
        let business = business_of(number);
        let sql = format!(
            "select callspool.enqueue(business_id => {business}, call_sid => 'CA{number}', recording_sid => 'RE{number}',
                 recording_url => '{base}/2010-04-01/Accounts/AC1/Recordings/RE{number}')"
        );
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        accepted.push(number);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if over.is_cancelled() {
            break;
        }
    }
    connection.close().await.unwrap();
    accepted
}

async fn done(database: &Database) -> i64 {
    totals(database).await.1
}

/// That the fleet as it is now moves recordings.
async fn some_more_are_done(database: &Database) {
    let before = done(database).await;
    eventually("more that are done", async || (done(database).await >= before + 20).then_some(())).await;
}

fn errors(process: &Process) -> Vec<String> {
    process.lines().iter().filter(|line| line["level"] == "ERROR").map(ToString::to_string).collect()
}

fn reaped(process: &Process) -> usize {
    process.events("WORKER_RELEASE_SLOT").iter().filter(|event| event["reason"] == "reaped").count()
}

/// Every file below, by its name within.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

/// Three processes of `from` are replaced by three of `to`, one of them without a word, while calls come in.
async fn roll(from: Release, to: Release) {
    let (database, provider) = (Database::empty().await, Provider::start());
    let folder = Folder::with(&[("1_marks.sql", HARD)]);
    // The newest schema of both, where this is a roll back.
    let first = if from == This { This } else { Previous };
    let first = first.setup(&database, &provider).migrates().await;
    assert_eq!(first["outcome"], "applied");
    let shared = tempfile::tempdir().unwrap();
    let storage = format!("file:{}", shared.path().display());
    let setup =
        |release: Release| -> Setup { release.setup(&database, &provider).var("CALLSPOOL_STORAGE_URL", &storage) };
    let load = Load::start(&database, &provider);
    let mut old = Vec::new();
    for _ in 0..3 {
        let process = setup(from).run().await;
        load.opens(&process).await;
        old.push(process);
    }
    some_more_are_done(&database).await;

    let migrate = setup(to).var("MIGRATIONS_DIR", &folder.path().display().to_string());
    let migrated = migrate.migrates().await;
    assert_eq!(migrated["outcome"], "applied", "{migrated}");
    some_more_are_done(&database).await;
    let mut new = Vec::new();
    for turn in 0..3 {
        let process = setup(to).run().await;
        load.opens(&process).await;
        new.push(process);
        if turn == 1 {
            old[turn].kill().await;
        } else {
            old[turn].terminate();
            assert_eq!(old[turn].exit_code().await, 0, "{}", old[turn].everything());
        }
        some_more_are_done(&database).await;
    }
    let accepted = load.stop().await;
    eventually("the end of all", async || {
        let (jobs, done) = totals(&database).await;
        (jobs == done).then_some(())
    })
    .await;
    let all = i64::try_from(accepted.len()).unwrap();
    assert!(all > 100, "{all} calls are no load");
    everything_is_stored(&database, &accepted, shared.path()).await;
    let everybody = old.iter().chain(&new);
    let given_back: usize = everybody.clone().map(reaped).sum();
    let again: i64 = database.one("select count(*) from callspool.job_history where attempt > 1").await;
    assert!(
        again <= i64::try_from(given_back).unwrap(),
        "{again} attempts are used up, and {given_back} leases were the killed one's"
    );
    for (number, process) in everybody.enumerate() {
        assert_eq!(errors(process), Vec::<String>::new(), "process {number}");
    }
    println!("{from:?} to {to:?}: {all} recordings, {given_back} of the killed process's");
}

/// Once each, by name and content, and nothing else.
async fn everything_is_stored(database: &Database, accepted: &BTreeSet<u32>, storage: &Path) {
    let mut connection = database.connect().await;
    let done: Vec<(i64, String)> =
        sqlx::query_as("select count(*), min(state) from job_history group by call_sid order by 1 desc")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(done.len(), accepted.len());
    assert!(done.iter().all(|(jobs, state)| (*jobs, state.as_str()) == (1, "done")), "{:?}", done.first());
    let name = |number: &u32| format!("{}/CA{number}.mp3", business_of(*number));
    let wanted: BTreeSet<String> = accepted.iter().map(name).collect();
    // A killed process leaves what it wrote aside; it is swept away later.
    let there: BTreeSet<String> = files(storage).into_iter().filter(|name| name.ends_with(".mp3")).collect();
    assert_eq!(there.symmetric_difference(&wanted).collect::<Vec<_>>(), Vec::<&String>::new());
    for number in accepted {
        assert_eq!(std::fs::read(storage.join(name(number))).unwrap(), recording(*number), "recording {number}");
    }
    assert_law(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_release_is_replaced_by_this_one_under_load_and_nothing_is_lost() {
    roll(Previous, This).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_release_is_rolled_back_to_the_previous_one_under_load_and_nothing_is_lost() {
    roll(This, Previous).await;
}

/// What one release had when it was killed, the other takes back and finishes.
async fn inherits(dead: Release, heir: Release) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    (1..=4).for_each(|number| provider.tell(number, [Answer::Held(recording(number))]));
    let mut one = dead.setup(&database, &provider).run().await;
    for number in 1..=4 {
        one.enqueue(42, number).await;
    }
    provider.asked_times(4).await;
    let storage = format!("file:{}", one.storage().display());
    let two = heir.setup(&database, &provider).var("CALLSPOOL_STORAGE_URL", &storage).run().await;
    one.kill().await;
    provider.asked_times(8).await;
    provider.release(100);
    eventually("the end of all", async || (done(&database).await == 4).then_some(())).await;
    assert_eq!(reaped(&two), 4, "{}", two.everything());
    for number in 1..=4 {
        assert_eq!(std::fs::read(one.file(42, number)).unwrap(), recording(number));
    }
    assert_eq!(errors(&two), Vec::<String>::new());
    assert_law(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_release_takes_back_what_a_killed_process_of_the_previous_one_had() {
    inherits(Previous, This).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_release_takes_back_what_a_killed_process_of_this_one_had() {
    inherits(This, Previous).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_the_previous_release_is_settled_by_it_after_this_one_has_migrated() {
    let (database, provider) = (Database::empty().await, Provider::start());
    provider.tell(1, [Answer::Held(recording(1))]);
    Previous.setup(&database, &provider).migrates().await;
    let process = Previous.setup(&database, &provider).run().await;
    let id = process.enqueue(42, 1).await;
    provider.asked_times(1).await;
    let folder = Folder::with(&[("1_marks.sql", HARD)]);
    This.setup(&database, &provider).var("MIGRATIONS_DIR", &folder.path().display().to_string()).migrates().await;
    provider.release(1);
    let job = eventually("its end", async || {
        let job = process.job(id).await;
        (job["state"] == "done").then_some(job)
    })
    .await;
    assert_eq!((&job["attempt"], provider.asked().len()), (&1.into(), 1), "{job}");
    assert_eq!(errors(&process), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_releases_commands_read_the_newer_schema() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = This.setup(&database, &provider).run().await;
    let id = process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let old = Previous.setup(&database, &provider);
    let say = async |arguments: &[&str]| {
        let said = old.say(arguments).await;
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.json()
    };
    let status = say(&["status", "--json"]).await;
    assert_eq!((&status["backlog"]["done"], status["instances"].as_array().unwrap().len()), (&1.into(), 1));
    assert_eq!(say(&["jobs", "list", "--state", "done", "--json"]).await[0]["id"], id);
    assert_eq!(say(&["jobs", "show", &id.to_string(), "--json"]).await["state"], "done");
    assert_eq!(say(&["businesses", "list", "--json"]).await[0]["business_id"], 42);
    assert_eq!(say(&["migrate", "status", "--json"]).await["fits"], true);
    assert_eq!(say(&["migrate", "run", "--json"]).await["outcome"], "up_to_date");
}
