//! A database that answers in 200 ms, with the pool as it is shipped, with the smallest one, and behind a pooler.

use crate::{
    pgbouncer::PgBouncer,
    queue_law::{assert_law, totals},
    support::{
        Answer, Database, Process, Provider, eventually, http::Callback, process::Setup, provider::recording,
        way::Way,
    },
};
use futures_util::{StreamExt, stream};
use std::time::{Duration, Instant};

const ROUND_TRIP: Duration = Duration::from_millis(200);
const RECORDINGS: u32 = 64;
/// Longer than other tests have patience: nothing here is quick.
const LONG: Duration = Duration::from_mins(5);

/// Processes and commands of one fleet on a slow database.
struct Slow {
    database: Database,
    /// The pool's address, and the direct one.
    ways: Vec<Way>,
    setup: Box<dyn Fn(&Provider) -> Setup>,
    _pgbouncer: Option<PgBouncer>,
}

impl Slow {
    async fn on(database: Database, pool_size: Option<u32>, behind_pooler: bool) -> Self {
        let (way, far) = Way::to(&database);
        let mut ways = vec![way];
        let mut pgbouncer = None;
        let mut pooled = None;
        if behind_pooler {
            let bouncer = PgBouncer::transaction(&database, 2).await;
            let (way, far) = Way::to(&bouncer.database(&database));
            ways.push(way);
            pooled = Some(far);
            pgbouncer = Some(bouncer);
        }
        ways.iter().for_each(|way| way.delay(ROUND_TRIP));
        let setup = move |provider: &Provider| {
            // Beats as they are shipped.
            let mut setup = Setup::new(&far)
                .provider(provider)
                .var("CALLSPOOL__QUEUE__BEAT_INTERVAL", "2s")
                .var("CALLSPOOL__QUEUE__BEAT_TTL", "10s")
                .var("CALLSPOOL__QUEUE__REAP_INTERVAL", "1s");
            if let Some(size) = pool_size {
                setup = setup.var("CALLSPOOL__DATABASE__POOL_SIZE", &size.to_string());
            }
            if let Some(pooled) = &pooled {
                setup = setup
                    .var("DATABASE_URL", &pooled.url)
                    .var("MIGRATION_DATABASE_URL", &far.url)
                    .var("CALLSPOOL__DATABASE__POOLER", "transaction")
                    // A step takes a second: who comes fifth waits longer than it is shipped with.
                    .var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "15s");
            }
            setup
        };
        Self { database, ways, setup: Box::new(setup), _pgbouncer: pgbouncer }
    }

    fn setup(&self, provider: &Provider) -> Setup {
        (self.setup)(provider)
    }

    fn round_trips(&self) -> u64 {
        self.ways.iter().map(Way::round_trips).sum()
    }
}

async fn in_long<T>(what: &str, event: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(LONG, event).await;
    waited.unwrap_or_else(|_| panic!("not within {LONG:?}: {what}"))
}

