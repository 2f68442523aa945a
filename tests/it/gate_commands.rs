//! `callspool migrate`: what its commands say, and how they end.

use crate::support::{
    Database,
    gate::{Folder, Foreign, LOCK, text},
    process::Setup,
};
use std::process::Stdio;
use tokio::{io::AsyncWriteExt, process::Command};

#[tokio::test(flavor = "multi_thread")]
async fn incident_03_run_ends_with_0_applied_or_nothing_to_do_75_lock_busy_or_1_failed() {
    let (database, folder) = (Database::empty().await, Folder::with(&[("1_a.sql", "select 1;")]));
    let setup = Setup::application(&database, &folder).var("MIGRATION_LOCK_WAIT_SECONDS", "0");
    let holder = Foreign::after(&database, LOCK).await;
    let busy = setup.migrate().await;
    assert_eq!(
        (busy.code, text(&busy.json(), "outcome"), text(&busy.json(), "reason")),
        (75, "skipped", "lock_timeout")
    );
    holder.leave().await;
    let applied = setup.migrates().await;
    let ours: i64 = database.one("select count(*) from callspool._sqlx_migrations").await;
    assert_eq!((text(&applied, "outcome"), &applied["applied"]), ("applied", &(ours + 1).into()));
    assert_eq!((applied["version"].as_i64(), text(&setup.migrates().await, "outcome")), (Some(ours), "up_to_date"));
    folder.write("2_bad.sql", "selekt 1;");
    let failed = setup.migrating_fails().await;
    assert_eq!((&failed["version"], text(&failed, "sqlstate")), (&2.into(), "42601"));
}

