//! Telnyx' webhook (Telnyx documentation, "Call recording saved"): a signed event in JSON. Each event that is understood
//! is answered with 200, the only status after which Telnyx does not send it again; a recording's only after its job is
//! committed.

pub(super) mod signature;

use super::{HttpDeps, arrival::Arrival, body, limits::peer, operation::JSON, problem::Problem};
use crate::domain::{
    details::{Details, told_at},
    enqueue_request::{EnqueueRequest, FieldFault},
    failure::{Failure, FailureCode},
    ids::{AccountSid, BusinessId, CallSid, InvalidId, RecordingSid, SidForm},
    job::NewJob,
    mapping::{CallFacts, Unmapped, Whose, whose},
    provider::{ProviderName, telnyx_channels, telnyx_url},
    recording_url::ProviderBases,
    text::clean,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;
use url::form_urlencoded;

/// What Telnyx' webhooks are checked with, and whose their recordings are.
#[derive(Debug, Clone)]
pub struct TelnyxWebhook {
    /// Without one no webhook can be checked, and each is refused.
    pub public_key: Option<[u8; 32]>,
    /// Whose the recordings are whose webhook does not say it.
    pub business_id: Option<BusinessId>,
}

/// The fields that are looked at; Telnyx sends more.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "stands for its schema")]
pub(super) struct Delivery {
    data: Event,
}

#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "stands for its schema")]
pub(super) struct Event {
    /// `call.recording.saved` and `conference.recording.saved` bring a recording.
    event_type: String,
    payload: Payload,
}

#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "stands for its schema")]
pub(super) struct Payload {
    #[schema(value_type = CallSid)]
    call_session_id: String,
    #[schema(value_type = RecordingSid)]
    recording_id: String,
    /// `single` or `dual`.
    channels: Option<String>,
    recording_started_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Of `call.recording.error`.
    reason: Option<String>,
}

/// `POST /webhooks/telnyx/recording?business_id=42`: 200 with the job, or without a body where the event brings none.
pub async fn recording(
    deps: web::Data<HttpDeps>,
    arrival: Arrival,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::read(&request, payload, &[JSON], deps.body_limit).await?;
    check_sender(&deps, &request, &body)?;
    let refused = |payload: Option<&Value>, faults| {
        let problem = Problem::invalid(faults);
        say_refused(&request, payload, problem.detail());
        problem
    };
    let delivery: Value = serde_json::from_slice(&body)
        .map_err(|error| refused(None, vec![FieldFault::new("body", format!("body must be JSON: {error}"))]))?;
    let event = &delivery["data"];
    let payload = &event["payload"];
    match event["event_type"].as_str() {
        Some("call.recording.saved" | "conference.recording.saved") => {
            let job = match wanted(&deps, &request, payload).await {
                Ok(job) => job,
                Err(Refused::For(faults)) => return Err(refused(Some(payload), faults)),
                Err(Refused::Shed(problem)) => return Err(problem),
                Err(Refused::ForNow(failure)) => {
                    let call_sid = call_of(payload);
                    tracing::warn!(%failure, call_sid, "whose call it is could not be looked up; the webhook is to be sent again");
                    return Err(Problem::lookup_unavailable());
                }
            };
            Ok(HttpResponse::Ok().json(deps.enqueue(arrival, job).await?))
        }
        Some("call.recording.error") => {
            let (call_sid, reason) = (call_of(payload), text(payload, "reason").map(clean));
            tracing::warn!(
                marker = "RECORDING_ABSENT",
                status = "failed",
                call_sid,
                reason,
                "Telnyx could not record a call: nothing is fetched"
            );
            Ok(HttpResponse::Ok().finish())
        }
        // The URL may be that of a whole application, whose other events are not for us.
        Some(_) => Ok(HttpResponse::Ok().finish()),
        None => {
            let fault = FieldFault::new("data.event_type", "data.event_type must be the event's name");
            Err(refused(Some(payload), vec![fault]))
        }
    }
}

/// Signature first: until it is right, nothing of the body is believed, read or answered.
fn check_sender(deps: &HttpDeps, request: &HttpRequest, body: &[u8]) -> Result<(), Problem> {
    let key = deps.telnyx.public_key.as_ref();
    let key = key.ok_or("no TELNYX_PUBLIC_KEY is configured, so no signature can be checked");
    key.and_then(|key| signature::check(key, request.headers(), body, deps.clock.now())).map_err(|reason| {
        say_refused(request, None, reason);
        Problem::forbidden("signature", reason)
    })
}

/// Whose call it was and who sent it, so that it can be looked for.
fn say_refused(request: &HttpRequest, payload: Option<&Value>, reason: &str) {
    tracing::warn!(reason, call_sid = payload.and_then(call_of), client = %peer(request), "webhook refused");
}

enum Refused {
    For(Vec<FieldFault>),
    ForNow(Failure),
    /// Too many are under way.
    Shed(Problem),
}

/// The job, with its business by the rules of [`crate::domain::mapping`].
async fn wanted(deps: &HttpDeps, request: &HttpRequest, payload: &Value) -> Result<NewJob, Refused> {
    let named = form_urlencoded::parse(request.query_string().as_bytes()).find(|(name, _)| name == "business_id");
    let whose =
        whose(named.as_ref().map(|(_, value)| &**value), deps.telnyx.business_id, deps.webhook.lookup.is_some());
    let (whose, call, recording) = ids(whose, payload).map_err(Refused::For)?;
    let business = match whose {
        Whose::Known(business) => business,
        Whose::Ask => look_up(deps, &call, &recording, payload).await?,
    };
    job(business, &call, &recording, payload, &deps.provider_bases, deps.sid_form).map_err(Refused::For)
}

/// Whose it is to be, and what it is called.
fn ids(whose: Result<Whose, Unmapped>, payload: &Value) -> Result<(Whose, CallSid, RecordingSid), Vec<FieldFault>> {
    let call = id_of(payload, "call_session_id", |text| CallSid::parse(text, SidForm::Strict)?.fits(TELNYX));
    let recording = id_of(payload, "recording_id", |text| RecordingSid::parse(text, SidForm::Strict)?.fits(TELNYX));
    match (whose, call, recording) {
        (Ok(whose), Ok(call), Ok(recording)) => Ok((whose, call, recording)),
        (whose, call, recording) => {
            let faults = [whose.err().map(FieldFault::from), call.err(), recording.err()];
            Err(faults.into_iter().flatten().collect())
        }
    }
}

fn job(
    business: BusinessId,
    call: &CallSid,
    recording: &RecordingSid,
    payload: &Value,
    bases: &ProviderBases,
    form: SidForm,
) -> Result<NewJob, Vec<FieldFault>> {
    let url = bases.telnyx().map(|base| telnyx_url(base, recording).into());
    let request = EnqueueRequest {
        business_id: business.get(),
        call_sid: call.to_string(),
        recording_url: url.unwrap_or_default(),
        ..EnqueueRequest::default()
    };
    let job = request.check(bases, form)?;
    Ok(NewJob { details: details(payload), ..job })
}

/// The job of an event whose URL names its business: for those who try what becomes of any bytes (`fuzz/`).
#[doc(hidden)]
pub fn read_event(named: Option<&str>, body: &[u8], bases: &ProviderBases) -> Result<NewJob, Vec<FieldFault>> {
    let delivery: Value =
        serde_json::from_slice(body).map_err(|error| vec![FieldFault::new("body", error.to_string())])?;
    let payload = &delivery["data"]["payload"];
    match ids(whose(named, None, false), payload)? {
        (Whose::Known(business), call, recording) => {
            job(business, &call, &recording, payload, bases, SidForm::Strict)
        }
        (Whose::Ask, ..) => Err(vec![Unmapped::Unnamed.into()]),
    }
}

async fn look_up(
    deps: &HttpDeps,
    call_sid: &CallSid,
    recording_sid: &RecordingSid,
    payload: &Value,
) -> Result<BusinessId, Refused> {
    let unknown = || Refused::For(vec![Unmapped::Unknown.into()]);
    let lookup = deps.webhook.lookup.clone().ok_or_else(unknown)?;
    let facts = CallFacts {
        call_sid: call_sid.clone(),
        account_sid: AccountSid::telnyx(),
        recording_sid: Some(recording_sid.clone()),
        from: text(payload, "from").map(ToOwned::to_owned),
        to: text(payload, "to").map(ToOwned::to_owned),
    };
    let place = deps.door.enter().map_err(Refused::Shed)?;
    let asked = deps.io.spawn(async move {
        let _place = place;
        lookup.business_of(&facts).await
    });
    match AbortOnDropHandle::new(asked).await {
        Ok(Ok(business)) => business.ok_or_else(unknown),
        Ok(Err(failure)) => Err(Refused::ForNow(failure)),
        Err(_) => Err(Refused::ForNow(Failure::new(
            FailureCode::Network,
            "the question to the lookup service ended without an answer",
        ))),
    }
}

const TELNYX: Option<ProviderName> = Some(ProviderName::Telnyx);

/// How long it is is not among them: from the beginning to the end of a recording its pauses count, which the file does
/// not have.
fn details(payload: &Value) -> Details {
    Details {
        channels: text(payload, "channels").and_then(telnyx_channels),
        started_at: text(payload, "recording_started_at").and_then(|time| time.parse().ok()).and_then(told_at),
        ..Details::default()
    }
}

fn id_of<T>(
    payload: &Value,
    field: &'static str,
    parse: impl FnOnce(&str) -> Result<T, InvalidId>,
) -> Result<T, FieldFault> {
    parse(text(payload, field).unwrap_or_default())
        .map_err(|_| FieldFault::new(field, format!("{field} must be a UUID in lower case")))
}

fn call_of(payload: &Value) -> Option<&str> {
    text(payload, "call_session_id").filter(|id| CallSid::parse(id, SidForm::Strict).is_ok())
}

fn text<'a>(payload: &'a Value, field: &str) -> Option<&'a str> {
    payload[field].as_str()
}
