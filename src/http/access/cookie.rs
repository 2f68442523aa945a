//! The login's cookie. It is kept nowhere but in the browser: the token's name, until when it holds, and an HMAC-SHA256
//! of both, keyed with the token. So it ends with its time, or with its token, in every process at once.

use super::{Caller, Tokens};
use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

const NAME: &str = "callspool_session";
const HOLDS: TimeDelta = TimeDelta::hours(12);
/// So that a signature of something else with the same key is none of a cookie.
const PURPOSE: &str = "callspool session 1";

/// For whoever showed the token with this name. `secure`: the browser came by https.
pub(super) fn issued(tokens: &Tokens, name: &str, secure: bool) -> Option<Cookie<'static>> {
    let (secret, _) = tokens.named(name)?;
    let value = signed(secret, name, Utc::now() + HOLDS);
    Some(cookie(value, time::Duration::seconds(HOLDS.num_seconds()), secure))
}

/// What takes it away.
pub(super) fn taken_back(secure: bool) -> Cookie<'static> {
    cookie(String::new(), time::Duration::ZERO, secure)
}

/// Whose the request's cookie is.
pub(super) fn caller(request: &HttpRequest, tokens: &Tokens) -> Option<Caller> {
    let cookie = request.cookie(NAME)?;
    verified(cookie.value(), tokens, Utc::now())
}

fn cookie(value: String, max_age: time::Duration, secure: bool) -> Cookie<'static> {
    let cookie = Cookie::build(NAME, value).path("/").http_only(true).same_site(SameSite::Strict);
    cookie.secure(secure).max_age(max_age).finish()
}

/// `name.seconds.signature`; a name has no dot.
fn signed(secret: &SecretString, name: &str, until: DateTime<Utc>) -> String {
    let until = until.timestamp();
    let signature = BASE64_URL_SAFE_NO_PAD.encode(mac(secret, name, until).finalize().into_bytes());
    format!("{name}.{until}.{signature}")
}

fn verified(value: &str, tokens: &Tokens, now: DateTime<Utc>) -> Option<Caller> {
    let mut parts = value.splitn(3, '.');
    let (name, until, signature) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    let (secret, caller) = tokens.named(name)?;
    // In a time that tells nothing about the right signature.
    mac(secret, name, until).verify_slice(&signature).ok()?;
    (now.timestamp() < until).then_some(caller)
}

fn mac(secret: &SecretString, name: &str, until: i64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(format!("{PURPOSE}\n{name}\n{until}").as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::ApiToken;

    fn tokens(list: &str) -> Tokens {
        Tokens::new(ApiToken::parse_list(list).unwrap())
    }

    const TWO: &str = "a:read:0123456789abcdef,b:operate:0123456789abcdeg";

    #[test]
    fn a_cookie_holds_for_twelve_hours_and_as_long_as_its_token() {
        let tokens = tokens(TWO);
        let now = Utc::now();
        let value = signed(tokens.named("a").unwrap().0, "a", now + HOLDS);
        assert_eq!(verified(&value, &tokens, now).unwrap().name, "a");
        assert!(verified(&value, &tokens, now + TimeDelta::hours(11)).is_some());
        assert_eq!(verified(&value, &tokens, now + HOLDS), None, "its time is over");
        assert_eq!(verified(&value, &Tokens::new(Vec::new()), now), None, "its token is gone");
        let changed = self::tokens("a:read:another-token-of-a");
        assert_eq!(verified(&value, &changed, now), None, "its token is another");
    }

    #[test]
    fn nothing_of_a_cookie_can_be_changed() {
        let tokens = tokens(TWO);
        let now = Utc::now();
        let good = signed(tokens.named("a").unwrap().0, "a", now + HOLDS);
        let signature = good.rsplit('.').next().unwrap();
        let until = (now + HOLDS).timestamp();
        let other_key = signed(tokens.named("b").unwrap().0, "a", now + HOLDS);
        for bad in [
            String::new(),
            "..".to_owned(),
            "a".to_owned(),
            format!("a.{until}"),
            format!("a.{until}."),
            format!("b.{until}.{signature}"),
            format!("c.{until}.{signature}"),
            format!("a.{}.{signature}", until + 1),
            format!("a.x.{signature}"),
            format!("{good}A"),
            format!("{good}.x"),
            good[..good.len() - 2].to_owned(),
            other_key,
        ] {
            assert_eq!(verified(&bad, &tokens, now), None, "{bad}");
        }
    }
}
