//! The provider, the storage, and time.

use crate::domain::failure::Failure;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use std::{fmt, ops::Range, pin::Pin};

/// A recording on its way in or out: its bytes, in order.
pub type MediaStream = Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, Failure>> + Send>>;

pub struct Media {
    /// Of the answer.
    pub http_status: u16,
    /// Announced by `Content-Length`, where it was.
    pub length: Option<u64>,
    pub stream: MediaStream,
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media").field("length", &self.length).finish_non_exhaustive()
    }
}

/// The telephony provider.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks for a recording's media. Every answer but a success is a [`Failure`].
    async fn fetch(&self, recording_url: &str) -> Result<Media, Failure>;
}

/// Where recordings go, and come from. A key to read by is one that the database has of a stored recording, never one
/// that somebody sent.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Starts a file that nobody sees yet.
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, Failure>;
    /// How long a stored file is, in bytes; `None`: there is none under this key.
    async fn size(&self, key: &str) -> Result<Option<u64>, Failure>;
    /// Opens a part of a stored file; the part must not be empty. The bytes are read as the stream is polled.
    async fn read(&self, key: &str, part: Range<u64>) -> Result<Option<StoredFile>, Failure>;
    /// Can a file be written, read back and removed? Asked at start, so that a wrong address says so then.
    async fn check(&self) -> Result<(), Failure>;
}

/// A stored file that is open for reading.
pub struct StoredFile {
    /// Of the whole file, in bytes.
    pub size: u64,
    /// The part that was asked for, as far as the file goes.
    pub stream: MediaStream,
}

impl fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredFile").field("size", &self.size).finish_non_exhaustive()
    }
}

/// A file being written aside. Dropping it without [`Upload::commit`] leaves nothing under the final name.
#[async_trait]
pub trait Upload: Send {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure>;
    /// The file is whole: from now on it is seen, under its final name, at once.
    async fn commit(self: Box<Self>) -> Result<(), Failure>;
    async fn abort(self: Box<Self>);
}

/// Time and randomness, so that tests can choose them.
pub trait Clock: Send + Sync {
    fn now(&self) -> DateTime<Utc>;
    /// From 0 to 1.
    fn random(&self) -> f64;
}
