//! Who may use the API: whoever has its bearer token.

use super::{HttpDeps, problem::Problem};
use actix_web::{HttpRequest, http::header};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use subtle::ConstantTimeEq;

impl HttpDeps {
    /// Without a configured token the address is loopback (the settings see to that), and everybody there may.
    pub(super) fn authorize(&self, request: &HttpRequest) -> Result<(), Problem> {
        let Some(expected) = &self.api_token else { return addressed_as_loopback(request) };
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = header.and_then(bearer).unwrap_or_default();
        // Digests are of one length, so not even the token's length shows in the time.
        let (given, expected) = (Sha256::digest(given), Sha256::digest(expected.expose_secret()));
        if bool::from(given.ct_eq(&expected)) { Ok(()) } else { Err(Problem::unauthorized()) }
    }
}

/// The scheme's name is written in any case (RFC 9110, section 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A page in a browser on this machine may reach a loopback address by a name of its own that it lets point here (DNS
/// rebinding); what the browser calls the host shows it.
fn addressed_as_loopback(request: &HttpRequest) -> Result<(), Problem> {
    let authority = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_loopback(authority) {
        return Ok(());
    }
    let detail = "without CALLSPOOL_API_TOKEN the API answers to localhost and loopback addresses only";
    Err(Problem::forbidden("host", detail))
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

    #[test]
    fn the_scheme_is_written_in_any_case_and_the_token_as_it_is() {
        assert_eq!(bearer("bEARER  Ab c "), Some("Ab c"));
        for other in ["Basic Ab", "Bearer", "", "BearerAb", "Ab"] {
            assert_eq!(bearer(other), None, "{other}");
        }
    }

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
}
