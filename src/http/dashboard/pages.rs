//! `/` and `/assets/…`: the files, to be asked for anew each time and sent only where they have changed, so that a page
//! never mixes files of two releases for long.

use super::assets::{self, Asset, INDEX};
use crate::http::problem::Problem;
use actix_web::{HttpRequest, HttpResponse, http::header, web};

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self'; \
     img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

pub async fn index(request: HttpRequest) -> Result<HttpResponse, Problem> {
    answer(assets::find(INDEX), &request)
}

pub async fn asset(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    answer(assets::find(&name).filter(|asset| asset.name != INDEX), &request)
}

fn answer(asset: Option<&'static Asset>, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let asset = asset.ok_or_else(|| Problem::not_found("the dashboard has no such file"))?;
    let known = is_known(asset, request);
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((header::ETAG, asset.etag.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
        .insert_header((header::PERMISSIONS_POLICY, "camera=(), microphone=(), geolocation=()"))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        .insert_header((header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"));
    if known {
        return Ok(answer.finish());
    }
    answer.content_type(asset.content_type);
    // A borrowed text is not copied for each request.
    Ok(match &asset.body {
        std::borrow::Cow::Borrowed(text) => answer.body(*text),
        std::borrow::Cow::Owned(text) => answer.body(text.as_str()),
    })
}

/// Whether the browser has it already (RFC 9110, section 13.1.2). A proxy that compresses makes the validator weak.
fn is_known(asset: &Asset, request: &HttpRequest) -> bool {
    let known = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    known.flat_map(|list| list.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == asset.etag
    })
}
