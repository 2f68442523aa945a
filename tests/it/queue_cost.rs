//! What a step may cost, in pages that it reads: whatever the backlog, and on plans that were made when the tables were
//! small.

use crate::support::Database;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

/// `count` ready jobs of one business, by numbers from `first` on. In SQL: they come in at once, and nothing is
/// analysed.
async fn backlog(connection: &mut PgConnection, business: i64, first: u32, count: u32) {
    let sql = format!(
        "with job as (
             insert into job (business_id, call_sid, recording_sid, recording_key, recording_url, job_type, priority)
             select {business}, 'CA' || n, 'RE' || n, 'RE' || n, 'https://h/x', 'download_only', 5
               from generate_series({first}, {first} + {count} - 1) n
             returning business_id, priority, job_id
         ), ready as (
             insert into job_ready (business_id, priority, job_id) select business_id, priority, job_id from job
         )
         insert into doorbell select {business}, {count}, 0"
    );
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// Pages that a statement touched, by the server's own count.
pub async fn pages(connection: &mut PgConnection, sql: &str) -> i64 {
    let explain = format!("explain (analyze, buffers, format json) {sql}");
    let plan: serde_json::Value = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(connection).await.unwrap();
    let node = &plan[0]["Plan"];
    node["Shared Hit Blocks"].as_i64().unwrap() + node["Shared Read Blocks"].as_i64().unwrap()
}

const CLAIM: &str = "select * from claim_work('00000000-0000-0000-0000-000000000001', array_fill(1, array[16]),
                                              array_fill(1::bigint, array[16]), 0, 0, 1, 900000, 2000, 5)";
const ENQUEUE: &str = "select * from enqueue(business_id => 7, call_sid => 'CA' || nextval('lease_id_seq'),
                                             recording_url => 'https://h/x')";
/// All that runs is done.
const SETTLE: &str =
    "select settle_attempts(array_agg(job_id), array_agg(lease_id), array_agg('done'::text), array_agg(0::bigint),
                            array_agg(null::text), array_agg(null::text), array_agg(null::bigint),
                            array_agg(null::text), array_agg('k'::text), array_agg(1::bigint), array_agg(sha256('x')),
                            array_agg('audio/mpeg'::text), array_agg(1000::bigint), array_agg('mp3'::text),
                            array_agg(null::jsonb)) from job_lease";
const RETRY: &str =
    "select * from retry_jobs(array(select job_id from job_history where state = 'cancelled' limit 5), 'o')";

const BLAME: &str =
    "select * from blame_hold('host:h', 'host', 'm', 1, false, null, 5000, 60000, 30000, 100000, 0.5, 1)";
const TEND: &str = "select * from tend_holds('{account,host}', '{60000,60000}', 30000)";

