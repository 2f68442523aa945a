//! `PATCH|DELETE /v1/recordings/{call_sid}`: legal holds, and deletion for good.

use super::look_up;
use crate::{
    domain::{
        access::Scope,
        audit::Kept,
        ids::RecordingSid,
        json_fields::JsonFields,
        operate::Operator,
        recording::{Lookup, RecordingView},
    },
    http::{HttpDeps, body, operation::JSON, problem::Problem},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Whether a recording is kept, whatever the retention and operators say.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "stands for its schema")]
pub struct HoldChange {
    legal_hold: bool,
}

/// Sets or lifts a legal hold.
pub async fn hold(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    call_sid: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Operate)?;
    let filter = look_up::exact_filter(&request, &call_sid, deps.sid_form)?;
    let body = body::read(&request, payload, &[JSON], deps.body_limit).await?;
    let mut fields = JsonFields::parse(&body).map_err(|fault| Problem::invalid(vec![fault]))?;
    let hold: bool = fields.required("legal_hold");
    let faults = fields.into_faults();
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let mut recording = match deps.look_up(&filter).await? {
        Lookup::Stored { recording, others } => the_only(recording, others)?,
        other => return deps.not_stored(&filter, other).await,
    };
    let (custody, this_one, operator) = (Arc::clone(&deps.custody), recording.clone(), Operator::new(&caller.name));
    let kept = deps.change_on_io(async move { custody.hold_recording(&this_one, hold, &operator).await }).await?;
    match kept {
        Kept::Changed | Kept::Same => {
            recording.legal_hold = hold;
            Ok(HttpResponse::Ok().json(deps.shown(recording, Vec::new()).await?))
        }
        other => Err(refusal(other, &recording)),
    }
}

/// Deletes a recording for good: from the answer on nobody plays it, and its file is removed by a follow-up.
pub async fn delete(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    call_sid: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Operate)?;
    let filter = look_up::exact_filter(&request, &call_sid, deps.sid_form)?;
    let recording = match deps.look_up(&filter).await? {
        Lookup::Stored { recording, others } => the_only(recording, others)?,
        other => return deps.not_stored(&filter, other).await,
    };
    let (custody, gone, operator) = (Arc::clone(&deps.custody), recording.clone(), Operator::new(&caller.name));
    let kept = deps.change_on_io(async move {
        let kept = custody.delete_recording(&gone, &operator).await?;
        if kept == Kept::Changed {
            tracing::info!(
                marker = "RECORDING_DELETED",
                call_sid = %gone.call_sid,
                business_id = gone.business_id.get(),
                by = %operator,
                "deleted for good"
            );
        }
        Ok(kept)
    });
    match kept.await? {
        Kept::Changed | Kept::Same => Ok(HttpResponse::NoContent().finish()),
        other => Err(refusal(other, &recording)),
    }
}

/// Of a call with several recordings the one that is meant has to be named.
fn the_only(recording: Box<RecordingView>, others: Vec<RecordingSid>) -> Result<Box<RecordingView>, Problem> {
    if others.is_empty() {
        return Ok(recording);
    }
    let all: Vec<RecordingSid> = recording.recording_sid.iter().cloned().chain(others).collect();
    Err(Problem::several(&recording.call_sid, &all))
}

fn refusal(kept: Kept, recording: &RecordingView) -> Problem {
    match kept {
        Kept::Held => Problem::legal_hold(),
        Kept::Gone => Problem::recording_deleted(recording),
        _ => Problem::not_found(format!("no recording of call {} is stored", recording.call_sid)),
    }
}
