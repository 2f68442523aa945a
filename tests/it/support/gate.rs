//! The migration gate from outside: a folder of the application's migrations, and sessions that are in the way.

use super::{Database, Process, command::Said, eventually, process::Setup};
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row, postgres::PgConnectOptions, types::Type,
};
use std::{path::Path, str::FromStr};
use tempfile::TempDir;

/// Takes `MIGRATION_LOCK_ID`'s default.
pub const LOCK: &str = "select pg_advisory_lock(1234567890)";

/// A `MIGRATIONS_DIR`.
pub struct Folder(TempDir);

impl Folder {
    pub fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, sql) in files {
            folder.write(name, sql);
        }
        folder
    }

    pub fn write(&self, name: &str, sql: &str) {
        std::fs::write(self.path().join(name), sql).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Setup {
    /// With the application's migrations of `folder`; what is skipped is looked at again soon.
    pub fn application(database: &Database, folder: &Folder) -> Self {
        Self::new(database)
            .var("MIGRATIONS_DIR", &folder.path().display().to_string())
            .var("CALLSPOOL__MIGRATIONS__HEAL_INTERVAL", "200ms")
    }

    pub fn protects(self, tables: &str) -> Self {
        self.var("CALLSPOOL__MIGRATIONS__PROTECTED_TABLES", tables)
    }

    /// `callspool migrate run --json`.
    pub async fn migrate(&self) -> Said {
        self.say(&["migrate", "run", "--json"]).await
    }

    /// The same, which is meant to work.
    pub async fn migrates(&self) -> Value {
        let said = self.migrate().await;
        assert_eq!(said.code, 0, "{}", said.err);
        said.json()
    }

    /// The same, which is meant to fail: the outcome.
    pub async fn migrating_fails(&self) -> Value {
        let said = self.migrate().await;
        assert_eq!((said.code, &said.json()["outcome"]), (1, &"failed".into()), "{}", said.err);
        said.json()
    }
}

impl Database {
    /// Runs `sql` on a connection of its own, where names are looked up as usual.
    pub async fn run(&self, sql: &str) {
        let mut connection = self.visit().await;
        connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        connection.close().await.unwrap();
    }

    /// The one value that `sql` asks for.
    pub async fn one<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, Postgres> + Type<Postgres>,
    {
        let mut connection = self.visit().await;
        let row = connection.fetch_one(AssertSqlSafe(sql.to_owned())).await;
        let value = row.unwrap_or_else(|error| panic!("{error}: {sql}")).try_get(0).unwrap();
        connection.close().await.unwrap();
        value
    }

    /// Waits until `sql` is true.
    pub async fn becomes(&self, sql: &str) {
        eventually(sql, async || self.one::<bool>(sql).await.then_some(())).await;
    }

    /// Our schema is called as the role is, and would be looked at first.
    fn as_application(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(&self.url).unwrap().options([("search_path", "public")])
    }

    pub async fn visit(&self) -> PgConnection {
        PgConnection::connect_with(&self.as_application()).await.unwrap()
    }

    /// Ends the sessions whose application name fits; says how many.
    pub async fn end_sessions(&self, name_like: &str) -> i64 {
        let end = format!(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
              where datname = current_database() and pid <> pg_backend_pid() and application_name like '{name_like}'"
        );
        self.one(&end).await
    }

    /// The migrator of this database sleeps in its migration.
    pub async fn migrator_sleeps(&self) {
        self.becomes(
            "select exists (select 1 from pg_stat_activity where datname = current_database()
              and application_name like 'callspool-migrator/%' and wait_event = 'PgSleep')",
        )
        .await;
    }

    /// How often each version is in a history that stands for itself: the application's, as `marks` that its files made.
    pub async fn marks(&self) -> Vec<String> {
        let list: Option<String> = self.one("select string_agg(mark, ' ' order by place) from marks").await;
        list.map(|list| list.split(' ').map(ToOwned::to_owned).collect()).unwrap_or_default()
    }
}

/// A table that counts what ran, also what ran twice.
pub const MARKS: &str = "create table marks (place bigint generated always as identity, mark text not null);";

/// Somebody else's session.
pub struct Foreign {
    pub connection: PgConnection,
    pub pid: i32,
}

impl Foreign {
    /// Called `foreign`, after `sql`.
    pub async fn after(database: &Database, sql: &str) -> Self {
        Self::called("foreign", database, sql).await
    }

    pub async fn called(name: &str, database: &Database, sql: &str) -> Self {
        let options = database.as_application().application_name(name);
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
        connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        Self { connection, pid }
    }

    pub async fn run(&mut self, sql: &str) {
        self.connection
            .execute(AssertSqlSafe(sql.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    pub async fn leave(self) {
        self.connection.close().await.unwrap();
    }
}

impl Process {
    /// Why it is not ready.
    pub async fn obstacle(&self) -> String {
        self.get("/readyz").await.text().await.unwrap()
    }

    /// The id of its instance, as the names of its sessions end.
    pub async fn instance(&self) -> String {
        let started = self.line("the start", |line| line["instance"].is_string()).await;
        started["instance"].as_str().unwrap().to_owned()
    }
}

/// A text of an event or an outcome.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}
