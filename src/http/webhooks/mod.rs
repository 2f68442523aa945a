//! Twilio's `RecordingStatusCallback` (Twilio documentation, "Recordings resource"): a signed
//! form, or a signed JSON object. It is answered with 2xx only after the job is committed, so Twilio never believes that
//! we have a recording which we do not.
//!
//! | file | what it holds |
//! |---|---|
//! | `callback` | what it says |
//! | `sender` | the proof that it is Twilio's |

mod callback;
mod sender;
mod tried;

pub(super) use callback::Callback;
pub use tried::{ReadForm, read_form};

use super::{
    HttpDeps,
    arrival::Arrival,
    body,
    limits::peer,
    operation::{FORM, JSON},
    problem::Problem,
};
use crate::domain::{
    account::Account,
    enqueue_request::{EnqueueRequest, FieldFault},
    failure::{Failure, FailureCode},
    ids::{BusinessId, RecordingSid, SidForm},
    job::NewJob,
    mapping::{CallFacts, Unmapped, Whose, whose_of},
    recording_url::sids,
};
use actix_web::{HttpRequest, HttpResponse, web};
use callback::{Fields, Standing, idempotency_token};
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use url::form_urlencoded;

/// `POST /webhooks/twilio/recording?business_id=42`: 202 with the job, or 204 where the recording's status is not
/// `completed` and there is nothing to fetch.
pub async fn recording(
    deps: web::Data<HttpDeps>,
    arrival: Arrival,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::read(&request, payload, &[FORM, JSON], deps.body_limit).await?;
    let fields = Fields::read(&request, &body);
    // Signature first: until it is right, nothing else of the request is believed or answered.
    let account = sender::check(&deps, &request, &body, &fields).map_err(|reason| {
        say_refused(&deps, &request, &fields, reason);
        Problem::forbidden("signature", reason)
    })?;
    match Standing::of(&fields) {
        Standing::Completed => {}
        Standing::Lost(status) => {
            say_lost(&deps, &fields, status);
            return Ok(HttpResponse::NoContent().finish());
        }
        // Callbacks for other states exist only where somebody asked for them.
        Standing::Other => return Ok(HttpResponse::NoContent().finish()),
    }
    let job = match wanted(&deps, &request, &fields, account).await {
        Ok(job) => job,
        Err(Refused::For(faults)) => {
            let problem = Problem::invalid(faults);
            say_refused(&deps, &request, &fields, problem.detail());
            return Err(problem);
        }
        Err(Refused::Shed(problem)) => return Err(problem),
        Err(Refused::ForNow(failure)) => {
            let call_sid = fields.call_sid(deps.sid_form).map(|sid| sid.to_string());
            tracing::warn!(%failure, call_sid, "whose call it is could not be looked up; the webhook is to be sent again");
            return Err(Problem::lookup_unavailable());
        }
    };
    let token = idempotency_token(&request);
    Ok(HttpResponse::Accepted().json(deps.enqueue_told(arrival, job, token).await?))
}

/// Whose call it was and who sent it, so that it can be looked for; a SID that is none is left away.
fn say_refused(deps: &HttpDeps, request: &HttpRequest, fields: &Fields, reason: &str) {
    let call_sid = fields.call_sid(deps.sid_form).map(|sid| sid.to_string());
    tracing::warn!(reason, call_sid, client = %peer(request), "webhook refused");
}

/// So that nobody waits in vain. A job that lives meanwhile asks for itself, and ends as the provider answers it.
fn say_lost(deps: &HttpDeps, fields: &Fields, status: &'static str) {
    let call_sid = fields.call_sid(deps.sid_form).map(|sid| sid.to_string());
    let recording = fields.get("RecordingSid").and_then(|sid| RecordingSid::parse(sid, deps.sid_form).ok());
    let recording_sid = recording.map(|sid| sid.to_string());
    // Twilio's own number for what went wrong.
    let error_code = fields.get("ErrorCode").and_then(|code| code.parse::<u32>().ok());
    tracing::warn!(
        marker = "RECORDING_ABSENT",
        status,
        call_sid,
        recording_sid,
        error_code,
        "the provider has no such recording: nothing is fetched"
    );
}

