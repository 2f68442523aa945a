//! Protected tables: schema changes yes, loss of customers' rows never.

use crate::support::{
    Database,
    gate::{Folder, Foreign, text},
    process::Setup,
};

const TABLES: &str = "
    create table businesses (id bigint primary key);
    create table leads (id bigint primary key, business_id bigint references businesses on delete cascade);
    create table archive (id bigint);
    insert into businesses select generate_series(1, 3);
    insert into leads select n, 1 + n % 3 from generate_series(1, 30) n;
    create function purge() returns void language sql as 'delete from businesses';
    create table log (at bigint, day int) partition by range (day);
    create table log_1 partition of log for values from (0) to (1);
    create table log_2 partition of log for values from (1) to (2);
    insert into log values (1, 0), (2, 1);";

struct Guarded {
    database: Database,
    folder: Folder,
    setup: Setup,
}

impl Guarded {
    async fn new() -> Self {
        let (database, folder) = (Database::migrated().await, Folder::with(&[]));
        database.run(TABLES).await;
        let setup = Setup::application(&database, &folder).protects("leads,public.log");
        Self { database, folder, setup }
    }

    /// Why a migration with this text is refused; every row is still there.
    async fn refuses(&self, sql: &str) -> String {
        self.folder.write("1_loss.sql", sql);
        let said = self.setup.migrate().await;
        assert_eq!(said.code, 1, "{sql}: {}", said.err);
        let failed = said.json();
        let rows: i64 = self.database.one("select (select count(*) from leads) + (select count(*) from log)").await;
        assert_eq!(rows, 32, "{sql}");
        assert_eq!(failed["version"], 1);
        text(&failed, "reason").to_owned()
    }

    async fn allows(&self, version: u32, sql: &str) {
        self.folder.write(&format!("{version}_fine.sql"), sql);
        assert_eq!(self.setup.migrates().await["applied"], 1, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_would_lose_rows_of_a_protected_table_is_rolled_back_however_it_does_it() {
    let guarded = Guarded::new().await;
    for (sql, part) in [
        ("delete from leads where id <= 7;", "7 rows less than 30 in the protected table leads"),
        ("delete from businesses where id = 1;", "10 rows less than 30 in the protected table leads"),
        ("select purge();", "30 rows less"),
        ("do $$ begin execute 'delete from le' || 'ads'; end $$;", "30 rows less"),
        ("insert into leads values (99, 1); delete from leads where id < 3;", "1 rows less"),
        ("truncate leads;", "leave 0 of 30 rows in the protected table leads"),
        ("truncate businesses cascade;", "leave 0 of 30 rows"),
        ("drop table leads;", "take away the protected table leads, which has 30 rows"),
        ("drop schema public cascade; create schema public;", "take away the protected table leads"),
        ("alter table leads rename to old_leads;", "take away"),
        (
            "create table n as select * from leads limit 5; drop table leads; alter table n rename to leads;",
            "5 of 30",
        ),
        ("delete from log_1;", "1 rows less than 2 in the protected table public.log"),
        ("drop table log_2;", "leave 1 of 2 rows in the protected table public.log"),
        ("alter table log detach partition log_1;", "leave 1 of 2 rows"),
    ] {
        let reason = guarded.refuses(sql).await;
        assert!(reason.starts_with("rolled back: ") && reason.contains(part), "{reason} of {sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_outside_a_transaction_that_may_cost_rows_is_refused_before_anything_runs() {
    let guarded = Guarded::new().await;
    for (sql, part) in [
        (
            "create table before ();\ndelete from leads;",
            "line 3: outside a transaction it may not touch the protected table leads",
        ),
        ("alter table public.leads\n  drop column business_id;", "line 2: outside a transaction"),
        ("begin;\ndelete from businesses;\ncommit;", "line 2: with protected tables each statement"),
        // Not seen beforehand, and rolled back by itself.
        ("delete from businesses where id = 1;", "rolled back: it would leave 10 rows less"),
        ("select purge();", "rolled back: it would leave 30 rows less"),
    ] {
        let reason = guarded.refuses(&format!("-- no-transaction\n{sql}")).await;
        assert!(reason.contains(part), "{reason} of {sql}");
    }
    assert!(guarded.database.one::<bool>("select to_regclass('before') is null").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_protected_table_that_keep_its_rows_are_fine() {
    let guarded = Guarded::new().await;
    for (version, sql) in (1..).zip([
        "alter table leads add phone text; update leads set phone = 'x';",
        "alter table leads alter id type numeric;",
        "create index leads_phone on leads (phone);",
        "-- no-transaction\ncreate index concurrently leads_both on leads (phone, id);\nvacuum analyze leads;",
        "create table n as select * from leads; drop table leads; alter table n rename to leads;",
        "alter table leads rename to people; create view leads as select * from people;",
        "delete from archive; drop table archive;",
    ]) {
        guarded.allows(version, sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_application_deletes_meanwhile_are_not_blamed_on_the_migration() {
    let guarded = Guarded::new().await;
    let waits = "select pg_advisory_xact_lock(5); alter table leads add phone text;";
    guarded.folder.write("1_wait.sql", waits);
    let application = Foreign::after(&guarded.database, "select pg_advisory_lock(5)").await;
    let (said, ()) = tokio::join!(guarded.setup.migrate(), async {
        guarded
            .database
            .becomes("select exists (select 1 from pg_locks where not granted and objid = 5 and objsubid = 1)")
            .await;
        guarded.database.run("delete from leads where id <= 20").await;
        application.leave().await;
    });
    assert_eq!((said.code, said.json()["applied"].clone()), (0, 1.into()), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_application_inserts_meanwhile_do_not_hide_a_loss() {
    let guarded = Guarded::new().await;
    guarded.folder.write("1_wait.sql", "delete from leads where id <= 5; select pg_advisory_xact_lock(6);");
    let application = Foreign::after(&guarded.database, "select pg_advisory_lock(6)").await;
    let (failed, ()) = tokio::join!(guarded.setup.migrating_fails(), async {
        guarded
            .database
            .becomes("select exists (select 1 from pg_locks where not granted and objid = 6 and objsubid = 1)")
            .await;
        guarded.database.run("insert into leads select n, 1 from generate_series(100, 200) n").await;
        application.leave().await;
    });
    assert!(text(&failed, "reason").contains("5 rows less"), "{failed}");
    assert_eq!(guarded.database.one::<i64>("select count(*) from leads").await, 131);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_sees_the_newest_rows_after_it_waited_for_a_table() {
    let guarded = Guarded::new().await;
    // On an older snapshot the copy would lack what was written while the migration waited.
    let swap =
        "lock table leads; create table n as select * from leads; drop table leads; alter table n rename to leads;";
    guarded.folder.write("1_swap.sql", swap);
    let mut writer = Foreign::after(&guarded.database, "begin; insert into leads values (1000, 1)").await;
    let (outcome, ()) = tokio::join!(guarded.setup.migrates(), async {
        guarded
            .database
            .becomes("select exists (select 1 from pg_locks where not granted and relation = 'leads'::regclass)")
            .await;
        writer.run("commit").await;
    });
    assert_eq!(outcome["applied"], 1);
    assert_eq!(guarded.database.one::<i64>("select count(*) from leads").await, 31);
}
