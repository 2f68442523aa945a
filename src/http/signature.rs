//! Twilio's request signature (Twilio documentation, "Webhooks security"): HMAC-SHA1, keyed with the account's token,
//! over the full URL that Twilio was told followed by every form field, sorted by name, name and value without a
//! separator; in base64, in `X-Twilio-Signature`. A field that comes with several values counts once for each
//! different one, as in Twilio's own libraries.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;

/// The header's value for a request to `url` with these fields. For whoever plays the provider.
pub fn sign(token: &SecretString, url: &str, fields: &[(String, String)]) -> String {
    BASE64_STANDARD.encode(mac(token, url, fields).finalize().into_bytes())
}

/// Whether `signature` is right for one of `urls`, in a time that tells nothing about the right one.
pub(super) fn is_right(
    token: &SecretString,
    urls: &[String],
    fields: &[(String, String)],
    signature: &str,
) -> bool {
    let Ok(signature) = BASE64_STANDARD.decode(signature) else { return false };
    urls.iter().any(|url| mac(token, url, fields).verify_slice(&signature).is_ok())
}

/// The URLs that Twilio may have signed: it does so sometimes with the scheme's standard port and sometimes without.
///
/// `target` is the path and query as they came, byte for byte: a parser that writes `'` as `%27`, say, makes another
/// URL of them, and the signature of a right request wrong.
pub(super) fn spellings(scheme: &str, authority: &str, target: &str) -> Vec<String> {
    let standard = if scheme == "https" { ":443" } else { ":80" };
    let has_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    let mut authorities = vec![authority.to_owned()];
    if let Some(bare) = authority.strip_suffix(standard) {
        authorities.push(bare.to_owned());
    } else if !has_port {
        authorities.push(format!("{authority}{standard}"));
    }
    authorities.into_iter().map(|authority| format!("{scheme}://{authority}{target}")).collect()
}

fn mac(token: &SecretString, url: &str, fields: &[(String, String)]) -> Hmac<Sha1> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort();
    sorted.dedup();
    // A key of any length is fine: HMAC hashes a longer one and pads a shorter one.
    let mut mac = Hmac::<Sha1>::new_from_slice(token.expose_secret().as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(url.as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
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

    /// The worked example of Twilio's documentation.
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

    #[test]
    fn the_documentations_example_is_right() {
        let token = SecretString::from("12345");
        let signature = sign(&token, URL, &fields());
        assert_eq!(signature, "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
        assert!(is_right(&token, &[URL.to_owned()], &fields(), &signature));
    }

    #[test]
    fn anything_else_is_wrong() {
        let token = SecretString::from("12345");
        let signature = sign(&token, URL, &fields());
        let mut changed = fields();
        changed[2].1.push('5');
        assert!(!is_right(&token, &[URL.to_owned()], &changed, &signature));
        assert!(!is_right(&token, &["https://example.com/".to_owned()], &fields(), &signature));
        assert!(!is_right(&SecretString::from("1234"), &[URL.to_owned()], &fields(), &signature));
        for junk in ["", "x", "====", "RSOYDt4T1cUTdK1PDd93/VVr8B8"] {
            assert!(!is_right(&token, &[URL.to_owned()], &fields(), junk), "{junk}");
        }
    }

    #[test]
    fn the_standard_port_may_be_spelled_out() {
        assert_eq!(spellings("https", "h", "/x?a=1"), ["https://h/x?a=1", "https://h:443/x?a=1"]);
        assert_eq!(spellings("https", "h:443", "/x"), ["https://h:443/x", "https://h/x"]);
        assert_eq!(spellings("http", "h:8080", "/x"), ["http://h:8080/x"]);
        assert_eq!(spellings("http", "[::1]", "/x"), ["http://[::1]/x", "http://[::1]:80/x"]);
        assert_eq!(spellings("http", "[::1]:8080", "/x"), ["http://[::1]:8080/x"]);
    }

    #[test]
    fn path_and_query_are_signed_as_they_came() {
        let odd = "/x?name=O'Neil&b=%7e~&c=a+b%20c&&d";
        assert_eq!(spellings("https", "Host", odd)[0], format!("https://Host{odd}"));
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
}
