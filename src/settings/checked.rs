//! Values that are right each for itself, and how they are read.

use super::{bucket_options, kind::Value, layers::Vars, typed::Environment};
use crate::domain::{
    account::{Account, Accounts, ApiKey},
    faults::Faults,
    ids::{AccountSid, SidForm},
    storage_url::StorageUrl,
};
use secrecy::SecretString;
use std::{collections::BTreeMap, time::Duration};

/// Values that passed the check of their kind, by path. A key that did not pass is missing here.
pub(super) struct Checked {
    pub(super) environment: Environment,
    pub(super) values: BTreeMap<&'static str, (Value, String)>,
    /// Of the sections; the main one among them, where it has one.
    pub(super) accounts: Vec<Account>,
    pub(super) faults: Faults,
    pub(super) bucket_options: Vec<(String, SecretString)>,
}

impl Checked {
    pub(super) fn new(environment: Environment, accounts: Vec<Account>) -> Self {
        let (faults, bucket_options) = (Faults::default(), Vec::new());
        Self { environment, values: BTreeMap::new(), accounts, faults, bucket_options }
    }

    pub(super) fn insert(&mut self, path: &'static str, value: Value, origin: &str) {
        self.values.insert(path, (value, origin.to_owned()));
    }

    /// Takes what says how the bucket is reached from the variables that its service's own tools read.
    pub(super) fn bucket_options(&mut self, vars: &Vars, faults: &mut Vec<String>) {
        if let Some(StorageUrl::Bucket { service, .. }) = self.text("storage.url").and_then(StorageUrl::parse) {
            self.bucket_options = bucket_options::gather(service, vars, faults);
        }
    }

    pub(super) fn origin(&self, path: &str) -> &str {
        self.values.get(path).map_or("nowhere", |(_, origin)| origin)
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        match self.values.get(path) {
            Some((Value::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self, path: &str) -> Option<&[String]> {
        match self.values.get(path) {
            Some((Value::List(list), _)) => Some(list),
            _ => None,
        }
    }

    pub(super) fn duration_of(&self, path: &str) -> Option<Duration> {
        match self.values.get(path) {
            Some((Value::Duration(duration), _)) => Some(*duration),
            _ => None,
        }
    }

    pub(super) fn secret(&self, path: &str) -> Option<SecretString> {
        self.text(path).map(SecretString::from)
    }

    pub(super) fn sid_form(&self) -> SidForm {
        match self.values.get("twilio.allow_short_sids") {
            Some((Value::Bool(true), _)) => SidForm::Short,
            _ => SidForm::Strict,
        }
    }

    /// The main account: of its variables, and of its section where it has one.
    pub(super) fn accounts(&self) -> Accounts {
        let sid = self.text("twilio.account_sid").and_then(|sid| AccountSid::parse(sid, SidForm::Short).ok());
        let main = sid.map(|sid| {
            let section = self.accounts.iter().find(|account| account.sid == sid);
            let tokens = self.text("twilio.auth_token").and_then(Account::parse_tokens).unwrap_or_default();
            let key = self.text("twilio.api_key").and_then(|key| ApiKey::parse(key).ok());
            let of_section = section.map(|account| account.auth_tokens.clone()).unwrap_or_default();
            Account {
                business_id: section.and_then(|account| account.business_id),
                api_base: section.and_then(|account| account.api_base.clone()),
                auth_tokens: tokens.into_iter().chain(of_section).collect(),
                api_key: section.and_then(|account| account.api_key.clone()).or(key),
                sid,
            }
        });
        let is_main = |account: &&Account| main.as_ref().is_some_and(|main| main.sid == account.sid);
        let others: Vec<_> = self.accounts.iter().filter(|account| !is_main(account)).cloned().collect();
        Accounts::new(main, others)
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.text("database.pooler") == Some("transaction")
    }

    // The rest is certain: every key without a variable for it has a default, and its kind says what it is. A test
    // loads each environment.

    pub(super) fn string(&self, path: &str) -> String {
        self.text(path).unwrap_or_else(|| missing(path)).to_owned()
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, path: &str) -> T {
        self.text(path).and_then(|text| text.parse().ok()).unwrap_or_else(|| missing(path))
    }

    pub(super) fn duration(&self, path: &str) -> Duration {
        self.duration_of(path).unwrap_or_else(|| missing(path))
    }

    pub(super) fn int<T: TryFrom<i64>>(&self, path: &str) -> T {
        match self.values.get(path) {
            Some((Value::Int(number), _)) => T::try_from(*number).unwrap_or_else(|_| missing(path)),
            _ => missing(path),
        }
    }

    pub(super) fn float(&self, path: &str) -> f64 {
        match self.values.get(path) {
            Some((Value::Float(number), _)) => *number,
            _ => missing(path),
        }
    }

    pub(super) fn bool(&self, path: &str) -> bool {
        match self.values.get(path) {
            Some((Value::Bool(on), _)) => *on,
            _ => missing(path),
        }
    }
}

pub(super) fn missing(path: &str) -> ! {
    unreachable!("{path} has a default of its kind in config/default.toml")
}
