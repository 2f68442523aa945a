//! A PostgreSQL of a run's own, with fsync, as in production.

use crate::support::Database;
use callspool::{
    adapters::embedded_postgres::{EmbeddedOptions, EmbeddedPostgres},
    domain::{migration::Version, ports::Gate},
};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::path::Path;

pub struct Cluster {
    embedded: EmbeddedPostgres,
}

impl Cluster {
    /// One for each run: what a run writes is measured in its WAL.
    pub async fn start(run: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("load-postgres-{run}"));
        let options = EmbeddedOptions { fsync: true, stop_when_killed: true, max_connections: 200 };
        Self { embedded: EmbeddedPostgres::start_with(&dir, options).await.expect("PostgreSQL's binaries") }
    }

    /// Made anew.
    pub async fn database(&self, name: &str) -> Database {
        self.forget(name).await;
        Database { url: self.embedded.database(name).await.expect("a database") }
    }

    async fn forget(&self, name: &str) {
        let admin = Database { url: self.embedded.database("postgres").await.expect("the cluster answers") };
        execute(&mut admin.connect().await, &format!("drop database if exists {name} with (force)")).await;
    }

    /// Nothing of `name` is left, and the cluster stops.
    pub async fn stop(self, name: &str) {
        self.forget(name).await;
        self.embedded.stop().await;
    }
}

pub async fn execute(connection: &mut PgConnection, sql: &str) {
    connection.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Applies what is pending, up to the version before `stop`.
pub async fn migrate_before(database: &Database, stop: Version) {
    let store = database.store();
    let mut session = store.open().await.expect("the gate");
    session.try_lock().await.expect("the lock");
    while let Some((_, next)) = session.next().await.expect("a migration") {
        if next == stop {
            break;
        }
        session.apply().await.expect("it is applied");
    }
    session.close().await.expect("the lock is given back");
    store.close().await;
}
