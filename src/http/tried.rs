//! What is read of a request without a server around it, for those who try what becomes of any bytes (`fuzz/`).

use super::{
    Links, Tokens, access, arrival, businesses, jobs,
    operate::{Action, Selection},
    recordings,
    signature::{Algorithm, spellings, user_info},
    telnyx::signature,
};
use crate::domain::{
    business::BusinessChange, completion::CompletionRules, enqueue_request::FieldFault, ids::SidForm,
    job::JobFilter, recording::RecordingFilter, trace::TraceParent,
};
use actix_web::{
    HttpRequest,
    http::{
        Uri,
        header::{HeaderName, HeaderValue},
    },
    test::TestRequest,
};
use chrono::{DateTime, Utc};

/// With lines `name: value`; `None`: no server would have read it.
pub fn request(target: &str, headers: &[u8]) -> Option<HttpRequest> {
    let uri = Uri::try_from(target).ok()?;
    let mut request = TestRequest::with_uri(&uri.to_string());
    for line in headers.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request = request.append_header((name, value));
    }
    Some(request.to_http_request())
}

/// First and last byte, of `size`, where a part is asked for.
pub fn part(request: &HttpRequest, size: u64) -> Option<(u64, u64)> {
    recordings::part(request, size)
}

pub fn trace_parent(request: &HttpRequest) -> Option<TraceParent> {
    arrival::trace_parent(request.headers())
}

/// By its token and by its cookie.
pub fn callers(request: &HttpRequest, tokens: &Tokens) -> [Option<String>; 2] {
    access::names(request, tokens)
}

/// What a link plays, until when, and whether the newest secret has signed it so.
pub fn plays(links: &Links, request: &HttpRequest, call_sid: &str) -> Option<(RecordingFilter, i64, bool)> {
    recordings::plays(links, request, call_sid)
}

/// Whether Telnyx' headers sign `body`.
pub fn telnyx_signs(key: &[u8; 32], request: &HttpRequest, body: &[u8], now: DateTime<Utc>) -> bool {
    signature::check(key, request.headers(), body, now).is_ok()
}

/// The URLs that Twilio may have signed.
pub fn told_urls(scheme: &str, authority: &str, target: &str, authorization: &str) -> Vec<String> {
    spellings(scheme, authority, target, user_info(authorization).as_deref())
}

/// Whether Twilio's settings name a known algorithm.
pub fn names_algorithm(settings: &str) -> bool {
    Algorithm::named_in(Some(settings)).is_some()
}

/// The query of `GET /v1/jobs`, or the problem as it is answered.
pub fn jobs_query(request: &HttpRequest, form: SidForm) -> Result<JobFilter, String> {
    jobs::filter(request, form).map_err(|problem| serde_json::to_string(&problem).unwrap_or_default())
}

/// The body of `PATCH /v1/businesses/{id}`.
pub fn business_change(body: &[u8], rules: &CompletionRules) -> Result<BusinessChange, Vec<FieldFault>> {
    businesses::parse(body, rules)
}

/// The bodies of `POST /v1/jobs/retry` and `/cancel`.
pub fn selection(body: &[u8], form: SidForm) -> [Result<(), Vec<FieldFault>>; 2] {
    [Action::Retry, Action::Cancel].map(|action| Selection::parse(body, action, form).map(|_| ()))
}

/// The body of `POST /v1/recordings/{call_sid}/link`: for how many seconds.
pub fn link_holds(body: &[u8]) -> Result<i64, Vec<FieldFault>> {
    recordings::holds(body)
}
