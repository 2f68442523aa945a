//! Recordings in object storage, by the crate `object_store`: one code for a disk and, later, buckets.
//!
//! A file is written aside and renamed when it is whole. With fsync on, file and folder are flushed before the rename
//! counts. What a `kill -9` leaves is a file `NAME#N` beside the final name, which nobody reads, and which the next
//! attempt at the same recording removes. Folders that are made are closed to users outside the group: a recording is
//! what two people said to each other.

use crate::domain::{
    failure::{Failure, FailureCode},
    hold::HoldKey,
    ports::{MediaStream, Storage, StoredFile, Upload},
    text::io_kind,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use object_store::{
    Error, GetOptions, GetRange, GetResult, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt,
    PutPayload, local::LocalFileSystem, path::Path,
};
use std::{
    fs::DirBuilder,
    io::{self, SeekFrom},
    ops::Range,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Bytes that are gathered before they are written.
const PART: usize = 256 * 1024;
/// Bytes of a file on disk that are read at a time; `object_store` itself would read 8 KiB.
const CHUNK: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the storage URL must begin with file: in this version")]
    UnknownScheme,
    #[error("the storage folder {folder} cannot be made: {kind}")]
    Folder { folder: String, kind: io::ErrorKind },
}

/// Files written aside that one attempt removes, of so many killed attempts before it.
const MAX_LEFTOVERS: u32 = 16;

#[derive(Debug, Clone)]
pub struct ObjectStorage {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
}

impl ObjectStorage {
    /// `url`: `file:` and a path, relative to the working folder or absolute; the folder is made.
    pub fn open(url: &str, fsync: bool) -> Result<Self, OpenError> {
        let folder = folder(url).ok_or(OpenError::UnknownScheme)?;
        let refused = |kind| OpenError::Folder { folder: folder.display().to_string(), kind };
        let made = DirBuilder::new().recursive(true).mode(0o750).create(&folder);
        made.map_err(|error| refused(error.kind()))?;
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|_| refused(io::ErrorKind::NotADirectory))?
            .with_fsync(fsync);
        Ok(Self { store: Arc::new(store), folder })
    }
}

impl ObjectStorage {
    /// The folder of one business, closed to others; `object_store` would make an open one. Where this fails, the
    /// upload says why.
    async fn make_folder(&self, key: &str) {
        if let Some(folder) = self.folder.join(key).parent() {
            let _ = tokio::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).await;
        }
    }

    /// What killed attempts at this file have left; `object_store` counts their names up from 1. (An attempt that only
    /// seems to be dead loses its file and fails, and has lost its lease before.)
    async fn remove_leftovers(&self, key: &str) {
        for number in 1..=MAX_LEFTOVERS {
            if tokio::fs::remove_file(self.folder.join(format!("{key}#{number}"))).await.is_err() {
                // There is none, or it cannot be removed, which costs space and nothing else.
                return;
            }
        }
    }
}

