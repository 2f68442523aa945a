//! Bearer tokens. Which of them came, if any, shows in no time that it takes.

use super::Caller;
use crate::domain::access::{ApiToken, LOOPBACK_NAME, Scope};
use actix_web::{HttpRequest, http::header};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<[(ApiToken, [u8; 32])]>);

impl Tokens {
    pub fn new(tokens: Vec<ApiToken>) -> Self {
        // Digests are of one length, so not even a token's length shows in the time.
        let with_digest = |token: ApiToken| {
            let digest = digest(token.secret.expose_secret());
            (token, digest)
        };
        Self(tokens.into_iter().map(with_digest).collect())
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose `secret` is. All tokens are compared, also after the right one.
    pub(super) fn caller(&self, secret: &str) -> Option<Caller> {
        let given = digest(secret);
        let mut place = u32::MAX;
        for (at, (_, right)) in (0..).zip(self.0.iter()) {
            place.conditional_assign(&at, right.ct_eq(&given));
        }
        self.0.get(usize::try_from(place).ok()?).map(|(token, _)| caller(token))
    }

    /// What changes with the token of this name, where it may look at recordings; without any token that is whoever is on
    /// loopback.
    pub(in crate::http) fn id_of_reader(&self, name: &str) -> Option<String> {
        if self.are_none() {
            return (name == LOOPBACK_NAME).then(String::new);
        }
        let (token, digest) = self.0.iter().find(|(token, _)| token.name == name)?;
        token.scopes.contains(&Scope::Read).then(|| BASE64_URL_SAFE_NO_PAD.encode(digest))
    }

    /// Of the token with this name: what its cookies are signed with, and whose they are.
    pub(super) fn named(&self, name: &str) -> Option<(&SecretString, Caller)> {
        let (token, _) = self.0.iter().find(|(token, _)| token.name == name)?;
        Some((&token.secret, caller(token)))
    }
}

fn caller(token: &ApiToken) -> Caller {
    Caller { name: token.name.clone(), scopes: token.scopes.clone() }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// What the request says in `Authorization`; empty where that is no bearer token.
pub(super) fn given(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get(header::AUTHORIZATION)?;
    Some(header.to_str().ok().and_then(bearer).unwrap_or_default())
}

/// The scheme's name is written in any case (RFC 9110, section 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
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
    fn a_token_is_known_by_all_of_it() {
        let list = "a:read:0123456789abcdef,b:enqueue+read:0123456789abcdeg";
        let tokens = Tokens::new(ApiToken::parse_list(list).unwrap());
        let caller = tokens.caller("0123456789abcdeg").unwrap();
        assert_eq!((caller.name.as_str(), caller.scopes), ("b", vec![Scope::Enqueue, Scope::Read]));
        for wrong in ["", "0123456789abcde", "0123456789abcdefg", "0123456789ABCDEF"] {
            assert_eq!(tokens.caller(wrong), None, "{wrong}");
        }
        assert_eq!(Tokens::new(Vec::new()).caller(""), None);
    }
}
