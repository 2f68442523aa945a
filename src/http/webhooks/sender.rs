//! The proof that a callback is Twilio's.

use super::callback::Fields;
use crate::{
    domain::account::Account,
    http::{
        HttpDeps,
        signature::{Algorithm, is_body, is_right, spellings, user_info},
    },
};
use actix_web::{HttpRequest, http::header};

/// The account that sent it, or why it is not believed.
pub(super) fn check<'a>(
    deps: &'a HttpDeps,
    request: &HttpRequest,
    body: &[u8],
    fields: &Fields,
) -> Result<&'a Account, &'static str> {
    let accounts = &deps.webhook.accounts;
    if accounts.iter().all(|account| account.auth_tokens.is_empty()) {
        return Err("no TWILIO_AUTH_TOKEN is configured, so no signature can be checked");
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let given = header("X-Twilio-Signature").ok_or("X-Twilio-Signature is missing")?;
    let algorithm = Algorithm::named_in(header("X-Twilio-Webhooks-Signature-Settings"))
        .ok_or("X-Twilio-Webhooks-Signature-Settings names an algorithm that is not known here")?;
    let sender = fields.get("AccountSid").ok_or("AccountSid is missing")?;
    let account = accounts.iter().find(|account| account.sid.as_str() == sender);
    // A main account's token signs for no subaccount: each signs with its own.
    let account = account.ok_or("AccountSid is another account's: no such account is configured")?;
    if account.auth_tokens.is_empty() {
        return Err("no token is configured for this AccountSid, so no signature can be checked");
    }
    if fields.signed().is_none() {
        match is_body(body, request.query_string()) {
            Some(true) => {}
            Some(false) => return Err("bodySHA256 is not the body's checksum"),
            None => return Err("bodySHA256 is missing: a JSON body is signed by it"),
        }
    }
    let user_info = header(header::AUTHORIZATION.as_str()).and_then(user_info);
    let urls = told_urls(deps, request, user_info.as_deref()).ok_or("the request's URL cannot be told")?;
    if !is_right(algorithm, &account.auth_tokens, &urls, fields.signed().unwrap_or_default(), given) {
        return Err("X-Twilio-Signature is wrong: behind a proxy, http.public_url must be what Twilio was told");
    }
    Ok(account)
}

/// The URL as Twilio was told it, in its spellings. What a proxy or a caller says of scheme and host is believed for the
/// signature only: who lies about it needs a signature for the lie.
fn told_urls(deps: &HttpDeps, request: &HttpRequest, user_info: Option<&str>) -> Option<Vec<String>> {
    let target = request.uri().path_and_query()?.as_str();
    if let Some(url) = &deps.webhook.public_url {
        // A path of its own stands for what the proxy takes off.
        let target = format!("{}{target}", url.path().trim_end_matches('/'));
        return Some(spellings(url.scheme(), url.authority(), &target, user_info));
    }
    let connection = request.connection_info();
    Some(spellings(connection.scheme(), connection.host(), target, user_info))
}
