//! `/healthz`: the process answers. `/readyz`: it can do what it is for, or says why not.

use super::HttpDeps;
use crate::domain::ports::StoreError;
use actix_web::{HttpResponse, http::header, web};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;

/// Longest wait for the database's answer; orchestrators give a probe a second or so.
const PATIENCE: Duration = Duration::from_millis(900);
/// A database that carried out a write so lately, a beat say, is there, and is not asked. So a probe waits no longer where
/// an answer takes long or every connection is in use.
const LATELY: Duration = Duration::from_secs(5);

#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ready` or `not_ready`.
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(Alive { status: "alive" })
}

pub async fn ready(deps: web::Data<HttpDeps>) -> HttpResponse {
    let mut reasons = (deps.readiness)();
    let (jobs, fresh) = (Arc::clone(&deps.jobs), deps.fresh.clone());
    let ping = async move { tokio::time::timeout(PATIENCE, jobs.ping()).await.ok() };
    if !deps.jobs.answered_within(LATELY) {
        match deps.io.spawn(async move { fresh.ping.get(ping).await }).await {
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(error))) if error.sqlstate.as_deref() == Some(StoreError::READ_ONLY) => {
                reasons.push(format!("the database takes no writes: {}", error.message));
            }
            _ => reasons.push("the database does not answer".to_owned()),
        }
    }
    if reasons.is_empty() {
        HttpResponse::Ok().json(Ready { status: "ready", reasons })
    } else {
        let retry_after = (header::RETRY_AFTER, "1");
        let body = Ready { status: "not_ready", reasons };
        HttpResponse::ServiceUnavailable().insert_header(retry_after).json(body)
    }
}
