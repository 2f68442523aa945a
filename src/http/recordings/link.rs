//! `POST /v1/recordings/{call_sid}/link`, and what makes a link one: it plays one recording, for a time, without a token.
//!
//! A link is kept nowhere. It says what it plays, until when and by whose token, and has an HMAC-SHA256 of that, keyed with
//! a secret of the configuration; so it ends with its time, with its secret, or with the token that made it, in every
//! process at once: who has stolen a token keeps nothing when it is taken away.

use super::look_up;
use crate::{
    domain::{
        access::{LinkSecrets, Scope},
        enqueue_request::FieldFault,
        ids::SidForm,
        json_fields::JsonFields,
        operate::Operator,
        recording::{Lookup, RecordingFilter, RecordingView},
    },
    http::{HttpDeps, body, operation::JSON, problem::Problem},
};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::Sha256;
use std::{ops::RangeInclusive, sync::Arc};
use url::form_urlencoded;
use utoipa::ToSchema;

/// So that a signature of something else with the same key is none of a link.
const PURPOSE: &str = "callspool link 2";
/// Of the release before, whose links name no token. None of them holds for longer than seven days.
const PURPOSE_BEFORE: &str = "callspool link 1";
/// Seconds that a link may hold.
const HOLDS: RangeInclusive<i64> = 1..=604_800;
const HOLDS_DEFAULT: i64 = 3_600;

/// Signs links, and knows them again. Cheap to clone.
#[derive(Clone)]
pub struct Links(Arc<LinkSecrets>);

impl Links {
    pub fn new(secrets: LinkSecrets) -> Self {
        Self(Arc::new(secrets))
    }

    /// `None`: there is no secret.
    fn signature(&self, claim: &str) -> Option<String> {
        let secret = self.0.newest()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode(mac(secret, claim).finalize().into_bytes()))
    }

    /// Each secret is compared in a time that tells nothing about the right signature.
    fn knows(&self, claim: &str, signature: &str) -> bool {
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else { return false };
        self.0.iter().any(|secret| mac(secret, claim).verify_slice(&signature).is_ok())
    }
}

fn mac(secret: &SecretString, claim: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(claim.as_bytes());
    mac
}

/// Whose link it is: a token's name, and what changes with the token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Maker {
    name: String,
    token_id: String,
}

/// What is signed: one recording of one business, the end, and whose it is. None of it has a line break.
fn claim(filter: &RecordingFilter, expires: i64, maker: Option<&Maker>) -> String {
    let RecordingFilter { call_sid, business_id, recording_sid } = filter;
    let business_id = business_id.map(|id| id.to_string()).unwrap_or_default();
    let recording_sid = recording_sid.as_ref().map(ToString::to_string).unwrap_or_default();
    let what = format!("{business_id}\n{call_sid}\n{recording_sid}\n{expires}");
    match maker {
        Some(Maker { name, token_id }) => format!("{PURPOSE}\n{what}\n{name}\n{token_id}"),
        None => format!("{PURPOSE_BEFORE}\n{what}"),
    }
}

#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "stands for its schema")]
pub struct LinkRequest {
    /// Seconds.
    #[schema(minimum = 1, maximum = 604_800, default = 3_600)]
    expires_in: Option<i64>,
}

/// Plays one recording for whoever has it, until it expires.
#[derive(Debug, Serialize, ToSchema)]
pub struct Link {
    url: String,
    expires_at: DateTime<Utc>,
}