/// What each may read. 16 jobs of 16 businesses: the doorbell, a descent or two of each index, and the rows.
const STATEMENTS: &[(&str, &str, i64)] = &[
    ("claim", CLAIM, 1_500),
    ("settle", SETTLE, 2_000),
    ("enqueue", ENQUEUE, 150),
    (
        "enqueue of what is there",
        "select * from enqueue(business_id => 1, call_sid => 'CA1000001', recording_sid => 'RE1000001', recording_url => 'https://h/x')",
        100,
    ),
    ("promote", "select * from promote(100)", 50),
    ("reap", "select * from reap_leases(1000000, 100, 3::smallint)", 500),
    // Of one business: its lock, four rows of each place, and the history.
    (
        "cancel",
        "select * from cancel_jobs(array(select job_id from job_ready order by job_id desc limit 5), null, 5, 'o')",
        400,
    ),
    (
        "cancel of what is scheduled",
        "select * from cancel_jobs(array(select job_id from job_scheduled limit 5), null, 5, 'o')",
        400,
    ),
    ("retry", RETRY, 600),
    ("expedite", "select expedite(1, 'CA1000007', 0::smallint)", 150),
    // Each by its call: in three tables, and a partition or two.
    (
        "what is known of a provider's page",
        "select * from known_recordings(array(select 'CA' || n from generate_series(1000001, 1000050) n),
                                        array(select 'RE' || n from generate_series(1000001, 1000050) n))",
        1_500,
    ),
    ("watch", "select * from watch_queue(0, 60000, 10000, 3600000, 2000, 5)", 2_500),
    ("watch with holds", "select * from watch_work(0, 60000, 10000, 3600000, 2000, 5)", 2_500),
    ("blame", BLAME, 100),
    ("tend", TEND, 100),
    ("take of follow-ups", "select * from take_follow_ups(32, 8, 1000)", 300),
    ("expire", "select * from expire_recordings(30, 200)", 1_000),
    ("audit", "select * from audit_page(9223372036854775807, 1, null, null, null, 50)", 100),
    ("heal", "select heal_stranded()", 1_000),
    ("the list", "select * from jobs_page(9223372036854775807, null, null, null, 50)", 2_500),
    ("the list of a business", "select * from jobs_page(9223372036854775807, null, 1, null, 50)", 2_500),
    ("what runs", "select * from jobs_page(9223372036854775807, 'running', null, null, 50)", 2_500),
    ("what is dead", "select * from jobs_page(9223372036854775807, 'dead', 1, null, 50)", 100),
    ("the jobs of a call", "select * from jobs_page(9223372036854775807, null, null, 'CA1000001', 50)", 100),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_step_reads_the_backlog_also_on_plans_that_were_made_for_small_tables() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    for table in ["business", "job", "job_ready", "job_scheduled", "job_lease", "doorbell"] {
        let off = format!("alter table {table} set (autovacuum_enabled = off)");
        connection.execute(AssertSqlSafe(off)).await.unwrap();
    }
    // A session that has run everything often enough to keep its plans, on tables with hardly a row.
    connection
        .execute("insert into instance values (gen_random_uuid(), 'h', 1, '{}', '1', 1, false, '[]')")
        .await
        .unwrap();
    for _ in 0..12 {
        for step in [
            ENQUEUE,
            CLAIM,
            SETTLE,
            "select * from promote(100)",
            "select * from reap_leases(1000, 100, 3::smallint)",
            "select * from cancel_jobs('{1}', null, 5, 'o')",
            RETRY,
            "select expedite(7, 'CA1', 0::smallint)",
            BLAME,
            TEND,
        ] {
            connection.execute(step).await.unwrap();
        }
    }
    // One business with 200,000 jobs and all its slots in use; many others with a few.
    backlog(&mut connection, 1, 1_000_000, 200_000).await;
    for business in 100..150 {
        backlog(&mut connection, business, u32::try_from(business).unwrap() * 1_000, 3).await;
    }
    connection
        .execute(
            "insert into job_scheduled (job_id, run_at, business_id, priority, hold_key)
             select job_id, case when job_id % 20 = 0 then held_until() else now() + interval '1 day' end, business_id,
                    priority, case when job_id % 20 = 0 then 'account:AC1' end
               from job where job_id % 10 = 0 and business_id = 1",
        )
        .await
        .unwrap();
    // Half of what is scheduled waits for this.
    connection
        .execute(
            "insert into hold (hold_key, kind, message, probe_at) values ('account:AC1', 'account', 'm', now())",
        )
        .await
        .unwrap();
    connection.execute("delete from job_ready q using job_scheduled s where q.job_id = s.job_id").await.unwrap();
    connection.execute(CLAIM).await.unwrap();
    let saturate = "update business set max_slots = running where business_id = 1";
    connection.execute(saturate).await.unwrap();

    let mut dear = Vec::new();
    for (name, sql, most) in STATEMENTS {
        let read = pages(&mut connection, sql).await;
        if read > *most {
            dear.push(format!("{name}: {read} pages, at most {most}"));
        }
    }
    let store = database.store();
    // A thousand jobs that wait for a hold are counted, no more.
    let looks = [
        ("oldest_ready", 100),
        ("backlog", 100),
        ("holds_standing", 100),
        ("holds", 500),
        ("overview", 500),
        ("meter", 500),
    ];
    for (name, sql) in store.statements() {
        let Some((_, most)) = looks.iter().find(|(look, _)| *look == name) else { continue };
        let read = pages(&mut connection, &sql).await;
        if read > *most {
            dear.push(format!("{name}: {read} pages, at most {most}"));
        }
    }
    let (_, explain) = store.statements().into_iter().find(|(name, _)| *name == "explain").unwrap();
    // As the driver keeps it: made for any job.
    connection.execute("set plan_cache_mode = force_generic_plan").await.unwrap();
    connection.execute(AssertSqlSafe(format!("prepare explain (bigint, bigint) as {explain}"))).await.unwrap();
    let newest = "select max(job_id) from job where business_id = 1";
    let newest: i64 = sqlx::query_scalar(newest).fetch_one(&mut connection).await.unwrap();
    let read = pages(&mut connection, &format!("execute explain ({newest}, 10000)")).await;
    // A thousand jobs before it are counted, no more.
    if read > 1_500 {
        dear.push(format!("explain: {read} pages, at most 1500"));
    }
    assert_eq!(dear, Vec::<String>::new());
}
