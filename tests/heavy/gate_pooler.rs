//! A session lock behind a pooler: refused where sessions are shared, and only there.

use crate::{
    pgbouncer::PgBouncer,
    support::{Database, gate::text, process::Setup},
};
use callspool::domain::{migration::LockTry, ports::Gate};
use futures_util::future::join_all;
use secrecy::SecretString;
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinSet;

/// Clients that always have a short query under way. They end when this is dropped.
async fn busy(database: &Database, clients: u32) -> JoinSet<()> {
    let mut set = JoinSet::new();
    for _ in 0..clients {
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        set.spawn(async move {
            loop {
                connection.execute(sqlx::raw_sql("select pg_sleep(0.002)")).await.unwrap();
            }
        });
    }
    set
}

/// A store whose migrator goes through `bouncer`.
fn store(database: &Database, bouncer: &PgBouncer) -> callspool::store::Store {
    let url = SecretString::from(bouncer.url(database));
    database.store_with(|config| config.direct_url = Some(url))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_shares_sessions_is_always_refused_with_the_name_of_the_variable_that_mends_it() {
    let database = Database::empty().await;
    for (mode, pool_size) in [("transaction", 1), ("transaction", 2), ("transaction", 20), ("statement", 5)] {
        let bouncer = PgBouncer::before(&database, mode, pool_size).await;
        let store = store(&database, &bouncer);
        for load in [0, pool_size, 2 * pool_size] {
            let _load = busy(&bouncer.database(&database), load).await;
            for _ in 0..10 {
                let Err(failure) = store.open().await else {
                    panic!("{mode}, {pool_size} sessions, {load} clients")
                };
                assert!(!failure.can_pass && failure.reason.contains("MIGRATION_DATABASE_URL"), "{failure}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_says_so_lives_and_migrates_on_the_direct_address() {
    let database = Database::empty().await;
    let bouncer = PgBouncer::before(&database, "transaction", 20).await;
    let through = || Setup::new(&database).var("DATABASE_URL", &bouncer.url(&database));
    let failed = through().migrating_fails().await;
    assert!(text(&failed, "reason").contains("set MIGRATION_DATABASE_URL"), "{failed}");
    let process = through().start();
    process.event("MIGRATION_FAILED").await;
    assert_eq!(process.get("/healthz").await.status(), 200);
    assert!(process.obstacle().await.contains("MIGRATION_DATABASE_URL"));
    let direct = through().var("MIGRATION_DATABASE_URL", &database.url);
    assert_eq!(direct.migrates().await["outcome"], "applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_in_session_mode_is_accepted() {
    let database = Database::empty().await;
    for pool_size in [1, 2, 20] {
        let bouncer = PgBouncer::before(&database, "session", pool_size).await;
        let said = Setup::new(&database).var("MIGRATION_DATABASE_URL", &bouncer.url(&database)).migrate().await;
        assert_eq!(said.code, 0, "{pool_size} sessions: {}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_direct_address_is_never_taken_for_a_poolers() {
    let database = Database::empty().await;
    let store = database.store();
    let _load = busy(&database, 30).await;
    for _ in 0..10 {
        let opened = join_all((0..10).map(|_| store.open())).await;
        for session in opened {
            let mut session = session.unwrap_or_else(|failure| panic!("{failure}"));
            // It is a session that can hold the lock: nobody else had it, or one of these ten.
            let tried = session.try_lock().await.unwrap();
            assert!(matches!(tried, LockTry::Acquired | LockTry::Busy(_)));
        }
    }
}
