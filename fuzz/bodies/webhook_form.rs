//! A webhook's form: whatever comes, its signature is right only where the token made it, and it is a job that keeps the
//! rules, or is told what is wrong with it.

use callspool::{
    domain::{ids::SidForm, recording_url::ProviderBases},
    http::{read_form, sign},
};
use secrecy::SecretString;

const ENDPOINT: &str = "https://calls.example.com/webhooks/twilio/recording";

/// A line with the URL's query, one with the signature, and the form. `=` stands for the right signature.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let [Some(query), Some(signature), Some(form)] = [parts.next(), parts.next(), parts.next()] else { return };
    let (Ok(query), Ok(signature)) = (std::str::from_utf8(query), std::str::from_utf8(signature)) else { return };
    let base = ProviderBases::new("https://api.twilio.com".parse().expect("a constant"));
    let token = SecretString::from("the token of the tests");
    let url = format!("{ENDPOINT}?{query}");
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(form).into_owned().collect();
    let right = sign(&token, &url, &fields);
    let given = if signature == "=" { &right } else { signature };
    let read = read_form(&token, &url, given, form, &base, SidForm::Strict);
    assert!(read.signed || given != right, "its own signature is refused");
    assert!(!read.signed || given == right, "{given:?} is no signature of it");
    match read.job {
        Ok(job) => {
            assert!(job.business_id.get() > 0);
            assert!(base.owner(&job.recording_url.parse().expect("a checked URL")).is_some());
            assert_eq!(job.call_sid.as_str().len(), 34);
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| !fault.to_string().contains(char::is_control)), "{faults:?}");
        }
    }
}
