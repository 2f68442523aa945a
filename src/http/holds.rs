//! What many jobs wait for together, and its end by an operator.

use super::{HttpDeps, params, problem::Problem};
use crate::domain::{
    access::Scope,
    enqueue_request::FieldFault,
    hold::{HoldKey, HoldView},
    operate::Operator,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(super) struct Holds {
    /// The oldest first.
    holds: Vec<HoldView>,
}

pub async fn list(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    params::none(&request)?;
    let holds = Arc::clone(&deps.holds);
    let holds = deps.on_io(async move { holds.holds().await }).await?;
    Ok(HttpResponse::Ok().json(Holds { holds }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct Lifted {
    /// `false`: there was no such hold, and nothing was done.
    lifted: bool,
}

pub async fn lift(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    key: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Operate)?;
    params::none(&request)?;
    let key: HoldKey =
        key.parse().map_err(|error| Problem::invalid(vec![FieldFault::new("key", format!("key: {error}"))]))?;
    let holds = Arc::clone(&deps.holds);
    let lifted = deps.change_on_io(async move {
        let lifted = holds.lift(&key, &Operator::new(&caller.name)).await?;
        tracing::info!(operator = caller.name, %key, lifted, "lift of a hold");
        Ok(lifted)
    });
    Ok(HttpResponse::Ok().json(Lifted { lifted: lifted.await? }))
}
