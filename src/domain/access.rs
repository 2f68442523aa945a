//! Who may use the API, and for what: tokens with names, and their scopes.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, fmt, str::FromStr};
use utoipa::ToSchema;

/// What a token opens. None contains another: who enqueues and reads has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at everything, recordings included.
    Read,
    Enqueue,
    /// Retry, cancel, pause, change slots.
    Operate,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Enqueue, Self::Operate];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Enqueue => "enqueue",
            Self::Operate => "operate",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a scope is one of: read, enqueue, operate")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(UnknownScope)
    }
}

/// The name of the token that `CALLSPOOL_API_TOKEN` is.
pub const DEFAULT_NAME: &str = "default";
/// Whom a request on loopback counts as, where no token is configured.
pub const LOOPBACK_NAME: &str = "loopback";
/// The shortest token with a name, in characters.
pub const MIN_SECRET: usize = 16;
const MAX_NAME: usize = 40;

/// A bearer token. Whoever has it is known by its name, in the log and in the history of a business.
#[derive(Debug, Clone)]
pub struct ApiToken {
    pub name: String,
    pub scopes: Vec<Scope>,
    pub secret: SecretString,
}

impl ApiToken {
    /// `CALLSPOOL_API_TOKEN`: it opens everything.
    pub fn unnamed(secret: SecretString) -> Self {
        Self { name: DEFAULT_NAME.to_owned(), scopes: Scope::ALL.to_vec(), secret }
    }

    /// `name:scope+scope:token`, separated by commas; or all that is wrong with them. A fault names an entry by its
    /// place and repeats none of it: what stands where a name should be may be a secret.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Vec<String>> {
        let (mut tokens, mut faults) = (Vec::<Self>::new(), Vec::new());
        for (place, entry) in (1..).zip(text.split(',')) {
            let mut wrong = |fault: &str| faults.push(format!("entry {place}: {fault}"));
            let mut parts = entry.trim().splitn(3, ':');
            let (Some(name), Some(scopes), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
                wrong("it has to be name:scope+scope:token");
                continue;
            };
            if !is_name(name) {
                wrong(&format!("a name is up to {MAX_NAME} lower-case letters, digits, - and _"));
            } else if [DEFAULT_NAME, LOOPBACK_NAME].contains(&name) {
                wrong(&format!("the names {DEFAULT_NAME} and {LOOPBACK_NAME} are taken"));
            }
            let scopes: Vec<Scope> = scopes
                .split('+')
                .filter_map(|scope| scope.parse().map_err(|error: UnknownScope| wrong(&error.to_string())).ok())
                .collect();
            if secret.len() < MIN_SECRET || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                wrong(&format!("a token has at least {MIN_SECRET} visible ASCII characters"));
            }
            tokens.push(Self { name: name.to_owned(), scopes, secret: secret.into() });
        }
        let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
        for (place, token) in (1..).zip(&tokens) {
            if !names.insert(&token.name) {
                faults.push(format!("entry {place}: an entry before it has its name"));
            }
            // Nobody could tell which of the two came.
            if !secrets.insert(token.secret.expose_secret()) {
                faults.push(format!("entry {place}: an entry before it has its token"));
            }
        }
        if faults.is_empty() { Ok(tokens) } else { Err(faults) }
    }
}

/// The secrets of `CALLSPOOL_LINK_SECRET`, the newest first: it signs links, and each of them is still known by its own.
#[derive(Debug, Clone, Default)]
pub struct LinkSecrets(Vec<SecretString>);

impl LinkSecrets {
    /// Separated by commas; or what is wrong with them. A fault names an entry by its place and repeats none of it.
    pub fn parse_list(text: &str) -> Result<Self, Vec<String>> {
        let is_right =
            |secret: &str| secret.len() >= MIN_SECRET && secret.bytes().all(|byte| byte.is_ascii_graphic());
        let wrong = (1..).zip(text.split(',')).filter(|(_, secret)| !is_right(secret));
        let faults: Vec<String> = wrong
            .map(|(place, _)| format!("entry {place}: a secret has at least {MIN_SECRET} visible ASCII characters"))
            .collect();
        if faults.is_empty() { Ok(Self(text.split(',').map(SecretString::from).collect())) } else { Err(faults) }
    }

    pub fn newest(&self) -> Option<&SecretString> {
        self.0.first()
    }

    pub fn iter(&self) -> impl Iterator<Item = &SecretString> {
        self.0.iter()
    }
}

/// Fit for a cookie and a log line as it is.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        ApiToken::parse_list(text).expect_err("should be refused")
    }

    #[test]
    fn a_list_of_tokens_has_names_scopes_and_secrets() {
        let tokens =
            ApiToken::parse_list("grafana:read:0123456789abcdef, app-1:enqueue+read:a:b=c:0123456789").unwrap();
        let [first, second] = tokens.as_slice() else { panic!("{tokens:?}") };
        assert_eq!((first.name.as_str(), first.scopes.as_slice()), ("grafana", &[Scope::Read][..]));
        assert_eq!(second.scopes, [Scope::Enqueue, Scope::Read]);
        assert_eq!(second.secret.expose_secret(), "a:b=c:0123456789", "a token may have colons");
    }

    #[test]
    fn every_fault_names_its_entry_and_repeats_nothing_of_it() {
        let secret = "s3cret-canary-0123456789";
        for (text, fault) in [
            (secret.to_owned(), "name:scope+scope:token"),
            (format!("a:{secret}"), "name:scope+scope:token"),
            (format!(":read:{secret}"), "a name is"),
            (format!("Name:read:{secret}"), "a name is"),
            (format!("{}:read:{secret}", "a".repeat(41)), "a name is"),
            (format!("default:read:{secret}"), "are taken"),
            (format!("loopback:read:{secret}"), "are taken"),
            (format!("a::{secret}"), "a scope is one of"),
            (format!("a:read+canary:{secret}"), "a scope is one of"),
            ("a:read:canary".to_owned(), "at least 16"),
            (format!("a:read:{secret}é"), "at least 16"),
            (format!("a:read:{secret} x"), "at least 16"),
            (format!("b:read:0123456789abcdef,{secret}"), "entry 2"),
            (format!("a:read:{secret},a:read:{secret}x"), "entry 2: an entry before it has its name"),
            (format!("a:read:{secret},b:read:{secret}"), "entry 2: an entry before it has its token"),
            (format!("a:read:{secret},"), "entry 2"),
        ] {
            let faults = faults(&text);
            assert!(faults.len() == 1 && faults[0].contains(fault), "{text}: {faults:?}");
            assert!(!faults[0].contains("canary"), "{faults:?}");
        }
        assert_eq!(faults("A:see:x").len(), 3);
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = ApiToken::unnamed("s3cret-canary".into());
        assert!(!format!("{token:?}").contains("canary"));
    }
}
