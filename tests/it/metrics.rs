//! `/metrics` of real processes: exact counts, a bounded number of series, and a page also when the database is away.

#![expect(clippy::float_cmp, reason = "counts, which a float holds exactly")]

use crate::{
    queue_law::execute,
    support::{
        Answer, Database, Process, Provider, eventually,
        http::{self, Callback},
        process::{AUTH_TOKEN, Setup},
        provider::recording,
        way::Way,
    },
};
use callspool::{
    domain::{ids::JobId, operate::Operator, ports::Operations},
    telemetry::metrics::table::{self, Kind},
};
use std::collections::{BTreeMap, BTreeSet};

/// A page, read as strictly as the format is written (Prometheus documentation, "Exposition formats").
#[derive(Debug, Default)]
pub struct Page {
    /// By name: what `# TYPE` and `# HELP` say.
    kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    samples: BTreeMap<Series, f64>,
    text: String,
}

/// A sample's name and its labels.
type Series = (String, BTreeMap<String, String>);

impl Page {
    pub async fn of(process: &Process) -> Self {
        let answer = process.get("/metrics").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(&answer.text().await.unwrap())
    }

    fn parse(text: &str) -> Self {
        let mut page = Self { text: text.to_owned(), ..Self::default() };
        assert!(text.ends_with('\n'), "the last line ends too");
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(page.helps.insert(name.to_owned(), help.to_owned()).is_none(), "{name} twice");
                name.clone_into(&mut family);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, family, "a type follows its help");
                assert!(page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else {
                let (series, value) = sample(line);
                assert_eq!(page.family(&series.0), family, "samples stand together: {line}");
                assert!(page.samples.insert(series, value).is_none(), "twice: {line}");
            }
        }
        page.histograms_add_up();
        page
    }

    /// A histogram's samples have suffixes.
    fn family(&self, name: &str) -> String {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let base = base.filter(|base| self.kinds.get(*base).is_some_and(|kind| kind == "histogram"));
        let family = base.unwrap_or(name).to_owned();
        assert!(self.kinds.contains_key(&family), "{name} has no type");
        family
    }

    fn histograms_add_up(&self) {
        for ((name, labels), count) in &self.samples {
            let Some(base) = name.strip_suffix("_count").filter(|_| self.family(name) != *name) else { continue };
            let mut classes: Vec<(f64, f64)> = Vec::new();
            for ((other, theirs), value) in &self.samples {
                let mut theirs = theirs.clone();
                if *other == format!("{base}_bucket")
                    && let Some(le) = theirs.remove("le")
                    && theirs == *labels
                {
                    classes.push((if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() }, *value));
                }
            }
            classes.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(classes.is_sorted_by(|a, b| a.1 <= b.1), "{name}: {classes:?}");
            assert_eq!(classes.last(), Some(&(f64::INFINITY, *count)), "{name}");
        }
    }

    /// Panics where there is no such series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in\n{}", self.text))
    }

    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|((other, _), _)| other == name).map(|(_, value)| value).sum()
    }

    fn count(&self, name: &str) -> usize {
        self.samples.keys().filter(|(other, _)| other == name).count()
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> (Series, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap()),
    };
    assert!(is_name(name), "{line}");
    let mut read = BTreeMap::new();
    for label in labels.split_terminator(',') {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("no label: {line}"));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
        assert!(is_name(name) && !value.contains(['"', '\\']), "{line}");
        assert!(read.insert(name.to_owned(), value.to_owned()).is_none(), "a label twice: {line}");
    }
    ((name.to_owned(), read), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

/// The page for which `fits` holds: what is settled is measured a moment later.
async fn page_with(process: &Process, what: &str, fits: impl Fn(&Page) -> bool) -> Page {
    eventually(what, async || Some(Page::of(process).await).filter(|page| fits(page))).await
}

fn done(page: &Page) -> f64 {
    page.value("callspool_jobs_finished_total", &[("outcome", "done")])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_is_counted_exactly() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    // Whatever the log's level is.
    let process = Setup::new(&database)
        .provider(&provider)
        .var("CALLSPOOL__QUEUE__WATCH_INTERVAL", "100ms")
        .var("CALLSPOOL__LOG__LEVEL", "error,callspool::app=info")
        .run()
        .await;
    for number in 1..=5 {
        process.enqueue(42, number).await;
    }
    process.enqueue(42, 5).await;
    Callback::completed(6).send(&process).await;
    let page = page_with(&process, "six files", |page| {
        done(page) >= 6.0 && page.value("callspool_migrations_total", &[("outcome", "up_to_date")]) >= 1.0
    })
    .await;
    assert_eq!(page.value("callspool_jobs_enqueued_total", &[("deduplicated", "false")]), 6.0);
    assert_eq!(page.value("callspool_jobs_enqueued_total", &[("deduplicated", "true")]), 1.0);
    assert_eq!(page.value("callspool_attempts_started_total", &[]), 6.0);
    assert_eq!(page.value("callspool_attempts_total", &[("reason", "success")]), 6.0);
    assert_eq!(page.sum("callspool_attempts_total"), 6.0);
    assert_eq!((done(&page), page.sum("callspool_jobs_finished_total")), (6.0, 6.0));
    let bytes: usize = (1..=6).map(|number| recording(number).len()).sum();
    assert_eq!(page.value("callspool_stored_bytes_total", &[]), f64::from(u32::try_from(bytes).unwrap()));
    assert_eq!(page.value("callspool_enqueue_to_file_seconds_count", &[]), 6.0);
    assert!(page.value("callspool_enqueue_to_file_seconds_sum", &[]) > 0.0);
    assert_eq!(page.value("callspool_attempt_duration_seconds_count", &[("outcome", "stored")]), 6.0);
    assert_eq!(page.value("callspool_claim_batch_jobs_sum", &[]), 6.0);
    assert_eq!(page.value("callspool_settle_batch_results_sum", &[]), 6.0);
    assert_eq!(page.value("callspool_database_up", &[]), 1.0);
    assert_eq!(page.value("callspool_ready", &[]), 1.0);
    assert_eq!(page.value("callspool_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(page.value("callspool_migrations_total", &[("outcome", "up_to_date")]), 1.0);
    assert_eq!(page.value("callspool_migration_lock_wait_seconds_count", &[("outcome", "acquired")]), 1.0);
    let fleet = |page: &Page| {
        ["ready", "scheduled", "running", "done", "cancelled", "dead"]
            .map(|state| page.get("callspool_jobs", &[("state", state)]))
    };
    let of_the_fleet = [0.0, 0.0, 0.0, 6.0, 0.0, 0.0].map(Some);
    let page = page_with(&process, "the fleet's jobs", |page| fleet(page) == of_the_fleet).await;
    assert_eq!(page.value("callspool_instances", &[]), 1.0);
    assert_eq!(page.value("callspool_working_instances", &[]), 1.0);
    assert_eq!(page.value("callspool_oldest_ready_job_age_seconds", &[]), 0.0);
    assert_eq!(page.sum("callspool_queue_stalled"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_what_the_table_says_and_nothing_else() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process =
        Setup::new(&database).provider(&provider).var("CALLSPOOL__QUEUE__WATCH_INTERVAL", "100ms").run().await;
    provider.tell(1, [Answer::Held(recording(1))]);
    process.enqueue(42, 1).await;
    let slots = [("business_id", "42")];
    let in_use = |page: &Page| page.get("callspool_business_slots_in_use", &slots) == Some(1.0);
    let page = page_with(&process, "a slot in use", in_use).await;
    assert_eq!(page.value("callspool_business_slots_limit", &slots), 5.0);
    let names: BTreeSet<&str> = table::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(page.kinds.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
    for metric in table::ALL {
        assert_eq!(page.kinds[metric.name], metric.kind.as_str(), "{}", metric.name);
        assert_eq!(page.helps[metric.name], format!("{}.", metric.help));
        assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        let labels: BTreeSet<&str> = metric.labels.iter().copied().collect();
        let mut has_series = false;
        for (name, theirs) in page.samples.keys().filter(|(name, _)| page.family(name) == metric.name) {
            let theirs: BTreeSet<&str> = theirs.keys().map(String::as_str).filter(|label| *label != "le").collect();
            assert_eq!(theirs, labels, "{name}");
            has_series = true;
        }
        assert!(has_series, "{}", metric.name);
    }
    provider.release(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_counts_by_its_reason() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "2").run().await;
    provider.tell(1, [Answer::status(500), Answer::Media(recording(1))]);
    provider.tell(2, [Answer::status(410)]);
    provider.tell(3, [Answer::status(418)]);
    for number in 1..=3 {
        process.enqueue(42, number).await;
    }
    let ended = |page: &Page| page.sum("callspool_jobs_finished_total") >= 3.0;
    let page = page_with(&process, "three ends", ended).await;
    let attempts = |reason| page.value("callspool_attempts_total", &[("reason", reason)]);
    let counted = ["success", "http_status", "gone", "held"].map(attempts);
    assert_eq!(counted, [1.0, 3.0, 1.0, 0.0]);
    assert_eq!(page.sum("callspool_attempts_total"), 5.0);
    assert_eq!((done(&page), page.value("callspool_jobs_finished_total", &[("outcome", "dead")])), (1.0, 2.0));
    assert_eq!(page.value("callspool_attempt_duration_seconds_count", &[("outcome", "failed")]), 4.0);
    assert_eq!(page.value("callspool_enqueue_to_file_seconds_count", &[]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_is_restarted_counts_and_so_does_the_attempt_that_it_had() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let fault = "[[faults]]\nactor = \"recording_worker\"\nplace = \"io\"\nkind = \"panic\"";
    let process = Setup::new(&database).provider(&provider).config(fault).run().await;
    process.enqueue(42, 1).await;
    let page = page_with(&process, "the second attempt's file", |page| done(page) >= 1.0).await;
    let restarts = |actor| page.value("callspool_actor_restarts_total", &[("actor", actor)]);
    assert_eq!((restarts("recording_worker"), restarts("slot_manager"), restarts("http")), (1.0, 0.0, 0.0));
    let attempts = |reason| page.value("callspool_attempts_total", &[("reason", reason)]);
    assert_eq!((attempts("worker_died"), attempts("success")), (1.0, 1.0));
    assert_eq!(page.value("callspool_attempts_started_total", &[]), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_businesses_make_no_more_than_twenty_series() {
    let database = Database::migrated().await;
    execute(
        &database,
        "insert into business (business_id, max_slots, paused)
         select id, 3, true from generate_series(1, 1000) id;
         select enqueue(id, 'CA' || id, 'https://127.0.0.1:1/2010-04-01/Accounts/AC1/Recordings/RE' || id) from generate_series(1, 1000) id",
    )
    .await;
    let process = Setup::new(&database)
        .var("CALLSPOOL_ROLES", "api")
        .var("CALLSPOOL__QUEUE__WATCH_INTERVAL", "100ms")
        .var("CALLSPOOL__QUEUE__STALLED_AFTER", "100ms")
        .run()
        .await;
    let ready = |page: &Page| page.get("callspool_jobs", &[("state", "ready")]) == Some(1000.0);
    let stalled = |page: &Page, reason| page.get("callspool_queue_stalled", &[("reason", reason)]).unwrap_or(0.0);
    let page = page_with(&process, "a thousand that wait", |page| {
        ready(page) && stalled(page, "no_live_workers") >= 1000.0
    })
    .await;
    assert_eq!(page.count("callspool_business_slots_in_use"), 20);
    assert_eq!(page.count("callspool_business_slots_limit"), 20);
    assert_eq!(page.sum("callspool_business_slots_limit"), 60.0);
    assert!(page.value("callspool_oldest_ready_job_age_seconds", &[]) > 0.0);
    assert_eq!(page.value("callspool_working_instances", &[]), 0.0);
    assert!(page.samples.len() < 400, "{}", page.samples.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_answers_and_a_head_too() {
    let database = Database::migrated().await;
    for roles in ["worker", "webhooks", "api"] {
        let process = Setup::new(&database).var("CALLSPOOL_ROLES", roles).run().await;
        Page::of(&process).await;
        let head = http::raw(&process, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        let post = http::raw(&process, b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert_eq!(post.status, 405);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_is_seen_as_what_holds_back_the_vacuum() {
    let database = Database::migrated().await;
    let process = Setup::new(&database).run().await;
    let mut holder = database.connect().await;
    sqlx::raw_sql("begin isolation level repeatable read; select 1").execute(&mut holder).await.unwrap();
    for _ in 1..=30 {
        execute(&database, "select pg_current_xact_id()").await;
    }
    let page = page_with(&process, "an old snapshot", |page| {
        page.value("callspool_database_oldest_xmin_age_transactions", &[]) >= 30.0
    })
    .await;
    assert!(page.value("callspool_database_oldest_transaction_age_seconds", &[]) > 0.0);
    drop(holder);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_process_still_says_what_it_did_and_no_secret() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let (way, far) = Way::to(&database);
    let process = Setup::new(&far)
        .provider(&provider)
        .var("CALLSPOOL_API_TOKEN", "very-secret-token")
        .var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "500ms")
        .run()
        .await;
    Callback::completed(7).send(&process).await;
    page_with(&process, "a file", |page| done(page) >= 1.0).await;
    way.cut();
    let away = |page: &Page| page.value("callspool_database_up", &[]) == 0.0;
    let page = page_with(&process, "a page without the database", away).await;
    assert_eq!(done(&page), 1.0);
    assert_eq!(page.count("callspool_jobs"), 0, "what is not known is not told");
    assert_eq!(page.count("callspool_instances"), 0);
    for secret in [AUTH_TOKEN, "very-secret-token", "CA7", "RE7", "postgres://", "127.0.0.1", "/tmp", "/home"] {
        assert!(!page.text.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_our_schema_is_up_and_has_nothing_to_tell() {
    let database = Database::empty().await;
    let process = Setup::new(&database).var("RUN_MIGRATIONS", "0").start();
    let skipped = |page: &Page| page.value("callspool_migrations_total", &[("outcome", "skipped")]) == 1.0;
    let page = page_with(&process, "the skip", skipped).await;
    assert_eq!(page.value("callspool_database_up", &[]), 1.0);
    assert_eq!((page.value("callspool_ready", &[]), page.count("callspool_jobs")), (0.0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_while_it_runs_counts_as_that() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    provider.tell(1, [Answer::Held(recording(1))]);
    let id = process.enqueue(42, 1).await;
    provider.asked_times(1).await;
    database.store().cancel(&[JobId(id)], None, &Operator::new("test")).await.unwrap();
    let ended = |page: &Page| page.value("callspool_jobs_finished_total", &[("outcome", "cancelled")]) == 1.0;
    let page = page_with(&process, "the cancelled job", ended).await;
    assert_eq!(page.value("callspool_attempts_total", &[("reason", "cancelled")]), 1.0);
    assert_eq!(page.value("callspool_attempt_duration_seconds_count", &[("outcome", "cancelled")]), 1.0);
    assert_eq!(page.sum("callspool_jobs_finished_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_back_what_a_killed_process_had_counts_the_lost_attempt() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let mut one = Setup::new(&database).provider(&provider).run().await;
    provider.tell(1, [Answer::Held(recording(1)), Answer::Media(recording(1))]);
    one.enqueue(42, 1).await;
    provider.asked_times(1).await;
    one.kill().await;
    let two = Setup::new(&database).provider(&provider).run().await;
    let page = page_with(&two, "the file", |page| done(page) == 1.0).await;
    let attempts = |reason| page.value("callspool_attempts_total", &[("reason", reason)]);
    assert_eq!((attempts("lease_expired"), attempts("success")), (1.0, 1.0));
    assert_eq!(page.value("callspool_attempts_started_total", &[]), 1.0);
}
