//! What a value may be: the check, and the words for it.

use crate::domain::{
    access::MIN_SECRET,
    account::{Account, ApiKey},
    database_url::Hosts,
    duration::{self, words},
    ids::{AccountSid, SidForm},
    layout::Layout,
    sql_name::{is_name, is_table},
    storage_url::StorageUrl,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::header::{HeaderName, HeaderValue};
use sqlx::postgres::PgConnectOptions;
use std::{net::SocketAddr, time::Duration};
use tracing_subscriber::filter::Targets;
use url::Url;

/// The kind of one key's value, with its bounds (inclusive).
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Int {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    Bool,
    /// `0` or `1`, and nothing else.
    Switch,
    /// A number with a unit.
    Duration {
        min: Duration,
        max: Duration,
    },
    /// The same; a bare number is milliseconds, as in PostgreSQL.
    PgInterval {
        min: Duration,
        max: Duration,
    },
    Seconds {
        min: u64,
        max: u64,
    },
    OneOf(&'static [&'static str]),
    /// One or more of these.
    Some(&'static [&'static str]),
    /// Words for people.
    Name,
    Path,
    /// A folder that exists.
    Folder,
    /// Names of tables, with or without their schema; may be empty.
    Tables,
    Schema,
    Address,
    HttpUrl,
    StorageUrl,
    /// How a stored file is called.
    Layout,
    LogLevel,
    AccountSid,
    /// ISO 639: two or three letters.
    Language,
    /// A public key of 32 bytes, in base64.
    Ed25519Key,
    /// One word; never shown. The line break at the end of a secret's file is refused rather than never right.
    Secret,
    /// One or more of them; never shown.
    AuthTokens,
    /// `SK…:secret`; never shown.
    ApiKey,
    /// `name:scope+scope:token`, separated by commas; never shown. What is wrong with an entry is a rule of its own.
    ApiTokens,
    /// `whsec_…`, separated by commas; never shown. What is wrong with an entry is a rule of its own.
    CompletionSecrets,
    /// Separated by commas; never shown. What is wrong with an entry is a rule of its own.
    LinkSecrets,
    /// `name=value` pairs as OpenTelemetry writes them; never shown.
    OtlpHeaders,
    /// A `postgres://` URL that the driver understands, of one host or several; never shown. What is wrong with one of
    /// several is a rule of its own.
    PostgresUrl,
}

/// A value that was checked.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Duration(Duration),
    Text(String),
    List(Vec<String>),
}