async fn event(process: &Process, marker: &str) {
    let there = async {
        while process.events(marker).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_long(marker, there).await;
}

async fn done(database: &Database, jobs: i64) {
    let over = async {
        while totals(database).await.1 < jobs {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_long("the end of all", over).await;
}

/// Lines that tell of a beat or a step that failed, or of something worse; the driver's own say only that it is slow.
fn trouble(process: &Process) -> Vec<String> {
    let is_slow = |line: &serde_json::Value| line["target"].as_str().is_some_and(|from| from.starts_with("sqlx"));
    let is_trouble =
        |line: &serde_json::Value| (line["level"] == "WARN" || line["level"] == "ERROR") && !is_slow(line);
    process.lines().iter().filter(|line| is_trouble(line)).map(ToString::to_string).collect()
}

/// Webhooks of four callers at once, downloads, readiness, commands and a drain with downloads under way.
async fn everything_works(pool_size: Option<u32>, behind_pooler: bool) {
    let provider = Provider::start();
    let slow = Slow::on(Database::migrated().await, pool_size, behind_pooler).await;
    let began = Instant::now();
    let mut process = slow.setup(&provider).start();
    process.wait_until_ready().await;
    let ready = began.elapsed();

    let (began, trips) = (Instant::now(), slow.round_trips());
    let webhooks = stream::iter(1..=RECORDINGS)
        .map(async |number| {
            let callback = Callback::completed(number).query(&format!("?business_id={}", 1 + number % 16));
            let answer = callback.send(&process).await;
            assert_eq!(answer.status, 202, "{answer:?}");
        })
        .buffer_unordered(4)
        .collect::<Vec<_>>();
    let probes = async {
        while totals(&slow.database).await.1 < i64::from(RECORDINGS) {
            let answer = process.get("/readyz").await;
            assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    in_long("all recordings", async { tokio::join!(webhooks, probes) }).await;
    let (moved, trips) = (began.elapsed(), slow.round_trips() - trips);
    let first: i64 = slow.database.one("select count(*) from callspool.job_history where attempt = 1").await;
    assert_eq!((first, provider.asked().len()), (i64::from(RECORDINGS), RECORDINGS as usize));

    let commands = slow.setup(&provider);
    for command in [
        &["status", "--json"][..],
        &["jobs", "list", "--json"],
        &["businesses", "set", "42", "--max-slots", "9"],
        &["migrate", "status", "--json"],
        &["migrate", "wait", "--timeout", "20"],
        &["migrate", "run"],
        &[
            "enqueue",
            "--business-id",
            "42",
            "--call-sid",
            "CA1000",
            "--recording-url",
            "/Accounts/AC1/Recordings/RE1000",
        ],
    ] {
        let began = Instant::now();
        let said = commands.say(command).await;
        assert_eq!(said.code, 0, "{command:?}: {said:?}");
        println!("  {command:?}: {:?}", began.elapsed());
    }
    done(&slow.database, i64::from(RECORDINGS) + 1).await;

    (2001..=2004).for_each(|number| {
        provider.tell(number, [Answer::Held(recording(number)), Answer::Media(recording(number))]);
    });
    for number in 2001..=2004 {
        process.enqueue(7, number).await;
    }
    provider.asked_times(RECORDINGS as usize + 5).await;
    let began = Instant::now();
    process.terminate();
    process.event("DRAIN_STARTED").await;
    provider.release(2);
    assert_eq!(process.exit_code().await, 0, "{}", process.everything());
    let drained = began.elapsed();
    let left = process.events("DRAIN_DONE");
    assert_eq!((&left[0]["finished"], &left[0]["handed_back"]), (&2.into(), &2.into()), "{left:?}");
    let ready_again: i64 = slow.database.one("select count(*) from callspool.job_ready where attempt = 0").await;
    assert_eq!(ready_again, 2, "handed back, and no attempt is used up");
    assert_law(&slow.database).await;
    println!(
        "pool {pool_size:?}, pooler {behind_pooler}: ready after {ready:?}, {RECORDINGS} recordings in {moved:?} with {trips} \
         round trips, drained in {drained:?}"
    );
    // The drain says that it interrupted two, and may leave it to its last step to hand them back.
    let trouble: Vec<_> = trouble(&process);
    let of_drain = ["DRAIN", "drain", "is left to the reaper"];
    assert!(trouble.iter().all(|line| of_drain.iter().any(|part| line.contains(part))), "{trouble:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_on_a_slow_database_with_the_pool_as_it_is_shipped() {
    everything_works(None, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_on_a_slow_database_with_a_pool_of_two() {
    everything_works(Some(2), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_on_a_slow_database_behind_a_pooler_with_a_pool_of_two() {
    everything_works(Some(2), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_slow_database_is_migrated_while_other_processes_wait() {
    let provider = Provider::start();
    let slow = Slow::on(Database::empty().await, Some(2), false).await;
    let waiting = slow.setup(&provider).var("RUN_MIGRATIONS", "0").start();
    let began = Instant::now();
    let migrator = slow.setup(&provider).start();
    event(&migrator, "MIGRATION_DONE").await;
    let took = began.elapsed();
    eventually("readiness of who migrated", async || migrator.is_ready().await.then_some(())).await;
    eventually("readiness of who waited", async || waiting.is_ready().await.then_some(())).await;
    println!("migrated in {took:?} with {} round trips of both processes", slow.round_trips());
    for process in [&migrator, &waiting] {
        let errors: Vec<_> = process.lines().into_iter().filter(|line| line["level"] == "ERROR").collect();
        assert!(errors.is_empty(), "{errors:#?}");
        assert!(process.events("ACTOR_DOWN").is_empty(), "{}", process.everything());
    }
}
