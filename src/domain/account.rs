//! The accounts at the provider: which credentials open what belongs to one, and what its webhooks are signed with.
//!
//! An account is chosen by the SID in a recording's URL or a callback. One without an entry of its own is a subaccount of
//! the main one, as far as anybody here knows: a parent's credentials are valid for its subaccounts (Twilio
//! documentation, "REST API: Subaccounts").

use super::ids::{AccountSid, BusinessId};
use secrecy::SecretString;
use std::collections::BTreeMap;
use url::Url;

/// One account as it is configured. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Account {
    pub sid: AccountSid,
    /// Whose calls it carries, where the account says so.
    pub business_id: Option<BusinessId>,
    /// Where it is reached; `None`: at `twilio.api_base`.
    pub api_base: Option<Url>,
    /// The first is used for requests, all for signatures: there are several while they are rotated. Empty where only an
    /// API key is configured.
    pub auth_tokens: Vec<SecretString>,
    /// Used for requests, before the token.
    pub api_key: Option<ApiKey>,
}

/// Opens the account's resources without its token, and can be revoked alone (Twilio documentation, "API keys").
#[derive(Debug, Clone)]
pub struct ApiKey {
    pub sid: String,
    pub secret: SecretString,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SK and 32 letters or digits, a colon, and the key's secret")]
pub struct InvalidApiKey;

impl ApiKey {
    /// `SK…:secret`.
    pub fn parse(text: &str) -> Result<Self, InvalidApiKey> {
        let (sid, secret) = text.split_once(':').ok_or(InvalidApiKey)?;
        let digits = sid.strip_prefix("SK").ok_or(InvalidApiKey)?;
        let is_sid = (1..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_secret = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if is_sid && is_secret {
            Ok(Self { sid: sid.to_owned(), secret: secret.into() })
        } else {
            Err(InvalidApiKey)
        }
    }
}

/// User and password of basic authentication.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    pub user: &'a str,
    pub password: &'a SecretString,
    /// A key does not open the account's own resource.
    pub is_api_key: bool,
}

impl Account {
    /// Tokens of an environment variable: separated by commas, none empty, none twice.
    pub fn parse_tokens(text: &str) -> Option<Vec<SecretString>> {
        let tokens: Vec<&str> = text.split(',').map(|token| token.trim_matches(' ')).collect();
        let is_token = |(place, token): (usize, &&str)| {
            !token.is_empty()
                && token.bytes().all(|byte| byte.is_ascii_graphic())
                && !tokens[..place].contains(token)
        };
        tokens.iter().enumerate().all(is_token).then(|| tokens.iter().map(|token| (*token).into()).collect())
    }

    pub fn credentials(&self) -> Option<Credentials<'_>> {
        match (&self.api_key, self.auth_tokens.first()) {
            (Some(key), _) => Some(Credentials { user: &key.sid, password: &key.secret, is_api_key: true }),
            (None, Some(token)) => {
                Some(Credentials { user: self.sid.as_str(), password: token, is_api_key: false })
            }
            (None, None) => None,
        }
    }
}

/// All of them, checked. Cheap to ask: a map.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    main: Option<AccountSid>,
    by_sid: BTreeMap<AccountSid, Account>,
}

