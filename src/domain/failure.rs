//! Why an attempt failed: a closed list of codes, so that logs, metrics and `last_error` say the same word.

use super::{
    hold::{Blame, HoldKey},
    text::clean,
};
use serde::Serialize;
use std::{fmt, time::Duration};

/// The `reason=` of `WORKER_JOB_FAILED` and the `code` of `last_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The database refused or was not reached.
    DbError,
    /// The provider answered with a status that is neither success nor one of those below.
    HttpStatus,
    /// 404: the provider still processes the recording.
    NotReady,
    /// 410: the recording was deleted at the provider.
    Gone,
    /// 401 or 403: the credentials are wrong.
    Unauthorized,
    /// 429.
    RateLimited,
    /// Connecting, reading or the whole attempt took too long.
    Timeout,
    /// No connection, or it broke.
    Network,
    /// The body ended before its announced length.
    Truncated,
    /// More bytes than allowed.
    TooLarge,
    /// What came is not a recording.
    BadAudio,
    /// The URL is not one of the configured provider's.
    UrlRefused,
    /// The file could not be written.
    StorageError,
    /// A newer attempt at the same recording has stored its file meanwhile.
    Superseded,
    /// The recording could not be transcribed.
    TranscriptionError,
    /// The worker died while it had the job.
    WorkerDied,
    /// The instance stopped beating, or the lease ran out.
    LeaseExpired,
}

impl FailureCode {
    pub const ALL: [Self; 17] = [
        Self::DbError,
        Self::HttpStatus,
        Self::NotReady,
        Self::Gone,
        Self::Unauthorized,
        Self::RateLimited,
        Self::Timeout,
        Self::Network,
        Self::Truncated,
        Self::TooLarge,
        Self::BadAudio,
        Self::UrlRefused,
        Self::StorageError,
        Self::Superseded,
        Self::TranscriptionError,
        Self::WorkerDied,
        Self::LeaseExpired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::DbError => "db_error",
            Self::HttpStatus => "http_status",
            Self::NotReady => "not_ready",
            Self::Gone => "gone",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::BadAudio => "bad_audio",
            Self::UrlRefused => "url_refused",
            Self::StorageError => "storage_error",
            Self::Superseded => "superseded",
            Self::TranscriptionError => "transcription_error",
            Self::WorkerDied => "worker_died",
            Self::LeaseExpired => "lease_expired",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed attempt. The message is clean (see [`super::text`]): it may be logged and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: FailureCode,
    pub message: String,
    /// The provider's wish, from `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The provider's answer, where there was one.
    pub http_status: Option<u16>,
    /// Whose fault it is, where it is not this one recording's. Boxed, so that a failure is small enough to be returned.
    pub blame: Option<Box<Blame>>,
    /// The hold that this attempt met: the job waits for its end, and the attempt does not count.
    pub held_by: Option<HoldKey>,
    /// The same would come of every further attempt, whatever the code.
    pub for_good: bool,
}

impl Failure {
    pub fn new(code: FailureCode, message: impl AsRef<str>) -> Self {
        Self {
            code,
            message: clean(message.as_ref()),
            retry_after: None,
            http_status: None,
            blame: None,
            held_by: None,
            for_good: false,
        }
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    #[must_use]
    pub fn http_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    #[must_use]
    pub fn blame(mut self, key: HoldKey) -> Self {
        self.blame = Some(Box::new(Blame { key, lasts: self.retry_after }));
        self
    }

    #[must_use]
    pub fn held_by(mut self, key: HoldKey) -> Self {
        self.held_by = Some(key);
        self
    }

    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.for_good = true;
        self
    }

    /// Whether another attempt can end otherwise.
    pub fn can_pass(&self) -> bool {
        !self.for_good && !matches!(self.code, FailureCode::Gone | FailureCode::UrlRefused | FailureCode::TooLarge)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
