//! A primary that ends and a standby that is promoted, under real processes whose URL names both.

use crate::{
    queue_law::{assert_law, totals},
    standby::Standby,
    support::{
        Answer, Database, Process, Provider, eventually,
        process::{ACCOUNT_SID, Setup, json},
        provider::recording,
    },
};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

const BUSINESSES: u32 = 3;

fn business_of(number: u32) -> i64 {
    i64::from(number % BUSINESSES) + 1
}

/// Two that store in one place, with a beat that is not late on a busy machine.
fn fleet(database: &Database, provider: &Provider) -> (Setup, Setup) {
    let one = Setup::new(database).provider(provider).var("CALLSPOOL__QUEUE__BEAT_TTL", "1min");
    let storage = format!("file:{}", one.storage().display());
    let two = Setup::new(database).provider(provider).var("CALLSPOOL__QUEUE__BEAT_TTL", "1min");
    (one, two.var("CALLSPOOL_STORAGE_URL", &storage))
}

/// Whether the process promised the recording: who is answered otherwise has to come again.
async fn is_taken(process: &Process, number: u32) -> bool {
    let body = json!({
        "business_id": business_of(number),
        "call_sid": format!("CA{number}"),
        "recording_url": format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE{number}"),
    });
    let status = process.post_json("/v1/jobs", &body).await.status().as_u16();
    assert!([202, 503].contains(&status), "{status}");
    status == 202
}

/// Tells of one recording after the other until `stop`. Those that the process promised.
async fn load(process: &Process, first: u32, stop: &AtomicBool) -> Vec<u32> {
    let mut promised = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for number in first.. {
        pace.tick().await;
        if stop.load(Relaxed) {
            break;
        }
        if is_taken(process, number).await {
            promised.push(number);
        }
    }
    promised
}

async fn over(database: &Database, at_least: usize) {
    eventually(&format!("the end of {at_least} jobs and all others"), async || {
        let (all, ended) = totals(database).await;
        (all == ended && usize::try_from(all).unwrap() >= at_least).then_some(())
    })
    .await;
}

fn assert_stored(storage: &Path, number: u32) {
    let file = storage.join(format!("{}/CA{number}.mp3", business_of(number)));
    assert_eq!(std::fs::read(file).unwrap(), recording(number), "recording {number}");
}

async fn reasons(process: &Process) -> String {
    json(process.get("/readyz").await).await["reasons"].to_string()
}

