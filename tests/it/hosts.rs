//! URLs of several hosts, on one cluster: the hosts are sockets, of which some lead nowhere. What takes a second cluster
//! is in `tests/heavy/failover.rs`.

use crate::support::{
    Answer, Database, Provider, eventually,
    process::{Setup, json},
};
use std::os::unix::net::UnixListener;
use tempfile::TempDir;

const CANARY: &str = "s3cret-canary";

/// The URL's last host is the real one; a password is in it that must not be seen.
fn behind(database: &Database, folders: &[&TempDir]) -> Database {
    let (address, real) = database.url.split_once("host=").unwrap();
    let folders = folders.iter().map(|folder| format!("{},", folder.path().display()));
    let address = address.replace("callspool@", &format!("callspool:{CANARY}@"));
    let folders: String = folders.collect();
    Database { url: format!("{address}target_session_attrs=read-write&host={folders}{real}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_away_and_one_that_never_answers_are_passed_over_by_processes_and_commands() {
    let (database, provider) = (Database::empty().await, Provider::start());
    let (away, silent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _silent = UnixListener::bind(silent.path().join(".s.PGSQL.5432")).unwrap();
    let setup = Setup::new(&behind(&database, &[&away, &silent])).provider(&provider);
    let process = setup.run().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    let found = process.event("DATABASE_PRIMARY").await;
    assert_eq!((found["host"].as_str(), found["place"].as_i64()), (Some("socket:5432"), Some(3)), "{found}");
    let status = process.setup().say(&["status", "--json"]).await;
    assert_eq!((status.code, &status.json()["backlog"]["done"]), (0, &1.into()), "{status:?}");
    assert_eq!(process.setup().say(&["migrate", "wait", "--timeout", "30"]).await.code, 0);
    assert!(!format!("{}{status:?}", process.everything()).contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_takes_no_writes_any_more_is_left_at_the_first_refusal_and_taken_back_when_it_does() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let away = tempfile::tempdir().unwrap();
    let setup = Setup::new(&behind(&database, &[&away])).provider(&provider);
    let process = setup.var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "1s").run().await;
    let mut admin = database.connect().await;
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&mut admin).await.unwrap();
    let closed = format!("alter database {name} set default_transaction_read_only = on");
    let opened = format!("alter database {name} reset default_transaction_read_only");
    // Sessions that are there keep what they have, as those of a pool do.
    sqlx::raw_sql(sqlx::AssertSqlSafe(closed)).execute(&mut admin).await.unwrap();
    provider.tell(1, [Answer::status(404)]);
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and application_name like 'callspool%'";
    sqlx::query_scalar::<_, i64>(end).fetch_one(&mut admin).await.unwrap();
    let none = process.event("DATABASE_NO_PRIMARY").await;
    assert_eq!(none["standbys"], 1, "{none}");
    eventually("the reason in /readyz", async || {
        let reasons = json(process.get("/readyz").await).await["reasons"].to_string();
        reasons.contains("the database takes no writes: there is no primary").then_some(())
    })
    .await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(opened)).execute(&mut admin).await.unwrap();
    process.wait_until_ready().await;
    process.enqueue(42, 2).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert!(process.events("ACTOR_DOWN").is_empty(), "{}", process.everything());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_that_takes_no_writes_is_not_ready() {
    let database = Database::migrated().await;
    let mut admin = database.connect().await;
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&mut admin).await.unwrap();
    let closed = format!("alter database {name} set default_transaction_read_only = on");
    sqlx::raw_sql(sqlx::AssertSqlSafe(closed)).execute(&mut admin).await.unwrap();
    let process = Setup::new(&database).var("RUN_MIGRATIONS", "0").start();
    process.event("SCHEMA_READY").await;
    eventually("the reason in /readyz", async || {
        let answer = process.get("/readyz").await;
        let status = answer.status();
        let reasons = json(answer).await["reasons"].to_string();
        (status == 503 && reasons.contains("the database takes no writes: the host is a standby")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_several_hosts_are_told_with_key_and_place_and_nothing_of_the_url() {
    let database = Database::empty().await;
    let setup = Setup::new(&database)
        .var("DATABASE_URL", &format!("postgres://me:{CANARY}@one,two:99999/app"))
        .var("MIGRATION_DATABASE_URL", &format!("postgres://me:{CANARY}@one,two/app?target_session_attrs=standby"));
    for arguments in [&["config", "check"][..], &["run"], &["status"]] {
        let said = setup.say(arguments).await;
        assert_eq!(said.code, 78, "{said:?}");
        for expected in [
            "database.url (from DATABASE_URL): the port of host 2 is none; allowed is a number from 1 to 65535",
            "migrations.database_url (from MIGRATION_DATABASE_URL): target_session_attrs asks for what cannot be \
             written to; allowed are read-write, primary and any",
        ] {
            assert!(said.err.contains(expected), "{expected} is not in:\n{}", said.err);
        }
        assert!(!said.err.contains(CANARY), "{}", said.err);
    }
}
