//! `POST /v1/jobs` and `GET /v1/jobs/{id}`.

use super::{HttpDeps, body, problem::Problem};
use crate::domain::{
    access::Scope,
    enqueue_request::{EnqueueRequest, FieldFault},
    ids::JobId,
};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use std::sync::Arc;

/// Enqueues one recording: 202 with `{id, state, deduplicated}` after the commit.
pub async fn enqueue(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Enqueue)?;
    let body = body::read(&request, payload, &["application/json"], deps.body_limit).await?;
    let job = EnqueueRequest::job_from_json(&body, &deps.provider_base, deps.sid_form).map_err(Problem::invalid)?;
    let enqueued = deps.enqueue(job).await?;
    let location = (header::LOCATION, format!("/v1/jobs/{}", enqueued.id));
    Ok(HttpResponse::Accepted().insert_header(location).json(enqueued))
}

/// One job, live or finished.
pub async fn show(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let id: i64 = id.parse().map_err(|_| {
        Problem::invalid(vec![FieldFault::new("id", "id must be the whole number that enqueueing answered")])
    })?;
    let jobs = Arc::clone(&deps.jobs);
    match deps.on_io(async move { jobs.job(JobId(id)).await }).await? {
        Some(job) => Ok(HttpResponse::Ok().json(job)),
        None => Err(Problem::not_found(format!("there is no job {id}; finished jobs are kept for a time only"))),
    }
}
