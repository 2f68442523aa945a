//! Very many businesses: what runs on a timer reads a part of them at a time, and misses none.

use crate::{
    queue_cost::pages,
    queue_law::execute,
    queue_watch::rules,
    support::{Database, business},
};
use callspool::domain::{
    explain::Reason,
    overview::StallChange,
    ports::{FleetView, Healed, Upkeep, Watch, WatchRules},
};
use sqlx::{AssertSqlSafe, Executor};

/// Businesses 1 to `count`, each with two ready jobs of which the last was picked two minutes ago. Nothing is analysed.
async fn businesses(database: &Database, count: u32) {
    let sql = format!(
        "insert into business (business_id, max_slots, ready, done, has_more, waiting_since)
         select n, 5, 2, 1, true, now() - interval '2 minutes' from generate_series(1, {count}) n"
    );
    database.connect().await.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// A look that is not too soon.
async fn look(database: &Database, rules: &WatchRules) -> Vec<String> {
    execute(database, "update queue_watch set took_ms = 0").await;
    let said = database.store().watch(rules).await.unwrap();
    let word = |change: &StallChange| match change {
        StallChange::Begun(stall) => format!("+{} {} {}", stall.reason, stall.businesses, stall.ready),
        StallChange::Over(stall) => format!("-{}", stall.reason),
    };
    said.iter().map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_in_several_looks_says_the_same_as_one_in_one_look() {
    let database = Database::migrated().await;
    businesses(&database, 25).await;
    execute(&database, "update business set running = business_id where business_id in (3, 14, 25)").await;
    execute(&database, "update business set running = 5, max_slots = 5 where business_id in (4, 13)").await;
    execute(&database, "insert into instance values (gen_random_uuid(), 'h', 1, '{}', '1', 1, false, '[]')").await;
    let parts = WatchRules { businesses: 10, ..rules() };
    let figures = || async {
        let overview = database.store().overview(0).await.unwrap();
        let busiest: Vec<i64> = overview.businesses.iter().map(|business| business.business_id.get()).collect();
        let stalls: Vec<_> = overview
            .stalls
            .iter()
            .map(|stall| (stall.reason, stall.businesses, stall.ready, stall.business_id))
            .collect();
        (overview.backlog, busiest, stalls, overview.instances)
    };
    for unfinished in [10, 20] {
        assert_eq!(look(&database, &parts).await, [] as [String; 0], "{unfinished} of 25");
        assert_eq!(figures().await.0.ready, 0);
    }
    let mut said = look(&database, &parts).await;
    said.sort();
    assert_eq!(said, ["+runnable 21 42", "+slots_full 4 8"]);
    let in_parts = figures().await;
    assert_eq!((in_parts.0.ready, in_parts.0.done, in_parts.0.running), (50, 25, 52));
    assert_eq!((&in_parts.1[..5], in_parts.1.len(), in_parts.3), (&[25, 14, 4, 13, 3][..], 20, 1));
    assert_eq!(look(&database, &rules()).await, [] as [String; 0], "nothing has changed");
    assert_eq!(figures().await, in_parts);

    // What is over in the second part only is said at the end.
    execute(&database, "update business set running = 0").await;
    let mut later = Vec::new();
    for _ in 0..3 {
        later.push(look(&database, &parts).await);
    }
    assert_eq!(later, [vec![], vec![], vec!["-slots_full".to_owned()]]);
    let stalls = database.store().overview(0).await.unwrap().stalls;
    assert_eq!((stalls.len(), stalls[0].reason, stalls[0].businesses), (1, Reason::Runnable, 25));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_concerns_the_whole_fleet_is_told_as_it_is_when_the_sweep_ends() {
    let database = Database::migrated().await;
    businesses(&database, 25).await;
    let parts = WatchRules { businesses: 20, ..rules() };
    assert_eq!(look(&database, &parts).await, [] as [String; 0], "no process works yet");
    execute(&database, "insert into instance values (gen_random_uuid(), 'h', 1, '{}', '1', 1, false, '[]')").await;
    let said = look(&database, &parts).await;
    assert!(!said.iter().any(|change| change.contains("no_live_workers")), "{said:?}");
    execute(&database, "delete from instance").await;
    look(&database, &parts).await;
    let said = look(&database, &parts).await;
    assert!(said.contains(&"+no_live_workers 25 50".to_owned()), "{said:?}");
}

/// As when the whole fleet was restarted.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_was_left_half_way_begins_anew() {
    let database = Database::migrated().await;
    businesses(&database, 25).await;
    let parts = WatchRules { businesses: 20, ..rules() };
    look(&database, &parts).await;
    execute(&database, "update queue_watch set watched_at = watched_at - interval '1 hour'").await;
    execute(&database, "update queue_sweep set looked_at = looked_at - interval '1 hour'").await;
    execute(&database, "update business set ready = 3 where business_id <= 20").await;
    for _ in 0..2 {
        look(&database, &parts).await;
    }
    assert_eq!(database.store().overview(0).await.unwrap().backlog.ready, 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn stranded_businesses_are_looked_for_in_steps() {
    let database = Database::migrated().await;
    businesses(&database, 25).await;
    execute(&database, "insert into job_ready select n, 5, n from generate_series(1, 25) n").await;
    execute(&database, "update business set has_more = false where business_id in (4, 17, 24)").await;
    execute(&database, "insert into doorbell values (17, 1, 0)").await;
    let store = database.store();
    let (mut after, mut healed) = (None, Vec::new());
    for _ in 0..3 {
        let Healed { businesses, next } = store.heal_stranded(after, 10).await.unwrap();
        healed.push(businesses);
        after = next;
    }
    // Number 17 has a bell.
    assert_eq!((healed, after), (vec![1, 0, 1], None));
    assert_eq!(store.heal_stranded(Some(business(3)), 1).await.unwrap().next, Some(business(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_timer_reads_all_businesses() {
    let database = Database::migrated().await;
    execute(&database, "alter table business set (autovacuum_enabled = off)").await;
    businesses(&database, 200_000).await;
    let mut connection = database.connect().await;
    let mut dear = Vec::new();
    for (name, sql) in [
        ("watch", "select * from watch_next(0, 60000, 10000, 3600000, 2000, 5, 1000)"),
        ("heal", "select * from heal_next(20000, 1000)"),
        ("retention, where the fleet has none", "select * from expire_recordings(0, 200)"),
    ] {
        let read = pages(&mut connection, sql).await;
        // Most of it is the catalog, for a session's first plan. All of the businesses once are 5,700 pages of the table,
        // and a descent of an index for each 400,000.
        if read > 2_500 {
            dear.push(format!("{name}: {read} pages"));
        }
    }
    assert_eq!(dear, Vec::<String>::new());
    let rows = "select seq_tup_read from pg_stat_xact_user_tables where relname = 'business'";
    sqlx::query("update queue_watch set took_ms = 0").execute(&mut connection).await.unwrap();
    sqlx::query("begin").execute(&mut connection).await.unwrap();
    for step in ["select * from watch_next(0, 0, 0, 0, 0, 5, 1000)", "select * from heal_next(0, 1000)"] {
        sqlx::query(step).execute(&mut connection).await.unwrap();
    }
    let read: i64 = sqlx::query_scalar(rows).fetch_one(&mut connection).await.unwrap();
    assert_eq!(read, 0, "rows that were read one by one");
}

/// As when everybody else has come in after the one with the long backlog.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_largest_business_does_not_read_the_newer_jobs_of_all_others() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    for sql in [
        "insert into job (job_id, business_id, call_sid, recording_key, recording_url, job_type, priority)
         select n, case when n <= 100000 then 1 else n end, 'CA' || n, 'CA' || n, 'https://h/x', 'download_only', 5
           from generate_series(1, 120000) n",
        "insert into job_ready (business_id, priority, job_id) select business_id, priority, job_id from job",
        "analyze job_ready",
    ] {
        connection.execute(sql).await.unwrap();
    }
    let newest = "select job_id from jobs_page(9223372036854775807, 'ready', 1, null, 3)";
    let newest: Vec<i64> = sqlx::query_scalar(newest).fetch_all(&mut connection).await.unwrap();
    assert_eq!(newest, [100_000, 99_999, 99_998]);
    for page in ["9223372036854775807, 'ready', 1", "50000, null, 1", "9223372036854775807, null, 1"] {
        let read = pages(&mut connection, &format!("select * from jobs_page({page}, null, 50)")).await;
        assert!(read < 2_500, "{page}: {read} pages");
    }
}
