//! A panic, an error and a normal stop in each place of each kind of child, in a real process that has work to do.

use crate::support::{
    Database, Process, Provider, eventually, new_job,
    process::{ACCOUNT_SID, Setup},
    provider::recording,
};
use callspool::domain::{
    job::NewJob,
    ports::{ActorInfo, JobBook},
};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::atomic::{AtomicU32, Ordering},
};

const KINDS: [&str; 3] = ["panic", "error", "stop"];

/// A kind of child and where it can fail.
struct Kind {
    child: &'static str,
    /// Besides `stopping` and `stopped`, which each of them passes when it ends.
    passes: &'static [&'static str],
    /// Places that it has not, by design.
    has_not: &'static [&'static str],
    /// I/O tasks of one life under way at one time, at most: each of them would fail.
    io_at_once: usize,
}

const MIGRATION: Kind =
    Kind { child: "migration", passes: &["started", "handler", "timer", "io"], has_not: &[], io_at_once: 2 };
const SLOT_MANAGER: Kind =
    Kind { child: "slot_manager", passes: &["started", "handler", "timer", "io"], has_not: &[], io_at_once: 2 };
/// A worker waits for nothing but its job.
const RECORDING_WORKER: Kind =
    Kind { child: "recording_worker", passes: &["started", "handler", "io"], has_not: &["timer"], io_at_once: 2 };
const LISTENER: Kind =
    Kind { child: "listener", passes: &["started", "handler", "timer", "io"], has_not: &[], io_at_once: 2 };
/// Maintenance works by the clock; nobody tells it anything.
const MAINTENANCE: Kind =
    Kind { child: "maintenance", passes: &["started", "timer", "io"], has_not: &["handler"], io_at_once: 5 };
/// Requests are served by the server's own threads; the actor only keeps the server.
const HTTP: Kind =
    Kind { child: "http", passes: &["started", "io"], has_not: &["handler", "timer"], io_at_once: 1 };

impl Kind {
    fn rules(&self) -> String {
        let mut rules = String::new();
        let mut rule = |place: &str, kind: &str, after: usize| {
            let child = self.child;
            writeln!(
                rules,
                "[[faults]]\nactor = \"{child}\"\nplace = \"{place}\"\nkind = \"{kind}\"\nafter = {after}"
            )
            .unwrap();
        };
        for (number, kind) in KINDS.into_iter().enumerate() {
            for place in self.passes.iter().chain(self.has_not) {
                rule(place, kind, if *place == "io" { number * (self.io_at_once - 1) } else { 0 });
            }
            rule("stopping", kind, 1);
            rule("stopped", kind, 2);
        }
        rules
    }

    fn all_faults(&self) -> BTreeSet<(String, String)> {
        let places = self.passes.iter().chain(&["stopping", "stopped"]);
        places.flat_map(|place| KINDS.map(|kind| ((*place).to_owned(), kind.to_owned()))).collect()
    }
}

/// The rules that were hit so far; each is hit once.
fn faults(process: &Process) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    let fault = |line: Value| (line["fault"].is_string()).then(|| (text(&line["place"]), text(&line["fault"])));
    process.lines().into_iter().filter_map(fault).collect()
}

/// Recordings are enqueued, one after the other, past the routes: those may be down.
struct Caller {
    book: callspool::store::Store,
    provider: String,
    next: AtomicU32,
}

impl Caller {
    fn new(database: &Database, provider: &Provider) -> Self {
        let provider = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings", provider.base());
        Self { book: database.store(), provider, next: AtomicU32::new(1) }
    }

    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn call_the_routes_of(&self, process: &Process) {
        process.enqueue(1, self.number()).await;
    }

    async fn call(&self) {
        let number = self.number();
        let job = NewJob { recording_url: format!("{}/RE{number}", self.provider), ..new_job(1, number) };
        self.book.enqueue(&[job]).await.unwrap();
        self.book.ring().await.unwrap();
    }

    /// Every number that was used.
    fn numbers(&self) -> std::ops::Range<u32> {
        1..self.next.load(Ordering::Relaxed)
    }
}

