//! Twilio's request signature (Twilio documentation, "Webhooks security"): HMAC-SHA1, keyed with the account's token,
//! over the full URL that Twilio was told followed by every form field, sorted by name, name and value without a
//! separator; in base64, in `X-Twilio-Signature`.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use url::Url;

/// The header's value for a request to `url` with these fields. For whoever plays the provider.
pub fn sign(token: &SecretString, url: &str, fields: &[(String, String)]) -> String {
    BASE64_STANDARD.encode(mac(token, url, fields).finalize().into_bytes())
}

/// Whether `signature` is right for one of `urls`, in a time that tells nothing about the right one.
pub(super) fn is_right(token: &SecretString, urls: &[String], fields: &[(String, String)], signature: &str) -> bool {
    let Ok(signature) = BASE64_STANDARD.decode(signature) else { return false };
    urls.iter().any(|url| mac(token, url, fields).verify_slice(&signature).is_ok())
}

/// Twilio signs the URL sometimes with its standard port and sometimes without.
pub(super) fn spellings(url: &Url) -> Vec<String> {
    let mut urls = vec![url.to_string()];
    if url.port().is_none()
        && let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default())
    {
        let authority = format!("://{host}");
        urls.push(url.as_str().replacen(&authority, &format!("{authority}:{port}"), 1));
    }
    urls
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
        let urls = spellings(&Url::parse("https://h/x?a=1").unwrap());
        assert_eq!(urls, ["https://h/x?a=1", "https://h:443/x?a=1"]);
        assert_eq!(spellings(&Url::parse("http://h:8080/x").unwrap()), ["http://h:8080/x"]);
    }
}
