//! Bodies: bounded in size and time, and of the content type that the route takes.

use super::problem::Problem;
use actix_web::{HttpMessage, HttpRequest, http::header, web};
use std::time::Duration;

/// Longest wait for a whole body.
const PATIENCE: Duration = Duration::from_secs(10);

/// The content type is not a formality: a page in somebody's browser may send forms and plain text to any address, but
/// JSON only where it is allowed to.
pub async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    content_types: &[&'static str],
    limit: usize,
) -> Result<web::Bytes, Problem> {
    check_head(request, content_types, limit)?;
    match tokio::time::timeout(PATIENCE, payload.to_bytes_limited(limit)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(_))) => Err(Problem::bad_request("body", "the body ended before its announced length")),
        Ok(Err(_)) => Err(Problem::too_large(limit)),
        Err(_) => Err(Problem::too_slow()),
    }
}

/// What can be refused before a byte of the body is read.
pub fn check_head(request: &HttpRequest, content_types: &[&'static str], limit: usize) -> Result<(), Problem> {
    if !content_types.iter().any(|taken| request.content_type().eq_ignore_ascii_case(taken)) {
        return Err(Problem::wrong_content_type(content_types));
    }
    if announced(request).is_some_and(|length| length > limit as u64) {
        return Err(Problem::too_large(limit));
    }
    Ok(())
}

fn announced(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
