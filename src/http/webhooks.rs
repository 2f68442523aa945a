//! Twilio's RecordingStatusCallback (Twilio documentation, "Recordings resource", RecordingStatusCallback): a signed
//! form. It is answered with 2xx only after the job is committed, so Twilio never believes that we have a recording
//! which we do not.

use super::{
    HttpDeps, body,
    problem::Problem,
    signature::{is_right, spellings},
};
use crate::domain::enqueue_request::{EnqueueRequest, FieldFault};
use actix_web::{HttpRequest, HttpResponse, web};
use url::{Url, form_urlencoded};

const FORM: &str = "application/x-www-form-urlencoded";

type Fields = Vec<(String, String)>;

/// `POST /webhooks/twilio/recording?business_id=42`: 202 with the job, or 204 where the recording's status is not
/// `completed` and there is nothing to fetch.
pub async fn recording(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::read(&request, payload, FORM, deps.body_limit).await?;
    let fields: Fields = form_urlencoded::parse(&body).into_owned().collect();
    check_sender(&deps, &request, &fields)?;
    match field(&fields, "RecordingStatus") {
        // Callbacks for other states exist only where somebody asked for them.
        None | Some("completed") => {}
        Some(_) => return Ok(HttpResponse::NoContent().finish()),
    }
    let job = wanted(&request, &fields)?.check(&deps.provider_base, deps.sid_form).map_err(|faults| {
        tracing::warn!(faults = faults.len(), first = faults.first().map(tracing::field::display), "webhook refused");
        Problem::invalid(faults)
    })?;
    Ok(HttpResponse::Accepted().json(deps.enqueue(job).await?))
}

/// Signature first: until it is right, nothing else of the request is believed or answered.
fn check_sender(deps: &HttpDeps, request: &HttpRequest, fields: &Fields) -> Result<(), Problem> {
    let refuse = |reason: &'static str| {
        tracing::warn!(reason, "webhook refused");
        Problem::forbidden("signature", reason)
    };
    let token = deps.webhook.auth_token.as_ref();
    let token = token.ok_or_else(|| refuse("no TWILIO_AUTH_TOKEN is configured, so no signature can be checked"))?;
    let given = request.headers().get("X-Twilio-Signature").and_then(|value| value.to_str().ok());
    let given = given.ok_or_else(|| refuse("X-Twilio-Signature is missing"))?;
    let url = told_url(deps, request).ok_or_else(|| refuse("the request's URL cannot be told"))?;
    if !is_right(token, &spellings(&url), fields, given) {
        return Err(refuse(
            "X-Twilio-Signature is wrong: behind a proxy, http.public_url must be what Twilio was told",
        ));
    }
    match (&deps.webhook.account_sid, field(fields, "AccountSid")) {
        (Some(ours), Some(theirs)) if ours.as_str() != theirs => Err(refuse("AccountSid is another account")),
        _ => Ok(()),
    }
}

/// The URL as Twilio was told it. What a proxy or a caller says of scheme and host is believed for the signature only:
/// who lies about it needs a signature for the lie.
fn told_url(deps: &HttpDeps, request: &HttpRequest) -> Option<Url> {
    let path = request.uri().path_and_query()?.as_str();
    let origin = match &deps.webhook.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => {
            let connection = request.connection_info();
            format!("{}://{}", connection.scheme(), connection.host())
        }
    };
    Url::parse(&format!("{origin}{path}")).ok()
}

/// No business is guessed (incident 23): the callback's URL names it, or the callback is refused.
fn wanted(request: &HttpRequest, fields: &Fields) -> Result<EnqueueRequest, Problem> {
    let query: Fields = form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
    let business_id = field(&query, "business_id").and_then(|id| id.parse().ok());
    let faulty = |name, message| Problem::invalid(vec![FieldFault::new(name, message)]);
    let must = |name: &'static str| field(fields, name).ok_or_else(|| faulty(name, "is missing from the form"));
    Ok(EnqueueRequest {
        business_id: business_id.ok_or_else(|| {
            faulty("business_id", "business_id must be a positive whole number in the callback's URL")
        })?,
        call_sid: must("CallSid")?.to_owned(),
        recording_url: must("RecordingUrl")?.to_owned(),
        recording_sid: field(fields, "RecordingSid").map(ToOwned::to_owned),
        ..EnqueueRequest::default()
    })
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}
