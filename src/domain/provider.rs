//! The telephony providers, and whose a recording's URL is.
//!
//! A URL belongs to the provider whose base has its origin. Another provider gets a name here, a base, and what its
//! URLs look like; see `docs/telnyx.md` for the rest.

use super::{
    ids::{RecordingSid, SidForm},
    recording_url::{self, ProviderBase, ProviderBases, RecordingUrlError},
};
use std::fmt;
use url::Url;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderName {
    Twilio,
    Telnyx,
}

impl ProviderName {
    /// In the keys of holds, and as the account of a provider whose URLs name none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Telnyx => "telnyx",
        }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A recording's URL that was checked and put right, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub provider: ProviderName,
    pub url: Url,
    pub recording_sid: Option<RecordingSid>,
}

impl ProviderBases {
    /// Whose URL it is; `None`: nobody's.
    pub fn provider_of(&self, url: &Url) -> Option<ProviderName> {
        if self.telnyx().is_some_and(|telnyx| telnyx.owns(url)) {
            return Some(ProviderName::Telnyx);
        }
        self.owner(url).map(|_| ProviderName::Twilio)
    }

    /// Checks a URL at the door and puts it right. A path without a host is Twilio's, whose callbacks may carry one.
    pub fn place(&self, text: &str, form: SidForm) -> Result<Place, RecordingUrlError> {
        let url = self.recording_url(text)?;
        if let Some(telnyx) = self.telnyx().filter(|telnyx| telnyx.owns(&url)) {
            let recording_sid = Some(telnyx_recording(telnyx, &url)?);
            return Ok(Place { provider: ProviderName::Telnyx, url, recording_sid });
        }
        let recording_sid = recording_url::sids(&url, form).1;
        Ok(Place { provider: ProviderName::Twilio, url, recording_sid })
    }
}

/// Telnyx' resource of a recording (Telnyx documentation, "Retrieve a call recording"). Its id is a UUID: it is safe in a
/// path.
pub fn telnyx_url(base: &ProviderBase, recording: &RecordingSid) -> Url {
    let mut url = base.url().clone();
    url.set_path(&format!("{}/v2/recordings/{recording}", url.path().trim_end_matches('/')));
    url
}

/// Of the word that Telnyx has for it.
pub fn telnyx_channels(text: &str) -> Option<u8> {
    match text {
        "single" => Some(1),
        "dual" => Some(2),
        _ => None,
    }
}

/// The recording that a URL at this base names. Nothing but a recording's resource is ever asked for with the API key.
pub fn telnyx_recording(base: &ProviderBase, url: &Url) -> Result<RecordingSid, RecordingUrlError> {
    let last = url.path_segments().and_then(Iterator::last).unwrap_or_default();
    RecordingSid::parse(last, SidForm::Strict)
        .and_then(|id| id.fits(Some(ProviderName::Telnyx)))
        .ok()
        .filter(|id| telnyx_url(base, id) == *url)
        .ok_or_else(|| RecordingUrlError::NoRecording {
            base: base.url().as_str().trim_end_matches('/').to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDING: &str = "10cd86ac-fef8-4765-b203-0f7511f9fc75";

    fn bases() -> ProviderBases {
        let url = |text: &str| Url::parse(text).expect("a constant");
        ProviderBases::new(url("https://api.twilio.com")).with_telnyx(url("https://api.telnyx.com"))
    }

    #[test]
    fn a_url_belongs_to_the_provider_whose_origin_it_has() {
        let telnyx = format!("https://api.telnyx.com/v2/recordings/{RECORDING}");
        for text in [telnyx.clone(), format!("{telnyx}.mp3"), format!("{telnyx}?x=1#y")] {
            let place = bases().place(&text, SidForm::Strict).expect("Telnyx'");
            assert_eq!((place.provider, place.url.as_str()), (ProviderName::Telnyx, telnyx.as_str()), "{text}");
            assert_eq!(place.recording_sid.map(|id| id.to_string()).as_deref(), Some(RECORDING));
        }
        for text in ["https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1", "/2010-04-01/x"] {
            assert_eq!(bases().place(text, SidForm::Short).map(|place| place.provider), Ok(ProviderName::Twilio));
        }
        let owner = |text: &str| bases().provider_of(&Url::parse(text).expect("a constant"));
        assert_eq!(owner(&telnyx), Some(ProviderName::Telnyx));
        assert_eq!(owner("https://api.twilio.com/x"), Some(ProviderName::Twilio));
        assert_eq!(owner("https://example.com/x"), None);
    }

    #[test]
    fn only_a_recordings_resource_is_taken_from_telnyx() {
        for path in [
            "/v2/recordings".to_owned(),
            "/v2/recordings/RE1".to_owned(),
            format!("/v2/recordings/{}", RECORDING.to_uppercase()),
            format!("/v2/recordings/{RECORDING}/actions"),
            format!("/v2/recordings/../calls/{RECORDING}"),
            format!("/v2/x/recordings/{RECORDING}"),
            format!("/v2//recordings/{RECORDING}"),
            format!("/v2/recordings/{RECORDING}%2f"),
        ] {
            let refused = bases().place(&format!("https://api.telnyx.com{path}"), SidForm::Strict);
            assert!(matches!(refused, Err(RecordingUrlError::NoRecording { .. })), "{path}: {refused:?}");
        }
    }

    #[test]
    fn a_url_of_nobody_is_refused_with_both_bases() {
        for text in
            ["https://evil.example/x", "//evil.example/x", "https://api.telnyx.com.evil.example/v2/recordings/x"]
        {
            let refused = bases().place(text, SidForm::Strict).expect_err("nobody's").to_string();
            assert!(refused.ends_with("https://api.twilio.com or https://api.telnyx.com"), "{refused}");
        }
    }

    #[test]
    fn a_base_with_a_path_keeps_it() {
        let url = |text: &str| Url::parse(text).expect("a constant");
        let bases = ProviderBases::new(url("https://api.twilio.com")).with_telnyx(url("http://[::1]:9/telnyx/"));
        let id = RecordingSid::parse(RECORDING, SidForm::Strict).expect("a UUID");
        let own = telnyx_url(bases.telnyx().expect("it was given"), &id);
        let place = bases.place(own.as_str(), SidForm::Strict).expect("its own");
        assert_eq!(place.url.as_str(), format!("http://[::1]:9/telnyx/v2/recordings/{RECORDING}"));
    }
}
