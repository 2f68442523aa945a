//! The storage's disk: as root a small one of its own, which can be full.

use nix::{sys::statvfs::statvfs, unistd::Uid};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Memory is used only for what is stored.
const SIZE: &str = "2g";
/// What a full disk still takes, so that some files break off in the middle.
const LEFT: u64 = 64 * 1024;

pub struct Disk {
    pub folder: PathBuf,
    is_own: bool,
}

impl Disk {
    pub fn at(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        // What a run of the same seed left that was killed.
        while Uid::effective().is_root() && Self::unmount(folder) {}
        let mut disk = Self { folder: folder.to_owned(), is_own: false };
        let size = format!("size={SIZE}");
        disk.is_own = Uid::effective().is_root() && disk.mount(&["-t", "tmpfs", "-o", &size, "callspool-chaos"]);
        disk
    }

    /// Not as anybody but root, nor where root may not mount.
    pub fn can_be_full(&self) -> bool {
        self.is_own
    }

    pub fn fill(&self) -> Result<(), String> {
        // Files grow meanwhile, and a disk cannot be made smaller than they are.
        for _ in 0..100 {
            let now = statvfs(&self.folder).map_err(|error| error.to_string())?;
            let used = (now.blocks() - now.blocks_free()) * now.fragment_size();
            if self.mount(&["-o", &format!("remount,size={}", used + LEFT)]) {
                return Ok(());
            }
        }
        Err("the disk cannot be filled".to_owned())
    }

    pub fn make_room(&self) -> Result<(), String> {
        let has_room = self.mount(&["-o", &format!("remount,size={SIZE}")]);
        if has_room { Ok(()) } else { Err("the disk cannot be emptied".to_owned()) }
    }

    /// Lazily: a process that is ending may still have a file open.
    fn unmount(folder: &Path) -> bool {
        let mut command = Command::new("umount");
        command.arg("-l").arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("mount");
        command.args(arguments).arg(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_own {
            Self::unmount(&self.folder);
        }
    }
}
