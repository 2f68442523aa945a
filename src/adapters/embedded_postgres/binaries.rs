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
            if let Some(major) = installed_version(&folder).await {
                found.push(Self { folder, major });
            }
        }
        let cluster = std::fs::read_to_string(data.join("PG_VERSION")).ok();
        Self::choose(&found, data, cluster.and_then(|version| version.trim().parse().ok()))
    }

    /// `needed`: the version of the cluster that lies in `data`.
    fn choose(found: &[Self], data: &Path, needed: Option<u32>) -> Result<Self, EmbeddedError> {
        let newest = found.iter().max_by_key(|b| b.major).ok_or(EmbeddedError::NoBinaries)?;
        let Some(needed) = needed else { return Ok(newest.clone()) };
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

async fn installed_version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().await.ok()?;
    major_version(&String::from_utf8(output.stdout).ok()?)
}

/// From `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().nth(2)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_binaries_the_error_says_how_to_install_them() {
        let error = Binaries::choose(&[], Path::new("data"), None).unwrap_err().to_string();
        for hint in ["apt-get install postgresql", "dnf install postgresql-server", "brew install", "DATABASE_URL"]
        {
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn the_newest_is_taken_and_for_data_that_is_there_its_own() {
        let found = [9, 17, 15].map(|major| Binaries { folder: format!("/pg/{major}").into(), major });
        let choose = |needed| Binaries::choose(&found, Path::new("data"), needed);
        assert_eq!(choose(None).unwrap(), found[1]);
        assert_eq!(choose(Some(15)).unwrap(), found[2]);
        let error = choose(Some(14)).unwrap_err().to_string();
        assert!(error.contains("was made by PostgreSQL 14") && error.contains("found: 17"), "{error}");
    }

    #[test]
    fn the_major_version_is_read_from_what_the_server_says() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-1)"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 17beta1"), Some(17));
        for other in ["", "postgres", "postgres (EnterpriseDB) x"] {
            assert_eq!(major_version(other), None, "{other}");
        }
    }
}
