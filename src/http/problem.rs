//! Errors as callers see them: problem details (RFC 9457) with a stable `code` and, where a field is wrong, its name.
//! A cause that is ours (SQL, a path, an address) goes to the log and not to the caller.

use crate::domain::{
    access::Scope,
    duration::words,
    enqueue_request::FieldFault,
    ids::{BusinessId, CallSid, RecordingSid},
    job::JobView,
    ports::StoreError,
    recording::RecordingView,
};
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{fmt, time::Duration};
use utoipa::ToSchema;

/// What is the matter, as `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// The same for every problem with this `code`.
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What a program looks at; it does not change.
    code: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: Box<[LineFault]>,
    /// What a program may want to know beyond that (RFC 9457, section 3.2: extension members).
    #[serde(flatten)]
    #[schema(ignore)]
    members: Box<Map<String, Value>>,
    /// For `Allow`, which goes with every 405.
    #[serde(skip)]
    allow: Option<Box<str>>,
    /// For `Retry-After`, in seconds.
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// What is wrong with a field, and in which line of a body that has lines.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LineFault {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(flatten)]
    fault: FieldFault,
}

impl LineFault {
    pub fn of_line(line: u32, fault: FieldFault) -> Self {
        Self { line: Some(line), fault }
    }
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.map_or(Ok(()), |line| write!(f, "line {line}: "))?;
        self.fault.fmt(f)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            title,
            status,
            code,
            detail: detail.into(),
            errors: Box::default(),
            members: Box::default(),
            allow: None,
            retry_after: None,
        }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn invalid(errors: Vec<FieldFault>) -> Self {
        let detail = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", "A field is not valid", detail);
        Self { errors: errors.into_iter().map(|fault| LineFault { line: None, fault }).collect(), ..problem }
    }

    /// Of a body in lines, none of which was taken; `more`: faults that are not shown.
    pub fn invalid_lines(errors: Vec<LineFault>, more: usize) -> Self {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        let others = match errors.len() + more {
            0 | 1 => String::new(),
            all => format!(", and {} other faults", all - 1),
        };
        let detail = format!("nothing was enqueued: {first}{others}");
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", "A field is not valid", detail);
        Self { errors: errors.into(), ..problem }.with("more", more)
    }

    pub fn too_many_lines(limit: usize) -> Self {
        let detail = format!("at most {limit} jobs are taken at a time; nothing was enqueued");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_lines", "The body has too many lines", detail)
    }

    /// Too many large requests at a time, whoever's they are. One that comes at the usual pace is through in ten seconds.
    pub fn busy() -> Self {
        let detail = "other requests of this kind are under way; send the same request again";
        let title = "This process has its hands full";
        Self { retry_after: Some(10), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", title, detail) }
    }

    /// As many requests ask the database as may at a time; they are through in less than this, or it does not answer.
    pub fn overloaded() -> Self {
        let detail = "nothing was done; send the same request again";
        let title = "This process has its hands full";
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", title, detail) }
    }

    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, "The request cannot be understood", detail)
    }

    pub fn unauthorized() -> Self {
        let detail = "send Authorization: Bearer with a token that is configured, or log in";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A bearer token is needed", detail)
    }

    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, "The request is refused", detail)
    }

    pub fn scope(missing: Scope) -> Self {
        Self::forbidden("scope", format!("the token lacks the scope {missing}"))
    }

    pub fn rate_limited(seconds: u32) -> Self {
        let detail = format!("come again in {seconds} s");
        let title = "Too many requests";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", title, detail);
        Self { retry_after: Some(seconds), ..problem }
    }

    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, "The job is not in a state for this", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing", detail)
    }

    /// Whose recording is meant is not guessed.
    pub fn ambiguous(call_sid: &CallSid, businesses: &[BusinessId]) -> Self {
        let ids: Vec<i64> = businesses.iter().map(|id| id.get()).collect();
        let detail = format!("call {call_sid} is known for more than one business: say which by ?business_id=");
        let title = "The question has more than one answer";
        Self::new(StatusCode::CONFLICT, "ambiguous", title, detail).with("businesses", ids)
    }

    /// Nor which one of a call's is to be changed: a `DELETE` that is sent again would take the next one.
    pub fn several(call_sid: &CallSid, recordings: &[RecordingSid]) -> Self {
        let sids: Vec<String> = recordings.iter().map(ToString::to_string).collect();
        let detail = format!("call {call_sid} has more than one recording: say which by ?recording_sid=");
        let title = "The question has more than one answer";
        Self::new(StatusCode::CONFLICT, "ambiguous", title, detail).with("recordings", sids)
    }

    /// What became of a recording that will not come.
    pub fn gone(code: &'static str, job: &JobView, detail: String) -> Self {
        let problem = Self::new(StatusCode::GONE, code, "The recording will not come", detail);
        problem.with("job_id", job.id.0).with("last_error", json!(job.last_error))
    }

    /// It was stored, and deleted for good.
    pub fn recording_deleted(recording: &RecordingView) -> Self {
        let (at, by) = recording.deleted.as_ref().map(|deleted| (deleted.at, &deleted.by)).unzip();
        let at = at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default();
        let by = by.map(String::as_str).unwrap_or_default();
        let title = "The recording was deleted";
        let problem = Self::new(StatusCode::GONE, "recording_deleted", title, format!("by {by}, at {at}"));
        problem.with("deleted_at", at).with("deleted_by", by).with("job_id", recording.job_id.0)
    }

    /// A link says nothing of who did what.
    pub fn link_leads_nowhere() -> Self {
        let title = "The recording is not here any more";
        Self::new(StatusCode::GONE, "recording_deleted", title, "what this link played was deleted")
    }

    pub fn legal_hold() -> Self {
        let title = "The recording is under a legal hold";
        let detail = "lift it with PATCH {\"legal_hold\": false} before it is deleted";
        Self::new(StatusCode::CONFLICT, "legal_hold", title, detail)
    }

    pub fn links_not_configured() -> Self {
        let title = "No links are made here";
        let detail = "CALLSPOOL_LINK_SECRET, which signs them, is not set in this process";
        Self::new(StatusCode::CONFLICT, "links_not_configured", title, detail)
    }

    pub fn file_missing() -> Self {
        let title = "The recording's file is missing";
        let detail = "it was stored, but is not in the storage that this process reads";
        Self::new(StatusCode::NOT_FOUND, "file_missing", title, detail)
    }

    pub fn file_damaged() -> Self {
        let title = "The recording's file was changed";
        let detail = "it is not the file that was stored and verified";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "file_damaged", title, detail)
    }

    pub fn storage_unavailable() -> Self {
        let title = "The storage does not answer";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable", title, "send the same request again")
    }

    pub fn condition_failed() -> Self {
        let title = "The request's condition does not hold";
        Self::new(StatusCode::PRECONDITION_FAILED, "condition_failed", title, "what is stored is another file")
    }

    pub fn out_of_range(size: u64) -> Self {
        let title = "The range is behind the end";
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "out_of_range", title, format!("there are {size} bytes"))
    }

    pub fn method_not_allowed(allow: String) -> Self {
        let title = "This route has no such method";
        let problem =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title, format!("use {allow}"));
        Self { allow: Some(allow.into()), ..problem }
    }

    pub fn too_large(limit: usize) -> Self {
        let detail = format!("at most {limit} bytes are taken");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large", detail)
    }

    pub fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The body did not come in time", "")
    }

    pub fn wrong_content_type(taken: &[&'static str]) -> Self {
        let title = "The body is of another content type";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", title, format!("send {}", taken.join(" or ")))
    }

    /// The database did not answer. Whether it did what was asked is not known where the connection broke; since
    /// nothing is enqueued twice, the same request may be sent again in any case.
    pub fn unavailable() -> Self {
        let title = "The database does not answer";
        let detail = "send the same request again: nothing is done twice";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail)
    }

    /// Whether a change that was asked for happens is not known yet; as above, it may be asked for again.
    pub fn timeout(limit: Duration) -> Self {
        let title = "The database takes too long";
        let detail =
            format!("no answer within {}; send the same request again: nothing is done twice", words(limit));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", title, detail)
    }

    /// Whose call it is cannot be said now; the provider sends the same webhook again.
    pub fn lookup_unavailable() -> Self {
        let title = "The lookup service does not answer";
        let detail = "whose call it is cannot be said now; send the same request again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "lookup_unavailable", title, detail)
    }

    /// As many dashboards look at this process as it lets.
    pub fn too_many_viewers(limit: usize) -> Self {
        let title = "Too many dashboards are open";
        let detail = format!("this process streams to at most {limit}; close some, or ask another process");
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_viewers", title, detail);
        Self { retry_after: Some(10), ..problem }
    }

    pub fn draining() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "This process ends", "ask another process")
    }

    /// The code of what is told about this error.
    pub fn code_of(error: &StoreError) -> &'static str {
        Self::of(error).code
    }

    fn of(error: &StoreError) -> Self {
        match error.sqlstate.as_deref() {
            Some(state) if SCHEMA_BEHIND.contains(&state) => Self::schema_behind(),
            Some(QUERY_CANCELED) => Self::too_costly(),
            _ => Self::unavailable(),
        }
    }

    fn too_costly() -> Self {
        let title = "The database takes too long";
        let detail = "it gave up; a narrower question (more words, one business) is answered sooner";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", title, detail)
    }

    /// The database answers, but has not (all of) our tables yet.
    fn schema_behind() -> Self {
        let title = "The database's schema is older than this program";
        let detail = "nothing was done; it works when a process with RUN_MIGRATIONS=1 has migrated";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "schema_behind", title, detail)
    }
}

/// No such schema, table, column or function (PostgreSQL documentation, Appendix A).
const SCHEMA_BEHIND: [&str; 4] = ["3F000", "42P01", "42703", "42883"];

/// A statement that ran into its time limit (the same).
const QUERY_CANCELED: &str = "57014";

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        tracing::error!(%error, sqlstate = error.sqlstate, "a request could not be served");
        Self::of(error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.code)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        let unavailable = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        if let Some(seconds) = self.retry_after.or(unavailable) {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"callspool\""));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, &**allow));
        }
        response.insert_header((header::CONTENT_TYPE, "application/problem+json")).json(self)
    }
}