async fn one(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

/// Runs a process that fails in every place of `kind`, with work all the time, and looks what is left.
async fn fails_everywhere(kind: Kind) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let caller = Caller::new(&database, &provider);
    for _ in 0..3 {
        caller.call().await;
    }
    let mut connection = database.connect().await;
    // The migration actor passes its handler and timers only while it waits for the lock; the schema fits meanwhile.
    let lock = kind.child == "migration";
    if lock {
        sqlx::query("select pg_advisory_lock(1234567890)").execute(&mut connection).await.unwrap();
    }
    let mut process = Setup::new(&database)
        .provider(&provider)
        .config(&kind.rules())
        .var("CALLSPOOL__SUPERVISION__BACKOFF_MAX", "20ms")
        .var("CALLSPOOL__SUPERVISION__MAX_RESTARTS", "100")
        .var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "100")
        .var("CALLSPOOL__RETRY__MAX", "100ms")
        .var("CALLSPOOL__WORKER__COUNT", "2")
        .start();
    let wanted = kind.all_faults();
    let mut looker = database.connect().await;
    let waiting = "select count(*) from job";
    eventually("every fault", async || {
        match one(&mut looker, waiting).await {
            3.. => {}
            // What its handler hears comes from the routes.
            _ if kind.child == "listener" => caller.call_the_routes_of(&process).await,
            _ => caller.call().await,
        }
        let left: Vec<_> = wanted.difference(&faults(&process).into_iter().collect()).cloned().collect();
        left.is_empty().then_some(())
    })
    .await;
    if lock {
        sqlx::query("select pg_advisory_unlock_all()").execute(&mut connection).await.unwrap();
    }
    caller.call().await;
    process.wait_until_ready().await;
    eventually("an empty queue", async || (one(&mut looker, waiting).await == 0).then_some(())).await;

    let hit = faults(&process);
    assert_eq!(hit.len(), wanted.len(), "each once, and none where it cannot be: {hit:?}");
    assert_eq!(hit.into_iter().collect::<BTreeSet<_>>(), wanted);
    only_it_was_restarted(&kind, &process);
    the_fleet_is_told_where_it_panicked(&kind, &mut connection).await;
    everything_is_stored_once(&caller, &process, &mut connection).await;
    process.terminate();
    assert_eq!(process.exit_code().await, 0, "{}", process.everything());
}

/// By the process's next beat: the place, and nothing of what was said there.
async fn the_fleet_is_told_where_it_panicked(kind: &Kind, connection: &mut PgConnection) {
    let actors: Vec<ActorInfo> = eventually("a panic's place", async || {
        let told = "select actors from instance";
        let Json(actors): Json<Vec<ActorInfo>> =
            sqlx::query_scalar(told).fetch_one(&mut *connection).await.unwrap();
        actors.iter().any(|actor| actor.last_panic.is_some()).then_some(actors)
    })
    .await;
    for ActorInfo { actor, last_panic, .. } in actors {
        let Some(place) = last_panic else { continue };
        assert!(actor.starts_with(kind.child), "{actor} did not panic");
        let line = place.strip_prefix("src/actors/supervision/child_context.rs:").unwrap_or(&place);
        assert!(line.parse::<u32>().is_ok(), "{actor}: {place}");
    }
}

fn only_it_was_restarted(kind: &Kind, process: &Process) {
    let named = |event: &Value| event["actor"].as_str().unwrap().to_owned();
    let is_it =
        |name: &str| name == kind.child || name.strip_prefix(kind.child).is_some_and(|rest| rest.starts_with('-'));
    let (downs, restarts) = (process.events("ACTOR_DOWN"), process.events("ACTOR_RESTARTED"));
    for event in downs.iter().chain(&restarts) {
        assert!(is_it(&named(event)), "only {} fails: {event}", kind.child);
    }
    let lives = |events: &[Value], next: u64| {
        let life = |event: &Value| (named(event), event["generation"].as_u64().unwrap() + next);
        events.iter().map(life).collect::<Vec<_>>()
    };
    let set = |lives: Vec<_>| lives.into_iter().collect::<BTreeSet<_>>();
    let failed: Vec<Value> = process.lines().into_iter().filter(|line| line["fault"].is_string()).collect();
    assert_eq!(set(lives(&downs, 0)), set(lives(&failed, 0)), "who failed died, and nobody else");
    assert_eq!(lives(&downs, 0).len(), set(lives(&downs, 0)).len(), "one death for each life");
    assert_eq!(set(lives(&downs, 1)), set(lives(&restarts, 0)), "one new life for each death");
    assert_eq!(lives(&restarts, 0).len(), set(lives(&restarts, 0)).len(), "no generation twice");
    for reason in ["panic: a fault was asked for", "error: a fault was asked for", "stopped"] {
        assert!(downs.iter().any(|event| event["reason"] == reason), "{reason}: {downs:#?}");
    }
}

async fn everything_is_stored_once(caller: &Caller, process: &Process, connection: &mut PgConnection) {
    for number in caller.numbers() {
        assert_eq!(std::fs::read(process.file(1, number)).unwrap(), recording(number), "recording {number}");
    }
    let calls = i64::from(caller.numbers().end) - 1;
    let done = "select count(*) from job_history where state = 'done' and business_id = 1";
    assert_eq!(one(connection, done).await, calls);
    assert_eq!(one(connection, "select count(*) from recordings where business_id = 1").await, calls);
    assert_eq!(one(connection, "select count(*) from job_history where state <> 'done'").await, 0);
    assert_eq!(one(connection, "select coalesce(sum(running), 0)::bigint from business").await, 0);
    assert_eq!(one(connection, "select count(*) from job_lease").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_actor_that_fails_anywhere_is_restarted_alone() {
    fails_everywhere(MIGRATION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_manager_that_fails_anywhere_is_restarted_alone() {
    fails_everywhere(SLOT_MANAGER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_worker_that_fails_anywhere_is_restarted_alone() {
    fails_everywhere(RECORDING_WORKER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_fails_anywhere_is_restarted_alone() {
    fails_everywhere(LISTENER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_actor_that_fails_anywhere_is_restarted_alone() {
    fails_everywhere(MAINTENANCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_actor_that_fails_anywhere_is_restarted_alone() {
    fails_everywhere(HTTP).await;
}
