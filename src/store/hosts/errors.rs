//! What an error says of the host that it came from.

use crate::domain::ports::StoreError;
use sqlx::Error;
use std::io;

/// None of the hosts is a primary. Carried as the driver's own kind of error, so that one path maps them all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(in crate::store) struct NoPrimary {
    pub(in crate::store) sqlstate: Option<String>,
    pub(in crate::store) message: String,
    pub(in crate::store) standbys: usize,
}

impl Default for NoPrimary {
    fn default() -> Self {
        Self { sqlstate: None, message: "no host answers".to_owned(), standbys: 0 }
    }
}

impl NoPrimary {
    /// `left_behind`: hosts that take writes, and were replaced by a promotion elsewhere.
    pub(super) fn standbys(hosts: usize, standbys: usize, left_behind: usize) -> Self {
        let mut message = format!("there is no primary; hosts: {hosts}, standbys: {standbys}");
        if left_behind > 0 {
            message = format!("{message}, left behind by a promotion: {left_behind}");
        }
        Self { sqlstate: Some(StoreError::READ_ONLY.to_owned()), message, standbys }
    }

    pub(in crate::store) fn a_standby() -> Self {
        Self {
            sqlstate: Some(StoreError::READ_ONLY.to_owned()),
            message: "the host is a standby".to_owned(),
            standbys: 1,
        }
    }

    /// Where `error` is one.
    pub(in crate::store) fn of(error: &Error) -> Option<&Self> {
        match error {
            Error::Io(io) => io.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

impl From<NoPrimary> for Error {
    fn from(none: NoPrimary) -> Self {
        Self::Io(io::Error::other(none))
    }
}

/// What a statement's error says of the host that it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// It takes no writes: it is no primary.
    ReadOnly,
    /// It may be gone, or be going.
    Gone,
    Nothing,
}

pub(super) fn of_statement(error: &Error) -> Says {
    if let Some(none) = NoPrimary::of(error) {
        return if none.standbys > 0 { Says::ReadOnly } else { Says::Gone };
    }
    match error {
        Error::Database(answer) => match answer.code().as_deref() {
            Some(StoreError::READ_ONLY) => Says::ReadOnly,
            Some(code) if is_end(code) => Says::Gone,
            _ => Says::Nothing,
        },
        Error::Io(_) | Error::Protocol(_) | Error::Tls(_) => Says::Gone,
        _ => Says::Nothing,
    }
}

/// A server that starts, stops or crashes, and connections that broke.
fn is_end(code: &str) -> bool {
    code.starts_with("57P0") || code.starts_with("08")
}

/// Whether a host that could not be asked is certainly not at work: then nothing that is open there is of use. Others,
/// that are slow or have no connection left, may be.
pub(super) fn is_down(error: &Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof,
    };
    match error {
        Error::Database(answer) => answer.code().is_some_and(|code| is_end(&code)),
        Error::Io(io) => {
            [BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof]
                .contains(&io.kind())
        }
        _ => false,
    }
}
