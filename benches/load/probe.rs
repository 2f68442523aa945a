//! What the database knows of a run.

use crate::support::Database;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::time::Duration;

/// Written for each job, or all the time.
pub const HOT: [&str; 8] =
    ["job", "job_ready", "job_lease", "job_scheduled", "doorbell", "business", "instance", "queue_watch"];

pub struct Probe(PgConnection);

/// One look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Of the processes of the fleet.
    pub connections: f64,
    pub dead_rows: f64,
    pub hot_mib: f64,
    /// Since the cluster was made.
    pub wal_bytes: f64,
    pub done: f64,
    pub last_job: i64,
}

impl Probe {
    pub async fn of(database: &Database) -> Self {
        Self(database.connect().await)
    }

    pub async fn one<T>(&mut self, sql: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let answer = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.0).await;
        answer.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }

    pub async fn look(&mut self) -> Look {
        let sql = "select (select count(*) from pg_stat_activity
                            where datname = current_database() and application_name like 'callspool%')::float8,
                          (select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables
                            where schemaname = 'callspool' and relname = any ($1))::float8,
                          (select sum(pg_total_relation_size(c.oid)) / 1048576 from pg_class c
                            where c.relnamespace = 'callspool'::regnamespace and c.relname = any ($1))::float8,
                          (pg_current_wal_lsn() - '0/0')::float8,
                          (select sum(done) from business)::float8,
                          (select last_value from job_id_seq)";
        let row: (f64, f64, f64, f64, Option<f64>, i64) =
            sqlx::query_as(sql).bind(&HOT[..]).fetch_one(&mut self.0).await.expect("the database answers");
        let (connections, dead_rows, hot_mib, wal_bytes, done, last_job) = row;
        Look { connections, dead_rows, hot_mib, wal_bytes, done: done.unwrap_or(0.0), last_job }
    }

    /// Milliseconds from enqueue to the settled file: median and 99th percentile of the jobs with these ids that are
    /// done; `None` where there are none.
    pub async fn latency(&mut self, after: i64, up_to: i64) -> Option<(f64, f64)> {
        let sql = "select percentile_cont(array[0.5, 0.99]) within group
                              (order by extract(epoch from finished_at - enqueued_at)::float8 * 1000)
                     from job_history where job_id > $1 and job_id <= $2 and state = 'done'";
        let found: Option<Vec<f64>> =
            sqlx::query_scalar(sql).bind(after).bind(up_to).fetch_one(&mut self.0).await.expect("an answer");
        found.map(|found| (found[0], found[1]))
    }

    /// Waits until nothing is ready, scheduled or running; whether that came within `limit`.
    pub async fn is_drained(&mut self, limit: Duration) -> bool {
        let waiting = async {
            while self.one::<bool>("select exists (select from job)").await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }

    /// Of these recordings, those that no job was ever made of.
    pub async fn lost(&mut self, numbers: &[u32]) -> i64 {
        let sids: Vec<String> = numbers.iter().map(|number| format!("CA{number}")).collect();
        let sql = "select count(*) from unnest($1::text[]) sid
                    where not exists (select from job j where j.call_sid = sid)
                      and not exists (select from job_history h where h.call_sid = sid)";
        sqlx::query_scalar(sql).bind(sids).fetch_one(&mut self.0).await.expect("an answer")
    }

    pub async fn close(self) {
        // The database is dropped next, with whoever still looks at it.
        let _ = self.0.close().await;
    }
}
