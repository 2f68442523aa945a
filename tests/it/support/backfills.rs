//! A folder of backfills, processes that run it, and a look at how far they came.

use super::{Database, eventually, process::Setup};
use callspool::domain::backfill::{Backfill, BackfillFile};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::path::PathBuf;
use tempfile::TempDir;

/// Adds one to each row: a row that was changed twice shows it.
pub const COUNT_UP: &str = "update leads set n = n + 1 where id > $1 and id <= $2;";

/// The application's migrations folder.
pub struct Folder(TempDir);

impl Folder {
    pub fn new<const N: usize>(files: [(&str, String); N]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path()).unwrap();
        for (name, content) in files {
            folder.write(name, &content);
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("backfills")
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).unwrap();
    }

    pub fn setup(&self, database: &Database) -> Setup {
        Setup::new(database).var("MIGRATIONS_DIR", &self.0.path().display().to_string())
    }
}

/// The content of a file that goes up `leads`.
pub fn along_leads(pace: &str, statement: &str) -> String {
    format!("-- callspool: backfill table=leads key=id {pace}\n{statement}")
}

/// The content of a file that goes on until nothing is left.
pub fn until_empty(pace: &str, statement: &str) -> String {
    format!("-- callspool: backfill {pace}\n{statement}")
}

pub fn parsed(name: &str, content: &str) -> Backfill {
    Backfill::parse(&BackfillFile { name: format!("{name}.sql"), content: content.as_bytes().to_vec() }).unwrap()
}

/// The application's side of a database, and what is kept about backfills.
pub struct Application {
    pub database: Database,
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Kept {
    pub state: String,
    pub rows: i64,
    pub batches: i64,
    pub attempts: i32,
    pub last_error: Option<String>,
}

impl Application {
    /// With a table `leads` of `count` rows, ids from 1 and `n` 0.
    pub async fn with_leads(count: i64) -> Self {
        let application = Self { database: Database::migrated().await };
        application
            .run(&format!(
                "create table public.leads (id bigint primary key, n integer not null default 0) with (fillfactor = 50);
                 insert into public.leads (id) select generate_series(1, {count})"
            ))
            .await;
        application
    }

    /// A session of the application's, which does not look into our schema.
    pub async fn connect(&self) -> PgConnection {
        let mut connection = self.database.connect().await;
        connection.execute("set search_path to public").await.unwrap();
        connection
    }

    pub async fn run(&self, sql: &str) {
        self.connect().await.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// A session that has locked one lead, and goes on having it until it is rolled back.
    pub async fn locking(&self, id: i64) -> PgConnection {
        let mut session = self.connect().await;
        session
            .execute(AssertSqlSafe(format!("begin; select * from leads where id = {id} for update")))
            .await
            .unwrap();
        session
    }

    /// How many leads there are, and the smallest and largest `n`.
    pub async fn counts(&self) -> (i64, i32, i32) {
        let sql = "select count(*), coalesce(min(n), 0), coalesce(max(n), 0) from public.leads";
        sqlx::query_as(sql).fetch_one(&mut self.connect().await).await.unwrap()
    }

    pub async fn kept(&self, name: &str) -> Kept {
        let sql = "select state, rows, batches, attempts, last_error from callspool.backfill where name = $1";
        sqlx::query_as(sql).bind(name).fetch_one(&mut self.connect().await).await.unwrap()
    }

    /// Waits until what is kept about `name` is as it should be.
    pub async fn kept_as(&self, name: &str, fits: impl Fn(&Kept) -> bool) -> Kept {
        let sql = "select state, rows, batches, attempts, last_error from callspool.backfill where name = $1";
        let connection = tokio::sync::Mutex::new(self.connect().await);
        eventually(&format!("the state of {name}"), || async {
            let kept: Option<Kept> =
                sqlx::query_as(sql).bind(name).fetch_optional(&mut *connection.lock().await).await.unwrap();
            kept.filter(&fits)
        })
        .await
    }

    /// Waits until so many sessions of processes wait for somebody's lock.
    pub async fn waiting_sessions(&self, count: i64) {
        let sql = "select count(*) from pg_stat_activity where datname = current_database()
                    and application_name like 'callspool/%' and wait_event_type = 'Lock'";
        let connection = tokio::sync::Mutex::new(self.connect().await);
        eventually(&format!("{count} sessions that wait for a lock"), || async {
            let waiting: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection.lock().await).await.unwrap();
            (waiting == count).then_some(())
        })
        .await;
    }
}
