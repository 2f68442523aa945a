//! Texts that are made fit for a log, and values of the configuration: clean is clean, once for all, and says no password; a
//! duration, a list of tokens or secrets and a business's own URL are read as they are written, and refused without being
//! repeated.

use callspool::domain::{
    access::{ApiToken, LinkSecrets},
    backfill::BackfillName,
    completion::{CompletionRules, CompletionSecrets, MAX_URL},
    duration,
    text::{MAX_CHARS, clean},
    trace::TraceParent,
    transcript::{MAX_QUESTION, Question, TranscriptPlace},
    url_policy::is_public,
};
use url::{Host, Url};

const PASSWORD: &str = "s3cret-canary";

pub fn run(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data).replace(PASSWORD, "");
    let line = clean(text);
    assert!(!line.contains(char::is_control) && line.chars().count() <= MAX_CHARS, "{line:?}");
    assert_eq!(clean(&line), line, "it is clean already");
    // Wherever in a text it stands.
    for about in [text, &format!("x://{text}")] {
        let told = clean(&format!("{about} postgres://me:{PASSWORD}@db:5432/app?password={PASSWORD} it"));
        assert!(!told.contains(PASSWORD), "{told}");
        let told = clean(&format!("{about}postgres://me:{PASSWORD}@db:5432/app"));
        assert!(!told.contains(PASSWORD), "{told}");
    }
    values(text);
    lists(text);
    completion(text);
}

fn values(text: &str) {
    for bare in [None, Some("ms")] {
        if let Some(read) = duration::parse(text, bare) {
            let whole = std::time::Duration::from_millis(read.as_millis().try_into().expect("of 64 bits of us"));
            assert_eq!(duration::parse(&duration::words(read), None), Some(whole), "{text:?}");
        }
    }
    if let Ok(parent) = text.parse::<TraceParent>() {
        assert_eq!(parent.to_string(), text);
    }
    if let Ok(question) = text.parse::<Question>() {
        let asked = question.as_str();
        assert!(asked.chars().count() <= MAX_QUESTION && !asked.contains('\0'));
        assert_eq!(asked.parse(), Ok(question.clone()));
    }
    if let Ok(place) = text.parse::<TranscriptPlace>() {
        assert_eq!(place.to_string().parse(), Ok(place));
    }
    if let Some(name) = BackfillName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
}

fn lists(text: &str) {
    let refused = [
        ApiToken::parse_list(text).err(),
        LinkSecrets::parse_list(text).err(),
        CompletionSecrets::parse_list(text).err(),
    ];
    for faults in refused.into_iter().flatten() {
        assert!(!faults.is_empty() && faults.len() <= 4 * text.split(',').count() + 64 * text.split('+').count());
        for fault in faults {
            assert!(fault.starts_with("entry ") && !fault.contains(char::is_control), "{fault:?}");
        }
    }
    for token in ApiToken::parse_list(text).into_iter().flatten() {
        assert!(!token.name.is_empty() && !token.scopes.is_empty());
    }
}

fn completion(text: &str) {
    let trusted = "http://127.0.0.1:9/hook".parse::<Url>().expect("a constant");
    let rules = CompletionRules { trusted: Some(trusted.clone()), signs: true };
    match rules.check(text) {
        Ok(url) => {
            assert!(text.len() <= MAX_URL && url.fragment().is_none());
            assert!(url.username().is_empty() && url.password().is_none(), "{url}");
            assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(&url), "it is read as it is written");
            if url.origin() == trusted.origin() {
                return;
            }
            assert_eq!(url.scheme(), "https");
            match url.host() {
                Some(Host::Ipv4(address)) => assert!(is_public(address.into()), "{url}"),
                Some(Host::Ipv6(address)) => assert!(is_public(address.into()), "{url}"),
                Some(Host::Domain(name)) => assert!(name.contains('.'), "{url}"),
                None => panic!("{url} has no host"),
            }
        }
        Err(fault) => assert!(fault.starts_with("completion_url ") && fault.len() <= 100),
    }
}
