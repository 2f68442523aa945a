//! The provider, the storage, and time.

use crate::domain::{
    audio::{AudioKind, NotAudio, Walked},
    details::Details,
    failure::Failure,
    hold::HoldKey,
    ids::{AccountSid, BusinessId, CallSid, RecordingSid},
    mapping::CallFacts,
    media::{Form, Forms},
};
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
    /// Announced by `Content-Type`, lower case and without parameters, where it was.
    pub content_type: Option<String>,
    /// Which of the wanted forms it is.
    pub form: Form,
    /// Goes on behind a cut connection, where the provider can continue; ends early only with a failure.
    pub stream: MediaStream,
}

/// Which recording is wanted, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub recording_url: String,
    pub call_sid: CallSid,
    pub recording_sid: Option<RecordingSid>,
    pub forms: Forms,
    pub details: Details,
}

/// A recording as the provider lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub account_sid: AccountSid,
    pub call_sid: CallSid,
    pub recording_sid: RecordingSid,
    pub recording_url: String,
    pub details: Details,
    /// There is something to fetch; `false`: it failed, is absent or was deleted.
    pub is_there: bool,
}

/// One page of a listing.
#[derive(Debug, Clone, Default)]
pub struct ListedPage {
    pub recordings: Vec<Listed>,
    /// Names the next page, in the provider's terms; `None`: this is the last one.
    pub next: Option<String>,
}

/// Which recordings to list: of one account, begun in this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    pub account: String,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media").field("length", &self.length).finish_non_exhaustive()
    }
}

/// The telephony provider.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks for a recording's media, in the first of the wanted forms that there is. Every answer but a success is a
    /// [`Failure`].
    async fn fetch(&self, order: &Order) -> Result<Media, Failure>;
    /// What a request for this URL would depend on. Pure: nothing is asked.
    fn depends(&self, recording_url: &str) -> Vec<HoldKey>;
    /// One page of what the provider has; `page` is the last answer's [`ListedPage::next`].
    async fn list(&self, period: &Period, page: Option<&str>) -> Result<ListedPage, Failure>;
    /// Removes a recording at the provider; one that is not there is removed.
    async fn delete(&self, recording_url: &str) -> Result<(), Failure>;
    /// Whether what a hold is about works again: an account's credentials, or a host.
    async fn probe(&self, key: &HoldKey) -> Result<(), Failure>;
}

/// The customer's own service that knows whose a call is.
#[async_trait]
pub trait BusinessLookup: Send + Sync {
    /// `None`: it does not know the call. A failure is no answer: the same may be asked again.
    async fn business_of(&self, call: &CallFacts) -> Result<Option<BusinessId>, Failure>;
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
    /// Removes a stored file; one that is not there is removed.
    async fn remove(&self, key: &str) -> Result<(), Failure>;
    /// Removes what dead processes have left written aside longer ago than `age`; returns how many files. At most
    /// `limit` at once.
    async fn sweep(&self, age: std::time::Duration, limit: usize) -> Result<usize, Failure>;
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
    /// A file stood under the final name at [`Storage::begin`], and is to be replaced.
    fn replaces(&self) -> bool;
    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure>;
    /// The file is whole: from now on it is seen, under its final name, at once. Fails with `superseded` where another
    /// file has come under this name since [`Storage::begin`].
    async fn commit(self: Box<Self>) -> Result<(), Failure>;
    async fn abort(self: Box<Self>);
}

/// Whoever knows how audio is made up.
pub trait AudioProbe: Send + Sync {
    /// A walk over one body of this kind.
    fn begin(&self, kind: AudioKind) -> Box<dyn AudioWalk>;
}

/// A walk over a body as it passes: it keeps a little of it, whatever its length, and waits for nothing.
pub trait AudioWalk: Send {
    /// The next bytes, in order. Fails as soon as it is clear that this is no audio; nothing is asked of it then.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), NotAudio>;
    /// The body has ended. A last frame that is cut off is passed over.
    fn finish(self: Box<Self>) -> Result<Walked, NotAudio>;
}

/// Time and randomness, so that tests can choose them.
pub trait Clock: Send + Sync {
    fn now(&self) -> DateTime<Utc>;
    /// From 0 to 1.
    fn random(&self) -> f64;
}
