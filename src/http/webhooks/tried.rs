//! A form without a request around it, for those who try what is made of any bytes (`fuzz/`).

use super::callback::Fields;
use crate::{
    domain::{
        enqueue_request::{EnqueueRequest, FieldFault},
        ids::SidForm,
        job::NewJob,
        recording_url::ProviderBases,
    },
    http::signature::{Algorithm, is_right},
};
use secrecy::SecretString;
use url::form_urlencoded;

/// What came of it.
#[derive(Debug)]
pub struct ReadForm {
    pub signed: bool,
    pub job: Result<NewJob, Vec<FieldFault>>,
}

/// Reads a form as [`super::recording`] does whose URL names the business.
pub fn read_form(
    token: &SecretString,
    url: &str,
    signature: &str,
    body: &[u8],
    bases: &ProviderBases,
    form: SidForm,
) -> ReadForm {
    let fields = Fields::of_form(body);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let business_id = parameters.find(|(name, _)| name == "business_id").and_then(|(_, id)| id.parse().ok());
    let wanted = EnqueueRequest { business_id: business_id.unwrap_or_default(), ..fields.wanted(form) };
    let (tokens, urls) = ([token.clone()], [url.to_owned()]);
    let signed = fields.signed().unwrap_or_default();
    ReadForm {
        signed: is_right(Algorithm::Sha1, &tokens, &urls, signed, signature),
        job: wanted.check(bases, form),
    }
}
