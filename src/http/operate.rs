//! What an operator does to jobs: try again, cancel; one, or many by their ids or by what they are.

use super::{HttpDeps, access::Caller, body, jobs::no_such_job, operation::JSON, params, problem::Problem};
use crate::domain::{
    access::Scope,
    enqueue_request::FieldFault,
    ids::{BusinessId, CallSid, JobId, SidForm},
    job::{JobFilter, JobState},
    json_fields::JsonFields,
    operate::{BATCH, JobOutcome, Operator, Outcome},
    ports::{JobBook, Operations, StoreResult},
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most jobs of one request.
const MOST: u16 = 1_000;
const _: () = assert!(MOST as usize <= BATCH);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Retry,
    Cancel,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }

    /// In which a job can be.
    fn states(self) -> &'static [JobState] {
        match self {
            Self::Retry => &[JobState::Dead, JobState::Cancelled, JobState::Scheduled],
            Self::Cancel => &[JobState::Ready, JobState::Scheduled, JobState::Running],
        }
    }

    async fn carry_out(
        self,
        operations: &dyn Operations,
        ids: &[JobId],
        only: Option<JobState>,
        operator: &Operator,
    ) -> StoreResult<Vec<JobOutcome>> {
        match self {
            Self::Retry => operations.retry(ids, operator).await,
            Self::Cancel => operations.cancel(ids, only, operator).await,
        }
    }
}

/// What became of one job.
#[derive(Serialize, ToSchema)]
pub(super) struct Changed {
    id: JobId,
    outcome: Outcome,
    /// In which it is now.
    state: JobState,
}

pub async fn retry(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    one(&deps, &request, &id, Action::Retry).await
}

pub async fn cancel(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    one(&deps, &request, &id, Action::Cancel).await
}

async fn one(deps: &HttpDeps, request: &HttpRequest, id: &str, action: Action) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(request, Scope::Operate)?;
    params::none(request)?;
    let id = params::job_id(id)?;
    let operations = Arc::clone(&deps.operations);
    let carried_out = deps.change_on_io(async move {
        let outcomes = action.carry_out(&*operations, &[id], None, &operator(&caller)).await?;
        let outcome = outcomes.first().map_or(Outcome::Unknown, |job| job.outcome);
        tracing::info!(operator = caller.name, job_id = %id, %outcome, "{} of a job", action.as_str());
        Ok(outcome)
    });
    let outcome = carried_out.await?;
    let changed = |state| Changed { id, outcome, state };
    match outcome {
        Outcome::Cancelled => Ok(HttpResponse::Ok().json(changed(JobState::Cancelled))),
        Outcome::Ready => Ok(HttpResponse::Ok().json(changed(JobState::Ready))),
        Outcome::Requested => Ok(HttpResponse::Accepted().json(changed(JobState::Running))),
        Outcome::Unknown => Err(no_such_job(id)),
        Outcome::Finished => Err(Problem::conflict("finished", "it was over before")),
        Outcome::Moving | Outcome::Elsewhere => {
            Err(Problem::conflict("moving", "it goes from one state to another just now; ask again"))
        }
        Outcome::Running => Err(Problem::conflict("running", "it runs now")),
        Outcome::Done => Err(Problem::conflict("done", "its recording is stored")),
        Outcome::Duplicate => Err(Problem::conflict("duplicate", "another live job fetches the recording already")),
        Outcome::NotKept => Err(Problem::conflict(
            "not_kept",
            "it ended under a release that did not keep what this needs; enqueue it anew",
        )),
    }
}

fn operator(caller: &Caller) -> Operator {
    Operator::new(&caller.name)
}

/// Which jobs are meant: `ids`, or all others.
#[derive(Debug, Default, PartialEq, ToSchema)]
pub(super) struct Selection {
    #[schema(min_items = 1, max_items = 1_000)]
    ids: Option<Vec<JobId>>,
    /// Retry: dead, cancelled or scheduled. Cancel: ready, scheduled or running.
    state: Option<JobState>,
    business_id: Option<BusinessId>,
    call_sid: Option<CallSid>,
    /// Only jobs with a smaller id: for the next page.
    after: Option<JobId>,
    #[schema(minimum = 1, maximum = 1_000, default = 1_000)]
    limit: Option<u16>,
}

