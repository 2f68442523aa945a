//! Calls of the database whose answer may not come: a connection that dies without a word says nothing for minutes.

use crate::domain::{migration::MigrationFailure, ports::StoreError};
use std::{future::Future, time::Duration};

/// Of calls that are answered in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A failure that can say of itself that no answer came. Whether the call was carried out, nobody knows then.
pub(super) trait NoAnswer {
    fn no_answer(text: String) -> Self;
}

impl NoAnswer for StoreError {
    fn no_answer(text: String) -> Self {
        Self::new(None, text)
    }
}

impl NoAnswer for MigrationFailure {
    /// As a broken connection, it may pass.
    fn no_answer(text: String) -> Self {
        Self::passing(None, text)
    }
}

pub(super) async fn answered<T, E: NoAnswer>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    answered_within(ANSWER_LIMIT, call).await
}

pub(super) async fn answered_within<T, E: NoAnswer>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let lost = |_| Err(E::no_answer(format!("no answer within {} s", limit.as_secs())));
    tokio::time::timeout(limit, call).await.unwrap_or_else(lost)
}
