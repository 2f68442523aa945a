//! A million businesses with a job each, and one business with ten million: what the steps cost, that nothing reads all of
//! them, and how long a newcomer waits. `MANY_BUSINESSES`, `MANY_JOBS`, `MANY_SECONDS` say otherwise. See `docs/load.md`.
//!
//! As a smoke test (`-- --test`) it is small, and judged by pages and rows that were read, which are the same anywhere.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a harness that cannot go on ends there")]

#[allow(dead_code, reason = "shared by the runs, each of which uses a part")]
mod load;
#[allow(dead_code, unused_imports, reason = "shared with the tests")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use load::{
    cluster::{Cluster, execute, migrate_before},
    figures::{float, median},
    member::{Member, setup},
    probe::Probe,
    report::Report,
};
use sqlx::AssertSqlSafe;
use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};
use support::Database;

const DATABASE: &str = "many";
/// The migration that such a database is to take, with what comes after it.
const LAST: i64 = 30;
const CHUNK: u64 = 250_000;
const FILLERS: u64 = 3;
/// Smaller tables are read as a whole where that is cheapest.
const LARGE: i64 = 10_000;
/// Of a process, MiB.
const MOST_MIB: f64 = 256.0;

struct Size {
    businesses: u64,
    jobs: u64,
    watched: Duration,
}

/// Job `n` is of recording `RE{n}`: of business 1 up to `size.jobs`, then one of each other business. In SQL, as a
/// backlog comes in that nobody works at.
async fn fill(database: &Database, media: &str, size: &Size) {
    let mut connection = database.connect().await;
    // A bulk load, which is not what is measured.
    execute(&mut connection, "alter system set max_wal_size = '2GB'").await;
    execute(&mut connection, "select pg_reload_conf()").await;
    let all = size.jobs + size.businesses;
    let parts = (0..FILLERS).map(|part| fill_part(database.clone(), media, size.jobs, all, part));
    futures_util::future::join_all(parts).await;
    let rest = format!(
        "select setval('job_id_seq', {all});
         insert into business (business_id, max_slots, ready, has_more)
         select n, 5, case when n = 1 then {} else 1 end, true from generate_series(1, {} + 1) n;
         analyze",
        size.jobs, size.businesses
    );
    execute(&mut connection, &rest).await;
}

/// Every `FILLERS`th chunk.
async fn fill_part(database: Database, media: &str, jobs: u64, all: u64, part: u64) {
    let mut connection = database.connect().await;
    execute(&mut connection, "set synchronous_commit = off").await;
    let mut from = part * CHUNK + 1;
    while from <= all {
        let to = (from + CHUNK - 1).min(all);
        let sql = format!(
            "with job as (
                 insert into job (job_id, business_id, call_sid, recording_sid, recording_key, recording_url, job_type,
                                  priority)
                 select n, case when n <= {jobs} then 1 else n - {jobs} + 1 end, 'CA' || n, 'RE' || n, 'RE' || n,
                        '{media}/2010-04-01/Accounts/AC1/Recordings/RE' || n, 'download_only', 5
                   from generate_series({from}, {to}) n
                 returning business_id, priority, job_id)
             insert into job_ready (business_id, priority, job_id) select business_id, priority, job_id from job"
        );
        execute(&mut connection, &sql).await;
        println!("jobs {from} to {to} of {all} are in");
        from += FILLERS * CHUNK;
    }
}

/// Milliseconds and pages of a statement whose changes are undone, after `before`.
async fn cost(probe: &mut Probe, before: &str, sql: &str) -> (f64, f64) {
    let connection = probe.connection();
    execute(connection, &format!("begin; {before}")).await;
    let explain = format!("explain (analyze, buffers, format json) {sql}");
    let plan: serde_json::Value = sqlx::query_scalar(AssertSqlSafe(explain))
        .fetch_one(&mut *connection)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    execute(connection, "rollback").await;
    let node = &plan[0]["Plan"];
    let pages = node["Shared Hit Blocks"].as_f64().unwrap() + node["Shared Read Blocks"].as_f64().unwrap();
    (plan[0]["Execution Time"].as_f64().unwrap(), pages)
}

fn claim(cursor: u64, workers: u32) -> String {
    format!(
        "select * from claim_work('00000000-0000-0000-0000-000000000001', array_fill(1, array[{workers}]),
                                  array_fill(1::bigint, array[{workers}]), {cursor}, 0, 1, 900000, 2000, 5)"
    )
}

