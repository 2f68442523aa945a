//! Which recording is meant, and what is answered where it is not stored.

use crate::{
    domain::{
        enqueue_request::FieldFault,
        explain::{Detail, Explanation},
        ids::{BusinessId, CallSid, RecordingSid, SidForm},
        job::{JobFilter, JobState, JobView, Priority},
        recording::{Lookup, RecordingFilter},
    },
    http::{HttpDeps, params::Query, problem::Problem},
};
use actix_web::{HttpRequest, HttpResponse, http::header};
use std::sync::Arc;
use url::form_urlencoded;

/// Of a call's jobs, the newest ones that are looked at.
pub(super) const JOBS: u16 = 100;
/// When to ask again, in seconds: for what runs or may run at any time, and at the latest.
const SOON: i64 = 2;
const AT_THE_LATEST: i64 = 60;

/// `business_id` and `recording_sid` in the query say which recording is meant. What else stands there is left alone:
/// players put things of their own into it.
pub(super) fn filter(request: &HttpRequest, call_sid: &str, form: SidForm) -> Result<RecordingFilter, Problem> {
    let query: Vec<_> = form_urlencoded::parse(request.query_string().as_bytes()).collect();
    let named = |name| query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_ref());
    let call_sid = CallSid::parse(call_sid, form);
    let business_id = named("business_id").map(str::parse::<BusinessId>).transpose();
    let recording_sid = named("recording_sid").map(|sid| RecordingSid::parse(sid, form)).transpose();
    match (call_sid, business_id, recording_sid) {
        (Ok(call_sid), Ok(business_id), Ok(recording_sid)) => {
            Ok(RecordingFilter { call_sid, business_id, recording_sid })
        }
        (call_sid, business_id, recording_sid) => {
            let faults = [call_sid.err(), business_id.err(), recording_sid.err()];
            Err(Problem::invalid(faults.into_iter().flatten().map(FieldFault::from).collect()))
        }
    }
}

/// The same for whoever changes something: a parameter that there is not may be a slip for one that there is.
pub(super) fn exact_filter(
    request: &HttpRequest,
    call_sid: &str,
    form: SidForm,
) -> Result<RecordingFilter, Problem> {
    let mut query = Query::of(request);
    query.take::<BusinessId>("business_id");
    query.take_with("recording_sid", |sid| RecordingSid::parse(sid, form));
    query.end()?;
    filter(request, call_sid, form)
}

impl HttpDeps {
    /// Reads only, and of two indexes at most.
    pub(super) async fn look_up(&self, filter: &RecordingFilter) -> Result<Lookup, Problem> {
        let (recordings, jobs, filter) = (Arc::clone(&self.recordings), Arc::clone(&self.jobs), filter.clone());
        self.on_io(async move {
            let stored = Lookup::stored(recordings.recordings(&filter).await?);
            // Another recording of the call may be on its way.
            let deleted = match stored {
                Some(Lookup::Deleted(recording)) => Some(Lookup::Deleted(recording)),
                Some(stored) => return Ok(stored),
                None => None,
            };
            let of_the_call = JobFilter {
                business_id: filter.business_id,
                call_sid: Some(filter.call_sid.clone()),
                limit: JOBS,
                ..JobFilter::default()
            };
            let lookup = Lookup::on_its_way(&filter, jobs.jobs(&of_the_call).await?);
            match &lookup {
                Lookup::Ended(_) | Lookup::Unknown if deleted.is_some() => Ok(deleted.unwrap_or(lookup)),
                // It may have been stored between the two questions.
                Lookup::Ended(job) if job.state == JobState::Done => {
                    Ok(Lookup::stored(recordings.recordings(&filter).await?).unwrap_or(lookup))
                }
                _ => Ok(lookup),
            }
        })
        .await
    }

    /// The answer where there is no file to speak of.
    pub(super) async fn not_stored(
        &self,
        filter: &RecordingFilter,
        lookup: Lookup,
    ) -> Result<HttpResponse, Problem> {
        let call_sid = &filter.call_sid;
        match lookup {
            Lookup::Coming(jobs) => self.on_its_way(jobs).await,
            Lookup::Ended(job) => Err(over(&job)),
            Lookup::Ambiguous(businesses) => Err(Problem::ambiguous(call_sid, &businesses)),
            Lookup::Deleted(recording) => Err(Problem::recording_deleted(&recording)),
            Lookup::Stored { .. } | Lookup::Unknown => {
                let which = filter.recording_sid.as_ref().map(|sid| format!(" {sid}")).unwrap_or_default();
                Err(Problem::not_found(format!("no recording{which} of call {call_sid} was ever enqueued here")))
            }
        }
    }

    /// 202: why it is not there yet, and when to ask again. Somebody waits, so the call's jobs go before others of their
    /// business. The first question writes that down, and the next ones only read.
    async fn on_its_way(&self, jobs: Vec<JobView>) -> Result<HttpResponse, Problem> {
        if let Some(job) = jobs.iter().find(|job| job.priority > Priority::AWAITED) {
            let (operations, business_id, call_sid) =
                (Arc::clone(&self.operations), job.business_id, job.call_sid.clone());
            self.change_on_io(async move { operations.expedite(business_id, &call_sid, Priority::AWAITED).await })
                .await?;
        }
        let (operations, furthest) = (Arc::clone(&self.operations), jobs.first().map(|job| job.id));
        let explanation = self
            .on_io(async move {
                match furthest {
                    Some(job) => operations.explain(job).await,
                    None => Ok(None),
                }
            })
            .await?;
        // A job that ends is in the history from then on, so it is there for as long as that is kept.
        let explanation = explanation.ok_or_else(|| Problem::not_found("its job is gone; ask again"))?;
        let retry_after = (header::RETRY_AFTER, ask_again_in(&explanation).to_string());
        Ok(HttpResponse::Accepted().insert_header(retry_after).json(explanation))
    }
}

/// In seconds.
fn ask_again_in(explanation: &Explanation) -> i64 {
    match explanation.detail {
        // Rounded up: it is not there before.
        Detail::Scheduled { due_in_ms, .. } => (due_in_ms / 1_000 + 1).clamp(SOON, AT_THE_LATEST),
        _ => SOON,
    }
}

/// A player need not ask again; an operator may try the job again, and then it is on its way.
pub(super) fn over(job: &JobView) -> Problem {
    let JobView { id, attempt, .. } = job;
    match (job.state, &job.last_error) {
        (JobState::Done, _) => Problem::gone("removed", job, "it was stored, and is not kept any more".to_owned()),
        (JobState::Cancelled, _) => Problem::gone("cancelled", job, format!("job {id} was cancelled")),
        (_, None) => Problem::gone("failed", job, format!("job {id} failed for good after attempt {attempt}")),
        (_, Some(error)) => {
            let why = format!("{}: {}", error.code, error.message);
            Problem::gone("failed", job, format!("job {id} failed for good after attempt {attempt}: {why}"))
        }
    }
}
