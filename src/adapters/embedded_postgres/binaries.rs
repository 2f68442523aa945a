//! PostgreSQL's server binaries on this machine.

use super::EmbeddedError;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Folders in which each version has one of its own: Debian's, Fedora's, Homebrew's.
const VERSIONED: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
];

/// The folder of one installation, and its major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
}

impl Binaries {
    /// The newest ones; where `data` holds a cluster already, those of its version.
    pub async fn find(data: &Path) -> Result<Self, EmbeddedError> {
        let mut found = Vec::new();
        for folder in candidates() {
            if let Some(major) = major_version(&folder).await {
                found.push(Self { folder, major });
            }
        }
        let newest = found.iter().max_by_key(|b| b.major).cloned().ok_or(EmbeddedError::NoBinaries)?;
        let Some(needed) =
            std::fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|v| v.trim().parse().ok())
        else {
            return Ok(newest);
        };
        let other =
            || EmbeddedError::OtherVersion { path: data.display().to_string(), needed, found: newest.major };
        found.iter().find(|b| b.major == needed).cloned().ok_or_else(other)
    }

    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// Folders that may hold `initdb`, `pg_ctl` and `postgres`.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.push("/opt/homebrew/opt/postgresql/bin".into());
    folders.push("/usr/local/opt/postgresql/bin".into());
    for (parent, prefix, below) in VERSIONED {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
                folders.push(entry.path().join(below));
            }
        }
    }
    // Links are followed: `initdb` looks for its siblings beside its real place.
    let with_server = folders.iter().filter(|f| f.join("initdb").exists() && f.join("pg_ctl").exists());
    let mut real: Vec<PathBuf> =
        with_server.filter_map(|f| f.join("initdb").canonicalize().ok()?.parent().map(Path::to_path_buf)).collect();
    real.sort();
    real.dedup();
    real
}

/// From `postgres (PostgreSQL) 15.18 (Debian …)`.
async fn major_version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().nth(2)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
