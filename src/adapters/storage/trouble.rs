//! What went wrong, in words that are clean: neither path nor address nor what the server wrote, which `object_store`
//! puts into its messages.
//!
//! Trouble of the storage itself is blamed on it, so that jobs wait until it works again and lose no attempt. What
//! concerns the one file is not.

use crate::domain::{
    failure::{Failure, FailureCode},
    hold::HoldKey,
    text::io_kind,
};
use object_store::{
    Error,
    client::{HttpError, HttpErrorKind},
};
use std::{io, iter::successors};

/// The storage's fault: every job waits for it.
pub(super) fn blamed(text: impl AsRef<str>) -> Failure {
    Failure::new(FailureCode::StorageError, text).blame(HoldKey::storage())
}

pub(super) fn superseded() -> Failure {
    Failure::new(FailureCode::Superseded, "another attempt has stored this recording meanwhile")
}

/// Of the disk. A name in the way of one file is no trouble of all.
pub(super) fn of_disk(error: &io::Error) -> Failure {
    let kind = error.kind();
    let is_of_this_file = matches!(
        kind,
        io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::FileTooLarge
    );
    if is_of_this_file {
        Failure::new(FailureCode::StorageError, kind.to_string())
    } else {
        blamed(kind.to_string())
    }
}

/// Of a bucket.
pub(super) fn of_bucket(error: &Error) -> Failure {
    match error {
        // What is not there is no error where something is read: the bucket itself is missing.
        Error::NotFound { .. } => blamed("the bucket is not found"),
        Error::PermissionDenied { .. } => blamed("permission denied"),
        Error::Unauthenticated { .. } => blamed("the bucket does not know these credentials"),
        Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotModified { .. } => superseded(),
        Error::InvalidPath { .. } => {
            Failure::new(FailureCode::StorageError, "the storage key is not a plain relative path")
        }
        Error::NotImplemented { .. } | Error::NotSupported { .. } => blamed("the bucket's server cannot do this"),
        other => blamed(transport(other).or_else(|| status(other)).unwrap_or_else(|| reason(other))),
    }
}

/// What happened to the connection.
fn transport(error: &Error) -> Option<String> {
    let chain = successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    let kind = chain.filter_map(|error| error.downcast_ref::<HttpError>()).map(HttpError::kind).next()?;
    let text = match kind {
        HttpErrorKind::Connect => "the bucket's server cannot be reached",
        HttpErrorKind::Timeout => "the bucket's server does not answer in time",
        HttpErrorKind::Request | HttpErrorKind::Interrupted => "the connection to the bucket's server broke",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The server's status: three digits, and no more of what it wrote.
fn status(error: &Error) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("status code: ")?;
    let digits = rest.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(format!("the bucket's server answered {digits}"))
}

fn reason(error: &Error) -> String {
    io_kind(error).map_or_else(|| "the storage failed".to_owned(), |kind| kind.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_storage_is_blamed_and_one_of_a_file_is_not() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::PermissionDenied] {
            let failure = of_disk(&kind.into());
            assert_eq!(failure.blame.map(|blame| blame.key), Some(HoldKey::storage()), "{kind}");
        }
        for kind in [io::ErrorKind::NotADirectory, io::ErrorKind::InvalidFilename] {
            assert_eq!(of_disk(&kind.into()).blame, None, "{kind}");
        }
        assert_eq!(superseded().blame, None);
    }

    #[test]
    fn a_servers_words_and_the_address_stay_out() {
        let source = "Error performing PUT https://user:canary@host/b?X-Amz-Signature=canary - Server returned non-2xx \
            status code: 503 Service Unavailable: <canary/>";
        let failure = of_bucket(&Error::Generic { store: "S3", source: source.into() });
        assert_eq!(failure.message, "the bucket's server answered 503");
        let failure = of_bucket(&Error::Generic { store: "S3", source: "canary".into() });
        assert_eq!(failure.message, "the storage failed");
        let failure = of_bucket(&Error::PermissionDenied { path: "canary".into(), source: "canary".into() });
        assert_eq!((failure.message.as_str(), failure.blame.is_some()), ("permission denied", true));
    }
}
