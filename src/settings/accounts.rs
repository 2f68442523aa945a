//! `[twilio.accounts.<AC…>]`: one section an account, its secrets by variables that name it.
//!
//! | place | says |
//! |---|---|
//! | the section, or `CALLSPOOL__TWILIO__ACCOUNTS__<AC…>__<KEY>` | `business_id`, `api_base` |
//! | `TWILIO_AUTH_TOKEN_<AC…>` | its token; several, separated by commas, while they are rotated |
//! | `TWILIO_API_KEY_<AC…>` | `SK…:secret`, used for requests before the token |

use super::{
    kind::{Kind, Value},
    layers::{Raw, Vars},
    load::EffectiveValue,
};
use crate::domain::{
    account::{Account, ApiKey},
    ids::{AccountSid, SidForm},
};
use std::collections::BTreeMap;

const SECTION: &str = "twilio.accounts";
/// What a section may say, and in which kind.
const KEYS: [(&str, Kind); 2] = [("business_id", Kind::Int { min: 1, max: i64::MAX }), ("api_base", Kind::HttpUrl)];
/// What comes by variables alone.
const SECRETS: [(&str, &str, Kind); 2] =
    [("TWILIO_AUTH_TOKEN_", "auth_token", Kind::AuthTokens), ("TWILIO_API_KEY_", "api_key", Kind::ApiKey)];

/// The accounts that passed, and what is shown of all.
#[derive(Default)]
pub(super) struct Found {
    pub(super) accounts: Vec<Account>,
    pub(super) shown: Vec<EffectiveValue>,
}

/// Takes the sections out of the raw values. `main`: the account that may have its credentials elsewhere.
pub(super) fn take(
    raw: &mut BTreeMap<String, Raw>,
    vars: &Vars,
    form: SidForm,
    main: Option<&str>,
    faults: &mut Vec<String>,
) -> Found {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    raw.retain(|path, raw| {
        let Some(rest) = path.strip_prefix(SECTION) else { return true };
        let Some(rest) = rest.strip_prefix('.') else {
            faults.push(format!("{SECTION} (from {}): allowed is a section for each account", raw.origin));
            return false;
        };
        let (sid, key) = rest.split_once('.').map_or((rest, None), |(sid, key)| (sid, Some(key)));
        let entry = entries.entry(sid.to_owned()).or_insert_with(|| Entry::new(&raw.origin));
        match key {
            Some(key) => entry.read(&format!("{SECTION}.{sid}.{key}"), key, raw, faults),
            // An empty text stands for the section itself.
            None if raw.text.is_empty() => {}
            None => faults.push(format!("{path} (from {}): allowed is a section with {}", raw.origin, names())),
        }
        false
    });
    for (prefix, key, kind) in SECRETS {
        // Only what goes on as a SID: an application may well have a TWILIO_API_KEY_SID.
        for (variable, sid, text) in vars.beginning_with(prefix).filter(|(_, sid, _)| sid.starts_with("AC")) {
            // Variables are often written in capitals alone.
            let known = entries.keys().map(String::as_str).chain(main);
            let sid = known.into_iter().find(|known| known.eq_ignore_ascii_case(sid)).unwrap_or(sid).to_owned();
            let entry = entries.entry(sid.clone()).or_insert_with(|| Entry::new(variable));
            let raw = Raw { text: text.to_owned(), origin: variable.to_owned() };
            entry.keep(&format!("{SECTION}.{sid}.{key}"), key, kind, &raw, faults);
        }
    }
    let mut found = Found::default();
    for (sid, entry) in entries {
        let is_main = main == Some(sid.as_str());
        if let Some(account) = entry.account(&sid, form, is_main, faults) {
            found.accounts.push(account);
        }
        found.shown.extend(entry.shown);
    }
    found
}

fn names() -> String {
    KEYS.map(|(name, _)| name).join(", ")
}

struct Entry {
    origin: String,
    values: BTreeMap<&'static str, Value>,
    /// A value that did not pass is no missing one.
    had: Vec<&'static str>,
    shown: Vec<EffectiveValue>,
}

