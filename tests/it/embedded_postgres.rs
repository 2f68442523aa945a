//! The embedded PostgreSQL: started, joined, left, killed and taken over; by root and by anybody else.

use crate::support::{eventually, within_patience};
use callspool::adapters::embedded_postgres::{EmbeddedError, EmbeddedPostgres};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection, Executor, PgConnection};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder that the server's own user may enter.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

async fn start(dir: &Path) -> Result<EmbeddedPostgres, EmbeddedError> {
    EmbeddedPostgres::start(dir).await
}

async fn connect(postgres: &EmbeddedPostgres) -> PgConnection {
    PgConnection::connect(&postgres.database("app").await.unwrap()).await.unwrap()
}

fn pid_file(dir: &Path) -> PathBuf {
    dir.join("data/postmaster.pid")
}

fn pid(dir: &Path) -> Pid {
    let text = fs::read_to_string(pid_file(dir)).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
}

/// `kill -9` of the server and, by its death, of all its processes.
async fn kill_server(dir: &Path) {
    let server = pid(dir);
    kill(server, Signal::SIGKILL).unwrap();
    eventually("the server's end", || async { (!is_running(server)).then_some(()) }).await;
}

fn is_running(pid: Pid) -> bool {
    // One that ended and was not waited for yet is a zombie, which also counts.
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_that_leaves_stops_it_whoever_started_it() {
    let dir = folder();
    // A path with a space, and two that start it at one time.
    let dir = dir.path().join("my project");
    let (first, second) = tokio::join!(start(&dir), start(&dir));
    let (first, second) = (first.unwrap(), second.unwrap());
    let (one, other) = tokio::join!(first.database("app"), second.database("app"));
    assert_eq!(one.unwrap(), other.unwrap());
    let server = pid(&dir);
    first.stop().await;
    connect(&second).await.execute("create table t as select 1 as x").await.unwrap();
    assert!(is_running(server));
    second.stop().await;
    assert!(!is_running(server) && !pid_file(&dir).exists());

    let again = start(&dir).await.unwrap();
    let x: i32 = sqlx::query_scalar("select x from t").fetch_one(&mut connect(&again).await).await.unwrap();
    assert_eq!(x, 1);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_left_is_taken_over_with_its_data() {
    let dir = folder();
    let killed = start(dir.path()).await.unwrap();
    connect(&killed).await.execute("create table t as select 7 as x").await.unwrap();
    let server = pid(dir.path());
    // As a killed process leaves it: nobody stops it, and its locks are gone.
    drop(killed);
    let next = start(dir.path()).await.unwrap();
    assert_eq!(pid(dir.path()), server, "it still runs");
    drop(next);

    // Now the server itself is killed: its postmaster.pid stays.
    kill_server(dir.path()).await;
    assert!(pid_file(dir.path()).exists());
    let recovered = start(dir.path()).await.unwrap();
    let x: i32 = sqlx::query_scalar("select x from t").fetch_one(&mut connect(&recovered).await).await.unwrap();
    assert_eq!(x, 7);
    recovered.stop().await;
}

/// After a container's restart the number in `postmaster.pid` is some other process's.
#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_is_a_strangers_now_is_not_taken_for_the_server() {
    let dir = folder();
    drop(start(dir.path()).await.unwrap());
    kill_server(dir.path()).await;
    let text = fs::read_to_string(pid_file(dir.path())).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(pid_file(dir.path()), format!("{}\n{rest}", std::process::id())).unwrap();
    let postgres = within_patience("a start", start(dir.path())).await.unwrap();
    assert_ne!(pid(dir.path()), Pid::this());
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_data_and_socket_are_its_users_alone_and_the_server_is_not_root() {
    let dir = folder();
    let postgres = start(dir.path()).await.unwrap();
    let server = pid(dir.path());
    let owner = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let uid = owner.lines().find(|line| line.starts_with("Uid:")).unwrap().split_whitespace().nth(1).unwrap();
    assert_ne!(uid, "0");
    let url = postgres.database("app").await.unwrap();
    let socket_dir = url.split_once("host=").unwrap().1;
    for private in [dir.path().join("data"), PathBuf::from(socket_dir)] {
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o077, 0, "{}", private.display());
    }
    let addresses: String =
        sqlx::query_scalar("show listen_addresses").fetch_one(&mut connect(&postgres).await).await.unwrap();
    assert_eq!(addresses, "", "no port");
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_used_is_an_error_that_says_so() {
    let dir = folder();
    fs::write(dir.path().join("taken"), "a file").unwrap();
    let error = start(&dir.path().join("taken")).await.unwrap_err().to_string();
    assert!(error.contains("the folder of the embedded PostgreSQL"), "{error}");
    let half_made = dir.path().join("other");
    fs::create_dir_all(half_made.join("data")).unwrap();
    fs::write(half_made.join("data/PG_VERSION"), "8\n").unwrap();
    let error = start(&half_made).await.unwrap_err().to_string();
    assert!(error.contains("was made by PostgreSQL 8"), "{error}");
}
