//! CREATE INDEX CONCURRENTLY and the lock, in both orders; and what a build leaves that was cut off (incident 26).

use crate::support::{
    Database, eventually,
    gate::{Folder, Foreign, LOCK, text},
    process::Setup,
};
use futures_util::future::join_all;

const LEADS: &str = "create table leads (id bigint, phone text, email text);
                     insert into leads select n, n::text, n::text from generate_series(1, 1000) n;";
const VALID: &str = "select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid
                      where i.indisvalid and c.relname like 'leads\\_%'";
/// A transaction that a build has to wait for.
const WRITES: &str = "begin; insert into leads values (0)";
const BUILD: &str = "-- no-transaction\n-- callspool: lock_timeout=0\n\
                     create index concurrently leads_phone on leads (phone);\n\
                     create index concurrently if not exists leads_email on leads (email);\n\
                     create unique index concurrently leads_id on leads (id);";

async fn leads() -> Database {
    let database = Database::migrated().await;
    database.run(LEADS).await;
    database
}

/// An invalid index, as a build leaves it that was cancelled midway: it waits for an old transaction then.
async fn leave_invalid(database: &Database, build: &str) {
    let old = Foreign::after(database, WRITES).await;
    let mut builder = Foreign::after(database, "select 1").await;
    let (build, pid) = (build.to_owned(), builder.pid);
    let building = tokio::spawn(async move {
        use sqlx::Executor;
        builder.connection.execute(sqlx::AssertSqlSafe(build)).await.is_err()
    });
    database
        .becomes(&format!(
            "select exists (select 1 from pg_stat_activity where pid = {pid} and wait_event_type = 'Lock')
                and exists (select 1 from pg_index where not indisvalid)"
        ))
        .await;
    database.run(&format!("select pg_cancel_backend({pid})")).await;
    assert!(building.await.unwrap(), "the build was to be cancelled");
    old.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_concurrently_elsewhere_while_processes_wait_for_the_lock() {
    let (database, folder) = (leads().await, Folder::with(&[("1_i.sql", BUILD)]));
    let holder = Foreign::after(&database, LOCK).await;
    let process = Setup::application(&database, &folder).start();
    process.event("MIGRATION_LOCK_WAITING").await;
    database.run("create index concurrently leads_both on leads (phone, email)").await;
    assert!(process.events("MIGRATION_SKIPPED").is_empty());
    holder.leave().await;
    process.line("our builds", |line| line["marker"] == "MIGRATION_APPLIED").await;
    assert_eq!(database.one::<i64>(VALID).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_indexes_of_one_file_are_built_concurrently_while_others_try_for_the_lock() {
    let (database, folder) = (leads().await, Folder::with(&[("1_i.sql", BUILD)]));
    // The first build is held up until the others wait for the lock.
    let old = Foreign::after(&database, WRITES).await;
    let builder = Setup::application(&database, &folder).start();
    let running = builder.event("MIGRATION_RUNNING").await;
    assert!(text(&running, "blocked_by").contains("foreign"), "{running}");
    let built = builder.line("the index's phase", |line| line["index_build"].is_string()).await;
    assert!(text(&built, "index_build").contains("waiting for"), "{built}");
    let others: Vec<_> = (0..4).map(|_| Setup::application(&database, &folder)).collect();
    let waiting = Setup::application(&database, &folder).start();
    let line = waiting.event("MIGRATION_LOCK_WAITING").await;
    assert!(text(&line, "holder_app").starts_with("callspool-migrator/"));
    let said = join_all(others.iter().map(Setup::migrate));
    let (said, ()) = tokio::join!(said, async {
        waiting.event_number("MIGRATION_LOCK_WAITING", 1).await;
        old.leave().await;
    });
    assert!(said.iter().all(|said| said.code == 0));
    assert_eq!(database.one::<i64>(VALID).await, 3);
    assert_eq!(builder.event("MIGRATION_APPLIED").await["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_26_an_invalid_index_that_a_build_left_is_dropped_and_built_again() {
    let database = leads().await;
    leave_invalid(&database, "create index concurrently leads_phone on leads (phone)").await;
    // IF NOT EXISTS would skip it for ever.
    leave_invalid(&database, "create index concurrently leads_email on leads (email)").await;
    // Not ours to touch: the same name in another schema, and one that no statement builds.
    database.run("create schema other; create table other.leads (phone text)").await;
    let said = Setup::application(&database, &Folder::with(&[("1_i.sql", BUILD)])).migrate().await;
    assert_eq!((said.code, said.json()["applied"].clone()), (0, 1.into()), "{}", said.err);
    for index in ["leads_phone", "leads_email"] {
        assert!(said.err.contains(&format!("index=public.{index}")), "{}", said.err);
    }
    assert_eq!(database.one::<i64>(VALID).await, 3);
    assert_eq!(database.one::<i64>("select count(*) from pg_index where not indisvalid").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_index_is_repaired_by_reindex_and_is_not_dropped_before() {
    let database = leads().await;
    leave_invalid(&database, "create index concurrently leads_phone on leads (phone)").await;
    // What an earlier repair left that was cut off, too.
    leave_invalid(&database, "reindex index concurrently leads_phone").await;
    let folder = Folder::with(&[("1_i.sql", "-- no-transaction\nreindex index concurrently leads_phone;")]);
    Setup::application(&database, &folder).migrates().await;
    assert_eq!(database.one::<i64>(VALID).await, 1);
    assert_eq!(database.one::<i64>("select count(*) from pg_index where not indisvalid").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_off_between_its_statements_is_run_again_and_ends_well() {
    let database = leads().await;
    let file = "-- no-transaction\n-- callspool: lock_timeout=0\n\
                create index concurrently if not exists leads_phone on leads (phone);\n\
                select pg_sleep(60) where not exists (select 1 from pg_class where relname = 'go_on');\n\
                create index concurrently if not exists leads_email on leads (email);";
    let folder = Folder::with(&[("1_i.sql", file)]);
    let mut process = Setup::application(&database, &folder).start();
    database.migrator_sleeps().await;
    process.kill().await;
    database.run("create table go_on ()").await;
    assert_eq!(Setup::application(&database, &folder).migrates().await["applied"], 1);
    assert_eq!(database.one::<i64>(VALID).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_cut_off_by_kill_9_is_finished_by_the_next_process() {
    let (database, folder) = (leads().await, Folder::with(&[("1_i.sql", BUILD)]));
    let old = Foreign::after(&database, WRITES).await;
    let mut first = Setup::application(&database, &folder).start();
    first.line("its phase", |line| line["index_build"].is_string()).await;
    first.kill().await;
    let second = Setup::application(&database, &folder).start();
    second.event("MIGRATION_LOCK_ACQUIRED").await;
    old.leave().await;
    second.line("the builds", |line| line["marker"] == "MIGRATION_APPLIED").await;
    eventually("three valid indexes", async || (database.one::<i64>(VALID).await == 3).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_index_without_a_name_is_refused_because_its_leftover_could_not_be_found() {
    let database = leads().await;
    let folder = Folder::with(&[("1_i.sql", "-- no-transaction\ncreate index concurrently on leads (phone);")]);
    let failed = Setup::application(&database, &folder).migrating_fails().await;
    assert!(text(&failed, "reason").contains("line 2: give the index a name"), "{failed}");
    assert_eq!(database.one::<i64>("select count(*) from pg_index where indrelid = 'leads'::regclass").await, 0);
}
