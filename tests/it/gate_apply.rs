//! One migration: its header, what stands in its way, and what a failure leaves behind.

use crate::support::{
    Database,
    gate::{Folder, Foreign, MARKS, text},
    process::Setup,
};

const LEADS: &str = "create table leads (id bigint primary key); insert into leads select generate_series(1, 10);";

#[tokio::test(flavor = "multi_thread")]
async fn incident_25_who_blocks_a_migration_is_named_and_it_is_tried_again_until_they_have_gone() {
    let database = Database::migrated().await;
    database.run(LEADS).await;
    let mut forgotten = Foreign::after(&database, "begin").await;
    forgotten.run("select count(*), 'secret' from leads").await;
    let folder = Folder::with(&[("1_a.sql", "-- callspool: lock_timeout=1s\nalter table leads add phone text;")]);
    let process = Setup::application(&database, &folder).start();
    let running = process.event("MIGRATION_RUNNING").await;
    let blockers = text(&running, "blocked_by");
    for part in [&format!("pid {}", forgotten.pid), "foreign", "idle in transaction", "select"] {
        assert!(blockers.contains(part), "{part} in {blockers}");
    }
    assert_eq!((text(&running, "waiting_for"), &running["version"]), ("Lock relation", &1.into()));
    let retry = process.line("another try", |line| line["retry_in_ms"].is_u64()).await;
    assert!(text(&retry, "failure").contains("55P03") && text(&retry, "blocked_by").contains("foreign"), "{retry}");
    assert!(!process.everything().contains("secret"));
    forgotten.leave().await;
    let applied = process.line("the migration", |line| line["marker"] == "MIGRATION_APPLIED").await;
    assert_eq!((text(&applied, "set"), &applied["version"]), ("application", &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_migration_of_the_application_stops_no_worker_and_is_shown_by_log_and_status() {
    let database = Database::empty().await;
    database.run(LEADS).await;
    let blocker = Foreign::after(&database, "begin; select 1 from leads").await;
    let ddl = "-- callspool: lock_timeout=100ms retries=1\nalter table leads add phone text;";
    let folder = Folder::with(&[("7_phone.sql", ddl)]);
    let process = Setup::application(&database, &folder).start();
    let failed = process.event("MIGRATION_FAILED").await;
    assert_eq!(
        (&failed["version"], text(&failed, "sqlstate"), text(&failed, "set")),
        (&7.into(), "55P03", "application")
    );
    let tries = process.lines().iter().filter(|line| line["retry_in_ms"].is_u64()).count();
    assert_eq!(tries, 1, "as its header says");
    // Ours fits.
    process.wait_until_ready().await;
    assert!(process.enqueue(1, 1).await > 0);
    process.event("WORKER_PICKED").await;
    assert!(process.events("ACTOR_DOWN").is_empty());
    let setup = Setup::application(&database, &folder);
    let status = setup.say(&["status", "--json"]).await.json();
    let shown = &status["failed_migrations"][0];
    assert_eq!(
        (text(shown, "set"), &shown["version"], text(shown, "sqlstate")),
        ("application", &7.into(), "55P03")
    );
    assert!(setup.say(&["status"]).await.out.contains("migration  application 7: it failed on 20"));
    let migrations = setup.say(&["migrate", "status"]).await;
    assert!(migrations.out.contains("application 7: it failed on 20"), "{}", migrations.out);

    blocker.leave().await;
    assert_eq!(setup.migrates().await["applied"], 1);
    assert!(setup.say(&["status", "--json"]).await.json()["failed_migrations"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_migration_of_our_own_keeps_the_process_alive_and_not_ready_until_another_mends_it() {
    let database = Database::empty().await;
    let blocker = Foreign::after(&database, "begin; create schema callspool").await;
    let setup = Setup::new(&database).var("MIGRATION_LOCK_TIMEOUT", "100ms");
    let process = setup.var("CALLSPOOL__MIGRATIONS__RETRIES", "0").start();
    assert_eq!(text(&process.event("MIGRATION_FAILED").await, "sqlstate"), "55P03");
    assert_eq!(process.get("/healthz").await.status(), 200);
    let reason = process.obstacle().await;
    assert!(reason.contains("migrating failed") && reason.contains("55P03"), "{reason}");
    blocker.leave().await;
    assert_eq!(Setup::new(&database).migrates().await["outcome"], "applied");
    process.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_migration_has_the_patience_of_its_header_and_the_next_one_the_usual_again() {
    let database = Database::migrated().await;
    let remember =
        "insert into patience select current_setting('statement_timeout'), current_setting('lock_timeout');";
    let folder = Folder::with(&[
        ("1_a.sql", &format!("create table patience (statement text, lock text);\n{remember}")),
        ("2_b.sql", &format!("-- callspool: statement_timeout=0 lock_timeout=2min\n{remember}")),
        // A dump sets more than it says.
        (
            "3_c.sql",
            &format!("set statement_timeout = 0; set lock_timeout = 0; set search_path to public;\n{remember}"),
        ),
        ("4_d.sql", remember),
    ]);
    let setup = Setup::application(&database, &folder).var("MIGRATION_STATEMENT_TIMEOUT", "70s");
    setup.var("MIGRATION_LOCK_TIMEOUT", "3s").migrates().await;
    let seen: Vec<String> = database.one("select array_agg(statement || ' ' || lock) from patience").await;
    assert_eq!(seen, ["70s 3s", "0 2min", "0 0", "70s 3s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_told_to_give_up_a_migrator_that_is_dead_or_frozen() {
    let database = Database::migrated().await;
    let remember = "create table told as select name, current_setting(name) as value from unnest(array[
                    'client_connection_check_interval', 'idle_session_timeout', 'idle_in_transaction_session_timeout'])
                    with ordinality as s (name, place) order by place;";
    Setup::application(&database, &Folder::with(&[("1_a.sql", remember)])).migrates().await;
    let told: Vec<String> = database.one("select array_agg(value) from told").await;
    assert_eq!(told, ["1s", "1min", "1min"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_ended_by_its_headers_timeout_and_not_tried_again() {
    let database = Database::migrated().await;
    let slow = "-- callspool: statement_timeout=200ms retries=10\nselect pg_sleep(30);";
    let folder = Folder::with(&[("1_slow.sql", slow)]);
    let failed = Setup::application(&database, &folder).migrating_fails().await;
    assert_eq!((text(&failed, "sqlstate"), &failed["version"]), ("57014", &1.into()));
    assert!(text(&failed, "reason").contains("statement timeout"), "{failed}");
    // Without a limit it works.
    folder.write("1_slow.sql", "-- callspool: statement_timeout=0\nselect pg_sleep(0.3);");
    let setup = Setup::application(&database, &folder).var("MIGRATION_STATEMENT_TIMEOUT", "100ms");
    assert_eq!(setup.migrates().await["applied"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_not_understood_is_refused_with_version_line_and_what_is_allowed_and_ours_are_applied_first()
 {
    let (database, folder) = (Database::empty().await, Folder::with(&[]));
    for (sql, line, part) in [
        ("\n-- callspool: retry=3\nselect 1;", "line 2", "retries=<0 to 1000>"),
        ("-- callspool: lock_timeout=5\nselect 1;", "line 1", "ms, s, min or h"),
        ("-- Why: speed\n-- no-transaction\nselect 1;", "line 2", "very beginning"),
    ] {
        folder.write("5_bad.sql", sql);
        let failed = Setup::application(&database, &folder).migrating_fails().await;
        assert_eq!(failed["version"], 5);
        assert!(text(&failed, "reason").contains(line) && text(&failed, "reason").contains(part), "{failed}");
    }
    let process = Setup::application(&database, &folder).run().await;
    assert_eq!(text(&process.event("MIGRATION_FAILED").await, "set"), "application");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_its_own_transaction_is_refused_before_anything_of_it_runs() {
    let (database, folder) = (Database::migrated().await, Folder::with(&[]));
    for (sql, line) in [
        ("create table half (id int);\ncommit;\ncreate table whole (id int);", "line 2: COMMIT"),
        ("begin;\ncreate table half (id int);\n\nend;", "line 4: END"),
        ("create table half (id int);\nrollback;", "line 2: ROLLBACK"),
    ] {
        folder.write("1_half.sql", sql);
        let failed = Setup::application(&database, &folder).migrating_fails().await;
        assert!(text(&failed, "reason").contains(line), "{failed}");
        assert!(database.one::<bool>("select to_regclass('half') is null").await);
    }
    // Hidden in a body it is refused by PostgreSQL, and all is rolled back.
    folder.write("1_half.sql", "create table half (id int); do $$ begin commit; end $$;");
    assert_eq!(Setup::application(&database, &folder).migrating_fails().await["sqlstate"], "2D000");
    assert!(database.one::<bool>("select to_regclass('half') is null").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_28_a_fault_is_told_with_its_line_and_leaves_nothing_of_its_file() {
    let (database, folder) = (Database::migrated().await, Folder::with(&[]));
    folder.write("1_a.sql", "create table half (id int);\n-- é\n\nselect * from nowhere;");
    let failed = Setup::application(&database, &folder).migrating_fails().await;
    assert_eq!(text(&failed, "sqlstate"), "42P01");
    assert!(text(&failed, "reason").starts_with("line 4: "), "{failed}");
    assert!(database.one::<bool>("select to_regclass('half') is null").await);
    folder.write("1_a.sql", "-- no-transaction\nselect 1;\n\nselect\n * from nowhere;");
    let failed = Setup::application(&database, &folder).migrating_fails().await;
    assert!(text(&failed, "reason").starts_with("line 5: "), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_becomes_another_role_or_looks_elsewhere_still_leaves_its_row_in_our_history() {
    let database = Database::migrated().await;
    let name = database.url.split(['/', '?']).nth(3).unwrap();
    database.run(&format!("create role owner_{name}")).await;
    let folder = Folder::with(&[
        (
            "1_dump.sql",
            "select pg_catalog.set_config('search_path', '', false); create table public.dumped (id int);",
        ),
        ("2_marks.sql", MARKS),
        ("3_role.sql", &format!("set role owner_{name}; select 1;")),
        ("4_role.sql", &format!("-- no-transaction\nset role owner_{name};\nselect 1;")),
        ("5_mark.sql", "insert into marks (mark) values (current_user);"),
    ]);
    assert_eq!(Setup::application(&database, &folder).migrates().await["applied"], 5);
    assert_eq!(database.marks().await, ["callspool"]);
    database.run(&format!("drop role owner_{name}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_called_as_our_schema_does_not_get_the_applications_tables_into_it() {
    // The tests' role and our schema are both called callspool.
    let database = Database::migrated().await;
    assert_eq!(database.one::<String>("select current_user::text").await, "callspool");
    let folder = Folder::with(&[("1_job.sql", "create table job (mine int); insert into job values (1);")]);
    assert_eq!(Setup::application(&database, &folder).migrates().await["applied"], 1);
    assert_eq!(database.one::<i64>("select count(*) from public.job").await, 1);
    // Anywhere else names are looked up as the database has it.
    let name = database.url.split(['/', '?']).nth(3).unwrap();
    database.run(&format!("create schema crm; alter database {name} set search_path to crm, public")).await;
    folder.write("2_crm.sql", "create table leads (id int);");
    assert_eq!(Setup::application(&database, &folder).migrates().await["applied"], 1);
    assert!(database.one::<bool>("select to_regclass('crm.leads') is not null").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_right_to_make_schemas_uses_one_that_was_made_for_it() {
    let database = Database::empty().await;
    let role = format!("app_{}", database.url.split(['/', '?']).nth(3).unwrap());
    database.run(&format!("create role {role} login; create schema callspool authorization {role}")).await;
    let weak = Database { url: database.url.replace("callspool@", &format!("{role}@")) };
    assert_eq!(Setup::new(&weak).migrates().await["outcome"], "applied");
    database.run(&format!("drop owned by {role}; drop role {role}")).await;
}
