//! The completion webhook: where a business is told of its recordings, and the secrets that sign what it is told.
//!
//! Headers and signatures are those of Standard Webhooks (<https://www.standardwebhooks.com>), so that its libraries
//! verify them.

use super::{
    ids::BusinessId,
    text::clean,
    url_policy::{self, UrlRefused},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use std::time::Duration;
use url::Url;
use uuid::Uuid;

/// Of a business's own URL, in bytes.
pub const MAX_URL: usize = 2048;
/// In bytes (Standard Webhooks, "Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const PREFIX: &str = "whsec_";
/// So that a key of something else is none of these.
const PURPOSE: &str = "callspool completion of business";

/// What one business is told, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// The same for each try.
    pub event_id: Uuid,
    pub business_id: BusinessId,
    /// The business's own; `None`: the fleet's.
    pub url: Option<String>,
    /// JSON.
    pub body: String,
}

/// Why a business could not be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTold {
    /// A stable word for logs: `http_status`, `timeout`, `network`, `url_refused`, `gone`, `no_secret`, `nowhere`.
    pub reason: &'static str,
    /// Clean.
    pub message: String,
    pub retry_after: Option<Duration>,
    /// Nobody wants to hear it: it is not tried again.
    pub stop: bool,
    /// Whoever else is to be told there would not be heard either.
    pub out_of_reach: bool,
}

impl NotTold {
    pub fn new(reason: &'static str, message: impl AsRef<str>) -> Self {
        Self { reason, message: clean(message.as_ref()), retry_after: None, stop: false, out_of_reach: false }
    }
}

/// The secrets of `CALLSPOOL_COMPLETION_SECRET`, the newest first: while they are rotated, each of them signs.
#[derive(Debug, Clone, Default)]
pub struct CompletionSecrets(Vec<SecretSlice<u8>>);

