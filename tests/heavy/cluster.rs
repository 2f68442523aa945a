//! A cluster of a test's own, which may be restarted.

use crate::support::Database;
use callspool::adapters::embedded_postgres::{EmbeddedOptions, EmbeddedPostgres};
use nix::unistd::Uid;
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

pub struct Cluster {
    embedded: EmbeddedPostgres,
    binaries: PathBuf,
    data: PathBuf,
}

impl Cluster {
    /// One for each `name`.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, EmbeddedOptions { fsync: false, stop_when_killed: true, max_connections: 100 }).await
    }

    pub async fn start_with(name: &str, options: EmbeddedOptions) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let embedded = EmbeddedPostgres::start_with(&dir, options).await.unwrap();
        let admin = Database { url: embedded.database("postgres").await.unwrap() };
        let binaries: String = admin.one("select setting from pg_config() where name = 'BINDIR'").await;
        let data: String = admin.one("show data_directory").await;
        Self { embedded, binaries: binaries.into(), data: data.into() }
    }

    /// Made anew.
    pub async fn database(&self, name: &str) -> Database {
        let admin = Database { url: self.embedded.database("postgres").await.unwrap() };
        admin.run(&format!("drop database if exists {name} with (force)")).await;
        Database { url: self.embedded.database(name).await.unwrap() }
    }

    /// `mode`: fast or immediate. `options` instead of those that it was started with.
    pub async fn restart(&self, mode: &str, options: Option<&str>) {
        let owner = std::fs::metadata(&self.data).unwrap();
        let mut command = Command::new(self.binaries.join("pg_ctl"));
        command.arg("-D").arg(&self.data).args(["-w", "-m", mode, "restart", "-l"]);
        command.arg(self.data.with_file_name("postgres.log"));
        if let Some(options) = options {
            command.args(["-o", options]);
        }
        if Uid::effective().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().await.unwrap().success(), "restart, {mode}");
    }

    pub async fn stop(self) {
        self.embedded.stop().await;
    }
}