/// What became of many.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangedMany {
    /// How many are now as they were wanted, or will be.
    changed: usize,
    /// By id, upwards.
    results: Vec<JobOutcome>,
    /// There may be more: ask again, with the smallest id of these as `after`.
    more: bool,
}

pub async fn retry_many(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    many(&deps, &request, payload, Action::Retry).await
}

pub async fn cancel_many(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    many(&deps, &request, payload, Action::Cancel).await
}

async fn many(
    deps: &HttpDeps,
    request: &HttpRequest,
    payload: web::Payload,
    action: Action,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(request, Scope::Operate)?;
    params::none(request)?;
    let body = body::read(request, payload, &[JSON], deps.body_limit).await?;
    let selection = Selection::parse(&body, action, deps.sid_form).map_err(Problem::invalid)?;
    let (jobs, operations) = (Arc::clone(&deps.jobs), Arc::clone(&deps.operations));
    let carried_out = deps.change_on_io(async move {
        let (ids, more) = selection.jobs(&*jobs).await?;
        let results = action.carry_out(&*operations, &ids, selection.state, &operator(&caller)).await?;
        let changed = results.iter().filter(|job| job.outcome.is_success()).count();
        tracing::info!(operator = caller.name, jobs = ids.len(), changed, "{} of many jobs", action.as_str());
        Ok(ChangedMany { changed, results, more })
    });
    Ok(HttpResponse::Ok().json(carried_out.await?))
}

impl Selection {
    pub(super) fn parse(text: &[u8], action: Action, form: SidForm) -> Result<Self, Vec<FieldFault>> {
        let mut fields = JsonFields::parse(text).map_err(|fault| vec![fault])?;
        let call_sid: Option<String> = fields.optional("call_sid");
        let mut selection = Self {
            ids: fields.optional("ids"),
            state: fields.optional("state"),
            business_id: fields.optional("business_id"),
            call_sid: None,
            after: fields.optional("after"),
            limit: fields.optional("limit"),
        };
        let mut faults = fields.into_faults();
        match call_sid.map(|text| CallSid::parse(&text, form)).transpose() {
            Ok(call_sid) => selection.call_sid = call_sid,
            Err(invalid) => faults.push(invalid.into()),
        }
        // A field of the wrong kind has its fault already.
        let said = |faults: &[FieldFault], field: &str| faults.iter().any(|fault| fault.field == field);
        let mut wrong = |field: &str, message: String| {
            if !said(&faults, field) {
                faults.push(FieldFault::new(field, message));
            }
        };
        let states = action.states();
        let alone = Self { ids: selection.ids.clone(), ..Self::default() };
        match &selection.ids {
            Some(ids) if !(1..=usize::from(MOST)).contains(&ids.len()) => {
                wrong("ids", format!("ids must be 1 to {MOST} ids of jobs"));
            }
            Some(_) if selection != alone => {
                wrong("ids", "ids stand alone: nothing else may be given beside them".to_owned());
            }
            None if !selection.state.is_some_and(|state| states.contains(&state)) => {
                let names: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
                wrong("state", format!("state must be one of: {}; or give ids", names.join(", ")));
            }
            _ => {}
        }
        if selection.limit.is_some_and(|limit| !(1..=MOST).contains(&limit)) {
            wrong("limit", format!("limit must be a whole number from 1 to {MOST}"));
        }
        if faults.is_empty() { Ok(selection) } else { Err(faults) }
    }

    /// Their ids, and whether there may be more.
    async fn jobs(&self, book: &dyn JobBook) -> StoreResult<(Vec<JobId>, bool)> {
        if let Some(ids) = &self.ids {
            return Ok((ids.clone(), false));
        }
        let limit = self.limit.unwrap_or(MOST);
        let filter = JobFilter {
            state: self.state,
            business_id: self.business_id,
            call_sid: self.call_sid.clone(),
            after: self.after,
            limit,
        };
        let jobs = book.jobs(&filter).await?;
        Ok((jobs.iter().map(|job| job.id).collect(), jobs.len() == usize::from(limit)))
    }
}
