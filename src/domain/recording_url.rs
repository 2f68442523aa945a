//! Recording URLs: checked and put right once, at the door (incident 20), and checked again before a connection.

use super::ids::{AccountSid, RecordingSid, SidForm};
use url::Url;

/// The longest URL that is accepted, in bytes.
pub const MAX_LEN: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingUrlError {
    #[error("recording_url must be at most {MAX_LEN} bytes long")]
    TooLong,
    #[error("recording_url must be a URL, or a path at the provider's base")]
    Malformed,
    #[error("recording_url must belong to the configured provider base {base}")]
    ForeignHost { base: String },
    #[error("recording_url must not carry user info")]
    UserInfo,
}

/// The provider's base, such as `https://api.twilio.com`: the only place that recordings are fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderBase {
    url: Url,
}

impl ProviderBase {
    /// The base is configuration and therefore trusted as it is, loopback and http included.
    pub fn new(url: Url) -> Self {
        Self { url }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The media URL without an extension: `.json`, `.mp3` and `.wav` are taken off, a relative reference is resolved
    /// against the base, query and fragment go.
    pub fn recording_url(&self, text: &str) -> Result<Url, RecordingUrlError> {
        if text.len() > MAX_LEN {
            return Err(RecordingUrlError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) || text.is_empty() {
            return Err(RecordingUrlError::Malformed);
        }
        let mut url = self.url.join(text).map_err(|_| RecordingUrlError::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RecordingUrlError::UserInfo);
        }
        if !self.owns(&url) {
            return Err(RecordingUrlError::ForeignHost { base: self.url.origin().ascii_serialization() });
        }
        url.set_query(None);
        url.set_fragment(None);
        let mut path = url.path().to_owned();
        while let Some(stem) = [".json", ".mp3", ".wav"].iter().find_map(|ext| path.strip_suffix(ext)) {
            path = stem.to_owned();
        }
        url.set_path(&path);
        // Percent-encoding makes a text up to three times as long.
        if url.as_str().len() > MAX_LEN { Err(RecordingUrlError::TooLong) } else { Ok(url) }
    }

    /// Same scheme, host and port as the base.
    pub fn owns(&self, url: &Url) -> bool {
        url.origin() == self.url.origin()
    }
}

/// The SIDs that stand in the path `…/Accounts/AC…/Recordings/RE…`, where they do.
pub fn sids(url: &Url, form: SidForm) -> (Option<AccountSid>, Option<RecordingSid>) {
    let after = |name: &str| {
        let mut segments = url.path_segments()?.skip_while(|s| *s != name);
        segments.next()?;
        segments.next().map(str::to_owned)
    };
    (
        after("Accounts").and_then(|s| AccountSid::parse(&s, form).ok()),
        after("Recordings").and_then(|s| RecordingSid::parse(&s, form).ok()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> ProviderBase {
        ProviderBase::new(Url::parse("https://api.twilio.com").expect("a constant"))
    }

    #[test]
    fn extensions_queries_and_relative_paths_are_put_right() {
        let want = "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1";
        for text in [
            want,
            &format!("{want}.json"),
            &format!("{want}.mp3.wav"),
            &format!("{want}.mp3?RequestedChannels=2#x"),
            "/2010-04-01/Accounts/AC1/Recordings/RE1.json",
        ] {
            assert_eq!(base().recording_url(text).map(String::from), Ok(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn only_the_providers_own_origin_is_accepted() {
        for text in [
            "http://api.twilio.com/x",
            "https://api.twilio.com.evil.example/x",
            "https://api.twilio.com:8443/x",
            "https://169.254.169.254/latest",
            "file:///etc/passwd",
            "//evil.example/x",
            "\\\\evil.example\\x",
        ] {
            assert!(matches!(base().recording_url(text), Err(RecordingUrlError::ForeignHost { .. })), "{text}");
        }
        assert_eq!(base().recording_url("https://me:pw@api.twilio.com/x"), Err(RecordingUrlError::UserInfo));
        for text in ["", " ", "https://api.twilio.com/a b", "https://api.twilio.com/a\n"] {
            assert_eq!(base().recording_url(text), Err(RecordingUrlError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn the_length_counts_as_it_is_stored() {
        let url = |stem: &str, count: usize| format!("https://api.twilio.com/{}", stem.repeat(count));
        assert!(base().recording_url(&url("a", 2000)).is_ok());
        assert_eq!(base().recording_url(&url("a", MAX_LEN)), Err(RecordingUrlError::TooLong));
        assert_eq!(base().recording_url(&url("é", 1000)), Err(RecordingUrlError::TooLong));
    }

    #[test]
    fn a_base_with_a_path_or_an_ipv6_host_owns_its_origin() {
        let base = |url: &str| ProviderBase::new(Url::parse(url).expect("a constant"));
        let put_right = |base: ProviderBase, text: &str| base.recording_url(text).map(String::from);
        let want = Ok("https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1".to_owned());
        let path = "/2010-04-01/Accounts/AC1/Recordings/RE1.json";
        assert_eq!(put_right(base("https://api.twilio.com/2010-04-01"), path), want);
        assert_eq!(put_right(base("http://[::1]:9"), "/x.json"), Ok("http://[::1]:9/x".to_owned()));
        assert!(put_right(base("http://[::1]:9"), "http://[::2]:9/x").is_err());
        assert!(put_right(base("http://[::1]:9"), "http://[::ffff:127.0.0.1]:9/x").is_err());
    }

    #[test]
    fn sids_are_read_from_the_path() {
        let url = base().recording_url("/2010-04-01/Accounts/AC1/Recordings/RE2").expect("valid");
        let (account, recording) = sids(&url, SidForm::Short);
        assert_eq!(account.map(|s| s.to_string()).as_deref(), Some("AC1"));
        assert_eq!(recording.map(|s| s.to_string()).as_deref(), Some("RE2"));
        assert_eq!(sids(&url, SidForm::Strict), (None, None));
    }
}
