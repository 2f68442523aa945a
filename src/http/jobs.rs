//! `/v1/jobs`: enqueue one, list them, look at one.

use super::{
    HttpDeps,
    arrival::Arrival,
    body,
    operation::JSON,
    params::{self, Query},
    problem::Problem,
};
use crate::domain::{
    access::Scope,
    enqueue_request::EnqueueRequest,
    ids::{CallSid, JobId, SidForm},
    job::{AttemptView, JobFilter, JobView},
};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Enqueues one recording: 202 with `{id, state, deduplicated}` after the commit.
pub async fn enqueue(
    deps: web::Data<HttpDeps>,
    arrival: Arrival,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Enqueue)?;
    params::none(&request)?;
    let body = body::read(&request, payload, &[JSON], deps.body_limit).await?;
    let job =
        EnqueueRequest::job_from_json(&body, &deps.provider_bases, deps.sid_form).map_err(Problem::invalid)?;
    let enqueued = deps.enqueue(arrival, job).await?;
    let location = (header::LOCATION, format!("/v1/jobs/{}", enqueued.id));
    Ok(HttpResponse::Accepted().insert_header(location).json(enqueued))
}

/// A page of jobs, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct JobsPage {
    jobs: Vec<JobView>,
    /// `after` of the next page; null on the last.
    next: Option<JobId>,
}

pub async fn list(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let filter = filter(&request, deps.sid_form)?;
    let (jobs, limit) = (Arc::clone(&deps.jobs), filter.limit);
    let jobs = deps.on_io(async move { jobs.jobs(&filter).await }).await?;
    let next = params::next(&jobs, limit, |job| job.id);
    Ok(HttpResponse::Ok().json(JobsPage { jobs, next }))
}

pub(super) fn filter(request: &HttpRequest, form: SidForm) -> Result<JobFilter, Problem> {
    let mut query = Query::of(request);
    let filter = JobFilter {
        state: query.take("state"),
        business_id: query.take("business_id"),
        call_sid: query.take_with("call_sid", |text| CallSid::parse(text, form)),
        limit: query.limit(),
        after: query.job("after"),
    };
    query.end()?;
    Ok(filter)
}

/// One job, live or finished.
pub async fn show(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    params::none(&request)?;
    let id = params::job_id(&id)?;
    Ok(HttpResponse::Ok().json(job(&deps, id).await?))
}

/// The attempts of one job that failed.
#[derive(Serialize, ToSchema)]
pub(super) struct Attempts {
    /// In their order.
    attempts: Vec<AttemptView>,
}

pub async fn attempts(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    params::none(&request)?;
    let id = params::job_id(&id)?;
    job(&deps, id).await?;
    let jobs = Arc::clone(&deps.jobs);
    let attempts = deps.on_io(async move { jobs.attempts(id).await }).await?;
    Ok(HttpResponse::Ok().json(Attempts { attempts }))
}

/// Why a job does not run now, and what to do about it.
pub async fn explain(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    params::none(&request)?;
    let id = params::job_id(&id)?;
    let operations = Arc::clone(&deps.operations);
    let explanation = deps.on_io(async move { operations.explain(id).await }).await?;
    Ok(HttpResponse::Ok().json(explanation.ok_or_else(|| no_such_job(id))?))
}

async fn job(deps: &HttpDeps, id: JobId) -> Result<JobView, Problem> {
    let jobs = Arc::clone(&deps.jobs);
    deps.on_io(async move { jobs.job(id).await }).await?.ok_or_else(|| no_such_job(id))
}

pub(super) fn no_such_job(id: JobId) -> Problem {
    Problem::not_found(format!("there is no job {id}; finished jobs are kept for a time only"))
}
