//! `/v1/audit`: who played, changed and deleted what.

use super::{
    HttpDeps,
    params::{self, Query},
    problem::Problem,
};
use crate::domain::{
    access::Scope,
    audit::{ACTIONS, AuditEntry, AuditFilter},
    ids::CallSid,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Of an operator's name.
const MAX_NAME: usize = 200;

/// A page of the trail, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditPage {
    entries: Vec<AuditEntry>,
    /// `after` of the next page; null on the last.
    next: Option<i64>,
}

pub async fn list(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let mut query = Query::of(&request);
    let filter = AuditFilter {
        business_id: query.take("business_id"),
        call_sid: query.take_with("call_sid", |text| CallSid::parse(text, deps.sid_form)),
        operator: query.take_with("operator", |text| name("operator", text)),
        action: query.take_with("action", action),
        after: query.take_with("after", |text| text.parse().map_err(|_| "after must be a whole number")),
        limit: query.limit(),
    };
    query.end()?;
    let (custody, limit) = (Arc::clone(&deps.custody), filter.limit);
    let entries = deps.on_io(async move { custody.audit(&filter).await }).await?;
    let next = params::next(&entries, limit, |entry| entry.id);
    Ok(HttpResponse::Ok().json(AuditPage { entries, next }))
}

/// One that there is: a misspelt one would look like a trail without it.
fn action(text: &str) -> Result<String, String> {
    let known = ACTIONS.contains(&text).then(|| text.to_owned());
    known.ok_or_else(|| format!("action must be one of: {}", ACTIONS.join(", ")))
}

fn name(field: &str, text: &str) -> Result<String, String> {
    let is_right = !text.is_empty() && text.len() <= MAX_NAME && !text.contains(char::is_control);
    is_right
        .then(|| text.to_owned())
        .ok_or_else(|| format!("{field} must be a name of at most {MAX_NAME} characters"))
}