impl Accounts {
    /// `main` stands in for every account without an entry of its own; of entries with the same SID the last one counts.
    pub fn new(main: Option<Account>, others: impl IntoIterator<Item = Account>) -> Self {
        let sid = main.as_ref().map(|account| account.sid.clone());
        let all = main.into_iter().chain(others);
        Self { main: sid, by_sid: all.map(|account| (account.sid.clone(), account)).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.by_sid.is_empty()
    }

    pub fn main(&self) -> Option<&Account> {
        self.by_sid.get(self.main.as_ref()?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.by_sid.values()
    }

    /// The entry of this account itself.
    pub fn get(&self, sid: &AccountSid) -> Option<&Account> {
        self.by_sid.get(sid)
    }

    /// Whose credentials are used for it: its own entry, else the main account. `None`, for a URL that names no
    /// account: the main one.
    pub fn responsible(&self, sid: Option<&AccountSid>) -> Option<&Account> {
        sid.and_then(|sid| self.get(sid)).or_else(|| self.main())
    }

    pub fn credentials(&self, sid: Option<&AccountSid>) -> Option<Credentials<'_>> {
        self.responsible(sid).and_then(Account::credentials)
    }

    /// What a webhook of this account may be signed with; empty: none of its webhooks can be believed.
    pub fn signature_tokens(&self, sid: Option<&AccountSid>) -> &[SecretString] {
        self.responsible(sid).map_or(&[], |account| &account.auth_tokens)
    }

    /// Of the account's own entry: a parent says nothing about the businesses of its subaccounts.
    pub fn business_id(&self, sid: &AccountSid) -> Option<BusinessId> {
        self.get(sid).and_then(|account| account.business_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SidForm;
    use secrecy::ExposeSecret;

    fn sid(text: &str) -> AccountSid {
        AccountSid::parse(text, SidForm::Short).unwrap()
    }

    fn account(text: &str, tokens: &str, key: Option<&str>) -> Account {
        Account {
            sid: sid(text),
            business_id: Some(7.try_into().unwrap()),
            api_base: None,
            auth_tokens: if tokens.is_empty() { Vec::new() } else { Account::parse_tokens(tokens).unwrap() },
            api_key: key.map(|key| ApiKey::parse(key).unwrap()),
        }
    }

    fn shown(accounts: &Accounts, of: Option<&str>) -> Option<String> {
        let of = of.map(sid);
        let credentials = accounts.credentials(of.as_ref())?;
        Some(format!("{}:{}", credentials.user, credentials.password.expose_secret()))
    }

    #[test]
    fn an_account_without_an_entry_uses_the_main_ones_credentials_and_says_no_business() {
        let accounts = Accounts::new(
            Some(account("AC1", "new,old", None)),
            [account("AC2", "t2", Some("SK2:s2")), account("AC3", "", Some("SK3:s3"))],
        );
        assert_eq!(shown(&accounts, None).as_deref(), Some("AC1:new"));
        assert_eq!(shown(&accounts, Some("AC9")).as_deref(), Some("AC1:new"));
        assert_eq!(shown(&accounts, Some("AC2")).as_deref(), Some("SK2:s2"), "a key comes before the token");
        assert_eq!(accounts.signature_tokens(Some(&sid("AC1"))).len(), 2);
        assert_eq!(accounts.signature_tokens(Some(&sid("AC2"))).len(), 1);
        assert!(accounts.signature_tokens(Some(&sid("AC3"))).is_empty());
        assert_eq!(accounts.business_id(&sid("AC2")).map(BusinessId::get), Some(7));
        assert_eq!(accounts.business_id(&sid("AC9")), None);
        assert!(Accounts::default().credentials(None).is_none());
        assert!(Accounts::default().signature_tokens(None).is_empty());
    }

    #[test]
    fn tokens_and_keys_are_read_or_refused_and_never_shown() {
        for wrong in ["", "a,", ",a", "a,,b", "a,a", "a b", "a\n"] {
            assert!(Account::parse_tokens(wrong).is_none(), "{wrong:?}");
        }
        for wrong in ["", "SK1", "SK1:", ":x", "SK:x", "AC1:x", "SK1/2:x", "SK1:a b", "SK1:a\n"] {
            assert!(ApiKey::parse(wrong).is_err(), "{wrong:?}");
        }
        let account = account("AC1", "canary-1, canary-2", Some("SK1:canary-3:x"));
        assert_eq!(account.auth_tokens.len(), 2);
        assert_eq!(account.api_key.as_ref().unwrap().secret.expose_secret(), "canary-3:x");
        assert!(!format!("{account:?}").contains("canary"));
    }
}
