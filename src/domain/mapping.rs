//! Whose call it is. A call's business is the first of these that says one:
//!
//! 1. the parameter `business_id` of the webhook's URL, as it was configured at the provider;
//! 2. the business of the account that holds the recording, where its configuration has one;
//! 3. the lookup service, where one is configured (`mapping.lookup_url`): it is asked with what is known of the call.
//!
//! Where none does, the recording is refused, and the reason says so: no business is ever guessed (incident 23). What is
//! there and is no business id is refused as well, and nothing after it is asked. A lookup that fails is no answer: who
//! sent the webhook is told to send it again.
//!
//! Where the first two say different ones the recording is refused: whoever has the token of one account signs any URL, and
//! is not to bring recordings into another business. (`telnyx.business_id` is a default, and gives way to the URL.)
//!
//! `callspool backfill --business` stands in the first place there; the reconciler has none.

use super::{
    enqueue_request::FieldFault,
    ids::{AccountSid, BusinessId, CallSid, RecordingSid},
};

/// What the lookup service is told of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFacts {
    pub call_sid: CallSid,
    pub account_sid: AccountSid,
    pub recording_sid: Option<RecordingSid>,
    /// As a webhook has them; a listing has none.
    pub from: Option<String>,
    pub to: Option<String>,
}

/// What the rules say before anybody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Known(BusinessId),
    /// Nothing here says it: the lookup service may know.
    Ask,
}

/// Why a recording has no business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmapped {
    #[error("business_id must be a positive whole number")]
    Malformed,
    #[error(
        "business_id must be in the webhook's URL, or in the configuration of its account, or be known by \
         mapping.lookup_url: there is none of these"
    )]
    Unnamed,
    #[error("business_id must be the one that the configuration of its account has, or be left away")]
    Anothers,
    #[error("business_id must be known: mapping.lookup_url does not know this call")]
    Unknown,
}

impl From<Unmapped> for FieldFault {
    fn from(unmapped: Unmapped) -> Self {
        Self::new("business_id", unmapped)
    }
}

/// The first two rules. `named`: the parameter as it came, `account`: what the account's configuration has.
pub fn whose(named: Option<&str>, account: Option<BusinessId>, has_lookup: bool) -> Result<Whose, Unmapped> {
    match (named, account) {
        (Some(text), _) => text.parse().map(Whose::Known).map_err(|_| Unmapped::Malformed),
        (None, Some(business)) => Ok(Whose::Known(business)),
        (None, None) if has_lookup => Ok(Whose::Ask),
        (None, None) => Err(Unmapped::Unnamed),
    }
}

/// The same for an account whose own business is the only one that it may name.
pub fn whose_of(named: Option<&str>, own: Option<BusinessId>, has_lookup: bool) -> Result<Whose, Unmapped> {
    let whose = whose(named, own, has_lookup)?;
    match (whose, own) {
        (Whose::Known(business), Some(own)) if business != own => Err(Unmapped::Anothers),
        _ => Ok(whose),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_says_a_business_wins() {
        let business = |id: i64| BusinessId::try_from(id).unwrap();
        for has_lookup in [true, false] {
            assert_eq!(whose(Some("7"), Some(business(8)), has_lookup), Ok(Whose::Known(business(7))));
            assert_eq!(whose(None, Some(business(8)), has_lookup), Ok(Whose::Known(business(8))));
        }
        assert_eq!(whose(None, None, true), Ok(Whose::Ask));
        assert_eq!(whose(None, None, false), Err(Unmapped::Unnamed));
    }

    #[test]
    fn an_account_with_a_business_of_its_own_names_no_other() {
        let own = BusinessId::try_from(8).ok();
        for named in [None, Some("8")] {
            assert_eq!(whose_of(named, own, true), Ok(Whose::Known(8.try_into().unwrap())), "{named:?}");
        }
        assert_eq!(whose_of(Some("7"), own, true), Err(Unmapped::Anothers));
        assert_eq!(whose_of(Some("x"), own, true), Err(Unmapped::Malformed));
        assert_eq!(whose_of(Some("7"), None, true), Ok(Whose::Known(7.try_into().unwrap())));
        assert_eq!(whose_of(None, None, true), Ok(Whose::Ask));
    }

    #[test]
    fn what_is_no_business_id_is_refused_and_nothing_stands_in_for_it() {
        for junk in ["", "0", "-1", "x", "4.2", "42 "] {
            assert_eq!(whose(Some(junk), BusinessId::try_from(8).ok(), true), Err(Unmapped::Malformed), "{junk:?}");
        }
    }
}