impl CompletionSecrets {
    /// `whsec_…`, separated by commas; or what is wrong with them. A fault names an entry by its place and repeats none
    /// of it.
    pub fn parse_list(text: &str) -> Result<Self, Vec<String>> {
        let (mut secrets, mut faults) = (Vec::new(), Vec::new());
        for (place, entry) in (1..).zip(text.split(',')) {
            let bytes = entry.strip_prefix(PREFIX).and_then(|base64| BASE64_STANDARD.decode(base64).ok());
            match bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len())) {
                Some(bytes) => secrets.push(SecretSlice::from(bytes)),
                None => faults.push(format!(
                    "entry {place}: a secret is whsec_ and 24 to 64 bytes in base64, as of `openssl rand -base64 32`"
                )),
            }
        }
        if faults.is_empty() { Ok(Self(secrets)) } else { Err(faults) }
    }

    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one business, which its own receiver may know: made from the fleet's, so that nobody who has them can
    /// sign for another business.
    #[must_use]
    pub fn of_business(&self, business_id: BusinessId) -> Self {
        let of_one = |secret: &SecretSlice<u8>| {
            SecretSlice::from(hmac(secret, format!("{PURPOSE} {business_id}").as_bytes()).to_vec())
        };
        Self(self.0.iter().map(of_one).collect())
    }

    /// As a receiver's library wants them.
    pub fn shown(&self) -> Vec<SecretString> {
        let shown =
            |secret: &SecretSlice<u8>| format!("{PREFIX}{}", BASE64_STANDARD.encode(secret.expose_secret()));
        self.0.iter().map(|secret| shown(secret).into()).collect()
    }

    /// `webhook-signature`: one of each secret, separated by spaces.
    pub fn signature(&self, event_id: &str, timestamp: i64, body: &str) -> String {
        let signed = format!("{event_id}.{timestamp}.{body}");
        let one = |secret| format!("v1,{}", BASE64_STANDARD.encode(hmac(secret, signed.as_bytes())));
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

fn hmac(secret: &SecretSlice<u8>, message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Which URLs a business may have for itself.
#[derive(Debug, Clone, Default)]
pub struct CompletionRules {
    /// `completion.url`: configured, and therefore trusted as it is. Others at its origin are as well.
    pub trusted: Option<Url>,
    /// There is a secret to sign with.
    pub signs: bool,
}

impl CompletionRules {
    /// The URL, where it may be asked; or what is allowed. A name is looked at again when it is resolved.
    pub fn check(&self, text: &str) -> Result<Url, String> {
        let wrong = |text: &str| Err(format!("completion_url {text}"));
        if !self.signs {
            return wrong("needs CALLSPOOL_COMPLETION_SECRET, which is not set here");
        }
        let url = match Url::parse(text) {
            Ok(url) if text.len() <= MAX_URL && !text.contains(|c: char| c.is_control() || c.is_whitespace()) => {
                url
            }
            _ => return wrong("must be an https URL of at most 2048 characters"),
        };
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return wrong("must have neither user info nor a fragment");
        }
        if self.trusts(&url) {
            return Ok(url);
        }
        match url_policy::check_public(&url) {
            Ok(()) => Ok(url),
            Err(UrlRefused::Scheme) => wrong("must be an https URL of at most 2048 characters"),
            Err(_) => wrong("must be of a host on the public internet"),
        }
    }

    /// At the origin of `completion.url`.
    pub fn trusts(&self, url: &Url) -> bool {
        self.trusted.as_ref().is_some_and(|trusted| trusted.origin() == url.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn rules(trusted: Option<&str>) -> CompletionRules {
        CompletionRules { trusted: trusted.map(|url| url.parse().unwrap()), signs: true }
    }

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let secrets = CompletionSecrets::parse_list(SECRET).unwrap();
        let signature = secrets.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_the_first_one_first_and_each_business_has_its_own() {
        let one = CompletionSecrets::parse_list(SECRET).unwrap();
        let two = CompletionSecrets::parse_list(&format!("{SECRET},whsec_{}", "A".repeat(32))).unwrap();
        let (alone, both) = (one.signature("e", 1, "{}"), two.signature("e", 1, "{}"));
        assert!(both.starts_with(&format!("{alone} v1,")) && both.split(' ').count() == 2, "{both}");
        let of = |id: i64| one.of_business(id.try_into().unwrap());
        assert_ne!(of(1).signature("e", 1, "{}"), of(2).signature("e", 1, "{}"));
        let shown = of(1).shown().remove(0);
        let again = CompletionSecrets::parse_list(shown.expose_secret()).unwrap();
        assert_eq!(again.signature("e", 1, "{}"), of(1).signature("e", 1, "{}"));
    }

    #[test]
    fn a_wrong_secret_is_named_by_its_place_and_not_repeated() {
        for wrong in ["", "canary", "whsec_canary", "whsec_Y2FuYXJ5", &format!("{SECRET},canary")] {
            let faults = CompletionSecrets::parse_list(wrong).err().unwrap();
            assert!(faults.len() == 1 && faults[0].starts_with("entry"), "{faults:?}");
            assert!(!faults[0].contains("canary") && !faults[0].contains("Y2Fu"), "{faults:?}");
        }
        assert!(!format!("{:?}", CompletionSecrets::parse_list(SECRET).unwrap()).contains("MfKQ"));
    }

    #[test]
    fn a_business_is_told_by_https_on_the_public_internet() {
        for good in ["https://example.com/hook?x=1", "https://93.184.216.34/", "https://[2606:4700::1111]:8443/x"] {
            assert!(rules(None).check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "http://example.com/",
            "ftp://example.com/",
            "https://me:pw@example.com/",
            "https://example.com/#x",
            "https://example.com/ x",
            "https://localhost/",
            "https://a.localhost./",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://224.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:a00:1::]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
        ] {
            let refused = rules(None).check(bad);
            assert!(
                refused.as_ref().is_err_and(|fault| fault.starts_with("completion_url ")),
                "{bad}: {refused:?}"
            );
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
        assert!(rules(None).check(&long).is_err());
        assert!(CompletionRules::default().check("https://example.com/").unwrap_err().contains("SECRET"));
    }

    #[test]
    fn what_is_at_the_configured_origin_is_trusted_like_it() {
        let rules = rules(Some("http://127.0.0.1:9/hook"));
        assert!(rules.check("http://127.0.0.1:9/of/business/1").is_ok());
        for other in ["http://127.0.0.1:10/", "https://127.0.0.1:9/", "http://127.0.0.1/"] {
            assert!(rules.check(other).is_err(), "{other}");
        }
    }
}
