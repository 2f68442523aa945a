//! `/v1/businesses`: their slots, weight and pause, and what was done to them.

use super::{
    HttpDeps,
    access::Caller,
    body,
    operation::JSON,
    params::{self, Query},
    problem::Problem,
};
use crate::domain::{
    access::Scope,
    business::{BusinessChange, BusinessFilter, BusinessView},
    completion::CompletionRules,
    enqueue_request::FieldFault,
    ids::BusinessId,
    json_fields::JsonFields,
    operate::{Operator, OperatorAction},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A page of businesses, by number.
#[derive(Serialize, ToSchema)]
pub(super) struct BusinessesPage {
    businesses: Vec<BusinessView>,
    /// `after` of the next page; null on the last.
    next: Option<BusinessId>,
}

pub async fn list(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Read)?;
    let mut query = Query::of(&request);
    let after =
        query.take_with("after", |text| text.parse::<BusinessId>().map_err(|_| "after must be a business_id"));
    let filter = BusinessFilter { after, limit: query.limit() };
    query.end()?;
    let operations = Arc::clone(&deps.operations);
    let businesses = deps.on_io(async move { operations.businesses(filter).await }).await?;
    let next = params::next(&businesses, filter.limit, |business| business.business_id);
    let businesses = businesses.into_iter().map(|business| seen_by(&caller, business)).collect();
    Ok(HttpResponse::Ok().json(BusinessesPage { businesses, next }))
}

pub async fn show(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Read)?;
    params::none(&request)?;
    let id = params::business_id(&id)?;
    let operations = Arc::clone(&deps.operations);
    let business = deps.on_io(async move { operations.business(id).await }).await?;
    let unmet = || Problem::not_found(format!("no job of business {id} was met yet"));
    Ok(HttpResponse::Ok().json(seen_by(&caller, business.ok_or_else(unmet)?)))
}

/// Whoever may change a completion URL sees all of it. Others see no query, which may hold a secret of the receiver's.
fn seen_by(caller: &Caller, business: BusinessView) -> BusinessView {
    if caller.scopes.contains(&Scope::Operate) {
        return business;
    }
    let without_query = |url: String| url.split('?').next().unwrap_or_default().to_owned();
    BusinessView { completion_url: business.completion_url.map(without_query), ..business }
}

/// Changes slots, weight, pause and what is done with recordings; a business may be set up so before its first job.
pub async fn change(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Operate)?;
    params::none(&request)?;
    let id = params::business_id(&id)?;
    let body = body::read(&request, payload, &[JSON], deps.body_limit).await?;
    let change = parse(&body, &deps.completion_rules).map_err(Problem::invalid)?;
    let operations = Arc::clone(&deps.operations);
    let changed = deps.change_on_io(async move {
        let business = operations.set_business(id, change, &Operator::new(&caller.name)).await?;
        let BusinessView { max_slots, weight, paused, .. } = business;
        tracing::info!(
            operator = caller.name,
            business_id = id.get(),
            max_slots,
            weight,
            paused,
            "business changed"
        );
        Ok(business)
    });
    Ok(HttpResponse::Ok().json(changed.await?))
}

pub(super) fn parse(text: &[u8], rules: &CompletionRules) -> Result<BusinessChange, Vec<FieldFault>> {
    let mut fields = JsonFields::parse(text).map_err(|fault| vec![fault])?;
    let change = BusinessChange {
        max_slots: fields.optional("max_slots"),
        weight: fields.optional("weight"),
        paused: fields.optional("paused"),
        forms: fields.nullable("forms"),
        retention_days: fields.nullable("retention_days"),
        delete_at_provider: fields.nullable("delete_at_provider"),
        completion_url: fields.nullable("completion_url"),
    };
    let mut faults = fields.into_faults();
    // Where a field is of the wrong kind, nothing to change may be left; that is no fault of its own.
    let is_other = |fault: &FieldFault| fault.field != "body" || faults.is_empty();
    let checked = change.check(rules).map_err(|checked| checked.into_iter().filter(is_other).collect::<Vec<_>>());
    match checked {
        Ok(change) if faults.is_empty() => Ok(change),
        checked => {
            faults.extend(checked.err().unwrap_or_default());
            Err(faults)
        }
    }
}

/// What operators did to one business and its jobs.
#[derive(Serialize, ToSchema)]
pub(super) struct Actions {
    /// The newest first.
    actions: Vec<OperatorAction>,
}

pub async fn actions(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let id = params::business_id(&id)?;
    let mut query = Query::of(&request);
    let limit = query.limit();
    query.end()?;
    let operations = Arc::clone(&deps.operations);
    let actions = deps.on_io(async move { operations.actions(id, limit).await }).await?;
    Ok(HttpResponse::Ok().json(Actions { actions }))
}