/// A thousand jobs of a process that is dead.
const LOST: &str =
    "insert into job_lease (job_id, attempt, business_id, priority, instance_id, worker, generation, deadline_at)
                    select job_id, 1, business_id, priority, gen_random_uuid(), 1, 1, now() from job_ready
                     order by job_id limit 1000;
                    update business b set running = running + n, ready = ready - n
                      from (select business_id, count(*) n from job_lease group by 1) l
                     where l.business_id = b.business_id;
                    delete from job_ready q using job_lease l where l.job_id = q.job_id";
/// A thousand jobs that are due.
const DUE: &str = "insert into job_scheduled (job_id, run_at, business_id, priority)
                   select job_id, now(), business_id, priority from job_ready order by job_id limit 1000;
                   delete from job_ready q using job_scheduled s where s.job_id = q.job_id";
const UNWATCHED: &str = "update queue_watch set watched_at = '-infinity', took_ms = 0";

async fn steps(report: &mut Report, probe: &mut Probe, size: &Size) {
    let (mut times, mut pages) = (Vec::new(), Vec::new());
    for turn in 0..20 {
        let (ms, read) = cost(probe, "", &claim(turn * size.businesses / 20, 50)).await;
        times.push(ms);
        pages.push(read);
    }
    report.figure("claim of 50, ms", median(&times));
    report.figure("claim of 50, pages", median(&pages));
    // A descent of some indexes of a few levels, and rows in three tables, for each of 50 jobs.
    report.at_most("claim of 50, pages", median(&pages), 6_000.0);
    let steps = [
        // Each of its businesses is a row, and may be a page.
        (
            "watch, 20,000 businesses",
            UNWATCHED,
            "select * from watch_next(0, 60000, 10000, 3600000, 2000, 5, 20000)",
            45_000.0,
        ),
        ("heal, 10,000 businesses", "", "select * from heal_next(0, 10000)", 90_000.0),
        ("promote, 1,000 due jobs", DUE, "select * from promote(1000)", 60_000.0),
        ("reap, 1,000 lost jobs", LOST, "select * from reap_leases(10000, 1000, 8::smallint)", 80_000.0),
        // Without a retention of the fleet; with one each business is looked at.
        ("expire", "", "select * from expire_recordings(0, 200)", 1_000.0),
        ("follow-ups", "", "select * from take_follow_ups(32, 8, 1000)", 300.0),
        ("rotate the history", "", "select * from rotate_history('30 days')", 3_000.0),
    ];
    for (name, before, sql, most) in steps {
        let (ms, read) = cost(probe, before, sql).await;
        report.figure(&format!("{name}, ms"), ms);
        report.at_most(&format!("{name}, pages"), read, most);
    }
}

/// What people and programs ask for, and how long the median of five answers takes.
async fn answers(report: &mut Report, member: &Member, size: &Size) {
    let last = size.jobs;
    for path in [
        "/v1/jobs".to_owned(),
        "/v1/jobs?business_id=1&state=ready".to_owned(),
        "/v1/jobs?state=dead".to_owned(),
        format!("/v1/jobs/{last}"),
        format!("/v1/jobs/{last}/explain"),
        format!("/v1/businesses?after={}", size.businesses / 2),
        "/v1/status".to_owned(),
        "/v1/overview".to_owned(),
        "/metrics".to_owned(),
        "/readyz".to_owned(),
    ] {
        let mut times = Vec::new();
        let mut refused = 0.0;
        for _ in 0..5 {
            let asked = Instant::now();
            let answer = member.http.get(format!("{}{path}", member.url)).send().await.unwrap();
            refused += if answer.status().is_success() { 0.0 } else { 1.0 };
            answer.bytes().await.unwrap();
            times.push(asked.elapsed().as_secs_f64() * 1000.0);
        }
        report.figure(&format!("GET {path}, ms"), median(&times));
        report.at_most(&format!("GET {path}: not answered with 200"), refused, 0.0);
    }
}

