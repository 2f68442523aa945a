//! What an operator asks for beside a long backlog: pages of jobs, why one does not run, the watch.
//!
//! `CALLSPOOL_BENCH_JOBS` (1,000,000 unless set) ready jobs of 1,000 businesses, half of them of one, and as many
//! finished ones.

use callspool::{
    adapters::embedded_postgres::{EmbeddedOptions, EmbeddedPostgres},
    domain::{
        business::BusinessFilter,
        ids::{BusinessId, InstanceId, JobId},
        job::{JobFilter, JobState},
        ports::{FleetView, Gate, JobBook, Operations, Watch, WatchRules},
        retry::RetryPolicy,
    },
    store::{Store, StoreConfig},
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::{path::Path, time::Duration};
use tokio::runtime::Runtime;

fn jobs() -> u64 {
    std::env::var("CALLSPOOL_BENCH_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1_000_000)
}

fn store(url: &str) -> Store {
    let ten = Duration::from_secs(10);
    let policy = RetryPolicy {
        base: ten,
        max: ten,
        factor: 2.0,
        jitter: 0.0,
        not_ready_base: ten,
        not_ready_max: ten,
        not_ready_for: ten,
        max_attempts: 8,
    };
    Store::connect(StoreConfig {
        url: SecretString::from(url.to_owned()),
        behind_pooler: false,
        direct_url: None,
        schema: "callspool".to_owned(),
        pool_size: 2,
        acquire_timeout: ten,
        instance: InstanceId::generate(),
        retry: policy,
        beat_ttl: ten,
        default_max_slots: 5,
        migration_statement_timeout: Duration::from_mins(1),
        migration_lock_timeout: ten,
        migration_lock_id: 1,
        application_dir: None,
        protected_tables: Vec::new(),
    })
    .expect("the embedded database's address")
}

/// In SQL: the backlog is there within seconds.
async fn fill(url: &str, jobs: u64) {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    let sql = format!(
        "set search_path = callspool;
         insert into job (business_id, call_sid, recording_sid, recording_key, recording_url, job_type, priority)
         select case when n % 2 = 0 then 1 else 2 + n % 999 end, 'CA' || n, 'RE' || n, 'RE' || n, 'https://h/x',
                'download_only', 5
           from generate_series(1, {jobs}) n;
         insert into job_ready (business_id, priority, job_id) select business_id, priority, job_id from job;
         insert into job_history (job_id, business_id, call_sid, job_type, state, attempt, priority, enqueued_at,
                                  finished_at)
         select nextval('job_id_seq'), case when n % 2 = 0 then 1 else 2 + n % 999 end, 'CA' || n, 'download_only',
                case when n % 1000 = 0 then 'dead' else 'done' end, 1, 5, now(), now()
           from generate_series(1, {jobs}) n;
         insert into business (business_id, max_slots, ready, has_more)
         select business_id, 5, count(*), true from job_ready group by business_id;
         analyze"
    );
    connection.execute(AssertSqlSafe(sql)).await.expect("the backlog");
}

async fn forget(embedded: &EmbeddedPostgres, database: &str) {
    let url = embedded.database("postgres").await.expect("the cluster answers");
    let mut connection = PgConnection::connect(&url).await.expect("a connection");
    let drop = format!("drop database if exists {database} with (force)");
    connection.execute(AssertSqlSafe(drop)).await.expect("nobody else uses it");
}

async fn migrate(store: &Store) {
    let mut session = store.open().await.expect("the gate");
    session.try_lock().await.expect("the lock");
    while session.next().await.expect("a migration").is_some() {
        session.apply().await.expect("it is applied");
    }
    session.close().await.expect("the lock is given back");
}

fn lists(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let options = EmbeddedOptions { stop_when_killed: true, ..EmbeddedOptions::default() };
    let cluster = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-postgres");
    let embedded =
        runtime.block_on(EmbeddedPostgres::start_with(&cluster, options)).expect("PostgreSQL's binaries");
    let mut group = c.benchmark_group("lists");
    group.sample_size(20);
    for jobs in [1_000, jobs()] {
        let name = format!("lists{jobs}");
        // One that an aborted run has left.
        runtime.block_on(forget(&embedded, &name));
        let url = runtime.block_on(embedded.database(&name)).expect("a database");
        let store = {
            let _on = runtime.enter();
            store(&url)
        };
        runtime.block_on(migrate(&store));
        runtime.block_on(fill(&url, jobs));
        measure(&mut group, &runtime, &store, jobs);
        runtime.block_on(store.close());
        runtime.block_on(forget(&embedded, &name));
    }
    group.finish();
    runtime.block_on(embedded.stop());
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn measure(group: &mut Group<'_>, runtime: &Runtime, store: &Store, jobs: u64) {
    let all = JobFilter { limit: 50, ..JobFilter::default() };
    let middle = JobId(i64::try_from(jobs / 2).unwrap_or(i64::MAX));
    let first = BusinessId::try_from(1).expect("a number");
    let pages = [
        ("the newest jobs", all.clone()),
        ("jobs in the middle", JobFilter { after: Some(middle), ..all.clone() }),
        (
            "ready jobs of a business",
            JobFilter { state: Some(JobState::Ready), business_id: Some(first), ..all.clone() },
        ),
        ("dead jobs", JobFilter { state: Some(JobState::Dead), ..all }),
    ];
    for (name, filter) in pages {
        group.bench_function(BenchmarkId::new(name, jobs), |b| {
            b.iter(|| runtime.block_on(store.jobs(&filter)).expect("a page"));
        });
    }
    group.bench_function(BenchmarkId::new("explain", jobs), |b| {
        b.iter(|| runtime.block_on(store.explain(middle)).expect("an explanation"));
    });
    group.bench_function(BenchmarkId::new("businesses", jobs), |b| {
        let filter = BusinessFilter { after: None, limit: 50 };
        b.iter(|| runtime.block_on(store.businesses(filter)).expect("a page"));
    });
    group.bench_function(BenchmarkId::new("overview", jobs), |b| {
        b.iter(|| runtime.block_on(store.overview(60)).expect("an overview"));
    });
    let rules = WatchRules {
        every: Duration::ZERO,
        stalled_after: Duration::from_mins(1),
        beat_ttl: Duration::from_secs(10),
        keep: Duration::from_hours(1),
        default_max_slots: 5,
        businesses: 50_000,
    };
    group.bench_function(BenchmarkId::new("watch, taken or left to another", jobs), |b| {
        b.iter(|| runtime.block_on(store.watch(&rules)).expect("a look"));
    });
}

criterion_group!(benches, lists);
criterion_main!(benches);
