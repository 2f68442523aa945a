//! A request as a span. It begins when the request came in, but only once that was found right: what is refused makes
//! none, so that nobody without a key fills a trace. The header `traceparent` is believed as far as it goes: it says in
//! which trace the request is found.

use super::{HttpDeps, problem::Problem};
use crate::domain::{
    job::{Enqueued, NewJob},
    trace::{NewSpan, Span, SpanKind, TraceParent},
};
use actix_web::{
    FromRequest, HttpRequest, ResponseError,
    dev::Payload,
    http::{StatusCode, header::HeaderMap},
};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    time::SystemTime,
};

/// Taken by a handler beside its other arguments.
#[derive(Debug, Clone)]
pub struct Arrival {
    at: SystemTime,
    parent: Option<TraceParent>,
    method: String,
    /// As the routes have it, without anything of the caller's.
    route: String,
}

impl FromRequest for Arrival {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self {
            at: SystemTime::now(),
            parent: trace_parent(request.headers()),
            method: request.method().to_string(),
            route: request.match_pattern().unwrap_or_default(),
        }))
    }
}

/// Junk is as good as none; and so are two of them, of which only one could be right.
pub(super) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut given = headers.get_all("traceparent");
    let first = given.next().filter(|_| given.next().is_none())?;
    first.to_str().ok()?.parse().ok()
}

impl Arrival {
    /// Of a request with one job.
    pub fn begin(self, deps: &HttpDeps, job: &NewJob) -> Box<dyn Span> {
        let mut span = self.begin_bulk(deps);
        span.set("callspool.business_id", job.business_id.get().into());
        span.set("callspool.call_sid", job.call_sid.to_string().into());
        span
    }

    /// Of one with many. By OpenTelemetry's conventions for HTTP servers.
    pub fn begin_bulk(self, deps: &HttpDeps) -> Box<dyn Span> {
        let Self { at, parent, method, route } = self;
        let span = NewSpan::new(format!("{method} {route}"), SpanKind::Server, parent)
            .with("http.request.method", method)
            .with("url.scheme", "http")
            .with("url.path", route.clone())
            .with("http.route", route);
        deps.tracer.begin(NewSpan { since: Some(at), ..span })
    }
}

/// The span's end is the answer's.
pub fn end(mut span: Box<dyn Span>, answer: &Result<Enqueued, Problem>) {
    if let Ok(enqueued) = answer {
        span.set("callspool.job_id", enqueued.id.0.into());
        span.set("callspool.deduplicated", enqueued.deduplicated.into());
    }
    end_as(span, answer);
}

pub fn end_bulk(mut span: Box<dyn Span>, answer: &Result<Vec<Enqueued>, Problem>) {
    if let Ok(enqueued) = answer {
        span.set("callspool.jobs", i64::try_from(enqueued.len()).unwrap_or(i64::MAX).into());
    }
    end_as(span, answer);
}

/// A refusal is no error of ours, as the conventions have it.
fn end_as<T>(mut span: Box<dyn Span>, answer: &Result<T, Problem>) {
    let status = answer.as_ref().map_or_else(ResponseError::status_code, |_| StatusCode::ACCEPTED);
    span.set("http.response.status_code", status.as_u16().into());
    match answer {
        Err(problem) if status.is_server_error() => span.end(Err(problem.code())),
        _ => span.end(Ok(())),
    }
}
