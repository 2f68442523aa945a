//! Identifiers, parsed once at the edge. A value of these types is safe in a path, a log line and a query.

use super::provider::ProviderName;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;
use uuid::Uuid;

/// What is wrong with an identifier, and what is allowed. The value itself is not repeated: it is untrusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {allowed}")]
pub struct InvalidId {
    pub field: &'static str,
    pub allowed: &'static str,
}

/// A tenant. Positive, as the product's own database numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64", into = "i64")]
#[schema(minimum = 1)]
pub struct BusinessId(i64);

impl BusinessId {
    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for BusinessId {
    type Error = InvalidId;

    fn try_from(value: i64) -> Result<Self, InvalidId> {
        if value > 0 {
            Ok(Self(value))
        } else {
            Err(InvalidId { field: "business_id", allowed: "a positive whole number" })
        }
    }
}

impl From<BusinessId> for i64 {
    fn from(id: BusinessId) -> i64 {
        id.0
    }
}

impl FromStr for BusinessId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse::<i64>().unwrap_or(0).try_into()
    }
}

impl fmt::Display for BusinessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job's number: from one sequence, so a smaller number was enqueued earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One running process. Made at start, never used again: a restarted container is another instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

impl InstanceId {
    /// A new identity that sorts by time of start.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which spelling of a provider's SIDs is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SidForm {
    /// Two letters and 32 hexadecimal digits, as Twilio documents them ("String Identifier").
    Strict,
    /// Also short alphanumeric ones such as `CA123`: for tests and simulated providers.
    Short,
}

impl SidForm {
    fn accepts(self, prefix: &str, text: &str) -> bool {
        let Some(rest) = text.strip_prefix(prefix) else { return false };
        let strict = rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit());
        let short = (1..=32).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric());
        match self {
            Self::Strict => strict,
            Self::Short => short,
        }
    }
}

/// A UUID in lower case, as Telnyx writes its ids.
fn is_uuid(text: &str) -> bool {
    let is_right = |(place, byte)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $field:literal, $pattern:literal) => {
        sid!($(#[$doc])* $name, $prefix, $field, $pattern, |_| false, "");

        impl $name {
            pub const PREFIX: &'static str = $prefix;
        }
    };
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $field:literal, $pattern:literal or a uuid) => {
        sid!($(#[$doc])* $name, $prefix, $field, $pattern, is_uuid, ", or a UUID in lower case");

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// Refuses one provider's spelling beside another's URL; where the URL is none, there is nothing to compare.
            pub fn fits(self, provider: Option<ProviderName>) -> Result<Self, InvalidId> {
                let allowed = match (provider, is_uuid(&self.0)) {
                    (Some(ProviderName::Twilio), true) => concat!($prefix, " and 32 hexadecimal digits for Twilio"),
                    (Some(ProviderName::Telnyx), false) => "a UUID in lower case for Telnyx",
                    _ => return Ok(self),
                };
                Err(InvalidId { field: $field, allowed })
            }
        }
    };
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $field:literal, $pattern:literal, $other:expr, $or:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(pattern = $pattern)]
        pub struct $name(String);

        impl $name {
            pub fn parse(text: &str, form: SidForm) -> Result<Self, InvalidId> {
                let is_others: fn(&str) -> bool = $other;
                if form.accepts($prefix, text) || is_others(text) {
                    return Ok(Self(text.to_owned()));
                }
                let allowed = match form {
                    SidForm::Strict => concat!($prefix, " and 32 hexadecimal digits", $or),
                    SidForm::Short => concat!($prefix, " and 1 to 32 letters or digits", $or),
                };
                Err(InvalidId { field: $field, allowed })
            }

            /// For a value that was checked when it came in, as one read back from the database.
            pub fn from_checked(text: String) -> Self {
                Self(text)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

sid!(
    /// The call whose recording is moved: Twilio's SID, or Telnyx' `call_session_id`.
    CallSid, "CA", "call_sid",
    "^(CA[0-9a-fA-F]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$" or a uuid
);
sid!(
    /// One recording of a call; a call may have several.
    RecordingSid, "RE", "recording_sid",
    "^(RE[0-9a-fA-F]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$" or a uuid
);
sid!(
    /// The provider's account that holds a recording.
    AccountSid, "AC", "account_sid", "^AC[0-9a-fA-F]{32}$"
);

impl AccountSid {
    /// Telnyx' accounts have no SID, and its URLs name none: its name stands for the one whose key is configured.
    pub fn telnyx() -> Self {
        Self(ProviderName::Telnyx.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strict_sid_is_two_letters_and_32_hex_digits() {
        let good = format!("CA{}", "0a".repeat(16));
        assert_eq!(CallSid::parse(&good, SidForm::Strict).map(|s| s.to_string()), Ok(good));
        for bad in ["CA123", "ca0", "", "CA../../etc/passwd", "REaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "CA\n"] {
            assert!(CallSid::parse(bad, SidForm::Strict).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_short_sid_is_accepted_only_where_a_setting_allows_it() {
        assert!(CallSid::parse("CA123", SidForm::Short).is_ok());
        for bad in ["CA", "CA1/2", "CA1 2", "CA%2e", &format!("CA{}", "1".repeat(33))] {
            assert!(CallSid::parse(bad, SidForm::Short).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_uuid_names_another_providers_call_and_never_an_account() {
        let uuid = "428c31b6-7af4-4bcb-b7f5-5013ef9657c1";
        let sid = format!("CA{}", "0a".repeat(16));
        let parse = |text: &str| CallSid::parse(text, SidForm::Strict);
        for (text, provider, fits) in [
            (uuid, Some(ProviderName::Telnyx), true),
            (uuid, Some(ProviderName::Twilio), false),
            (uuid, None, true),
            (&sid, Some(ProviderName::Telnyx), false),
            (&sid, Some(ProviderName::Twilio), true),
            (&sid, None, true),
        ] {
            let call_sid = parse(text).expect("one of the two spellings");
            assert_eq!(call_sid.fits(provider).is_ok(), fits, "{text} {provider:?}");
        }
        let upper = uuid.to_uppercase();
        let braced = format!("{{{uuid}}}");
        let long = format!("{uuid}0");
        for bad in
            [&upper, &braced, &long, "428c31b67af44bcbb7f55013ef9657c1", "../../../../../../../../../../../../x"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(RecordingSid::parse(uuid, SidForm::Strict).is_ok());
        assert!(AccountSid::parse(uuid, SidForm::Short).is_err());
    }

    #[test]
    fn a_business_id_is_positive() {
        assert_eq!("42".parse::<BusinessId>().map(BusinessId::get), Ok(42));
        for bad in ["0", "-1", "x", "", "99999999999999999999"] {
            assert!(bad.parse::<BusinessId>().is_err(), "{bad:?}");
        }
    }
}