impl Kind {
    pub(super) fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Secret
                | Self::AuthTokens
                | Self::ApiKey
                | Self::ApiTokens
                | Self::CompletionSecrets
                | Self::LinkSecrets
                | Self::OtlpHeaders
                | Self::PostgresUrl
        )
    }

    /// `None`: not allowed.
    pub(super) fn check(self, raw: &str) -> Option<Value> {
        let text = || Value::Text(raw.to_owned());
        match self {
            Self::Int { min, max } => raw.parse().ok().filter(|n| (min..=max).contains(n)).map(Value::Int),
            Self::Float { min, max } => raw.parse().ok().filter(|n| (min..=max).contains(n)).map(Value::Float),
            Self::Bool => raw.parse().ok().map(Value::Bool),
            Self::Switch => ["0", "1"].contains(&raw).then(|| Value::Bool(raw == "1")),
            Self::Duration { min, max } => {
                duration::parse(raw, None).filter(|d| (min..=max).contains(d)).map(Value::Duration)
            }
            Self::PgInterval { min, max } => {
                duration::parse(raw, Some("ms")).filter(|d| (min..=max).contains(d)).map(Value::Duration)
            }
            Self::Seconds { min, max } => {
                let seconds = raw.parse().ok().filter(|n| (min..=max).contains(n));
                seconds.map(|n| Value::Duration(Duration::from_secs(n)))
            }
            Self::OneOf(words) => words.contains(&raw).then(text),
            Self::Some(words) => {
                let list: Vec<String> = raw.split(',').map(|word| word.trim().to_owned()).collect();
                list.iter().all(|word| words.contains(&word.as_str())).then_some(Value::List(list))
            }
            Self::Folder => std::path::Path::new(raw).is_dir().then(text),
            Self::Tables => {
                let names = raw.split(',').map(str::trim).filter(|name| !name.is_empty());
                let list: Vec<String> = names.map(ToOwned::to_owned).collect();
                list.iter().all(|name| is_table(name)).then_some(Value::List(list))
            }
            Self::Name | Self::Path => (!raw.is_empty() && !raw.contains(char::is_control)).then(text),
            Self::Secret => {
                let one_word = !raw.is_empty() && !raw.contains(|c: char| c.is_whitespace() || c.is_control());
                one_word.then(text)
            }
            Self::AuthTokens => Account::parse_tokens(raw).map(|_| text()),
            Self::ApiKey => ApiKey::parse(raw).ok().map(|_| text()),
            Self::ApiTokens | Self::CompletionSecrets | Self::LinkSecrets => {
                (!raw.contains(char::is_control)).then(text)
            }
            Self::OtlpHeaders => otlp_headers(raw).map(|_| text()),
            Self::Schema => is_name(raw).then(text),
            Self::Address => raw.parse::<SocketAddr>().ok().map(|_| text()),
            Self::HttpUrl => is_http_base(raw).then(text),
            Self::StorageUrl => StorageUrl::parse(raw).map(|_| text()),
            Self::Layout => raw.parse::<Layout>().ok().map(|_| text()),
            Self::LogLevel => raw.parse::<Targets>().ok().map(|_| text()),
            Self::AccountSid => AccountSid::parse(raw, SidForm::Short).ok().map(|_| text()),
            Self::Language => {
                let letters = raw.bytes().all(|byte| byte.is_ascii_lowercase());
                (letters && (2..=3).contains(&raw.len())).then(text)
            }
            Self::Ed25519Key => ed25519_key(raw).map(|_| text()),
            Self::PostgresUrl => {
                let scheme = ["postgres:", "postgresql:"].iter().any(|scheme| raw.starts_with(scheme));
                let is_understood = |url: &String| url.parse::<PgConnectOptions>().is_ok();
                let parsed = Hosts::of(raw).map_or(true, |hosts| hosts.urls.iter().all(is_understood));
                (scheme && parsed).then(text)
            }
        }
    }

    /// What is allowed, in words.
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Int { min, max } => format!("a whole number from {min} to {max}"),
            Self::Float { min, max } => format!("a number from {min} to {max}"),
            Self::Bool => "true or false".to_owned(),
            Self::Switch => "0 or 1".to_owned(),
            Self::Duration { min, max } => {
                format!("a number with ms, s, min, h or d, from {} to {}", words(min), words(max))
            }
            Self::PgInterval { min, max } => {
                format!("a PostgreSQL interval (us, ms, s, min, h, d) from {} to {}", words(min), words(max))
            }
            Self::Seconds { min, max } => format!("a whole number of seconds from {min} to {max}"),
            Self::OneOf(words) => format!("one of: {}", words.join(", ")),
            Self::Some(words) => format!("one or more of, separated by commas: {}", words.join(", ")),
            Self::Name => "a text without line breaks".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Folder => "a folder that exists".to_owned(),
            Self::Tables => "lower-case names of tables, separated by commas, such as leads, crm.calls".to_owned(),
            Self::Schema => "a lower-case SQL name that does not begin with pg_".to_owned(),
            Self::Address => "an address and port such as 127.0.0.1:8080".to_owned(),
            Self::HttpUrl => "an http or https URL without user info, query and fragment".to_owned(),
            Self::StorageUrl => StorageUrl::ALLOWED.to_owned(),
            Self::Layout => Layout::ALLOWED.to_owned(),
            Self::LogLevel => {
                "error, warn, info, debug, trace or off, also by target: info,callspool=debug".to_owned()
            }
            Self::AccountSid => "AC and 32 hexadecimal digits".to_owned(),
            Self::Language => "a language's code of two or three lower-case letters, as en or he".to_owned(),
            Self::Ed25519Key => "32 bytes in base64, as the provider's portal shows its public key".to_owned(),
            Self::Secret => "one word, without spaces and line breaks".to_owned(),
            Self::AuthTokens => "one word, or several separated by commas while they are rotated".to_owned(),
            Self::ApiKey => "SK and 32 letters or digits, a colon, and the key's secret".to_owned(),
            Self::ApiTokens => {
                format!("name:scope+scope:token, separated by commas; a token has at least {MIN_SECRET} characters")
            }
            Self::CompletionSecrets => {
                "whsec_ and 24 to 64 bytes in base64; several, separated by commas".to_owned()
            }
            Self::LinkSecrets => {
                format!("at least {MIN_SECRET} visible ASCII characters; several, separated by commas")
            }
            Self::OtlpHeaders => {
                "name=value, separated by commas; in a value, spaces and commas as %20 and %2C".to_owned()
            }
            Self::PostgresUrl => "a postgres:// URL; several hosts as host1:5432,host2:5432".to_owned(),
        }
    }
}

/// The headers of `OTEL_EXPORTER_OTLP_HEADERS` (OpenTelemetry, "Protocol Exporter"), their values percent-decoded.
pub(super) fn otlp_headers(text: &str) -> Option<Vec<(String, String)>> {
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), percent_decoded(value.trim())?);
        let is_right = HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(&value).is_ok();
        is_right.then(|| (name.to_owned(), value))
    };
    text.split_terminator(',').map(header).collect()
}

/// Standard base64, with its padding.
pub(super) fn ed25519_key(text: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// `None`: a % without two hexadecimal digits, or no text.
fn percent_decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_http_base(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_headers_are_names_and_values_that_can_be_sent() {
        let pairs = otlp_headers("api-key=s=1, Authorization=Basic%20a%2Cb,").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("api-key", "s=1"), ("Authorization", "Basic a,b")]);
        for bad in ["api-key", "=x", "a b=x", "a=%", "a=%2", "a=%zz", "a=%ff", "a=%0A", "a=1,b"] {
            assert!(Kind::OtlpHeaders.check(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_public_key_is_32_bytes_in_base64() {
        let good = BASE64_STANDARD.encode([7; 32]);
        assert!(Kind::Ed25519Key.check(&good).is_some());
        for bad in ["", "x", good.trim_end_matches('='), &format!("{good}\n"), &BASE64_STANDARD.encode([7; 31])] {
            assert!(Kind::Ed25519Key.check(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_database_url_is_one_that_the_driver_understands() {
        for good in [
            "postgres://u:p@h/db",
            "postgresql://h:6543/db?sslmode=require&pgbouncer=true",
            "postgres://u:p@h1,h2:6543,[::1]:5432/db?target_session_attrs=read-write",
            "postgres:///db?host=/run/a,/run/b",
        ] {
            assert!(Kind::PostgresUrl.check(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "mysql://h/db",
            "mysql://h1,h2/db",
            "postgres",
            "postgres://h:99999/db",
            "postgres://h/db?sslmode=maybe",
            "postgres://h1,h2/db?sslmode=maybe",
        ] {
            assert!(Kind::PostgresUrl.check(bad).is_none(), "{bad}");
        }
    }
}
