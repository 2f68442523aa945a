//! Twilio's `RecordingStatusCallback` (Twilio documentation, "Recordings resource"): a signed
//! form. It is answered with 2xx only after the job is committed, so Twilio never believes that we have a recording
//! which we do not.

use super::{
    HttpDeps,
    arrival::Arrival,
    body,
    limits::peer,
    operation::FORM,
    problem::Problem,
    signature::{is_right, spellings},
};
use crate::domain::{
    enqueue_request::{EnqueueRequest, FieldFault},
    ids::{CallSid, SidForm},
    job::NewJob,
    recording_url::ProviderBases,
};
use actix_web::{HttpRequest, HttpResponse, web};
use secrecy::SecretString;
use url::form_urlencoded;

/// The fields of the form that are looked at; Twilio sends more.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "PascalCase")]
#[expect(dead_code, reason = "stands for its schema")]
pub(super) struct Callback {
    account_sid: Option<String>,
    call_sid: String,
    recording_sid: Option<String>,
    recording_url: String,
    recording_status: Option<String>,
}

type Fields = Vec<(String, String)>;

/// `POST /webhooks/twilio/recording?business_id=42`: 202 with the job, or 204 where the recording's status is not
/// `completed` and there is nothing to fetch.
pub async fn recording(
    deps: web::Data<HttpDeps>,
    arrival: Arrival,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::read(&request, payload, &[FORM], deps.body_limit).await?;
    let fields: Fields = form_urlencoded::parse(&body).into_owned().collect();
    check_sender(&deps, &request, &fields)?;
    match field(&fields, "RecordingStatus") {
        // Callbacks for other states exist only where somebody asked for them.
        None | Some("completed") => {}
        Some(_) => return Ok(HttpResponse::NoContent().finish()),
    }
    let job = wanted(&deps, &request, &fields).map_err(|faults| {
        let problem = Problem::invalid(faults);
        say_refused(&deps, &request, &fields, problem.detail());
        problem
    })?;
    Ok(HttpResponse::Accepted().json(deps.enqueue(arrival, job).await?))
}

/// Whose call it was and who sent it, so that it can be looked for; a SID that is none is left away.
fn say_refused(deps: &HttpDeps, request: &HttpRequest, fields: &Fields, reason: &str) {
    let call_sid = field(fields, "CallSid").and_then(|sid| CallSid::parse(sid, deps.sid_form).ok());
    let call_sid = call_sid.as_ref().map(ToString::to_string);
    tracing::warn!(reason, call_sid, client = %peer(request), "webhook refused");
}

/// Signature first: until it is right, nothing else of the request is believed or answered.
fn check_sender(deps: &HttpDeps, request: &HttpRequest, fields: &Fields) -> Result<(), Problem> {
    let refuse = |reason: &'static str| {
        say_refused(deps, request, fields, reason);
        Problem::forbidden("signature", reason)
    };
    let token = deps.webhook.auth_token.as_ref();
    let token =
        token.ok_or_else(|| refuse("no TWILIO_AUTH_TOKEN is configured, so no signature can be checked"))?;
    let given = request.headers().get("X-Twilio-Signature").and_then(|value| value.to_str().ok());
    let given = given.ok_or_else(|| refuse("X-Twilio-Signature is missing"))?;
    let urls = told_urls(deps, request).ok_or_else(|| refuse("the request's URL cannot be told"))?;
    if !is_right(token, &urls, fields, given) {
        return Err(refuse(
            "X-Twilio-Signature is wrong: behind a proxy, http.public_url must be what Twilio was told",
        ));
    }
    if let Some(ours) = &deps.webhook.account_sid
        && field(fields, "AccountSid") != Some(ours.as_str())
    {
        return Err(refuse("AccountSid is another account's"));
    }
    Ok(())
}

/// The URL as Twilio was told it, in its spellings. What a proxy or a caller says of scheme and host is believed for the
/// signature only: who lies about it needs a signature for the lie.
fn told_urls(deps: &HttpDeps, request: &HttpRequest) -> Option<Vec<String>> {
    let target = request.uri().path_and_query()?.as_str();
    if let Some(url) = &deps.webhook.public_url {
        // A path of its own stands for what the proxy takes off.
        let target = format!("{}{target}", url.path().trim_end_matches('/'));
        return Some(spellings(url.scheme(), url.authority(), &target));
    }
    let connection = request.connection_info();
    Some(spellings(connection.scheme(), connection.host(), target))
}

/// No business is guessed (incident 23): the callback's URL names it, or the callback is refused.
fn wanted(deps: &HttpDeps, request: &HttpRequest, fields: &Fields) -> Result<NewJob, Vec<FieldFault>> {
    wanted_of(request.query_string(), fields, &deps.provider_bases, deps.sid_form)
}

fn wanted_of(query: &str, fields: &Fields, base: &ProviderBases, form: SidForm) -> Result<NewJob, Vec<FieldFault>> {
    let query: Fields = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let business_id = field(&query, "business_id").and_then(|id| id.parse().ok());
    let text = |name| field(fields, name).unwrap_or_default().to_owned();
    let wanted = EnqueueRequest {
        // What is missing or no number is refused by the check, as 0 is.
        business_id: business_id.unwrap_or_default(),
        call_sid: text("CallSid"),
        recording_url: text("RecordingUrl"),
        recording_sid: field(fields, "RecordingSid").map(ToOwned::to_owned),
        ..EnqueueRequest::default()
    };
    wanted.check(base, form)
}

/// What came of a form without a request around it.
#[doc(hidden)]
#[derive(Debug)]
pub struct ReadForm {
    pub signed: bool,
    pub job: Result<NewJob, Vec<FieldFault>>,
}

/// Reads a form as [`recording`] does, for those who try what it makes of any bytes (`fuzz/`).
#[doc(hidden)]
pub fn read_form(
    token: &SecretString,
    url: &str,
    signature: &str,
    body: &[u8],
    base: &ProviderBases,
    form: SidForm,
) -> ReadForm {
    let fields: Fields = form_urlencoded::parse(body).into_owned().collect();
    let query = url.split_once('?').map_or("", |(_, query)| query);
    ReadForm {
        signed: is_right(token, &[url.to_owned()], &fields, signature),
        job: wanted_of(query, &fields, base, form),
    }
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}
