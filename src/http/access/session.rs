//! `/session`: a login for browsers. The token goes in once and comes back as a cookie that no script can read.

use super::{Caller, cookie, origin};
use crate::{
    domain::enqueue_request::FieldFault,
    http::{
        HttpDeps, body,
        limits::peer,
        operation::{FORM, JSON},
        problem::Problem,
    },
};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, http::header, web};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::time::Duration;
use url::form_urlencoded;
use utoipa::ToSchema;

/// Largest body of a login, in bytes.
const LIMIT: usize = 8 * 1024;
/// How long a wrong token waits for its answer.
const REFUSED_AFTER: Duration = Duration::from_millis(300);

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Login {
    token: String,
}

/// `POST /session`: 200 with the token's name and scopes, and the cookie. A form in a page without scripts is sent on to
/// the dashboard instead.
pub async fn log_in(
    deps: web::Data<HttpDeps>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    // Nobody is to be logged in by another site's page, as somebody else.
    origin::not_across_sites(&request, deps.webhook.public_url.as_ref())?;
    if deps.tokens.are_none() {
        origin::on_loopback(&request)?;
        return Ok(answer(&request).json(Caller::loopback()));
    }
    let body = body::read(&request, payload, &[JSON, FORM], LIMIT).await?;
    let token = token(&request, &body)?;
    let Some(caller) = deps.tokens.caller(token.expose_secret()) else {
        deps.limits.refused_login(peer(&request))?;
        tracing::warn!(client = %peer(&request), "login refused");
        tokio::time::sleep(REFUSED_AFTER).await;
        return Err(Problem::unauthorized());
    };
    let cookie = cookie::issued(&deps.tokens, &caller.name, is_secure(&deps, &request));
    tracing::info!(operator = caller.name, "logged in");
    Ok(answer(&request).cookie(cookie.ok_or_else(Problem::unauthorized)?).json(caller))
}

/// `GET /session`: whose the request is, by token or cookie.
pub async fn show(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(deps.caller(&request)?))
}

/// `DELETE /session`: 204, and the browser forgets the cookie, whether or not it still holds.
pub async fn log_out(deps: web::Data<HttpDeps>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    origin::from_our_page(&request, deps.webhook.public_url.as_ref())?;
    let cookie = cookie::taken_back(is_secure(&deps, &request));
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

fn token(request: &HttpRequest, body: &[u8]) -> Result<SecretString, Problem> {
    let token = if request.content_type().eq_ignore_ascii_case(JSON) {
        serde_json::from_slice(body).ok().map(|Login { token }| token.into())
    } else {
        let mut fields = form_urlencoded::parse(body);
        fields.find(|(name, _)| name == "token").map(|(_, token)| token.as_ref().into())
    };
    // What is wrong with it is not said in detail: it may be the token.
    let fault = || FieldFault::new("token", "token must be the only field, and a text");
    token.ok_or_else(|| Problem::invalid(vec![fault()]))
}

fn answer(request: &HttpRequest) -> actix_web::HttpResponseBuilder {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") {
        let mut answer = HttpResponse::SeeOther();
        answer.insert_header((header::LOCATION, "/"));
        return answer;
    }
    HttpResponse::Ok()
}

/// By what a proxy says too: who lies about it only keeps the cookie of a login of their own from coming back.
fn is_secure(deps: &HttpDeps, request: &HttpRequest) -> bool {
    let told = deps.webhook.public_url.as_ref().map(|url| url.scheme() == "https");
    told.unwrap_or(false) || request.connection_info().scheme() == "https"
}
