//! Recordings in a folder of this machine, or of a file system that many machines share.
//!
//! What is written aside lies in one folder, `.callspool-aside`, as `NAME#N`: what is left over is found without a walk
//! over all recordings. So the storage folder has to be one file system. With fsync on, the file and every folder that
//! leads to it are flushed before the file counts as stored. Folders that are made are closed to users outside the
//! group: a recording is what two people said to each other.
//!
//! With less than `min_free` bytes free nothing is begun: the last of a disk is left to those who share it, a database's
//! log for one, and the jobs wait.

use super::{
    DiskOptions, OpenError, checked,
    publish::{ASIDE, Aside, Version, lock, publish},
    trouble::{blamed, of_disk},
};
use crate::domain::{
    failure::Failure,
    ports::{Storage, StoredFile, Upload},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, SeekFrom, Write},
    ops::Range,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Bytes that are gathered before they are written.
const PART: usize = 256 * 1024;
/// Bytes of a file that are read at a time.
const CHUNK: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub(super) struct Disk {
    folder: Arc<Path>,
    options: DiskOptions,
}

impl Disk {
    /// The folder is made, where it is wanted; a relative one lies below the working folder.
    pub(super) fn open(folder: PathBuf, options: DiskOptions) -> Result<Self, OpenError> {
        let made = if options.make { make_folder(&folder.join(ASIDE)) } else { Ok(()) };
        made.map_err(|error| OpenError::Folder { folder: folder.display().to_string(), kind: error.kind() })?;
        Ok(Self { folder: folder.into(), options })
    }

    fn path(&self, key: &str) -> Result<PathBuf, Failure> {
        checked(key).map(|key| self.folder.join(key))
    }

    fn has_room(&self) -> Result<(), Failure> {
        let min_free = self.options.min_free;
        if min_free == 0 {
            return Ok(());
        }
        let disk = nix::sys::statvfs::statvfs(&*self.folder).map_err(|errno| of_folder(&errno.into()))?;
        #[allow(clippy::useless_conversion, reason = "the widths differ between systems")]
        let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
        if free >= min_free {
            return Ok(());
        }
        let megabytes = |bytes: u64| bytes / (1 << 20);
        let (free, min_free) = (megabytes(free), megabytes(min_free));
        Err(blamed(format!("the disk is nearly full: {free} MiB are free, storage.min_free is {min_free} MiB")))
    }

    /// A new file that nobody sees.
    fn create_aside(&self, name: &str) -> io::Result<(Aside, File)> {
        let path = self.folder.join(ASIDE).join(format!("{name}#{:016x}", rand::random::<u64>()));
        // The folder may have been removed with everything else in it.
        make_folder(&self.folder.join(ASIDE))?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok((Aside(path), file))
    }

    fn begin_now(&self, key: &str) -> Result<DiskUpload, Failure> {
        let target = self.path(key)?;
        self.has_room()?;
        let name = key.rsplit('/').next().unwrap_or(key);
        let (aside, file) = self.create_aside(name).map_err(|error| of_folder(&error))?;
        let seen = target.parent().map_or(Ok(()), make_folder).and_then(|()| Version::of(&target));
        let seen = seen.map_err(|error| of_disk(&error))?;
        let writing = Writing { file: Arc::new(file), written: 0, gathered: BytesMut::with_capacity(PART) };
        Ok(DiskUpload { disk: self.clone(), aside, target, seen, writing })
    }

    /// Writes, locks, gives a name, reads and removes, as for a recording.
    fn check_now(&self) -> Result<(), Failure> {
        self.has_room()?;
        let probe = || -> io::Result<()> {
            let (aside, mut file) = self.create_aside("check")?;
            file.write_all(b"callspool")?;
            let named = Aside(aside.0.with_extension("named"));
            let _lock = lock(&self.folder)?;
            fs::rename(&aside.0, &named.0)?;
            let mut read = Vec::new();
            File::open(&named.0)?.read_to_end(&mut read)?;
            fs::remove_file(&named.0)
        };
        probe().map_err(|error| of_folder(&error))
    }

