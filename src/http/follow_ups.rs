//! `/v1/follow-ups`: what is still to be done after jobs and deletions, and what was given up of it.

use super::{
    HttpDeps,
    params::{self, Query},
    problem::Problem,
};
use crate::domain::{access::Scope, enqueue_request::FieldFault, follow_up::FollowUpView, operate::Operator};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A page of follow-ups, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct FollowUpsPage {
    follow_ups: Vec<FollowUpView>,
    /// `after` of the next page; null on the last.
    next: Option<i64>,
}

pub async fn list(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let mut query = Query::of(&request);
    let dead = query.take_with("dead", |text| text.parse::<bool>().map_err(|_| "dead must be true or false"));
    let after = query.take_with("after", |text| text.parse::<i64>().map_err(|_| "after must be a whole number"));
    let limit = query.limit();
    query.end()?;
    let port = Arc::clone(&deps.follow_ups);
    let follow_ups = deps.on_io(async move { port.follow_ups(dead, after, limit).await }).await?;
    let next = params::next(&follow_ups, limit, |follow_up| follow_up.id);
    Ok(HttpResponse::Ok().json(FollowUpsPage { follow_ups, next }))
}

pub async fn retry(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Operate)?;
    params::none(&request)?;
    let wrong = |_| Problem::invalid(vec![FieldFault::new("id", "id must be a whole number")]);
    let id = id.parse::<i64>().map_err(wrong)?;
    let port = Arc::clone(&deps.follow_ups);
    let operator = Operator::new(&caller.name);
    if deps.change_on_io(async move { port.revive(id, &operator).await }).await? {
        tracing::info!(operator = caller.name, follow_up = id, "a follow-up is tried again");
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found(format!("no follow-up {id} was given up")))
    }
}
