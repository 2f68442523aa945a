//! Telnyx' webhook signature (Telnyx documentation, "Webhook signing"): Ed25519 over the time that `telnyx-timestamp`
//! says, a `|` and the body as it came; in base64, in `telnyx-signature-ed25519`.

use actix_web::http::header::HeaderMap;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};

const SIGNATURE: &str = "telnyx-signature-ed25519";
const TIMESTAMP: &str = "telnyx-timestamp";
/// How far the two clocks may be apart, a delivery's way included, in seconds; as in Telnyx' own libraries. What is
/// sent again within it is the same job.
const TOLERANCE: u64 = 300;

/// Whether Telnyx has signed this body, and lately; else what is wrong with it.
pub(in crate::http) fn check(
    key: &[u8; 32],
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<(), &'static str> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = header(SIGNATURE).ok_or("telnyx-signature-ed25519 is missing")?;
    let timestamp = header(TIMESTAMP).ok_or("telnyx-timestamp is missing")?;
    let wrong = "telnyx-signature-ed25519 is wrong: TELNYX_PUBLIC_KEY must be the key of the account that sends";
    let signature = BASE64_STANDARD.decode(signature).map_err(|_| wrong)?;
    let mut signed = Vec::with_capacity(timestamp.len() + 1 + body.len());
    signed.extend_from_slice(timestamp.as_bytes());
    signed.push(b'|');
    signed.extend_from_slice(body);
    UnparsedPublicKey::new(&ED25519, key).verify(&signed, &signature).map_err(|_| wrong)?;
    let said: i64 = timestamp.parse().map_err(|_| "telnyx-timestamp is no number of seconds")?;
    if now.timestamp().abs_diff(said) > TOLERANCE {
        return Err("telnyx-timestamp is more than 5 minutes away: sent again by somebody, or a clock is wrong");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    const BODY: &[u8] = br#"{"data":{}}"#;
    const NOW: i64 = 1_700_000_000;

    struct Sender {
        pair: Ed25519KeyPair,
        key: [u8; 32],
    }

    fn sender(seed: u8) -> Sender {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = pair.public_key().as_ref().try_into().unwrap();
        Sender { pair, key }
    }

    fn headers(sender: &Sender, timestamp: &str, body: &[u8]) -> HeaderMap {
        let signed = [timestamp.as_bytes(), b"|", body].concat();
        let signature = BASE64_STANDARD.encode(sender.pair.sign(&signed));
        let pairs = [(SIGNATURE, signature.as_str()), (TIMESTAMP, timestamp)];
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .into_iter()
            .collect()
    }

    fn checked(sender: &Sender, headers: &HeaderMap, body: &[u8]) -> Result<(), &'static str> {
        check(&sender.key, headers, body, DateTime::from_timestamp(NOW, 0).unwrap())
    }

    #[test]
    fn a_signature_is_right_for_its_key_its_time_and_its_body_only() {
        let (ours, other) = (sender(1), sender(2));
        let good = headers(&ours, &NOW.to_string(), BODY);
        assert_eq!(checked(&ours, &good, BODY), Ok(()));
        assert!(checked(&other, &good, BODY).is_err());
        assert!(checked(&ours, &good, br#"{"data":{} }"#).is_err());
        let mut later = good.clone();
        later.insert(HeaderName::from_static(TIMESTAMP), HeaderValue::from(NOW + 1));
        assert!(checked(&ours, &later, BODY).is_err());
        for missing in [SIGNATURE, TIMESTAMP] {
            let mut without = good.clone();
            without.remove(missing);
            assert!(checked(&ours, &without, BODY).unwrap_err().contains("missing"), "{missing}");
        }
        for junk in ["", "x", "====", &BASE64_STANDARD.encode([0; 64]), &BASE64_STANDARD.encode([0; 63])] {
            let mut wrong = good.clone();
            wrong.insert(HeaderName::from_static(SIGNATURE), HeaderValue::from_str(junk).unwrap());
            assert!(checked(&ours, &wrong, BODY).is_err(), "{junk}");
        }
    }

    #[test]
    fn a_signed_time_counts_for_five_minutes_in_both_directions() {
        let ours = sender(1);
        for (timestamp, is_right) in [
            ((NOW - 300).to_string(), true),
            ((NOW + 300).to_string(), true),
            ((NOW - 301).to_string(), false),
            ((NOW + 301).to_string(), false),
            (i64::MIN.to_string(), false),
            ("99999999999999999999".to_owned(), false),
            ("soon".to_owned(), false),
        ] {
            let headers = headers(&ours, &timestamp, BODY);
            assert_eq!(checked(&ours, &headers, BODY).is_ok(), is_right, "{timestamp}");
        }
    }
}