    fn sweep_now(&self, age: Duration, limit: usize) -> io::Result<usize> {
        // By the clock that files are dated with: with another, this would remove what others are still writing. A disk
        // that is full takes no new file, and has most need of this.
        let dated = self.create_aside("now").and_then(|(_aside, file)| file.metadata()?.modified());
        let now = dated.unwrap_or_else(|_| SystemTime::now());
        let mut removed = 0;
        for entry in fs::read_dir(self.folder.join(ASIDE))? {
            if removed >= limit {
                break;
            }
            let entry = entry?;
            // The lock's name has none.
            if !entry.file_name().to_string_lossy().contains('#') {
                continue;
            }
            let is_old = entry.metadata().and_then(|meta| meta.modified());
            // One that is gone was ended or swept by another process.
            if is_old.is_ok_and(|at| now.duration_since(at).is_ok_and(|passed| passed >= age))
                && fs::remove_file(entry.path()).is_ok()
            {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Of the storage's own folder, which every file needs.
fn of_folder(error: &io::Error) -> Failure {
    blamed(error.kind().to_string())
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

/// Calls of the file system, on a thread that may wait for them.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(blamed("the storage failed")))
}

/// The part, as far as the file goes, and the length of the whole file.
async fn open_part(path: &Path, part: Range<u64>) -> io::Result<(tokio::io::Take<tokio::fs::File>, u64)> {
    let mut file = tokio::fs::File::open(path).await?;
    let size = file.metadata().await?.len();
    let start = part.start.min(size);
    file.seek(SeekFrom::Start(start)).await?;
    Ok((file.take(part.end.min(size).saturating_sub(start)), size))
}

#[async_trait]
impl Storage for Disk {
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        let (disk, key) = (self.clone(), key.to_owned());
        let upload = blocking(move || disk.begin_now(&key)).await?;
        Ok(Box::new(upload))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, Failure> {
        match tokio::fs::metadata(self.path(key)?).await {
            Ok(meta) => Ok(meta.is_file().then_some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(of_disk(&error)),
        }
    }

    async fn read(&self, key: &str, part: Range<u64>) -> Result<Option<StoredFile>, Failure> {
        match open_part(&self.path(key)?, part).await {
            Ok((part, size)) => {
                let stream = ReaderStream::with_capacity(part, CHUNK).map_err(|error| of_disk(&error));
                Ok(Some(StoredFile { size, stream: Box::pin(stream) }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(of_disk(&error)),
        }
    }

    async fn remove(&self, key: &str) -> Result<(), Failure> {
        let (path, folder) = (self.path(key)?, Arc::clone(&self.folder));
        let removed = move || match lock(&folder).and_then(|_lock| fs::remove_file(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(of_disk(&error)),
            _ => Ok(()),
        };
        blocking(removed).await
    }

    async fn sweep(&self, age: Duration, limit: usize) -> Result<usize, Failure> {
        let disk = self.clone();
        blocking(move || disk.sweep_now(age, limit).map_err(|error| of_disk(&error))).await
    }

    async fn check(&self) -> Result<(), Failure> {
        let disk = self.clone();
        blocking(move || disk.check_now()).await
    }
}

struct DiskUpload {
    disk: Disk,
    aside: Aside,
    target: PathBuf,
    /// What stood under the final name when this began.
    seen: Option<Version>,
    writing: Writing,
}

struct Writing {
    file: Arc<File>,
    written: u64,
    gathered: BytesMut,
}

impl Writing {
    async fn flush(&mut self) -> Result<(), Failure> {
        let (part, file, at) = (self.gathered.split().freeze(), Arc::clone(&self.file), self.written);
        self.written += part.len() as u64;
        blocking(move || file.write_all_at(&part, at).map_err(|error| of_disk(&error))).await
    }
}

#[async_trait]
impl Upload for DiskUpload {
    fn replaces(&self) -> bool {
        self.seen.is_some()
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.writing.gathered.extend_from_slice(&chunk);
        if self.writing.gathered.len() >= PART { self.writing.flush().await } else { Ok(()) }
    }

    async fn commit(self: Box<Self>) -> Result<(), Failure> {
        let Self { disk, aside, target, seen, mut writing } = *self;
        writing.flush().await?;
        blocking(move || {
            let fsync = disk.options.fsync;
            if fsync {
                writing.file.sync_all().map_err(|error| of_disk(&error))?;
            }
            publish(&disk.folder, &aside, &target, seen, fsync)
        })
        .await
    }

    async fn abort(self: Box<Self>) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{failure::FailureCode, hold::HoldKey};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    fn open_with(dir: &Path, min_free: u64) -> Disk {
        Disk::open(dir.to_owned(), DiskOptions { fsync: true, min_free, make: true }).unwrap()
    }

    fn open(dir: &Path) -> Disk {
        open_with(dir, 0)
    }

    fn files(dir: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".lock").collect()
    }

    async fn upload(disk: &Disk, content: &str) -> Box<dyn Upload> {
        let mut upload = disk.begin("42/CA1.mp3").await.unwrap();
        upload.write(Bytes::from(content.to_owned())).await.unwrap();
        upload
    }

    #[test]
    fn a_file_is_seen_under_its_name_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let mut upload = open(dir.path()).begin("42/2026/01/CA1.mp3").await.unwrap();
            upload.write(Bytes::from(vec![7; 3 * PART + 1])).await.unwrap();
            assert!(!dir.path().join("42/2026/01/CA1.mp3").exists());
            upload.commit().await.unwrap();
        });
        assert_eq!(fs::read(dir.path().join("42/2026/01/CA1.mp3")).unwrap(), vec![7; 3 * PART + 1]);
        assert_eq!(files(&dir.path().join("42/2026/01")), ["CA1.mp3"]);
        assert_eq!(files(&dir.path().join(ASIDE)), Vec::<String>::new());
    }

    #[test]
    fn an_aborted_or_dropped_upload_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let disk = open(dir.path());
            upload(&disk, "half").await.abort().await;
            drop(upload(&disk, "half").await);
        });
        assert_eq!(files(&dir.path().join("42")), Vec::<String>::new());
        assert_eq!(files(&dir.path().join(ASIDE)), Vec::<String>::new());
    }

    /// The lease of the first one was lost while it slept.
    #[test]
    fn an_attempt_that_comes_late_does_not_replace_a_newer_ones_file() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let disk = open(dir.path());
            let late = upload(&disk, "late").await;
            upload(&disk, "newer").await.commit().await.unwrap();
            let refused = late.commit().await.unwrap_err();
            assert_eq!((refused.code, refused.blame), (FailureCode::Superseded, None));
        });
        assert_eq!(fs::read_to_string(dir.path().join("42/CA1.mp3")).unwrap(), "newer");
        assert_eq!(files(&dir.path().join(ASIDE)), Vec::<String>::new());
    }

    /// It was stored, and the report of that was lost.
    #[test]
    fn a_file_that_stood_there_at_the_beginning_is_replaced_once() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let disk = open(dir.path());
            upload(&disk, "unreported").await.commit().await.unwrap();
            let (first, second) = (upload(&disk, "first").await, upload(&disk, "second").await);
            second.commit().await.unwrap();
            assert_eq!(first.commit().await.unwrap_err().code, FailureCode::Superseded);
        });
        assert_eq!(fs::read_to_string(dir.path().join("42/CA1.mp3")).unwrap(), "second");
    }

    #[test]
    fn what_was_removed_meanwhile_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let disk = open(dir.path());
            upload(&disk, "stored").await.commit().await.unwrap();
            let late = upload(&disk, "late").await;
            disk.remove("42/CA1.mp3").await.unwrap();
            assert_eq!(late.commit().await.unwrap_err().code, FailureCode::Superseded);
            disk.remove("42/CA1.mp3").await.unwrap();
        });
        assert_eq!(files(&dir.path().join("42")), Vec::<String>::new());
    }

    #[test]
    fn a_sweep_removes_what_is_old_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path());
        let old = SystemTime::now() - Duration::from_hours(2);
        for (name, is_old) in [("CA1.mp3#1", true), ("CA2.mp3#2", true), ("CA3.mp3#3", false), (".lock", true)] {
            let file = File::create(dir.path().join(ASIDE).join(name)).unwrap();
            if is_old {
                file.set_modified(old).unwrap();
            }
        }
        runtime().block_on(async {
            upload(&disk, "stored").await.commit().await.unwrap();
            File::open(dir.path().join("42/CA1.mp3")).unwrap().set_modified(old).unwrap();
            assert_eq!(disk.sweep(Duration::from_hours(1), 1).await, Ok(1));
            assert_eq!(disk.sweep(Duration::from_hours(1), 10).await, Ok(1));
            assert_eq!(disk.sweep(Duration::from_hours(1), 10).await, Ok(0));
        });
        assert_eq!(files(&dir.path().join(ASIDE)), ["CA3.mp3#3"]);
        assert!(dir.path().join(ASIDE).join(".lock").exists());
        assert_eq!(files(&dir.path().join("42")), ["CA1.mp3"]);
    }

    #[test]
    fn with_too_little_room_nothing_is_begun_and_the_check_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open_with(dir.path(), u64::MAX);
        runtime().block_on(async {
            let checked = disk.check().await.unwrap_err();
            assert!(checked.message.starts_with("the disk is nearly full: "), "{checked}");
            let begun = disk.begin("42/CA1.mp3").await.err().unwrap();
            assert_eq!(begun.blame.map(|blame| blame.key), Some(HoldKey::storage()));
            assert_eq!(open_with(dir.path(), 1).check().await, Ok(()));
        });
        assert_eq!(files(&dir.path().join(ASIDE)), Vec::<String>::new());
    }

    #[test]
    fn folders_that_are_made_are_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let disk = open(&dir.path().join("a/recordings"));
        runtime().block_on(async { disk.begin("42/2026/CA1.mp3").await.map(|_| ()).unwrap() });
        for folder in ["a/recordings", "a/recordings/42", "a/recordings/42/2026", "a/recordings/.callspool-aside"] {
            let mode = fs::metadata(dir.path().join(folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o007, 0, "{folder}: {mode:o}");
        }
    }

    #[test]
    fn a_key_cannot_leave_the_storage() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path());
        for key in
            ["../x", "a/../../x", "/etc/passwd", "a//b", ".hidden", ".callspool-aside/x", "a/b#1", "a\\b", ""]
        {
            runtime().block_on(async {
                let refused = disk.begin(key).await.err().unwrap();
                assert_eq!((refused.code, refused.blame), (FailureCode::StorageError, None), "{key}");
                assert_eq!(disk.read(key, 0..1).await.err().unwrap().code, FailureCode::StorageError, "{key}");
                assert_eq!(disk.remove(key).await.unwrap_err().code, FailureCode::StorageError, "{key}");
            });
        }
    }

    #[test]
    fn a_part_of_a_file_is_read_and_a_missing_file_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..=3 * CHUNK).map(|n| u8::try_from(n % 251).unwrap()).collect();
        fs::create_dir(dir.path().join("42")).unwrap();
        fs::write(dir.path().join("42/CA1.mp3"), &bytes).unwrap();
        runtime().block_on(async {
            let disk = open(dir.path());
            let size = bytes.len() as u64;
            assert_eq!(disk.size("42/CA1.mp3").await, Ok(Some(size)));
            for part in [0..size, 0..1, 70_000..150_000, size - 1..size, 5..size + 9, size..size + 1] {
                let file = disk.read("42/CA1.mp3", part.clone()).await.unwrap().unwrap();
                assert_eq!(file.size, size);
                let read: Vec<Bytes> = file.stream.try_collect().await.unwrap();
                let [start, end] = [part.start, part.end].map(|at| usize::try_from(at.min(size)).unwrap());
                assert_eq!(read.concat(), bytes[start..end], "{part:?}");
                assert!(read.iter().all(|chunk| chunk.len() <= CHUNK));
            }
            assert_eq!(disk.size("42/CA2.mp3").await, Ok(None));
            assert!(disk.read("42/CA2.mp3", 0..1).await.unwrap().is_none());
        });
    }

    #[test]
    fn an_error_names_its_kind_and_no_path() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path());
        fs::write(dir.path().join("42"), b"a file where a folder is needed").unwrap();
        let refused = runtime().block_on(async { disk.begin("42/CA1.mp3").await.err().unwrap() });
        assert_eq!((refused.code, refused.blame), (FailureCode::StorageError, None));
        assert!(!refused.message.contains('/'), "{}", refused.message);
    }
}
