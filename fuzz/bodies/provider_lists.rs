//! Pages of a provider's recordings, and one recording: whatever they say, what is listed is a job that keeps the rules; the
//! credentials go nowhere but to the list; no list goes round for ever; and a recording that can be named is not lost for
//! what is said about it besides.

use callspool::{
    adapters::{
        telnyx::{Telnyx, TelnyxConfig},
        twilio::{Twilio, TwilioConfig},
    },
    domain::{
        account::Accounts,
        enqueue_request::EnqueueRequest,
        ids::{CallSid, RecordingSid, SidForm},
        media::{Form, Forms},
        ports::{ListedPage, Period},
        recording_url::{ProviderBase, ProviderBases},
    },
};
use chrono::Datelike;
use serde_json::Value;
use std::{sync::LazyLock, time::Duration};
use url::Url;

const TWILIO: &str = "https://api.twilio.com";
const TELNYX: &str = "https://api.telnyx.com";
const ACCOUNT: &str = "AC1";
/// The longest name of a page that is worth keeping.
const LONGEST_PAGE: usize = 4_096;

fn url(text: &str) -> Url {
    text.parse().expect("a constant")
}

static BASES: LazyLock<ProviderBases> = LazyLock::new(|| ProviderBases::new(url(TWILIO)).with_telnyx(url(TELNYX)));

static READERS: LazyLock<(Twilio, Telnyx)> = LazyLock::new(|| {
    let patience = Duration::from_secs(1);
    let twilio = TwilioConfig {
        bases: BASES.clone(),
        accounts: Accounts::default(),
        sid_form: SidForm::Short,
        connect_timeout: patience,
        read_timeout: patience,
        max_bytes: 1,
        min_bytes_per_second: 0,
        throughput_window: patience,
        resumes: 0,
    };
    let telnyx = TelnyxConfig {
        base: ProviderBase::new(url(TELNYX)),
        api_key: None,
        media_base: None,
        connect_timeout: patience,
        read_timeout: patience,
        max_bytes: 1,
        min_bytes_per_second: 0,
        throughput_window: patience,
        resumes: 0,
    };
    (Twilio::new(twilio).expect("a client"), Telnyx::new(telnyx).expect("a client"))
});

pub fn run(data: &[u8]) {
    let (twilio, telnyx) = &*READERS;
    let time = |text: &str| text.parse().expect("a constant");
    let period = Period {
        account: ACCOUNT.to_owned(),
        since: time("2026-01-01T00:00:00Z"),
        until: time("2026-01-02T00:00:00Z"),
    };
    if let Ok(page) = twilio.answered(&period, None, data) {
        listed(&page);
        // What nobody reads of an answer may be no value at all.
        if let Ok(said) = serde_json::from_slice::<Value>(data) {
            let rows = said["recordings"].as_array().into_iter().flatten();
            assert_eq!(page.recordings.len(), rows.filter(|row| is_named(row)).count(), "{page:?}");
        }
        if let Some(next) = page.next {
            // It is kept in the database, and asked for by whichever process goes on.
            assert!(next.len() <= LONGEST_PAGE && !next.contains(char::is_control), "{next:?}");
            let page = twilio.answered(&period, Some(&next), data).expect("its own page is asked for");
            assert_eq!(page.next, None, "a page that names itself ends the list");
        }
    }
    for asked in ["1", "3"] {
        let Ok(page) = telnyx.answered(asked, data) else { continue };
        listed(&page);
        let number = |text: &str| text.parse::<u32>().expect("a number");
        assert!(page.next.is_none_or(|next| number(&next) > number(asked)), "the list goes back");
    }
    let forms = Forms::parse(&["mp3"]).expect("a constant");
    if let Ok((form, url)) = Telnyx::chosen(data, &forms) {
        assert!([Form::Mp3, Form::Wav].contains(&form) && !url.as_str().contains(char::is_control), "{url}");
    }
}

/// Whether a row says which recording of which call it is, and does not say that it is still made.
fn is_named(row: &Value) -> bool {
    let [sid, call, status] = ["sid", "call_sid", "status"].map(|field| row[field].as_str().unwrap_or_default());
    RecordingSid::parse(sid, SidForm::Short).is_ok()
        && CallSid::parse(call, SidForm::Short).is_ok()
        && !["in-progress", "paused", "stopped", "processing"].contains(&status)
}

fn listed(page: &ListedPage) {
    for listed in &page.recordings {
        let request = EnqueueRequest {
            business_id: 1,
            call_sid: listed.call_sid.to_string(),
            recording_url: listed.recording_url.clone(),
            recording_sid: Some(listed.recording_sid.to_string()),
            ..EnqueueRequest::default()
        };
        let job = request.check(&BASES, SidForm::Short).unwrap_or_else(|faults| panic!("{listed:?}: {faults:?}"));
        assert_eq!(job.recording_url, listed.recording_url, "it is right already");
        let at = listed.details.started_at;
        assert!(at.is_none_or(|at| (0..=9999).contains(&at.year())), "{at:?}");
    }
}
