//! A recording's URL: one that is accepted belongs to the base, carries no credentials, and is put right once for all.
//! What else may be requested is https at a host that no spelling makes a private one. (What addresses a name may have is
//! decided where it is resolved.)

use callspool::domain::{
    ids::SidForm,
    recording_url::{MAX_LEN, ProviderBases, sids},
    url_policy::{Destination, check, is_public},
};
use url::{Host, Url};

const BASES: [&str; 4] = [
    "https://api.twilio.com",
    "https://api.twilio.com:8443/2010-04-01/",
    "http://[::1]:9",
    "http://127.0.0.1:8080",
];

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for base in BASES {
        let origin: Url = base.parse().expect("a constant");
        let base = ProviderBases::new(origin.clone());
        requested(text, &base);
        let Ok(url) = base.recording_url(text) else { continue };
        assert!(base.owner(&url).is_some(), "{url}");
        assert_eq!((url.scheme(), url.host()), (origin.scheme(), origin.host()));
        assert_eq!(url.port_or_known_default(), origin.port_or_known_default());
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
        assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
        assert!(url.as_str().len() <= MAX_LEN && url.as_str().is_ascii(), "{url}");
        assert!(!url.as_str().contains(|c: char| c.is_control() || c == ' '), "{url}");
        assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(&url), "it is read as it is written");
        assert_eq!(base.recording_url(url.as_str()).as_ref(), Ok(&url), "it is right already");
        let (account, recording) = sids(&url, SidForm::Short);
        for sid in [account.map(|sid| sid.to_string()), recording.map(|sid| sid.to_string())].into_iter().flatten()
        {
            assert!(url.path().contains(&sid), "{url}");
        }
    }
}

/// As a redirect may name it.
fn requested(text: &str, bases: &ProviderBases) {
    let Ok(url) = Url::parse(text) else { return };
    match check(&url, bases) {
        Ok(Destination::Base) => assert!(bases.owner(&url).is_some(), "{url}"),
        Ok(Destination::Public) => {
            assert_eq!(url.scheme(), "https");
            assert!(url.username().is_empty() && url.password().is_none(), "{url}");
            match url.host() {
                Some(Host::Ipv4(address)) => assert!(is_public(address.into()), "{url}"),
                Some(Host::Ipv6(address)) => assert!(is_public(address.into()), "{url}"),
                Some(Host::Domain(name)) => {
                    let name = name.strip_suffix('.').unwrap_or(name);
                    assert!(name.contains('.') && !name.ends_with(".localhost"), "{url}");
                }
                None => panic!("{url} has no host"),
            }
        }
        Err(_) => {}
    }
}