/// The place of the primary in the URL that the process has found last.
fn place(process: &Process) -> Value {
    process.events("DATABASE_PRIMARY").last().unwrap()["place"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_loses_nothing_to_its_synchronous_standby_and_nobody_is_restarted() {
    let (standby, provider) = (Standby::synchronous().await, Provider::start());
    let (one, two) = fleet(&standby.database(), &provider);
    let (one, two) = tokio::join!(one.run(), two.run());
    let storage = one.storage();
    let stop = AtomicBool::new(false);
    let promoted = standby.database_at(&[1]);
    let failover = async {
        one.event_number("WORKER_DOWNLOAD_DONE", 20).await;
        two.event_number("WORKER_DOWNLOAD_DONE", 20).await;
        standby.kill(0).await;
        standby.promote(1).await;
        for process in [&one, &two] {
            process.event_number("DATABASE_PRIMARY", 2).await;
            process.wait_until_ready().await;
        }
        // Under load on the new primary, too.
        let before = totals(&promoted).await.1;
        eventually("jobs after the failover", async || (totals(&promoted).await.1 > before + 20).then_some(()))
            .await;
        stop.store(true, Relaxed);
    };
    let (first, second, ()) = tokio::join!(load(&one, 1, &stop), load(&two, 100_000, &stop), failover);
    let promised: Vec<u32> = first.into_iter().chain(second).collect();
    over(&promoted, promised.len()).await;
    for number in &promised {
        assert_stored(&storage, *number);
    }
    assert_law(&promoted).await;
    for process in [&one, &two] {
        assert_eq!(process.events("ACTOR_DOWN"), Vec::<Value>::new(), "nobody is restarted");
        assert_eq!(place(process), 2);
    }

    // The old one comes back under the first name, as a standby: nobody uses it, also nobody who starts now.
    standby.rejoin(0).await;
    let setup = Setup::new(&standby.database()).provider(&provider);
    let three = setup.run().await;
    assert_eq!(place(&three), 2);
    let number = 300_000;
    assert!(is_taken(&three, number).await);
    over(&promoted, promised.len() + 1).await;
    assert_eq!(standby.sessions(0).await, Vec::<String>::new(), "on the standby");
    for process in [&one, &two] {
        assert_eq!(process.events("DATABASE_PRIMARY").len(), 2, "{}", process.everything());
    }
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_comes_back_as_one_after_a_promotion_is_not_used() {
    let (standby, provider) = (Standby::asynchronous().await, Provider::start());
    let process = Setup::new(&standby.database()).provider(&provider).run().await;
    standby.kill(0).await;
    standby.promote(1).await;
    process.event_number("DATABASE_PRIMARY", 2).await;
    // Nobody told it: both take writes now.
    standby.start_again(0).await;
    let other = Setup::new(&standby.database()).provider(&provider).run().await;
    assert_eq!((place(&process), place(&other)), (json!(2), json!(2)));
    // Also when the newer one is away.
    standby.kill(1).await;
    let none = other.event("DATABASE_NO_PRIMARY").await;
    assert!(none["reason"].to_string().contains("left behind by a promotion: 1"), "{none}");
    eventually("that it is not ready", async || (!other.is_ready().await).then_some(())).await;
    assert_eq!(totals(&standby.database_at(&[0])).await, (0, 0));
    standby.start_again(1).await;
    for running in [&process, &other] {
        running.wait_until_ready().await;
        assert_eq!(place(running), 2);
    }
    assert!(is_taken(&process, 1).await);
    over(&standby.database_at(&[1]), 1).await;
    assert_eq!(totals(&standby.database_at(&[0])).await, (0, 0));
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_starts_and_commands_work_with_only_the_second_host_alive() {
    let (standby, provider) = (Standby::asynchronous().await, Provider::start());
    let setup = Setup::new(&standby.database()).provider(&provider);
    standby.kill(0).await;
    standby.promote(1).await;
    let migrated = setup.say(&["migrate", "run", "--json"]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    assert_eq!(setup.say(&["migrate", "wait", "--timeout", "30"]).await.code, 0);
    let url = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE1");
    let enqueue = ["enqueue", "--business-id", "2", "--call-sid", "CA1", "--recording-url", &url];
    assert_eq!(setup.say(&enqueue).await.code, 0);
    let process = setup.run().await;
    over(&standby.database_at(&[1]), 1).await;
    assert_stored(&process.storage(), 1);
    let status = process.setup().say(&["status", "--json"]).await;
    assert_eq!(status.json()["backlog"]["done"], 1, "{status:?}");
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_picks_the_primary_where_the_standby_is_named_first() {
    let standby = Standby::asynchronous().await;
    let database = standby.database_at(&[1, 0]);
    let setup = Setup::new(&database);
    let waited = setup.say(&["migrate", "wait", "--timeout", "0"]).await;
    assert_eq!(waited.code, 75, "{waited:?}");
    let migrated = setup.say(&["migrate", "run", "--json"]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let process = setup.run().await;
    assert_eq!(place(&process), 2);
    assert_eq!(standby.sessions(1).await, Vec::<String>::new(), "on the standby");
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_alone_is_said_to_be_one_and_nothing_is_claimed_until_it_is_promoted() {
    let (standby, provider) = (Standby::synchronous().await, Provider::start());
    let (one, two) = fleet(&standby.database(), &provider);
    let soon = |setup: Setup| setup.var("CALLSPOOL__RETRY__NOT_READY_MAX", "200ms");
    let running = soon(one.var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "1s")).run().await;
    // Tried again and again.
    provider.tell_where("RE1", Answer::status(404));
    assert!(is_taken(&running, 1).await);
    running.event_number("WORKER_JOB_FAILED", 2).await;
    standby.kill(0).await;
    let started = soon(two).start();
    for process in [&running, &started] {
        let none = process.event("DATABASE_NO_PRIMARY").await;
        assert_eq!((&none["hosts"], &none["standbys"]), (&json!(2), &json!(1)), "{none}");
        eventually("the reason in /readyz", async || {
            reasons(process).await.contains("the database takes no writes: there is no primary").then_some(())
        })
        .await;
    }
    let asked = provider.asked().len();
    // The standby alone, by a URL that names nothing else and asks for nothing: it can be read, and is not ready.
    let alone =
        Setup::new(&standby.database_at(&[1])).var("RUN_MIGRATIONS", "0").var("CALLSPOOL_ROLES", "api").start();
    eventually("the reason in /readyz of one host", async || {
        reasons(&alone).await.contains("the database takes no writes: the host is a standby").then_some(())
    })
    .await;
    assert!(!is_taken(&running, 2).await);
    let status = running.setup().say(&["status"]).await;
    assert!(status.code == 1 && status.err.contains("there is no primary"), "{status:?}");
    assert!(status.err.contains("next:"), "{status:?}");
    assert_eq!(provider.asked().len(), asked, "something was claimed");
    assert!(started.events("WORKER_SLOT_ACQUIRED").is_empty());
    provider.forget_where("RE1");
    standby.promote(1).await;
    for process in [&running, &started, &alone] {
        process.wait_until_ready().await;
    }
    over(&standby.database_at(&[1]), 1).await;
    assert_stored(&running.storage(), 1);
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bells_are_heard_after_a_failover() {
    let (standby, provider) = (Standby::asynchronous().await, Provider::start());
    // Nobody looks: a job of the other's is found by its bell, or not within the test's patience.
    let deaf =
        |setup: Setup| setup.var("CALLSPOOL__QUEUE__POLL_MIN", "1min").var("CALLSPOOL__QUEUE__POLL_MAX", "1min");
    let (one, two) = fleet(&standby.database(), &provider);
    let taking_in = deaf(one.var("CALLSPOOL_ROLES", "api")).run().await;
    let working = deaf(two).run().await;
    standby.kill(0).await;
    standby.promote(1).await;
    for process in [&taking_in, &working] {
        process.event_number("DATABASE_PRIMARY", 2).await;
        process.wait_until_ready().await;
    }
    eventually("two listeners", async || {
        let sessions = standby.sessions(1).await;
        (sessions.iter().filter(|name| name.starts_with("callspool-listener/")).count() == 2).then_some(())
    })
    .await;
    for number in 1..=3 {
        assert!(is_taken(&taking_in, number).await);
        working.event_number("WORKER_DOWNLOAD_DONE", usize::try_from(number).unwrap()).await;
    }
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_work_at_the_failover_goes_on_within_its_lease_and_that_of_a_dead_process_is_reaped() {
    let (standby, provider) = (Standby::synchronous().await, Provider::start());
    let (living, dying) = fleet(&standby.database(), &provider);
    let workers =
        |setup: Setup| setup.var("CALLSPOOL__WORKER__COUNT", "2").var("CALLSPOOL__QUEUE__BEAT_TTL", "10s");
    let (living, mut dying) = tokio::join!(workers(living).run(), workers(dying).run());
    (1..=4).for_each(|number| provider.tell(number, [Answer::Held(recording(number))]));
    for number in 1..=4 {
        assert!(is_taken(&living, number).await);
    }
    provider.asked_times(4).await;
    let of_dying = dying.events("WORKER_PICKED").len();
    assert_eq!((of_dying, living.events("WORKER_PICKED").len()), (2, 2));
    dying.kill().await;
    standby.kill(0).await;
    standby.promote(1).await;
    living.event_number("DATABASE_PRIMARY", 2).await;
    // Once those that it holds are out of its hands it has workers for the others' jobs.
    provider.release(100);
    let promoted = standby.database_at(&[1]);
    over(&promoted, 4).await;
    let mut connection = promoted.connect().await;
    let attempts: Vec<(String, i16)> = sqlx::query_as("select state, attempt from job_view order by attempt")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let done = |attempt| ("done".to_owned(), attempt);
    assert_eq!(attempts, [done(1), done(1), done(2), done(2)]);
    let reaped = living.events("WORKER_RELEASE_SLOT").iter().filter(|event| event["reason"] == "reaped").count();
    assert_eq!(reaped, 2);
    (1..=4).for_each(|number| assert_stored(&living.storage(), number));
    assert_law(&promoted).await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_swallows_every_packet_is_left_as_soon_as_another_is_there() {
    let (standby, provider) = (Standby::asynchronous().await, Provider::start());
    // The kernel takes the connection, and nobody ever answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = standby.database().url.replace('@', &format!("@{address},"));
    let process = Setup::new(&Database { url }).provider(&provider).run().await;
    assert_eq!(place(&process), 2);
    standby.freeze(0);
    standby.promote(1).await;
    process.event_number("DATABASE_PRIMARY", 2).await;
    process.wait_until_ready().await;
    assert_eq!(place(&process), 3);
    assert!(is_taken(&process, 1).await);
    over(&standby.database_at(&[1]), 1).await;
    standby.thaw(0);
    tokio::time::timeout(Duration::from_secs(30), standby.stop()).await.unwrap();
}