/// The folder that a `file:` URL names.
pub fn folder(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file:")?;
    Some(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
}

#[async_trait]
impl Storage for ObjectStorage {
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        let path = checked(key)?;
        self.make_folder(key).await;
        self.remove_leftovers(key).await;
        let upload = self.store.put_multipart(&path).await.map_err(|error| failure(&error))?;
        Ok(Box::new(PartedUpload { upload, gathered: BytesMut::with_capacity(PART) }))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, Failure> {
        match self.store.head(&checked(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn read(&self, key: &str, part: Range<u64>) -> Result<Option<StoredFile>, Failure> {
        let options = GetOptions { range: Some(GetRange::Bounded(part.clone())), ..GetOptions::default() };
        match self.store.get_opts(&checked(key)?, options).await {
            Ok(found) => Ok(Some(StoredFile { size: found.meta.size, stream: stream(found).await? })),
            Err(Error::NotFound { .. }) => Ok(None),
            // A part that begins behind the end is an error of its own in each kind of storage.
            Err(error) => match self.size(key).await? {
                Some(size) if size <= part.start => {
                    Ok(Some(StoredFile { size, stream: Box::pin(futures_util::stream::empty()) }))
                }
                _ => Err(failure(&error)),
            },
        }
    }

    async fn remove(&self, key: &str) -> Result<(), Failure> {
        match self.store.delete(&checked(key)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn sweep(&self, _: Duration, _: usize) -> Result<usize, Failure> {
        Ok(0)
    }

    async fn check(&self) -> Result<(), Failure> {
        let path = Path::from(format!(".callspool-check-{}", rand::random::<u64>()));
        let probe = async {
            self.store.put(&path, PutPayload::from_static(b"callspool")).await?;
            self.store.get(&path).await?.bytes().await?;
            self.store.delete(&path).await
        };
        probe.await.map_err(|error| failure(&error))
    }
}

async fn stream(found: GetResult) -> Result<MediaStream, Failure> {
    match found.payload {
        GetResultPayload::Stream(stream) => Ok(Box::pin(stream.map_err(|error| failure(&error)))),
        GetResultPayload::File(file, _) => {
            let unreadable = |error: io::Error| Failure::new(FailureCode::StorageError, error.kind().to_string());
            let mut file = tokio::fs::File::from_std(file);
            file.seek(SeekFrom::Start(found.range.start)).await.map_err(unreadable)?;
            let part = file.take(found.range.end - found.range.start);
            Ok(Box::pin(ReaderStream::with_capacity(part, CHUNK).map_err(unreadable)))
        }
    }
}

/// Keys are made of checked identifiers; one that is not must not leave the storage.
fn checked(key: &str) -> Result<Path, Failure> {
    let bad = || Failure::new(FailureCode::StorageError, "the storage key is not a plain relative path");
    if key.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.contains('#')) {
        return Err(bad());
    }
    Path::parse(key).map_err(|_| bad())
}

struct PartedUpload {
    upload: Box<dyn MultipartUpload>,
    gathered: BytesMut,
}

impl PartedUpload {
    async fn flush(&mut self) -> Result<(), Failure> {
        let part = self.gathered.split().freeze();
        self.upload.put_part(part.into()).await.map_err(|error| failure(&error))
    }
}

#[async_trait]
impl Upload for PartedUpload {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.gathered.extend_from_slice(&chunk);
        if self.gathered.len() >= PART { self.flush().await } else { Ok(()) }
    }

    async fn commit(mut self: Box<Self>) -> Result<(), Failure> {
        if !self.gathered.is_empty() {
            self.flush().await?;
        }
        self.upload.complete().await.map(|_| ()).map_err(|error| failure(&error))
    }

    async fn abort(mut self: Box<Self>) {
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(failure = %failure(&error), "a file that was written aside is left behind");
        }
    }
}

/// What went wrong, without the path: `object_store` puts it into its messages.
fn failure(error: &Error) -> Failure {
    let text = match error {
        Error::NotFound { .. } => "not found".to_owned(),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => "permission denied".to_owned(),
        other => io_kind(other).map_or_else(|| "the storage failed".to_owned(), |kind| kind.to_string()),
    };
    Failure::new(FailureCode::StorageError, text).blame(HoldKey::storage())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One thread for what blocks, so that it is done in order.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap()
    }

    fn open(dir: &std::path::Path) -> ObjectStorage {
        ObjectStorage::open(&format!("file:{}", dir.display()), true).unwrap()
    }

    fn files(dir: &std::path::Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_seen_under_its_name_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let mut upload = open(dir.path()).begin("42/CA1.mp3").await.unwrap();
            upload.write(Bytes::from(vec![7; 3 * PART + 1])).await.unwrap();
            assert!(!dir.path().join("42/CA1.mp3").exists());
            upload.commit().await.unwrap();
        });
        assert_eq!(std::fs::read(dir.path().join("42/CA1.mp3")).unwrap(), vec![7; 3 * PART + 1]);
        assert_eq!(files(&dir.path().join("42")), ["CA1.mp3"]);
    }

    #[test]
    fn an_aborted_or_dropped_upload_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let storage = open(dir.path());
            let mut upload = storage.begin("42/CA1.mp3").await.unwrap();
            upload.write(Bytes::from_static(b"half")).await.unwrap();
            upload.abort().await;
            let mut upload = storage.begin("42/CA2.mp3").await.unwrap();
            upload.write(Bytes::from(vec![1; PART])).await.unwrap();
            // The clean-up of a drop is put before this.
            drop(upload);
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        });
        assert_eq!(files(&dir.path().join("42")), Vec::<String>::new());
    }

    #[test]
    fn the_next_attempt_removes_what_killed_ones_have_left() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("42")).unwrap();
        for left in ["CA1.mp3#1", "CA1.mp3#2", "CA2.mp3#1"] {
            std::fs::write(dir.path().join("42").join(left), "half").unwrap();
        }
        runtime().block_on(async {
            let mut upload = open(dir.path()).begin("42/CA1.mp3").await.unwrap();
            upload.write(Bytes::from_static(b"whole")).await.unwrap();
            upload.commit().await.unwrap();
        });
        let mut files = files(&dir.path().join("42"));
        files.sort();
        assert_eq!(files, ["CA1.mp3", "CA2.mp3#1"]);
    }

    #[test]
    fn folders_that_are_made_are_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let storage = open(&dir.path().join("a/recordings"));
        runtime().block_on(async { storage.begin("42/CA1.mp3").await.map(|_| ()).unwrap() });
        for folder in ["a/recordings", "a/recordings/42"] {
            let mode = std::fs::metadata(dir.path().join(folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o007, 0, "{folder}: {mode:o}");
        }
    }

    #[test]
    fn a_key_cannot_leave_the_storage() {
        let dir = tempfile::tempdir().unwrap();
        for key in ["../x", "a/../../x", "/etc/passwd", "a//b", ".hidden", "a/b#1", ""] {
            let refused = runtime().block_on(async { open(dir.path()).begin(key).await.err() });
            assert_eq!(refused.map(|failure| failure.code), Some(FailureCode::StorageError), "{key}");
            let read = runtime().block_on(async { open(dir.path()).read(key, 0..1).await.err() });
            assert_eq!(read.map(|failure| failure.code), Some(FailureCode::StorageError), "{key}");
        }
    }

    #[test]
    fn a_part_of_a_file_is_read_and_a_missing_file_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..=3 * CHUNK).map(|n| u8::try_from(n % 251).unwrap()).collect();
        std::fs::create_dir(dir.path().join("42")).unwrap();
        std::fs::write(dir.path().join("42/CA1.mp3"), &bytes).unwrap();
        runtime().block_on(async {
            let storage = open(dir.path());
            let size = bytes.len() as u64;
            assert_eq!(storage.size("42/CA1.mp3").await, Ok(Some(size)));
            for part in [0..size, 0..1, 70_000..150_000, size - 1..size, 5..size + 9, size..size + 1] {
                let file = storage.read("42/CA1.mp3", part.clone()).await.unwrap().unwrap();
                assert_eq!(file.size, size);
                let read: Vec<Bytes> = file.stream.try_collect().await.unwrap();
                let [start, end] = [part.start, part.end].map(|at| usize::try_from(at.min(size)).unwrap());
                assert_eq!(read.concat(), bytes[start..end], "{part:?}");
                assert!(read.iter().all(|chunk| chunk.len() <= CHUNK));
            }
            assert_eq!(storage.size("42/CA2.mp3").await, Ok(None));
            assert!(storage.read("42/CA2.mp3", 0..1).await.unwrap().is_none());
        });
    }

    #[test]
    fn an_error_names_its_kind_and_no_path() {
        let dir = tempfile::tempdir().unwrap();
        let storage = open(dir.path());
        std::fs::write(dir.path().join("42"), b"a file where a folder is needed").unwrap();
        let refused = runtime().block_on(async { storage.begin("42/CA1.mp3").await.err().unwrap() });
        assert_eq!(refused.code, FailureCode::StorageError);
        assert!(!refused.message.contains('/'), "{}", refused.message);
    }

    #[test]
    fn only_file_urls_are_known() {
        assert!(matches!(ObjectStorage::open("s3://bucket/x", true), Err(OpenError::UnknownScheme)));
        assert_eq!(folder("file:./data/recordings"), Some(PathBuf::from("./data/recordings")));
        assert_eq!(folder("file:///var/lib/x"), Some(PathBuf::from("/var/lib/x")));
    }
}