impl Entry {
    fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), values: BTreeMap::new(), had: Vec::new(), shown: Vec::new() }
    }

    fn read(&mut self, path: &str, key: &str, raw: &Raw, faults: &mut Vec<String>) {
        if let Some((name, kind)) = KEYS.into_iter().find(|(name, _)| *name == key) {
            return self.keep(path, name, kind, raw, faults);
        }
        let secret = SECRETS.into_iter().find(|(_, name, _)| *name == key);
        let hint = secret.map_or_else(
            || format!("; an account has {}", names()),
            |(prefix, ..)| format!("; it comes by the variable {prefix}<AC…>"),
        );
        faults.push(format!("{path} (from {}): there is no such key{hint}", raw.origin));
    }

    fn keep(&mut self, path: &str, key: &'static str, kind: Kind, raw: &Raw, faults: &mut Vec<String>) {
        self.had.push(key);
        match kind.check(&raw.text) {
            Some(value) => {
                self.values.insert(key, value);
            }
            None => faults.push(format!("{path} (from {}): allowed is {}", raw.origin, kind.allowed())),
        }
        let value = if kind.is_secret() { "********".to_owned() } else { raw.text.clone() };
        let origin = Some(raw.origin.clone());
        self.shown.push(EffectiveValue { key: path.to_owned(), value: Some(value), origin });
    }

    fn account(&self, sid: &str, form: SidForm, is_main: bool, faults: &mut Vec<String>) -> Option<Account> {
        let place = format!("{SECTION}.{sid} (from {})", self.origin);
        let parsed = AccountSid::parse(sid, form)
            .map_err(|wrong| faults.push(format!("{place}: allowed is {}", wrong.allowed)));
        let has_credentials = is_main || SECRETS.iter().any(|(_, key, _)| self.had.contains(key));
        if !has_credentials {
            faults.push(format!(
                "{place}: the account has no credentials; set TWILIO_AUTH_TOKEN_{sid} or TWILIO_API_KEY_{sid}"
            ));
        }
        let text = |key| match self.values.get(key) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        Some(Account {
            sid: parsed.ok()?,
            business_id: match self.values.get("business_id") {
                Some(Value::Int(id)) => (*id).try_into().ok(),
                _ => None,
            },
            api_base: text("api_base").and_then(|url| url.parse().ok()),
            auth_tokens: text("auth_token").and_then(Account::parse_tokens).unwrap_or_default(),
            api_key: text("api_key").and_then(|key| ApiKey::parse(key).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        domain::ids::{AccountSid, SidForm},
        settings::{Effective, Settings, SettingsError, Vars},
    };
    use secrecy::ExposeSecret;

    const A: &str = "AC0123456789abcdef0123456789abcdef";
    const B: &str = "ACffffffffffffffffffffffffffffffff";

    fn load(toml: &str, vars: &[(&str, &str)]) -> Result<(Settings, Effective), SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("production.toml"), toml).unwrap();
        let database = ("DATABASE_URL", "postgres://me@db/app");
        let vars: Vars = vars.iter().copied().chain([database]).collect();
        Settings::load(Some("production"), Some(folder.path()), &vars)
    }

    fn faults(toml: &str, vars: &[(&str, &str)]) -> String {
        let refused = load(toml, vars).expect_err("should be refused").to_string();
        assert!(!refused.contains("canary"), "{refused}");
        refused
    }

    fn sid(text: &str) -> AccountSid {
        AccountSid::parse(text, SidForm::Short).unwrap()
    }

    #[test]
    fn an_account_has_a_section_and_its_secrets_by_variables() {
        let toml = format!(
            "[twilio.accounts.{A}]\nbusiness_id = 42\napi_base = \"https://api.dublin.ie1.twilio.com\"\n[twilio.accounts.{B}]\n"
        );
        let tokens = format!("TWILIO_AUTH_TOKEN_{}", A.to_uppercase());
        let (key, base) = (format!("TWILIO_API_KEY_{B}"), format!("CALLSPOOL__TWILIO__ACCOUNTS__{B}__BUSINESS_ID"));
        let vars = [(tokens.as_str(), "canary-1,canary-2"), (&key, "SK1:canary-3"), (&base, "43")];
        let (settings, effective) = load(&toml, &vars).unwrap();
        let accounts = &settings.twilio.accounts;
        assert!(accounts.main().is_none());
        assert_eq!(accounts.signature_tokens(Some(&sid(A))).len(), 2);
        assert_eq!(accounts.credentials(Some(&sid(A))).unwrap().password.expose_secret(), "canary-1");
        assert_eq!(accounts.credentials(Some(&sid(B))).unwrap().user, "SK1");
        assert!(accounts.credentials(Some(&sid("AC3"))).is_none());
        assert_eq!(accounts.business_id(&sid(A)).map(i64::from), Some(42));
        assert_eq!(accounts.business_id(&sid(B)).map(i64::from), Some(43));
        let bases = settings.provider_bases();
        assert_eq!(bases.of_account(Some(&sid(A))).to_string(), "https://api.dublin.ie1.twilio.com");
        assert_eq!(bases.of_account(Some(&sid(B))).to_string(), "https://api.twilio.com");
        let shown =
            |key: &str| effective.iter().find(|value| value.key == format!("twilio.accounts.{key}")).unwrap();
        assert_eq!(shown(&format!("{A}.auth_token")).value.as_deref(), Some("********"));
        assert_eq!(shown(&format!("{A}.business_id")).value.as_deref(), Some("42"));
        assert_eq!(shown(&format!("{B}.business_id")).origin.as_deref(), Some(base.as_str()));
        assert!(!format!("{settings:?}{effective:?}").contains("canary"));
    }

    #[test]
    fn the_main_account_may_have_a_section_and_a_key_too() {
        let toml = format!("[twilio.accounts.{A}]\nbusiness_id = 42\n");
        let own = format!("TWILIO_AUTH_TOKEN_{A}");
        let main = [("TWILIO_ACCOUNT_SID", A), ("TWILIO_AUTH_TOKEN", "new,old"), (own.as_str(), "other")];
        let (settings, _) = load(&toml, &main).unwrap();
        let accounts = &settings.twilio.accounts;
        assert_eq!(accounts.business_id(&sid(A)).map(i64::from), Some(42));
        let tokens: Vec<_> = accounts.signature_tokens(None).iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(tokens, ["new", "old", "other"]);
        let (settings, _) = load("", &[("TWILIO_ACCOUNT_SID", A), ("TWILIO_API_KEY", "SK1:s")]).unwrap();
        let accounts = &settings.twilio.accounts;
        assert_eq!(accounts.credentials(Some(&sid(B))).unwrap().user, "SK1", "a parent's key is valid for others");
        assert!(accounts.signature_tokens(None).is_empty());
        assert!(faults("", &[("TWILIO_API_KEY", "SK1:canary")]).contains("belong together"));
        assert!(load("", &[("TWILIO_ACCOUNT_SID", A), (&own, "t")]).is_ok());
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_place() {
        let toml = format!(
            "[twilio.accounts.{A}]\nbusines_id = 42\nauth_token = \"canary\"\napi_base = \"ftp://x\"\nbusiness_id = 0\n[twilio.accounts]\nAC9 = \"canary\"\n"
        );
        let key = format!("TWILIO_API_KEY_{B}");
        let refused = faults(
            &toml,
            &[("TWILIO_AUTH_TOKEN_ACxyz", "canary"), (&key, "canary"), ("TWILIO_API_KEY_SID", "SK1")],
        );
        for expected in [
            format!("twilio.accounts.{A}.busines_id (from "),
            "there is no such key; an account has business_id, api_base".to_owned(),
            format!("twilio.accounts.{A}.auth_token (from "),
            "it comes by the variable TWILIO_AUTH_TOKEN_<AC…>".to_owned(),
            format!("twilio.accounts.{A}.api_base (from "),
            format!("twilio.accounts.{A}.business_id (from "),
            "production.toml): allowed is a whole number from 1 to".to_owned(),
            format!("the account has no credentials; set TWILIO_AUTH_TOKEN_{A} or TWILIO_API_KEY_{A}"),
            "twilio.accounts.AC9 (from ".to_owned(),
            "twilio.accounts.ACxyz (from TWILIO_AUTH_TOKEN_ACxyz): allowed is AC and 32 hexadecimal digits"
                .to_owned(),
            format!("twilio.accounts.{B}.api_key (from TWILIO_API_KEY_{B}): allowed is SK"),
        ] {
            assert!(refused.contains(&expected), "{expected} is not in:\n{refused}");
        }
        assert!(!refused.contains("API_KEY_SID"), "{refused}");
        assert!(faults("[twilio]\naccounts = 5\n", &[]).contains("allowed is a section for each account"));
        assert!(
            faults("", &[("TWILIO_AUTH_TOKEN", "canary,,x"), ("TWILIO_ACCOUNT_SID", A)])
                .contains("twilio.auth_token (from TWILIO_AUTH_TOKEN)")
        );
    }

    #[test]
    fn a_short_sid_is_accepted_only_where_a_setting_allows_it() {
        let main = [("TWILIO_ACCOUNT_SID", "AC1"), ("TWILIO_AUTH_TOKEN", "t")];
        assert!(faults("", &main).contains("twilio.account_sid (from TWILIO_ACCOUNT_SID): allowed is AC and 32"));
        assert!(load("[twilio]\nallow_short_sids = true\n", &main).is_ok());
        let own = [("TWILIO_AUTH_TOKEN_AC1", "t")];
        assert!(faults("", &own).contains("allowed is AC and 32"));
        assert!(load("[twilio]\nallow_short_sids = true\n", &own).is_ok());
    }
}
