//! Identifiers, parsed once at the edge. A value of these types is safe in a path, a log line and a query.

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

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $field:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(pattern = $pattern)]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn parse(text: &str, form: SidForm) -> Result<Self, InvalidId> {
                if form.accepts($prefix, text) {
                    return Ok(Self(text.to_owned()));
                }
                let allowed = match form {
                    SidForm::Strict => concat!($prefix, " and 32 hexadecimal digits"),
                    SidForm::Short => concat!($prefix, " and 1 to 32 letters or digits"),
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
    /// The call whose recording is moved.
    CallSid, "CA", "call_sid", "^CA[0-9a-fA-F]{32}$"
);
sid!(
    /// One recording of a call; a call may have several.
    RecordingSid, "RE", "recording_sid", "^RE[0-9a-fA-F]{32}$"
);
sid!(
    /// The provider's account that holds a recording.
    AccountSid, "AC", "account_sid", "^AC[0-9a-fA-F]{32}$"
);

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
    fn a_business_id_is_positive() {
        assert_eq!("42".parse::<BusinessId>().map(BusinessId::get), Ok(42));
        for bad in ["0", "-1", "x", "", "99999999999999999999"] {
            assert!(bad.parse::<BusinessId>().is_err(), "{bad:?}");
        }
    }
}
