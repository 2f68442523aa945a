//! The words of a recording, and what is answered where they are not there.

use super::look_up::{self, over};
use crate::{
    domain::{
        access::Scope,
        job::{JobFilter, JobType},
        recording::{Lookup, RecordingFilter, RecordingView},
        transcript::TranscriptView,
    },
    http::{HttpDeps, problem::Problem},
};
use actix_web::{HttpRequest, HttpResponse, web};
use std::sync::Arc;

/// 200 where it is transcribed; 202 while a job of the type `full` is on its way; 404 where none was asked for.
pub async fn transcript(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    call_sid: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    deps.authorize(&request, Scope::Read)?;
    let filter = look_up::filter(&request, &call_sid, deps.sid_form)?;
    let which = match deps.look_up(&filter).await? {
        Lookup::Stored { recording, .. } => {
            if let Some(transcript) = deps.transcript_of(&recording).await? {
                return Ok(HttpResponse::Ok().json(transcript));
            }
            let RecordingView { business_id, call_sid, recording_sid, .. } = *recording;
            RecordingFilter { call_sid, business_id: Some(business_id), recording_sid }
        }
        lookup @ (Lookup::Ambiguous(_) | Lookup::Deleted(_) | Lookup::Unknown) => {
            return deps.not_stored(&filter, lookup).await;
        }
        Lookup::Coming(_) | Lookup::Ended(_) => filter,
    };
    match deps.look_up_full(&which).await? {
        lookup @ (Lookup::Coming(_) | Lookup::Ambiguous(_)) => deps.not_stored(&which, lookup).await,
        Lookup::Ended(job) => Err(over(&job)),
        Lookup::Stored { .. } | Lookup::Deleted(_) | Lookup::Unknown => Err(Problem::not_found(format!(
            "nobody asked for a transcript of call {}: enqueue it with job_type full",
            which.call_sid
        ))),
    }
}

impl HttpDeps {
    pub(super) async fn transcript_of(&self, recording: &RecordingView) -> Result<Option<TranscriptView>, Problem> {
        let book = Arc::clone(&self.transcripts);
        let RecordingView { business_id, call_sid, recording_sid, .. } = recording.clone();
        self.on_io(async move { book.transcript(business_id, &call_sid, recording_sid.as_ref()).await }).await
    }

    /// The jobs that would transcribe it.
    async fn look_up_full(&self, filter: &RecordingFilter) -> Result<Lookup, Problem> {
        let (jobs, filter) = (Arc::clone(&self.jobs), filter.clone());
        self.on_io(async move {
            let of_the_call = JobFilter {
                business_id: filter.business_id,
                call_sid: Some(filter.call_sid.clone()),
                limit: look_up::JOBS,
                ..JobFilter::default()
            };
            let jobs = jobs.jobs(&of_the_call).await?;
            let full = jobs.into_iter().filter(|job| job.job_type == JobType::Full).collect();
            Ok(Lookup::on_its_way(&filter, full))
        })
        .await
    }
}