#[tokio::test(flavor = "multi_thread")]
async fn baseline_adopts_a_schema_that_is_already_there() {
    let database = Database::migrated().await;
    database.run("create table leads (id int)").await;
    let folder = Folder::with(&[
        ("1_leads.sql", "create table leads (id int);"),
        ("2_index.sql", "create index leads_id on leads (id);"),
    ]);
    let setup = Setup::application(&database, &folder);
    assert_eq!(setup.migrating_fails().await["sqlstate"], "42P07");
    let beyond = setup.say(&["migrate", "baseline", "9"]).await;
    assert_eq!(beyond.code, 1);
    assert!(beyond.err.contains("the newest is 2"), "{}", beyond.err);
    let adopted = setup.say(&["migrate", "baseline", "1"]).await;
    assert_eq!((adopted.code, adopted.out.trim()), (0, "1 migrations up to 1 are marked as applied"));
    let status = setup.say(&["migrate", "status", "--json"]).await.json();
    let shown: Vec<_> =
        status["migrations"].as_array().unwrap().iter().filter(|m| m["set"] == "application").collect();
    assert_eq!((text(shown[0], "state"), &shown[0]["ms"]), ("applied", &serde_json::Value::Null));
    assert_eq!(text(shown[1], "state"), "pending");
    assert!(setup.say(&["migrate", "baseline", "1"]).await.out.starts_with("0 migrations"));
    assert_eq!(setup.migrates().await["applied"], 1);

    let holder = Foreign::after(&database, LOCK).await;
    let setup = setup.var("MIGRATION_LOCK_WAIT_SECONDS", "0");
    assert_eq!(setup.say(&["migrate", "baseline", "2"]).await.code, 75);
    holder.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_makes_files_that_run() {
    let (database, folder) = (Database::migrated().await, Folder::with(&[]));
    let setup = Setup::application(&database, &folder);
    let made = setup.say(&["migrate", "new", "add_phone"]).await;
    assert_eq!(made.code, 0, "{}", made.err);
    let file = std::path::PathBuf::from(made.out.trim());
    assert_eq!(file.parent(), Some(folder.path()));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("-- callspool: lock_timeout="), "{written}");
    let version = file.file_name().unwrap().to_str().unwrap().split('_').next().unwrap().parse::<i64>().unwrap();
    let second = format!("{}_index.sql", version + 1);
    let concurrent = setup.say(&["migrate", "new", "--no-transaction", "index"]).await;
    // Both may have been made within the same second.
    std::fs::rename(concurrent.out.trim(), folder.path().join(&second)).unwrap();
    assert!(std::fs::read_to_string(folder.path().join(&second)).unwrap().starts_with("-- no-transaction\n"));
    assert_eq!(setup.migrates().await["applied"], 2);
    assert_eq!(setup.say(&["migrate", "new", "not/a name"]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_prints_sql_that_psql_runs() {
    let (planned, database) = (Database::empty().await, Database::empty().await);
    let folder = Folder::with(&[
        ("1_leads.sql", "create table leads (id int) -- no semicolon"),
        ("2_index.sql", "-- no-transaction\ncreate index concurrently leads_id on leads (id);"),
    ]);
    let setup = Setup::application(&planned, &folder);
    let plan = setup.say(&["migrate", "plan"]).await;
    assert_eq!(plan.code, 0, "{}", plan.err);
    let mut psql = Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &database.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    psql.stdin.take().unwrap().write_all(plan.out.as_bytes()).await.unwrap();
    assert!(psql.wait().await.unwrap().success());
    assert!(database.one::<bool>("select to_regclass('callspool.job') is not null").await);
    assert!(database.one::<bool>("select to_regclass('public.leads_id') is not null").await);
    // Nothing was run where it was planned.
    assert!(planned.one::<bool>("select to_regclass('callspool.job') is null").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_plan_are_json_for_scripts() {
    let (database, folder) = (Database::migrated().await, Folder::with(&[("3_a.sql", "select 1;")]));
    let setup = Setup::application(&database, &folder);
    let holder = Foreign::after(&database, LOCK).await;
    let status = setup.say(&["migrate", "status", "--json"]).await.json();
    assert_eq!((&status["fits"], &status["lock_holder"]["pid"]), (&true.into(), &holder.pid.into()));
    assert_eq!(text(status["migrations"].as_array().unwrap().last().unwrap(), "state"), "pending");
    let plan = setup.say(&["migrate", "plan", "--json"]).await.json();
    assert_eq!(
        (text(&plan[0], "sql"), &plan[0]["version"], &plan[0]["no_transaction"]),
        ("select 1;", &3.into(), &false.into())
    );
    let table = setup.say(&["migrate", "status"]).await.out;
    assert!(table.contains("lock    pid") && table.contains("foreign"), "{table}");
    holder.leave().await;
    setup.migrates().await;
    assert_eq!(setup.say(&["migrate", "plan"]).await.out.trim(), "-- nothing is pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_is_a_fault_of_the_configuration() {
    let database = Database::migrated().await;
    let said = Setup::new(&database).var("MIGRATIONS_DIR", "/nowhere/at/all").migrate().await;
    assert_eq!(said.code, 78);
    assert!(said.err.contains("migrations.dir") && said.err.contains("a folder that exists"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_every_command_says_so_and_ends() {
    let away = Database { url: "postgres://callspool@127.0.0.1:1/callspool".to_owned() };
    let setup = Setup::new(&away).var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "200ms");
    let setup = setup.var("MIGRATION_LOCK_WAIT_SECONDS", "0");
    for arguments in
        [["migrate", "status"].as_slice(), &["migrate", "plan"], &["migrate", "run"], &["migrate", "baseline", "1"]]
    {
        let said = setup.say(arguments).await;
        assert_eq!(said.code, 1, "{arguments:?}: {}", said.err);
        let told = said.err.contains("not reached") || said.err.contains("no connection in time");
        assert!(told, "{arguments:?}: {}", said.err);
    }
    let waited = setup.say(&["migrate", "wait", "--timeout", "1"]).await;
    assert_eq!(waited.code, 75, "{}", waited.err);
}
