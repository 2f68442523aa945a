//! The fleet as a whole: what `status` prints, the overview of the dashboard, the schema's migrations.

use super::{HttpDeps, door::NoTurn, in_time, params, params::Query, problem::Problem};
use crate::domain::{access::Scope, migration::MigrationRecord, ports::StoreError};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::{ops::RangeInclusive, sync::Arc};
use tokio_util::task::AbortOnDropHandle;
use utoipa::ToSchema;

/// Minutes of the pulse: what may be asked for, and what is given where nothing is.
const MINUTES: RangeInclusive<u16> = 0..=1_440;
const MINUTES_DEFAULT: u16 = 60;

/// Minutes that the pulse goes back.
#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 1_440, default = 60)]
#[expect(dead_code, reason = "stands for its schema")]
pub(super) struct Minutes(u16);

pub async fn status(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    params::none(&request)?;
    let (fleet, fresh) = (Arc::clone(&deps.fleet), deps.fresh.clone());
    // However many ask, one question is under way: it takes no place at the door.
    let asked = deps.io.spawn(async move { Ok::<_, NoTurn>(fresh.status.get(fleet.fleet_status()).await) });
    Ok(HttpResponse::Ok().json(in_time(deps.time_limit, AbortOnDropHandle::new(asked)).await?))
}

pub async fn overview(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let mut query = Query::of(&request);
    let minutes = query.number("minutes", MINUTES).unwrap_or(MINUTES_DEFAULT);
    query.end()?;
    let fleet = Arc::clone(&deps.fleet);
    Ok(HttpResponse::Ok().json(deps.on_io(async move { fleet.overview(minutes).await }).await?))
}

#[derive(Serialize, ToSchema)]
pub(super) struct Migrations {
    /// Every migration that is known or applied, in the order in which they run.
    migrations: Vec<MigrationRecord>,
}

pub async fn migrations(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    params::none(&request)?;
    let gate = Arc::clone(&deps.gate);
    let records = deps.on_io(async move {
        gate.records().await.map_err(|failure| StoreError::new(failure.sqlstate.clone(), failure.to_string()))
    });
    let migrations = records.await?;
    Ok(HttpResponse::Ok().json(Migrations { migrations }))
}
