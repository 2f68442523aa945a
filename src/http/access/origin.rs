//! A browser tells whose page a request is of: `Sec-Fetch-Site` (W3C, "Fetch Metadata Request Headers") to a trustworthy
//! address, and `Origin` with whatever may change something (the Fetch Standard). A page cannot write either itself.

use crate::http::problem::Problem;
use actix_web::{HttpRequest, http::header};
use std::net::IpAddr;
use url::Url;

/// For what only a browser sends. `public_url`: what the browser calls us, where a proxy stands before us.
pub(super) fn from_our_page(request: &HttpRequest, public_url: Option<&Url>) -> Result<(), Problem> {
    judged(request, public_url).unwrap_or_else(|| {
        refused(
            "a request with a cookie that changes something needs Sec-Fetch-Site or Origin, as browsers send them",
        )
    })
}

/// For what a program sends too, which says nothing of this.
pub(super) fn not_across_sites(request: &HttpRequest, public_url: Option<&Url>) -> Result<(), Problem> {
    judged(request, public_url).unwrap_or(Ok(()))
}

/// `None`: the request does not say.
fn judged(request: &HttpRequest, public_url: Option<&Url>) -> Option<Result<(), Problem>> {
    let ours = match (said(request, "sec-fetch-site"), said(request, "origin")) {
        // The browser's own word; a proxy may call us otherwise than it does.
        (Some(site), _) => ["same-origin", "none"].contains(&site),
        (None, Some(origin)) => is_ours(origin, said(request, "host"), public_url),
        (None, None) => return None,
    };
    Some(if ours { Ok(()) } else { refused("the request is of another site's page") })
}

fn refused(detail: &str) -> Result<(), Problem> {
    Err(Problem::forbidden("cross_site", detail))
}

fn is_ours(origin: &str, host: Option<&str>, public_url: Option<&Url>) -> bool {
    let public = public_url.is_some_and(|url| url.origin().ascii_serialization() == origin);
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    public || authority.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
}

/// Headers of which a proxy on the way adds at least one (RFC 7239; RFC 9110, section 7.6.3).
const OF_PROXIES: [&str; 3] = ["forwarded", "x-forwarded-for", "via"];

/// Where there is no token: whoever asks is on this machine. Through a proxy on it everybody would seem to be.
pub(super) fn on_loopback(request: &HttpRequest) -> Result<(), Problem> {
    if OF_PROXIES.iter().any(|name| said(request, name).is_some()) {
        let detail = "without CALLSPOOL_API_TOKEN the API answers to no proxy: set a token";
        return Err(Problem::forbidden("proxy", detail));
    }
    addressed_as_loopback(request)
}

/// A page in a browser on this machine may reach a loopback address by a name of its own that it lets point here (DNS
/// rebinding); what the browser calls the host shows it.
fn addressed_as_loopback(request: &HttpRequest) -> Result<(), Problem> {
    if is_loopback(said(request, "host").unwrap_or_default()) {
        return Ok(());
    }
    let detail = "without CALLSPOOL_API_TOKEN the API answers to localhost and loopback addresses only";
    Err(Problem::forbidden("host", detail))
}

fn said<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let value = request.headers().get(header::HeaderName::try_from(name).ok()?)?;
    // What is no text is none of ours.
    Some(value.to_str().unwrap_or_default())
}

fn is_loopback(authority: &str) -> bool {
    // `[::1]:8080`, `127.0.0.1:8080`, `localhost`
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn a_loopback_address_is_called_by_itself_or_localhost() {
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["", "evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "::1"]
        {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn our_page_is_told_from_others_by_what_the_browser_says() {
        let public = Url::parse("https://calls.example.com/spool").unwrap();
        for (headers, ours) in [
            (&[("sec-fetch-site", "same-origin")][..], Some(true)),
            (&[("sec-fetch-site", "none")], Some(true)),
            (&[("sec-fetch-site", "same-site")], Some(false)),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://us:8080")], Some(false)),
            (&[("sec-fetch-site", "é")], Some(false)),
            (&[("origin", "http://us:8080")], Some(true)),
            (&[("origin", "http://US:8080")], Some(true)),
            (&[("origin", "https://calls.example.com")], Some(true)),
            (&[("origin", "http://us")], Some(false)),
            (&[("origin", "http://us:8080.evil.example")], Some(false)),
            (&[("origin", "http://calls.example.com")], Some(false)),
            (&[("origin", "null")], Some(false)),
            (&[("origin", "")], Some(false)),
            (&[], None),
        ] {
            let mut request = TestRequest::default().insert_header(("host", "us:8080"));
            for header in headers {
                request = request.insert_header(*header);
            }
            let request = request.to_http_request();
            assert_eq!(judged(&request, Some(&public)).map(|said| said.is_ok()), ours, "{headers:?}");
            assert_eq!(from_our_page(&request, Some(&public)).is_ok(), ours == Some(true), "{headers:?}");
            assert_eq!(not_across_sites(&request, Some(&public)).is_ok(), ours != Some(false), "{headers:?}");
        }
    }
}