enum Refused {
    For(Vec<FieldFault>),
    ForNow(Failure),
    /// Too many are under way.
    Shed(Problem),
}

/// The job, with its business by the rules of [`crate::domain::mapping`].
async fn wanted(
    deps: &HttpDeps,
    request: &HttpRequest,
    fields: &Fields,
    account: &Account,
) -> Result<NewJob, Refused> {
    let request_of = fields.wanted(deps.sid_form);
    let mut faults = faults_but_its_business(deps, request_of.clone());
    if is_anothers(deps, &request_of.recording_url, account) {
        faults.push(FieldFault::new("recording_url", "recording_url must be of the account that AccountSid names"));
    }
    let named = form_urlencoded::parse(request.query_string().as_bytes()).find(|(name, _)| name == "business_id");
    let named = named.map(|(_, value)| value.into_owned());
    let business = match whose_of(named.as_deref(), account.business_id, deps.webhook.lookup.is_some()) {
        Ok(Whose::Known(business)) => Some(business),
        // Nobody is asked about what is refused in any case.
        Ok(Whose::Ask) if !faults.is_empty() => None,
        Ok(Whose::Ask) => look_up(deps, fields, account, &request_of).await?,
        Err(unmapped) => {
            faults.insert(0, unmapped.into());
            None
        }
    };
    let Some(business) = business.filter(|_| faults.is_empty()) else { return Err(Refused::For(faults)) };
    let asked = EnqueueRequest { business_id: business.get(), ..request_of };
    let job = asked.check(&deps.provider_bases, deps.sid_form).map_err(Refused::For)?;
    Ok(NewJob { details: fields.details(job.details), ..job })
}

/// What is wrong with the rest. A request without a business never passes.
fn faults_but_its_business(deps: &HttpDeps, request: EnqueueRequest) -> Vec<FieldFault> {
    let mut faults = request.check(&deps.provider_bases, deps.sid_form).err().unwrap_or_default();
    faults.retain(|fault| fault.field != "business_id");
    faults
}

/// A token proves its own account: who has it is not given what another one has recorded, with that one's credentials.
/// A URL that is wrong has its fault already.
fn is_anothers(deps: &HttpDeps, recording_url: &str, account: &Account) -> bool {
    let url = deps.provider_bases.recording_url(recording_url);
    url.is_ok_and(|url| sids(&url, SidForm::Short).0.as_ref() != Some(&account.sid))
}

async fn look_up(
    deps: &HttpDeps,
    fields: &Fields,
    account: &Account,
    wanted: &EnqueueRequest,
) -> Result<Option<BusinessId>, Refused> {
    let unknown = || Refused::For(vec![Unmapped::Unknown.into()]);
    let (Some(lookup), Some(call_sid)) = (deps.webhook.lookup.clone(), fields.call_sid(deps.sid_form)) else {
        return Err(unknown());
    };
    let sid = wanted.recording_sid.as_deref();
    let facts = CallFacts {
        call_sid,
        account_sid: account.sid.clone(),
        recording_sid: sid.and_then(|sid| RecordingSid::parse(sid, deps.sid_form).ok()),
        from: fields.get("From").map(ToOwned::to_owned),
        to: fields.get("To").map(ToOwned::to_owned),
    };
    let place = deps.door.enter().map_err(Refused::Shed)?;
    let asked = deps.io.spawn(async move {
        let _place = place;
        Arc::clone(&lookup).business_of(&facts).await
    });
    match AbortOnDropHandle::new(asked).await {
        Ok(Ok(Some(business))) => Ok(Some(business)),
        Ok(Ok(None)) => Err(unknown()),
        Ok(Err(failure)) => Err(Refused::ForNow(failure)),
        Err(_) => Err(Refused::ForNow(Failure::new(
            FailureCode::Network,
            "the question to the lookup service ended without an answer",
        ))),
    }
}
