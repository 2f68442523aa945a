//! Recording URLs: checked and put right once, at the door (incident 20), and checked again before a connection.

use super::ids::{AccountSid, RecordingSid, SidForm};
use std::{collections::BTreeMap, fmt};
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
    /// Telnyx' API has more than recordings at this origin.
    #[error("recording_url must be {base}/v2/recordings/ and a UUID in lower case")]
    NoRecording { base: String },
}

/// A provider's base, such as `https://api.twilio.com`: a place that recordings are fetched from. It is configuration and
/// therefore trusted as it is, loopback and http included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderBase {
    url: Url,
}

impl ProviderBase {
    pub fn new(url: Url) -> Self {
        Self { url }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Same scheme, host and port as the base.
    pub fn owns(&self, url: &Url) -> bool {
        url.origin() == self.url.origin()
    }
}

impl fmt::Display for ProviderBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.origin().ascii_serialization())
    }
}

/// The only places that recordings are fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderBases {
    /// What a relative reference is resolved against, for an account without a base of its own.
    main: ProviderBase,
    others: Vec<ProviderBase>,
    of_accounts: BTreeMap<AccountSid, ProviderBase>,
    /// One of `others`.
    telnyx: Option<ProviderBase>,
}

impl ProviderBases {
    pub fn new(main: Url) -> Self {
        Self { main: ProviderBase::new(main), others: Vec::new(), of_accounts: BTreeMap::new(), telnyx: None }
    }

    /// One more, such as another provider's.
    #[must_use]
    pub fn with(mut self, base: Url) -> Self {
        self.others.push(ProviderBase::new(base));
        self
    }

    #[must_use]
    pub fn with_telnyx(self, base: Url) -> Self {
        Self { telnyx: Some(ProviderBase::new(base.clone())), ..self.with(base) }
    }

    pub fn telnyx(&self) -> Option<&ProviderBase> {
        self.telnyx.as_ref()
    }

    /// The base of one account: its recordings are there and nowhere else, and nobody else's are.
    #[must_use]
    pub fn with_account(mut self, sid: AccountSid, base: Url) -> Self {
        self.of_accounts.insert(sid, ProviderBase::new(base));
        self
    }

    pub fn main(&self) -> &ProviderBase {
        &self.main
    }

    /// Where this account is reached.
    pub fn of_account(&self, sid: Option<&AccountSid>) -> &ProviderBase {
        sid.and_then(|sid| self.of_accounts.get(sid)).unwrap_or(&self.main)
    }

    /// The base with the origin of this URL, whosever it is.
    pub fn owner(&self, url: &Url) -> Option<&ProviderBase> {
        self.iter().find(|base| base.owns(url))
    }

    pub fn iter(&self) -> impl Iterator<Item = &ProviderBase> {
        std::iter::once(&self.main).chain(&self.others).chain(self.of_accounts.values())
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
        let mut url = self.main.url.join(text).map_err(|_| RecordingUrlError::Malformed)?;
        let own = account_in(&url).and_then(|sid| self.of_accounts.get(&sid));
        if let (Some(own), Err(url::ParseError::RelativeUrlWithoutBase)) = (own, Url::parse(text)) {
            url = own.url.join(text).map_err(|_| RecordingUrlError::Malformed)?;
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RecordingUrlError::UserInfo);
        }
        let mut allowed = own.map_or_else(|| self.shared().collect(), |own| vec![own]);
        if !allowed.iter().any(|base| base.owns(&url)) {
            allowed.dedup();
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            return Err(RecordingUrlError::ForeignHost { base: allowed.join(" or ") });
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

    /// Those that are not one account's own.
    fn shared(&self) -> impl Iterator<Item = &ProviderBase> {
        std::iter::once(&self.main).chain(&self.others)
    }
}

/// The account's SID in the path, in whichever form: it is looked up, and used for nothing else.
fn account_in(url: &Url) -> Option<AccountSid> {
    sids(url, SidForm::Short).0
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

    fn base() -> ProviderBases {
        ProviderBases::new(url("https://api.twilio.com"))
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a constant")
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
        let of = |stem: &str, count: usize| format!("https://api.twilio.com/{}", stem.repeat(count));
        assert!(base().recording_url(&of("a", 2000)).is_ok());
        assert_eq!(base().recording_url(&of("a", MAX_LEN)), Err(RecordingUrlError::TooLong));
        assert_eq!(base().recording_url(&of("é", 1000)), Err(RecordingUrlError::TooLong));
    }

    #[test]
    fn a_base_with_a_path_or_an_ipv6_host_owns_its_origin() {
        let base = |text: &str| ProviderBases::new(url(text));
        let put_right = |base: ProviderBases, text: &str| base.recording_url(text).map(String::from);
        let want = Ok("https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1".to_owned());
        let path = "/2010-04-01/Accounts/AC1/Recordings/RE1.json";
        assert_eq!(put_right(base("https://api.twilio.com/2010-04-01"), path), want);
        assert_eq!(put_right(base("http://[::1]:9"), "/x.json"), Ok("http://[::1]:9/x".to_owned()));
        assert!(put_right(base("http://[::1]:9"), "http://[::2]:9/x").is_err());
        assert!(put_right(base("http://[::1]:9"), "http://[::ffff:127.0.0.1]:9/x").is_err());
    }

    #[test]
    fn an_accounts_own_base_has_its_recordings_and_nobody_elses() {
        let sid = AccountSid::parse("AC2", SidForm::Short).expect("valid");
        let bases = base()
            .with(url("https://api.telnyx.example"))
            .with_account(sid.clone(), url("https://api.dublin.ie1.twilio.com"));
        let path = |account: u32| format!("/2010-04-01/Accounts/AC{account}/Recordings/RE1");
        let put_right = |text: String| bases.recording_url(&text).map(String::from);
        let (main, own) = ("https://api.twilio.com", "https://api.dublin.ie1.twilio.com");
        assert_eq!(put_right(path(1)), Ok(format!("{main}{}", path(1))));
        assert_eq!(put_right(path(2) + ".json"), Ok(format!("{own}{}", path(2))));
        assert_eq!(put_right(format!("{own}{}", path(2))), Ok(format!("{own}{}", path(2))));
        assert!(put_right("https://api.telnyx.example/v2/x".to_owned()).is_ok());
        for (wrong, right) in [
            (format!("{main}{}", path(2)), own),
            (format!("{own}{}", path(1)), "https://api.twilio.com or https://api.telnyx.example"),
            (format!("//evil.example{}", path(2)), own),
        ] {
            let refused = put_right(wrong).unwrap_err();
            assert_eq!(refused, RecordingUrlError::ForeignHost { base: right.to_owned() });
        }
        assert_eq!(bases.of_account(Some(&sid)).to_string(), own);
        assert_eq!(bases.of_account(None).to_string(), main);
        assert_eq!(
            bases.owner(&url("https://api.dublin.ie1.twilio.com/x")).map(ToString::to_string).as_deref(),
            Some(own)
        );
        assert!(bases.owner(&url("https://api.dublin.ie1.twilio.com:444/x")).is_none());
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
