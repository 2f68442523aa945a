//! The API's bearer token.

use super::{HttpDeps, problem::Problem};
use actix_web::{HttpRequest, http::header};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

impl HttpDeps {
    /// Without a configured token the address is loopback (the settings see to that), and everybody there may.
    pub(super) fn authorize(&self, request: &HttpRequest) -> Result<(), Problem> {
        let Some(expected) = &self.api_token else { return Ok(()) };
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = header.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Digests are of one length, so not even the token's length shows in the time.
        let (given, expected) = (Sha256::digest(given.trim()), Sha256::digest(expected.expose_secret()));
        if bool::from(given.ct_eq(&expected)) { Ok(()) } else { Err(Problem::unauthorized()) }
    }
}
