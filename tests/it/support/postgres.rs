//! A cluster a test run, a database a test.

use callspool::{
    adapters::embedded_postgres::{EmbeddedOptions, EmbeddedPostgres},
    domain::{ids::InstanceId, migration::LockTry, ports::Gate, retry::RetryPolicy},
    store::{Store, StoreConfig},
};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use std::{path::Path, str::FromStr, sync::atomic::AtomicU32, sync::atomic::Ordering, time::Duration};
use tokio::sync::OnceCell;

/// The cluster's address without a database. The cluster stops when this test run ends, however it ends.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static TEMPLATE: OnceCell<()> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

struct Cluster {
    admin_url: String,
    /// Its watcher's pipe ends with this process.
    _embedded: EmbeddedPostgres,
}

async fn cluster() -> &'static Cluster {
    CLUSTER
        .get_or_init(|| async {
            let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres");
            let options = EmbeddedOptions { fsync: false, stop_when_killed: true, max_connections: 500 };
            let embedded = EmbeddedPostgres::start_with(&dir, options).await.unwrap();
            let admin_url = embedded.database("postgres").await.unwrap();
            let cluster = Cluster { admin_url, _embedded: embedded };
            // What an earlier run left.
            let mut admin = PgConnection::connect(&cluster.admin_url).await.unwrap();
            let old: Vec<String> =
                sqlx::query_scalar("select datname from pg_database where datname like 'test\\_%'")
                    .fetch_all(&mut admin)
                    .await
                    .unwrap();
            for name in old {
                admin.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.unwrap();
            }
            cluster
        })
        .await
}

/// A database of this test's own.
#[derive(Debug, Clone)]
pub struct Database {
    pub url: String,
}

impl Database {
    /// Without any table of ours.
    pub async fn empty() -> Self {
        Self::make("template1").await
    }

    /// With the newest schema.
    pub async fn migrated() -> Self {
        TEMPLATE
            .get_or_init(|| async {
                let template = Self::named("test_template", "template1").await;
                let store = template.store();
                migrate(&store).await;
                store.close().await;
            })
            .await;
        Self::make("test_template").await
    }

    async fn make(template: &str) -> Self {
        Self::named(&format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed)), template).await
    }

    async fn named(name: &str, template: &str) -> Self {
        let cluster = cluster().await;
        let mut admin = PgConnection::connect(&cluster.admin_url).await.unwrap();
        // Two copies of one template at one time are refused: its other copies are waited for.
        admin.execute("select pg_advisory_lock(1)").await.unwrap();
        admin.execute(AssertSqlSafe(format!("create database {name} template {template}"))).await.unwrap();
        admin.close().await.unwrap();
        Self { url: cluster.admin_url.replace("/postgres?", &format!("/{name}?")) }
    }

    /// A plain connection that finds our tables by their names alone.
    pub async fn connect(&self) -> PgConnection {
        let options = PgConnectOptions::from_str(&self.url).unwrap().options([("search_path", "callspool")]);
        PgConnection::connect_with(&options).await.unwrap()
    }

    /// A store as one process has it. Each call is another instance.
    pub fn store(&self) -> Store {
        self.store_with(|_| {})
    }

    pub fn store_with(&self, change: impl FnOnce(&mut StoreConfig)) -> Store {
        let mut config = StoreConfig {
            url: SecretString::from(self.url.clone()),
            behind_pooler: false,
            direct_url: None,
            schema: "callspool".to_owned(),
            pool_size: 4,
            acquire_timeout: Duration::from_secs(30),
            instance: InstanceId::generate(),
            retry: retry_policy(),
            beat_ttl: Duration::from_secs(10),
            default_max_slots: 5,
            migration_statement_timeout: Duration::from_mins(1),
            migration_lock_timeout: Duration::from_secs(5),
            migration_lock_id: 1_234_567_890,
            application_dir: None,
            protected_tables: Vec::new(),
        };
        change(&mut config);
        Store::connect(config).unwrap()
    }
}

pub fn retry_policy() -> RetryPolicy {
    RetryPolicy {
        base: Duration::from_secs(2),
        max: Duration::from_mins(1),
        factor: 2.0,
        jitter: 0.0,
        not_ready_base: Duration::from_secs(1),
        not_ready_max: Duration::from_mins(1),
        not_ready_for: Duration::from_hours(1),
        max_attempts: 3,
    }
}

/// Applies everything that is pending.
pub async fn migrate(store: &Store) {
    let mut session = store.open().await.unwrap();
    assert_eq!(session.try_lock().await.unwrap(), LockTry::Acquired);
    while session.next().await.unwrap().is_some() {
        session.apply().await.unwrap();
    }
    session.close().await.unwrap();
}
