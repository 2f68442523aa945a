//! Debian's PgBouncer in front of a database, on a unix socket in a folder of its own.

use crate::support::{Database, eventually};
use nix::unistd::{Uid, User, chown};
use sqlx::{Connection, PgConnection};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub struct PgBouncer {
    /// The database as it is found through it.
    pub database: Database,
    _child: Child,
    _dir: TempDir,
}

impl PgBouncer {
    /// `mode`: session, transaction or statement.
    pub async fn before(database: &Database, mode: &str, pool_size: u32) -> Self {
        let (address, folder) = database.url.split_once("host=").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        std::fs::write(dir.path().join("users"), "\"callspool\" \"\"\n").unwrap();
        // It refuses to be root, and the server's folder is open to the server's user only.
        let server = std::fs::metadata(folder).unwrap();
        let user = if Uid::effective().is_root() {
            for file in ["", "users"] {
                chown(&dir.path().join(file), Some(Uid::from_raw(server.uid())), None).unwrap();
            }
            let user = User::from_uid(Uid::from_raw(server.uid())).unwrap().unwrap();
            format!("user = {}\n", user.name)
        } else {
            String::new()
        };
        let ini = format!(
            "[databases]\n* = host={folder}\n[pgbouncer]\nunix_socket_dir = {path}\nlisten_port = 5432\n\
             auth_type = trust\nauth_file = {path}/users\npool_mode = {mode}\ndefault_pool_size = {pool_size}\n\
             max_client_conn = 500\n\
             ignore_startup_parameters = extra_float_digits\nlogfile = {path}/log\n{user}"
        );
        std::fs::write(dir.path().join("ini"), ini).unwrap();
        let mut command = Command::new(binary());
        command.current_dir("/").arg("-q").arg(dir.path().join("ini"));
        command.env("LD_LIBRARY_PATH", libraries()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("PgBouncer is missing: sh .ci/setup.sh heavy");
        let url = format!("{address}host={path}");
        eventually("PgBouncer", async || PgConnection::connect(&url).await.ok()).await;
        Self { database: Database { url }, _child: child, _dir: dir }
    }
}

/// What `.ci/setup.sh heavy` unpacked.
fn private() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".callspool/debian")
}

/// Installed, or unpacked.
fn binary() -> PathBuf {
    let unpacked = private().join("usr/sbin/pgbouncer");
    let installed = PathBuf::from("/usr/sbin/pgbouncer");
    if installed.exists() { installed } else { unpacked }
}

fn libraries() -> String {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let below = |folder: &str| private().join(folder).join(&machine).display().to_string();
    format!("{}:{}", below("usr/lib"), below("lib"))
}
