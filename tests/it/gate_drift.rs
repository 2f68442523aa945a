//! What is applied beside what is known: drift, missing files, and databases newer than the folder or the binary.

use crate::support::{
    Database,
    gate::{Folder, text},
    process::Setup,
};

async fn applied() -> (Database, Folder) {
    let database = Database::migrated().await;
    let folder =
        Folder::with(&[("1_one.sql", "select 1;"), ("2_two.sql", "select 2;"), ("3_three.sql", "select 3;")]);
    assert_eq!(Setup::application(&database, &folder).migrates().await["applied"], 3);
    (database, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_afterwards_is_named_with_its_version_when_it_was_applied_and_what_differs() {
    let (database, folder) = applied().await;
    folder.remove("2_two.sql");
    folder.write("2_renamed.sql", "select 22;");
    folder.write("4_four.sql", "select 4;");
    let setup = Setup::application(&database, &folder);
    let failed = setup.migrating_fails().await;
    assert_eq!((&failed["version"], text(&failed, "set")), (&2.into(), "application"));
    let today: String = database.one("select to_char(now() at time zone 'UTC', 'YYYY-MM-DD')").await;
    for part in [today.as_str(), "another content (checksum mismatch)", "\"two\""] {
        assert!(text(&failed, "reason").contains(part), "{part} in {failed}");
    }
    // Nothing is applied on top of what nobody knows, and it is not tried again.
    assert_eq!(database.one::<i64>("select count(*) from callspool.application_migrations").await, 3);
    let status = setup.say(&["migrate", "status", "--json"]).await.json();
    let drifted = status["migrations"].as_array().unwrap().iter().find(|m| m["state"] == "drifted").unwrap();
    assert_eq!(drifted["version"], 2);
    assert!(text(drifted, "detail").contains("checksum mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_below_the_newest_is_named() {
    let (database, folder) = applied().await;
    folder.remove("2_two.sql");
    let failed = Setup::application(&database, &folder).migrating_fails().await;
    assert_eq!(failed["version"], 2);
    assert!(text(&failed, "reason").contains("its file (two) is missing"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_newer_than_the_folder_is_fine_and_so_is_a_file_that_came_later_with_an_older_number() {
    let (database, folder) = applied().await;
    folder.remove("3_three.sql");
    assert_eq!(Setup::application(&database, &folder).migrates().await["outcome"], "up_to_date");
    folder.write("3_three.sql", "select 3;");
    folder.write("02_late.sql", "select 2;");
    let failed = Setup::application(&database, &folder).migrating_fails().await;
    assert!(text(&failed, "reason").contains("two files have this version"), "{failed}");
    folder.remove("02_late.sql");
    database.run("delete from callspool.application_migrations where version = 1").await;
    assert_eq!(Setup::application(&database, &folder).migrates().await["applied"], 1);
}

const NEWER: &str =
    "insert into callspool._sqlx_migrations (version, description, success, checksum, execution_time)
                     values (9999, 'from the future', true, '', 0);";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_newer_than_the_binary_fits_when_the_new_migrations_are_marked_compatible() {
    let database = Database::migrated().await;
    database.run(NEWER).await;
    database.run("insert into callspool.compatible_migrations values (9999)").await;
    let process = Setup::new(&database).run().await;
    assert_eq!(process.event("SCHEMA_READY").await["have"], 9999);
    let setup = Setup::new(&database);
    assert_eq!(setup.migrates().await["outcome"], "up_to_date");
    assert_eq!(setup.say(&["migrate", "wait", "--timeout", "1"]).await.code, 0);
    let status = setup.say(&["migrate", "status"]).await;
    assert!(status.out.contains("newer"), "{}", status.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_newer_than_the_binary_is_refused_without_that_mark_and_no_worker_starts() {
    let database = Database::migrated().await;
    database.run(NEWER).await;
    let process = Setup::new(&database).start();
    let waiting = process.event("SCHEMA_WAITING").await;
    assert_eq!(waiting["have"], 9999);
    let failed = process.event("MIGRATION_FAILED").await;
    assert!(text(&failed, "reason").contains("by a newer release and is not marked compatible"), "{failed}");
    assert_eq!(process.get("/healthz").await.status(), 200);
    let reason = process.obstacle().await;
    assert!(reason.contains("9999") && reason.contains("deploy"), "{reason}");
    // The gate is closed: nothing behind it was started.
    let started = process.events("ACTOR_STARTED");
    assert!(started.iter().all(|event| event["actor"] != "slot_manager"), "{started:?}");

    let setup = Setup::new(&database);
    let waited = setup.say(&["migrate", "wait", "--timeout", "1"]).await;
    assert_eq!(waited.code, 75);
    assert!(waited.err.contains("9999 is newer than this binary"), "{}", waited.err);
    assert_eq!(setup.migrating_fails().await["version"], 9999);
    database.run("insert into callspool.compatible_migrations values (9999)").await;
    process.wait_until_ready().await;
}