/// Makes a link to a recording that is stored.
pub async fn make(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    call_sid: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Read)?;
    let filter = look_up::exact_filter(&request, &call_sid, deps.sid_form)?;
    let body = body::read(&request, payload, &[JSON], deps.body_limit).await?;
    let expires_in = holds(&body).map_err(Problem::invalid)?;
    let recording = match deps.look_up(&filter).await? {
        Lookup::Stored { recording, .. } => recording,
        other => return deps.not_stored(&filter, other).await,
    };
    let of_this = RecordingFilter {
        call_sid: recording.call_sid.clone(),
        business_id: Some(recording.business_id),
        recording_sid: recording.recording_sid.clone(),
    };
    let expires = Utc::now().timestamp() + expires_in;
    let maker = deps.maker(&caller.name).ok_or_else(Problem::unauthorized)?;
    let signature = deps.links.signature(&claim(&of_this, expires, Some(&maker)));
    let signature = signature.ok_or_else(Problem::links_not_configured)?;
    let url = url(&base(&deps, &request), &of_this, expires, &maker.name, &signature);
    let expires_at = DateTime::from_timestamp(expires, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let (custody, operator) = (Arc::clone(&deps.custody), Operator::new(&caller.name));
    let detail = format!("a link for {}", words(expires_in));
    deps.change_on_io(async move { custody.note_link(&recording, &operator, &detail).await }).await?;
    Ok(HttpResponse::Ok().json(Link { url, expires_at }))
}

fn words(seconds: i64) -> String {
    crate::domain::duration::words(TimeDelta::seconds(seconds).to_std().unwrap_or_default())
}

pub(in crate::http) fn holds(body: &[u8]) -> Result<i64, Vec<FieldFault>> {
    let mut fields = JsonFields::parse(body).map_err(|fault| vec![fault])?;
    let expires_in = fields.optional::<i64>("expires_in").unwrap_or(HOLDS_DEFAULT);
    let mut faults = fields.into_faults();
    if !HOLDS.contains(&expires_in) {
        let allowed = "expires_in must be a whole number of seconds from 1 to 604800";
        faults.push(FieldFault::new("expires_in", allowed));
    }
    if faults.is_empty() { Ok(expires_in) } else { Err(faults) }
}

/// What the caller calls us.
fn base(deps: &HttpDeps, request: &HttpRequest) -> String {
    deps.webhook.public_url.as_ref().map_or_else(
        || {
            let info = request.connection_info();
            format!("{}://{}", info.scheme(), info.host())
        },
        |url| url.as_str().trim_end_matches('/').to_owned(),
    )
}

fn url(base: &str, filter: &RecordingFilter, expires: i64, by: &str, signature: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(business_id) = filter.business_id {
        query.append_pair("business_id", &business_id.to_string());
    }
    if let Some(recording_sid) = &filter.recording_sid {
        query.append_pair("recording_sid", recording_sid.as_str());
    }
    query.append_pair("expires", &expires.to_string()).append_pair("by", by).append_pair("signature", signature);
    format!("{base}/v1/recordings/{}/media?{}", filter.call_sid, query.finish())
}

/// Whether a request comes by a link. What it claims is not checked yet.
pub(super) fn is_one(request: &HttpRequest) -> bool {
    parameter(request, "signature").is_some()
}

