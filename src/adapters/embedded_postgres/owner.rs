//! Whose the cluster is: PostgreSQL refuses to run as root, so root hands it to an unprivileged user.

use nix::unistd::{Gid, Uid, User, chown, geteuid};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// Users to run the server as where this process is root, in order.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];
/// Where the cluster lies when that user cannot enter the folder that was asked for, as one below `/root`.
const FALLBACK: &str = "/var/lib/callspool";

/// The user the server runs as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    uid: Uid,
    gid: Gid,
    /// Commands must change to the user first.
    changes: bool,
}

impl Owner {
    pub(super) fn of_this_process() -> Self {
        let unprivileged = || UNPRIVILEGED.iter().find_map(|name| User::from_name(name).ok().flatten());
        match unprivileged().filter(|_| geteuid().is_root()) {
            Some(user) => Self { uid: user.uid, gid: user.gid, changes: true },
            None => Self { uid: geteuid(), gid: nix::unistd::getegid(), changes: false },
        }
    }

    /// The folder for the cluster: `wanted`, or one that this user can enter.
    pub(super) fn place(self, wanted: &Path) -> io::Result<PathBuf> {
        let wanted = std::path::absolute(wanted)?;
        Ok(if self.can_reach(&wanted) { wanted } else { Path::new(FALLBACK).join(super::name_for(&wanted)) })
    }

    /// The same, made.
    pub(super) fn home(self, wanted: &Path) -> io::Result<PathBuf> {
        let home = self.place(wanted)?;
        if home.starts_with(FALLBACK) {
            tracing::info!(
                folder = super::name_for(&std::path::absolute(wanted)?),
                "PostgreSQL's user cannot enter the working folder: its data lies with the system's"
            );
        }
        fs::create_dir_all(&home)?;
        self.give(&home)?;
        Ok(home)
    }

    /// Whether every folder above is open to this user.
    fn can_reach(self, path: &Path) -> bool {
        !self.changes
            || path.ancestors().skip(1).filter_map(|above| fs::metadata(above).ok()).all(|metadata| {
                let mode = metadata.permissions().mode();
                mode & 0o001 != 0 || (metadata.uid() == self.uid.as_raw() && mode & 0o100 != 0)
            })
    }

    /// A folder that nobody else may enter.
    pub(super) fn private_dir(self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => self.give(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // In a shared /tmp somebody else may have made it first.
                let metadata = fs::symlink_metadata(path)?;
                let ours = metadata.is_dir()
                    && metadata.uid() == self.uid.as_raw()
                    && metadata.permissions().mode().trailing_zeros() >= 6;
                if ours { Ok(()) } else { Err(io::Error::other(format!("{} is not ours", path.display()))) }
            }
            Err(error) => Err(error),
        }
    }

    fn give(self, path: &Path) -> io::Result<()> {
        if self.changes { Ok(chown(path, Some(self.uid), Some(self.gid))?) } else { Ok(()) }
    }

    /// A command that runs as this user, in a folder that every user can enter.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if self.changes {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        command
    }
}
