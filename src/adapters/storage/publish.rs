//! The one step by which a file that is whole gets its final name on a disk.
//!
//! A file system has no compare-and-swap of names, so this is one of our own: under an exclusive lock (`flock` on a file
//! of the storage folder, held by whoever publishes or removes, for as long as that takes) the version under the name is
//! compared with the one that was seen at the beginning, and then the name is given. A new name is given by a hard link,
//! which by itself never replaces anything, even where the lock should not hold; an existing one by a rename. The lock
//! goes with its process, however that ends.

use super::trouble::{of_disk, superseded};
use crate::domain::failure::Failure;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Everything that belongs to no recording lies in here: what is written aside, and the lock.
pub(super) const ASIDE: &str = ".callspool-aside";
const LOCK: &str = ".lock";
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Between two tries: about as long as the calls under it take on a disk.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// Which file stands under a name. A file that replaces another is another inode; should a number be used again at once,
/// the time differs, to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl Version {
    /// `None`: there is no such file.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(Self {
                device: meta.dev(),
                inode: meta.ino(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                size: meta.size(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A file that is written aside; it goes with this.
#[derive(Debug)]
pub(super) struct Aside(pub(super) PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(reason = %error.kind(), "a file that was written aside is left behind");
        }
    }
}

/// Waits for its turn, at most [`LOCK_WAIT`]: then with `ResourceBusy`. Whoever holds it does two or three calls of the
/// file system, unless it is frozen in the middle of them. It is asked for again and again, since a wait in `flock`
/// has no end, and would outlive its attempt.
pub(super) fn lock(folder: &Path) -> io::Result<Flock<File>> {
    let path = folder.join(ASIDE).join(LOCK);
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let began = Instant::now();
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) if began.elapsed() < LOCK_WAIT => file,
            Err((_, Errno::EWOULDBLOCK)) => return Err(io::ErrorKind::ResourceBusy.into()),
            Err((_, errno)) => return Err(errno.into()),
        };
        thread::sleep(LOCK_PAUSE);
    }
}

/// Gives `aside` the name `target` in `folder`, if `seen` is still what stands there.
pub(super) fn publish(
    folder: &Path,
    aside: &Aside,
    target: &Path,
    seen: Option<Version>,
    fsync: bool,
) -> Result<(), Failure> {
    let named = lock(folder).and_then(|_lock| {
        if Version::of(target)? != seen {
            return Ok(false);
        }
        match seen {
            None => create(&aside.0, target),
            Some(_) => fs::rename(&aside.0, target).map(|()| true),
        }
    });
    match named {
        Ok(true) if fsync => sync_folders(folder, target).map_err(|error| of_disk(&error)),
        Ok(true) => Ok(()),
        Ok(false) => Err(superseded()),
        Err(error) => Err(of_disk(&error)),
    }
}

/// `false`: there is one already.
fn create(aside: &Path, target: &Path) -> io::Result<bool> {
    match fs::hard_link(aside, target) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // A file system without hard links: then the lock alone guards the name.
        Err(error) if has_no_links(&error) => fs::rename(aside, target).map(|()| true),
        Err(error) => Err(error),
    }
}

fn has_no_links(error: &io::Error) -> bool {
    let without = [Errno::EPERM, Errno::ENOTSUP, Errno::ENOSYS, Errno::EMLINK];
    error.raw_os_error().is_some_and(|code| without.contains(&Errno::from_raw(code)))
}

/// A name counts when its folder is on the disk, and that one's name in turn, up to the storage folder: one of them may
/// be new.
fn sync_folders(folder: &Path, target: &Path) -> io::Result<()> {
    for parent in target.ancestors().skip(1).take_while(|parent| parent.starts_with(folder)) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;

    fn aside(folder: &Path, name: &str, content: &str) -> Aside {
        fs::create_dir_all(folder.join(ASIDE)).unwrap();
        let path = folder.join(ASIDE).join(name);
        fs::write(&path, content).unwrap();
        Aside(path)
    }

    #[test]
    fn a_name_is_given_only_while_what_was_seen_stands_there() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp3");
        let code = |result: Result<(), Failure>| result.map_err(|failure| failure.code);
        let give =
            |name: &str, seen| code(publish(dir.path(), &aside(dir.path(), name, name), &target, seen, true));
        assert_eq!(give("first", None), Ok(()));
        let first = Version::of(&target).unwrap();
        assert_eq!(give("late", None), Err(FailureCode::Superseded));
        assert_eq!(fs::read_to_string(&target).unwrap(), "first");
        assert_eq!(give("second", first), Ok(()));
        assert_eq!(give("late", first), Err(FailureCode::Superseded));
        assert_eq!(fs::read_to_string(&target).unwrap(), "second");
        fs::remove_file(&target).unwrap();
        assert_eq!(give("late", first), Err(FailureCode::Superseded));
        assert_eq!(fs::read_dir(dir.path().join(ASIDE)).unwrap().count(), 1, "the lock alone is left");
    }

    #[test]
    fn of_many_at_once_one_gives_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp3");
        for round in 0..20 {
            let seen = Version::of(&target).unwrap();
            let given: usize = thread::scope(|threads| {
                let attempts: Vec<_> = (0..8)
                    .map(|number| {
                        let (folder, target) = (dir.path(), &target);
                        threads.spawn(move || {
                            let aside = aside(folder, &format!("{round}-{number}"), "content");
                            usize::from(publish(folder, &aside, target, seen, false).is_ok())
                        })
                    })
                    .collect();
                attempts.into_iter().map(|attempt| attempt.join().unwrap()).sum()
            });
            assert_eq!(given, 1, "round {round}");
        }
    }
}