/// Rows that sequential reads had, by table.
async fn read_whole(probe: &mut Probe) -> BTreeMap<String, i64> {
    // What the sessions counted comes to the statistics within a second of their next statement.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sql = "select s.relname::text, s.seq_tup_read from pg_stat_user_tables s join pg_class c on c.oid = s.relid
                where s.schemaname = 'callspool' and c.reltuples > $1";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(LARGE).fetch_all(probe.connection()).await.unwrap();
    rows.into_iter().collect()
}

async fn judge_reads(report: &mut Report, probe: &mut Probe, when: &str, before: &BTreeMap<String, i64>) {
    for (table, after) in read_whole(probe).await {
        let read = after - before.get(&table).copied().unwrap_or(0);
        report.at_most(&format!("rows of {table} read one by one, {when}"), float(read), 0.0);
    }
}

/// Milliseconds until the single job of a business that had none is settled.
async fn newcomer(door: &Member, probe: &mut Probe, business: u64) -> f64 {
    let body = format!(
        r#"{{"business_id":{business},"call_sid":"CAN{business}","recording_url":"/2010-04-01/Accounts/AC1/Recordings/RE{business}"}}"#
    );
    let began = Instant::now();
    let request = door.http.post(format!("{}/v1/jobs", door.url)).header("Content-Type", "application/json");
    assert_eq!(request.body(body).send().await.unwrap().status(), 202);
    let done = format!("select exists (select from job_history where call_sid = 'CAN{business}')");
    while !probe.one::<bool>(&done).await {
        assert!(began.elapsed() < Duration::from_mins(5), "the newcomer's job is not picked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed().as_secs_f64() * 1000.0
}

async fn many() -> bool {
    let smoke = load::is_smoke();
    let size = Size {
        businesses: load::variable("MANY_BUSINESSES", if smoke { 20_000 } else { 1_000_000 }),
        jobs: load::variable("MANY_JOBS", if smoke { 50_000 } else { 10_000_000 }),
        watched: Duration::from_secs(load::variable("MANY_SECONDS", if smoke { 5 } else { 60 })),
    };
    let mut report = Report::default();
    let cluster = Cluster::start(DATABASE).await;
    let database = cluster.database(DATABASE).await;
    let media = load::media::start();
    migrate_before(&database, LAST).await;
    fill(&database, &media, &size).await;
    let mut probe = Probe::of(&database).await;
    let bytes: i64 = probe.one("select pg_database_size(current_database())").await;
    report.figure("database, MiB", bytes / 1_048_576);

    let door = Member::start(setup(&database, &media).var("CALLSPOOL_ROLES", "api,webhooks")).await;
    report.figure("start of a process that migrates, ms", door.start.as_secs_f64() * 1000.0);
    answers(&mut report, &door, &size).await;
    let before = read_whole(&mut probe).await;
    tokio::time::sleep(size.watched).await;
    judge_reads(&mut report, &mut probe, "idle", &before).await;
    steps(&mut report, &mut probe, &size).await;

    let workers = setup(&database, &media).var("CALLSPOOL_ROLES", "worker").var("RUN_MIGRATIONS", "0");
    let worker = Member::start(workers).await;
    report.figure("start of a worker, ms", worker.start.as_secs_f64() * 1000.0);
    let (before, stored) = (read_whole(&mut probe).await, worker.stored().await);
    let since = Instant::now();
    tokio::time::sleep(size.watched).await;
    let rate = (worker.stored().await - stored) / since.elapsed().as_secs_f64();
    judge_reads(&mut report, &mut probe, "working", &before).await;
    report.figure("stored recordings a second, with a million in the ring", rate);
    report.holds("recordings are stored", rate > 0.0);

    // The ring gives each its turn: with a million before it a newcomer waits for a sweep. Beside the large one alone:
    execute(probe.connection(), "update business set paused = true where business_id > 1").await;
    let mut waits = Vec::new();
    for number in 0..10 {
        waits.push(newcomer(&door, &mut probe, size.businesses + 100 + number).await);
    }
    report.figure("a newcomer beside the large business is stored, p50, ms", median(&waits));
    for (name, member) in [("doors", &door), ("workers", &worker)] {
        report.at_most(&format!("RSS of the {name}, MiB"), member.usage().rss_mib, MOST_MIB);
    }
    probe.close().await;
    report.holds("both processes drain and exit with 0", door.stop().await & worker.stop().await);
    cluster.stop(DATABASE).await;
    report.close("many")
}

fn main() -> ExitCode {
    load::run(many())
}
