//! `/healthz`: the process answers. `/readyz`: it can do what it is for, or says why not.

use super::HttpDeps;
use actix_web::{HttpResponse, http::header, web};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Longest wait for the database's answer; orchestrators give a probe a second or so.
const PATIENCE: Duration = Duration::from_millis(900);

pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

pub async fn ready(deps: web::Data<HttpDeps>) -> HttpResponse {
    let mut reasons = (deps.readiness)();
    let jobs = Arc::clone(&deps.jobs);
    let ping = deps.io.spawn(async move { tokio::time::timeout(PATIENCE, jobs.ping()).await });
    if !matches!(ping.await, Ok(Ok(Ok(())))) {
        reasons.push("the database does not answer".to_owned());
    }
    if reasons.is_empty() {
        HttpResponse::Ok().json(json!({ "status": "ready" }))
    } else {
        let retry_after = (header::RETRY_AFTER, "1");
        let body = json!({ "status": "not_ready", "reasons": reasons });
        HttpResponse::ServiceUnavailable().insert_header(retry_after).json(body)
    }
}
