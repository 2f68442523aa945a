//! What is read of an answer without the connection that brings it, for those who try what becomes of any bytes (`fuzz/`).

use super::{lookup, storage, transport};
use crate::domain::{failure::Failure, ids::BusinessId};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use std::time::Duration;

/// Of a header's value; `None`: it says no time.
pub fn retry_after(value: &[u8], longest: Duration) -> Option<Duration> {
    let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_bytes(value).ok()?)]);
    transport::retry_after(&headers, longest)
}

/// First byte, last byte, length of the whole.
pub fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    transport::content_range(value)
}

/// A content type without its parameters.
pub fn essence(content_type: &str) -> String {
    transport::essence(content_type)
}

/// The answer of a lookup service.
pub fn business(body: &[u8]) -> Result<BusinessId, Failure> {
    lookup::answered(body)
}

/// Keys and ids of the uploads that an S3 server lists, and whether it says that there are more.
pub fn uploads(body: &[u8]) -> Result<(Vec<(String, String)>, bool), Failure> {
    storage::listed_uploads(body)
}