fn parameter(request: &HttpRequest, name: &str) -> Option<String> {
    let mut query = form_urlencoded::parse(request.query_string().as_bytes());
    query.find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

/// When a link ends, if it is one that was made here and plays what `filter` names.
fn told_end(links: &Links, request: &HttpRequest, filter: &RecordingFilter, maker: Option<&Maker>) -> Option<i64> {
    let expires: i64 = parameter(request, "expires")?.parse().ok()?;
    let signature = parameter(request, "signature").unwrap_or_default();
    links.knows(&claim(filter, expires, maker), &signature).then_some(expires)
}

/// What a link plays, and until when: see [`crate::http::tried`].
pub(in crate::http) fn plays(
    links: &Links,
    request: &HttpRequest,
    call_sid: &str,
) -> Option<(RecordingFilter, i64, bool)> {
    let filter = look_up::filter(request, call_sid, SidForm::Short).ok()?;
    let expires = told_end(links, request, &filter, None)?;
    let again = links.signature(&claim(&filter, expires, None));
    let is_own = again.is_some() && again == parameter(request, "signature");
    Some((filter, expires, is_own))
}

impl HttpDeps {
    /// Who is called so, as long as their token may look at recordings.
    fn maker(&self, name: &str) -> Option<Maker> {
        let token_id = self.tokens.id_of_reader(name)?;
        Some(Maker { name: name.to_owned(), token_id })
    }

    /// The recording that the request's link plays.
    pub(super) async fn linked(
        &self,
        request: &HttpRequest,
        filter: &RecordingFilter,
    ) -> Result<RecordingView, Problem> {
        let invalid =
            || Problem::forbidden("link_invalid", "the link is not one that was made here, or was changed");
        let maker = match parameter(request, "by") {
            Some(name) => Some(self.maker(&name).ok_or_else(invalid)?),
            None => None,
        };
        let expires = told_end(&self.links, request, filter, maker.as_ref()).ok_or_else(invalid)?;
        if Utc::now().timestamp() >= expires {
            return Err(Problem::forbidden("link_expired", "the link has expired; ask for a new one"));
        }
        let (recordings, of_the_call) = (Arc::clone(&self.recordings), filter.clone());
        let found = self.on_io(async move { recordings.recordings(&of_the_call).await }).await?;
        // A link to a recording without a name of its own plays none that has one.
        let mut of_this = found.into_iter().filter(|recording| recording.recording_sid == filter.recording_sid);
        match of_this.next() {
            Some(recording) if recording.deleted.is_none() => Ok(recording),
            Some(_) => Err(Problem::link_leads_nowhere()),
            None => Err(Problem::not_found("the recording of this link is not stored")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{CallSid, RecordingSid, SidForm};

    fn links(secrets: &str) -> Links {
        Links::new(LinkSecrets::parse_list(secrets).unwrap())
    }

    fn filter(business: i64, call: &str, recording: Option<&str>) -> RecordingFilter {
        RecordingFilter {
            call_sid: CallSid::parse(call, SidForm::Short).unwrap(),
            business_id: Some(business.try_into().unwrap()),
            recording_sid: recording.map(|sid| RecordingSid::parse(sid, SidForm::Short).unwrap()),
        }
    }

    fn maker(name: &str, token_id: &str) -> Maker {
        Maker { name: name.to_owned(), token_id: token_id.to_owned() }
    }

    #[test]
    fn a_link_is_of_one_recording_one_end_and_one_token_and_of_any_secret_in_use() {
        let (old, both) = (links("0123456789abcdef"), links("fedcba9876543210,0123456789abcdef"));
        let app = maker("app", "1f");
        let of = |filter: &RecordingFilter, expires| claim(filter, expires, Some(&app));
        let this = filter(1, "CA1", Some("RE1"));
        let right = of(&this, 10);
        let signature = old.signature(&right).unwrap();
        assert!(old.knows(&right, &signature) && both.knows(&right, &signature));
        assert_ne!(both.signature(&right).unwrap(), signature, "the newest signs");
        assert!(!links("fedcba9876543210").knows(&right, &signature));
        for other in [
            of(&filter(2, "CA1", Some("RE1")), 10),
            of(&filter(1, "CA2", Some("RE1")), 10),
            of(&filter(1, "CA1", Some("RE2")), 10),
            of(&filter(1, "CA1", None), 10),
            of(&this, 11),
            claim(&this, 10, Some(&maker("crm", "1f"))),
            claim(&this, 10, Some(&maker("app", "20"))),
            claim(&this, 10, None),
        ] {
            assert!(!old.knows(&other, &signature), "{other}");
        }
        for wrong in ["", "a", &signature[1..], &format!("{signature}="), "%"] {
            assert!(!old.knows(&right, wrong), "{wrong}");
        }
        assert_eq!(Links::new(LinkSecrets::default()).signature(&right), None);
    }

    #[test]
    fn how_long_a_link_holds_is_bounded() {
        assert_eq!(holds(b"{}"), Ok(HOLDS_DEFAULT));
        assert_eq!(holds(b"{\"expires_in\": 604800}"), Ok(604_800));
        for wrong in
            ["{\"expires_in\": 0}", "{\"expires_in\": 604801}", "{\"expires_in\": \"1h\"}", "{\"x\": 1}", "[]"]
        {
            assert_eq!(holds(wrong.as_bytes()).err().map(|faults| faults.len()), Some(1), "{wrong}");
        }
    }
}
