//! Twilio's request signature (Twilio documentation, "Webhooks security", and what its own libraries do): an HMAC, keyed
//! with the account's token, over the full URL that Twilio was told followed by every form field, sorted by name, name
//! and value without a separator; in base64, in `X-Twilio-Signature`. A field that comes with several values counts once
//! for each different one. Of a JSON body only the URL is signed: its parameter `bodySHA256` is the body's checksum.
//!
//! The hash is SHA-1 unless `X-Twilio-Webhooks-Signature-Settings` says `algorithm=HMAC_SHA256`.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac, digest::block_api::EagerHash};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use subtle::ConstantTimeEq;
use url::form_urlencoded;

/// The parameter of the query that has a JSON body's checksum.
const BODY_CHECKSUM: &str = "bodySHA256";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha1,
    Sha256,
}

impl Algorithm {
    /// From the header that names it: `key=…,algorithm=HMAC_SHA256`. `None`: one that is not known here.
    pub(super) fn named_in(settings: Option<&str>) -> Option<Self> {
        let mut parts = settings.unwrap_or_default().split(',').filter_map(|part| part.split_once('='));
        let named = parts.find(|(name, value)| name.trim() == "algorithm" && !value.trim().is_empty());
        match named.map(|(_, value)| value.trim().to_ascii_uppercase()).as_deref() {
            None | Some("HMAC_SHA1") => Some(Self::Sha1),
            Some("HMAC_SHA256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    fn fits(self, token: &SecretString, signed: &str, signature: &[u8]) -> bool {
        match self {
            Self::Sha1 => mac::<Sha1>(token, signed).verify_slice(signature).is_ok(),
            Self::Sha256 => mac::<Sha256>(token, signed).verify_slice(signature).is_ok(),
        }
    }
}

/// The header's value for a request to `url` with these fields. For whoever plays the provider.
pub fn sign(token: &SecretString, url: &str, fields: &[(String, String)]) -> String {
    let signed = format!("{url}{}", in_order(fields));
    BASE64_STANDARD.encode(mac::<Sha1>(token, &signed).finalize().into_bytes())
}

/// Whether `signature` is right for one of `urls` with one of `tokens`, in a time that tells nothing about the right one.
pub(super) fn is_right(
    algorithm: Algorithm,
    tokens: &[SecretString],
    urls: &[String],
    fields: &[(String, String)],
    signature: &str,
) -> bool {
    let Ok(signature) = BASE64_STANDARD.decode(signature) else { return false };
    let fields = in_order(fields);
    let mut signed = urls.iter().map(|url| format!("{url}{fields}"));
    signed.any(|signed| tokens.iter().any(|token| algorithm.fits(token, &signed, &signature)))
}

/// Whether a body that is not a form is the one whose checksum the signed URL has; `None`: it has none.
pub(super) fn is_body(body: &[u8], query: &str) -> Option<bool> {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let (_, told) = parameters.find(|(name, _)| name == BODY_CHECKSUM)?;
    let sum = Sha256::digest(body).iter().fold(String::new(), |mut sum, byte| {
        // Writing to a String does not fail.
        let _ = write!(sum, "{byte:02x}");
        sum
    });
    Some(sum.as_bytes().ct_eq(told.as_bytes()).into())
}

/// The URLs that Twilio may have signed. With a port and without: it does so sometimes one way and sometimes the other.
/// The host as it was written and in lower case. With the credentials that the URL had, where they come along.
///
/// `target` is the path and query as they came, byte for byte: a parser that writes `'` as `%27`, say, makes another
/// URL of them, and the signature of a right request wrong.
pub(super) fn spellings(scheme: &str, authority: &str, target: &str, user_info: Option<&str>) -> Vec<String> {
    let scheme = scheme.to_ascii_lowercase();
    let standard = if scheme == "https" { ":443" } else { ":80" };
    // The colons of an IPv6 address stand in brackets.
    let host_end = authority.rfind(']').map_or(0, |at| at + 1);
    let bare = authority[host_end..].find(':').map_or(authority, |at| &authority[..host_end + at]);
    let other = if bare == authority { format!("{authority}{standard}") } else { bare.to_owned() };
    let mut authorities = vec![authority.to_owned(), other];
    for at in 0..authorities.len() {
        let lower = authorities[at].to_ascii_lowercase();
        if !authorities.contains(&lower) {
            authorities.push(lower);
        }
    }
    let with = |user_info: &str| -> Vec<String> {
        authorities.iter().map(|authority| format!("{scheme}://{user_info}{authority}{target}")).collect()
    };
    let mut urls = with("");
    if let Some(user_info) = user_info {
        urls.extend(with(&format!("{user_info}@")));
    }
    urls
}

/// The user info of the URL that was asked, from its `Authorization: Basic`.
pub(super) fn user_info(authorization: &str) -> Option<String> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    let decoded =
        BASE64_STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    String::from_utf8(decoded).ok().filter(|text| !text.is_empty() && !text.contains(char::is_control))
}

/// Names and values one behind the other. Sorted by bytes, which is the order of their characters too.
fn in_order(fields: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort();
    sorted.dedup();
    sorted.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect()
}

fn mac<D: EagerHash>(token: &SecretString, signed: &str) -> Hmac<D> {
    // A key of any length is fine: HMAC hashes a longer one and pads a shorter one.
    let mut mac = Hmac::<D>::new_from_slice(token.expose_secret().as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<(String, String)> {
        let pairs = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    fn right(token: &str, url: &str, fields: &[(String, String)], signature: &str) -> bool {
        is_right(Algorithm::Sha1, &[SecretString::from(token)], &[url.to_owned()], fields, signature)
    }

    /// The worked example of Twilio's documentation.
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const SIGNATURE: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";

    #[test]
    fn the_documentations_example_is_right() {
        assert_eq!(sign(&SecretString::from("12345"), URL, &fields()), SIGNATURE);
        assert!(right("12345", URL, &fields(), SIGNATURE));
    }

    #[test]
    fn anything_else_is_wrong() {
        let mut changed = fields();
        changed[2].1.push('5');
        assert!(!right("12345", URL, &changed, SIGNATURE));
        assert!(!right("12345", "https://example.com/", &fields(), SIGNATURE));
        assert!(!right("1234", URL, &fields(), SIGNATURE));
        for junk in ["", "x", "====", "RSOYDt4T1cUTdK1PDd93/VVr8B8"] {
            assert!(!right("12345", URL, &fields(), junk), "{junk}");
        }
    }

    #[test]
    fn while_tokens_rotate_each_of_them_is_right() {
        let tokens = ["new", "12345"].map(SecretString::from);
        assert!(is_right(Algorithm::Sha1, &tokens, &[URL.to_owned()], &fields(), SIGNATURE));
        assert!(!is_right(Algorithm::Sha1, &[], &[URL.to_owned()], &fields(), SIGNATURE));
    }

    #[test]
    fn the_algorithm_is_the_one_that_the_header_names() {
        for (settings, algorithm) in [
            (None, Some(Algorithm::Sha1)),
            (Some(""), Some(Algorithm::Sha1)),
            (Some("key=webhooks_sharedkey_1"), Some(Algorithm::Sha1)),
            (Some("algorithm="), Some(Algorithm::Sha1)),
            (Some("key=webhooks_sharedkey_1, algorithm = hmac_sha256"), Some(Algorithm::Sha256)),
            (Some("algorithm=HMAC_SHA1"), Some(Algorithm::Sha1)),
            (Some("algorithm=none"), None),
        ] {
            assert_eq!(Algorithm::named_in(settings), algorithm, "{settings:?}");
        }
        let token = SecretString::from("12345");
        let longer = BASE64_STANDARD
            .encode(mac::<Sha256>(&token, &format!("{URL}{}", in_order(&fields()))).finalize().into_bytes());
        let is_right = |algorithm, signature: &str| {
            is_right(algorithm, std::slice::from_ref(&token), &[URL.to_owned()], &fields(), signature)
        };
        assert!(is_right(Algorithm::Sha256, &longer) && !is_right(Algorithm::Sha256, SIGNATURE));
        assert!(!is_right(Algorithm::Sha1, &longer));
    }

    #[test]
    fn the_port_may_be_there_or_not() {
        let spellings = |scheme, authority, target| spellings(scheme, authority, target, None);
        assert_eq!(spellings("https", "h", "/x?a=1"), ["https://h/x?a=1", "https://h:443/x?a=1"]);
        assert_eq!(spellings("https", "h:443", "/x"), ["https://h:443/x", "https://h/x"]);
        assert_eq!(spellings("HTTP", "h:8080", "/x"), ["http://h:8080/x", "http://h/x"]);
        assert_eq!(spellings("http", "[::1]", "/x"), ["http://[::1]/x", "http://[::1]:80/x"]);
        assert_eq!(spellings("http", "[::1]:8080", "/x"), ["http://[::1]:8080/x", "http://[::1]/x"]);
    }

    #[test]
    fn the_host_may_be_written_in_lower_case_and_credentials_may_stand_before_it() {
        let host = ["https://Host/X", "https://Host:443/X", "https://host/X", "https://host:443/X"];
        assert_eq!(spellings("https", "Host", "/X", None), host);
        let with = spellings("https", "host", "/X", Some("me:Secret"));
        assert_eq!(with[2..], ["https://me:Secret@host/X", "https://me:Secret@host:443/X"]);
        assert_eq!(user_info("Basic bWU6U2VjcmV0").as_deref(), Some("me:Secret"));
        for junk in ["", "Basic", "Basic %", "Basic ", "Bearer bWU6U2VjcmV0", "Basic AAo=", "Basic /w=="] {
            assert_eq!(user_info(junk), None, "{junk}");
        }
    }

    #[test]
    fn path_and_query_are_signed_as_they_came() {
        let odd = "/x?name=O'Neil&b=%7e~&c=a+b%20c&&d";
        assert_eq!(spellings("https", "Host", odd, None)[0], format!("https://Host{odd}"));
    }

    #[test]
    fn a_field_counts_once_for_each_different_value_whatever_the_order() {
        let token = SecretString::from("12345");
        let fields = |values: &[&str]| values.iter().map(|v| ("a".to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        let signature = sign(&token, URL, &fields(&["1", "2"]));
        for same in [&["2", "1"][..], &["1", "2", "1"], &["2", "2", "1"]] {
            assert_eq!(sign(&token, URL, &fields(same)), signature);
        }
        assert_ne!(sign(&token, URL, &fields(&["1"])), signature);
    }

    #[test]
    fn a_body_is_the_one_that_the_url_has_the_checksum_of() {
        let sum = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(is_body(b"{}", &format!("a=1&bodySHA256={sum}")), Some(true));
        assert_eq!(is_body(b"{ }", &format!("bodySHA256={sum}")), Some(false));
        for other in [&sum[1..], &sum.to_uppercase(), ""] {
            assert_eq!(is_body(b"{}", &format!("bodySHA256={other}")), Some(false), "{other}");
        }
        assert_eq!(is_body(b"{}", "bodysha256=x"), None);
    }
}
