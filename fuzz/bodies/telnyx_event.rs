//! Telnyx' event: a job that keeps the rules and has its recording's own URL, or faults that are fit for a log.

use callspool::{
    domain::{ids::SidForm, provider::ProviderName, recording_url::ProviderBases},
    http::read_event,
};
use chrono::Datelike;

/// A line with the business that the URL names (empty: none), and the body.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (Some(named), Some(body)) = (parts.next(), parts.next()) else { return };
    let Ok(named) = std::str::from_utf8(named) else { return };
    let url = |text: &str| text.parse().expect("a constant");
    let bases = ProviderBases::new(url("https://api.twilio.com")).with_telnyx(url("https://api.telnyx.com"));
    match read_event(Some(named).filter(|named| !named.is_empty()), body, &bases) {
        Ok(job) => {
            let place = bases.place(&job.recording_url, SidForm::Strict).expect("its own URL");
            assert_eq!((place.provider, place.url.as_str()), (ProviderName::Telnyx, job.recording_url.as_str()));
            assert_eq!(place.recording_sid, job.recording_sid);
            assert!(job.business_id.get() > 0 && job.call_sid.as_str().len() == 36);
            let at = job.details.started_at;
            assert!(at.is_none_or(|at| (0..=9999).contains(&at.year())), "{at:?}");
        }
        Err(faults) => {
            assert!(!faults.is_empty() && faults.len() <= 4);
            assert!(faults.iter().all(|fault| !fault.to_string().contains(char::is_control)), "{faults:?}");
        }
    }
}
