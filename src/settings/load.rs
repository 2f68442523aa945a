//! From raw values to [`Settings`], with all errors at once.

use super::{
    accounts,
    checked::Checked,
    keys::{ENVIRONMENTS, KEYS, Key},
    layers::{self, Raw, Vars},
    typed::{Environment, Settings},
};
use crate::domain::ids::SidForm;
use config::ConfigError;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, path::Path};

/// Everything that is wrong with a configuration. It repeats no value, since a value may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    pub faults: Vec<String>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, s) = (self.faults.len(), if self.faults.len() == 1 { "" } else { "s" });
        writeln!(f, "the configuration cannot be used ({count} fault{s}):")?;
        let lines: Vec<String> = self.faults.iter().map(|fault| format!("  - {fault}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for SettingsError {}

/// What is in force, and where each value came from.
pub type Effective = Vec<EffectiveValue>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectiveValue {
    pub key: String,
    /// `********` for a secret; `None` when it is not set.
    pub value: Option<String>,
    pub origin: Option<String>,
}

impl Settings {
    /// `environment`: `CALLSPOOL_ENV` or what the command line says; development where neither does. `folder`: of the
    /// configuration files, each of which may be missing; the folder may not.
    pub fn load(
        environment: Option<&str>,
        folder: Option<&Path>,
        vars: &Vars,
    ) -> Result<(Self, Effective), SettingsError> {
        let name = environment.filter(|name| !name.is_empty()).unwrap_or("development");
        let environment = Environment::parse(name).ok_or_else(|| SettingsError {
            faults: vec![format!("CALLSPOOL_ENV or --env: allowed is one of: {}", ENVIRONMENTS.join(", "))],
        })?;
        if let Some(missing) = folder.filter(|folder| !folder.is_dir()) {
            let fault = format!("--config: there is no folder {}", missing.display());
            return Err(SettingsError { faults: vec![fault] });
        }
        let (mut raw, fault_rules) = layers::gather(name, folder, vars)
            .map_err(|error| SettingsError { faults: vec![unreadable(&error)] })?;
        let mut faults = Vec::new();
        let text = |path: &str| raw.get(path).map(|raw| raw.text.clone());
        let form = if text("twilio.allow_short_sids").as_deref() == Some("true") {
            SidForm::Short
        } else {
            SidForm::Strict
        };
        let main = text("twilio.account_sid");
        let accounts = accounts::take(&mut raw, vars, form, main.as_deref(), &mut faults);
        let unknown = raw
            .iter()
            .filter(|(path, _)| !KEYS.iter().any(|key| key.path == path.as_str()))
            .map(|(path, raw)| format!("{path} (from {}): there is no such key{}", raw.origin, nearest(path)));
        faults.extend(unknown);
        let mut checked = Checked::new(environment, accounts.accounts);
        for key in KEYS {
            let Some(Raw { text, origin }) = raw.get(key.path) else { continue };
            match key.kind.check(text) {
                Some(value) => checked.insert(key.path, value, origin),
                None => faults.push(format!("{} (from {origin}): allowed is {}", key.path, key.kind.allowed())),
            }
        }
        checked.rules(&mut faults);
        checked.bucket_options(vars, &mut faults);
        checked.fault_rules(fault_rules, &mut faults);
        if faults.is_empty() {
            let shown = effective(&raw).into_iter().chain(accounts.shown).collect();
            Ok((checked.settings(), shown))
        } else {
            Err(SettingsError { faults })
        }
    }
}

/// Which file, and where in it; not the line itself, as the parser shows it, since it may hold a secret.
fn unreadable(error: &ConfigError) -> String {
    match error {
        ConfigError::FileParse { uri, cause } => {
            let file = uri.as_deref().unwrap_or("a configuration file");
            let what = cause.to_string();
            format!("{file} cannot be read: {}", what.lines().next().unwrap_or_default())
        }
        _ => "a configuration file cannot be read".to_owned(),
    }
}

fn effective(raw: &BTreeMap<String, Raw>) -> Effective {
    let show = |key: &'static Key| {
        let raw = raw.get(key.path);
        let shown = |raw: &Raw| if key.kind.is_secret() { "********".to_owned() } else { raw.text.clone() };
        EffectiveValue {
            key: key.path.to_owned(),
            value: raw.map(shown),
            origin: raw.map(|raw| raw.origin.clone()),
        }
    };
    KEYS.iter().map(show).collect()
}

/// A hint at a key of the same section, or of the same name elsewhere.
fn nearest(path: &str) -> String {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let elsewhere = KEYS.iter().find(|key| key.path.rsplit_once('.').is_some_and(|(_, other)| other == name));
    if let Some(key) = elsewhere {
        return format!("; did you mean {}?", key.path);
    }
    let siblings: Vec<&str> =
        KEYS.iter().filter_map(|key| key.path.strip_prefix(section)?.strip_prefix('.')).collect();
    if siblings.is_empty() { String::new() } else { format!("; [{section}] has {}", siblings.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::storage_url::StorageUrl, settings::Pooler};

    fn load(environment: &str, vars: &[(&str, &str)]) -> Result<(Settings, Effective), SettingsError> {
        Settings::load(Some(environment), None, &vars.iter().copied().collect())
    }

    fn faults(environment: &str, vars: &[(&str, &str)]) -> Vec<String> {
        load(environment, vars).map(|_| ()).expect_err("should be refused").faults
    }

    const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://me:s3cret-canary@db/app");

    #[test]
    fn every_environment_loads_with_its_file_and_no_file_misses_a_key() {
        for environment in ENVIRONMENTS {
            let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config"));
            let vars = [DATABASE].into_iter().collect();
            let (settings, _) = Settings::load(Some(environment), Some(folder), &vars).unwrap();
            assert_eq!(settings.queue.default_max_slots, 5);
            assert!(folder.join(format!("{environment}.toml")).exists());
        }
    }

    #[test]
    fn the_contracts_defaults_hold() {
        let (settings, _) = load("production", &[DATABASE]).unwrap();
        assert!(!settings.migrations.run);
        assert_eq!(settings.migrations.lock_wait.as_secs(), 30);
        assert_eq!(settings.migrations.statement_timeout.as_secs(), 120);
        assert_eq!(settings.migrations.lock_timeout.as_secs(), 5);
        assert_eq!(settings.migrations.lock_id, 1_234_567_890);
        assert_eq!(settings.database.schema, "callspool");
        assert_eq!(settings.http.bind.to_string(), "127.0.0.1:8080");
        assert_eq!(Some(settings.storage.url), StorageUrl::parse("file:./data/recordings"));
        assert_eq!(settings.shutdown.grace.as_secs(), 25);
        assert_eq!(settings.roles.iter().count(), 3);
    }

    #[test]
    fn a_keys_own_variable_wins_over_the_general_one_and_both_over_files() {
        let vars = [("CALLSPOOL__HTTP__BIND", "127.0.0.1:1"), ("CALLSPOOL_HTTP_BIND", "127.0.0.1:2")];
        let (settings, effective) = load("test", &vars).unwrap();
        assert_eq!(settings.http.bind.port(), 2);
        let bind = effective.iter().find(|value| value.key == "http.bind").unwrap();
        assert_eq!(bind.origin.as_deref(), Some("CALLSPOOL_HTTP_BIND"));
        let (settings, _) =
            load("test", &[("CALLSPOOL__WORKER__COUNT", "3"), ("CALLSPOOL_HTTP_BIND", "")]).unwrap();
        assert_eq!((settings.worker.count, settings.http.bind.port()), (3, 8080));
    }

    #[test]
    fn all_faults_come_at_once_with_origin_and_what_is_allowed() {
        let vars = [
            ("CALLSPOOL__WORKER__COUNT", "many"),
            ("CALLSPOOL__WORKER__CUONT", "3"),
            ("RUN_MIGRATIONS", "yes"),
            ("CALLSPOOL_ROLES", "api,wroker"),
            ("TWILIO_ACCOUNT_SID", "AC1"),
        ];
        let faults = faults("production", &vars).join("\n");
        for expected in [
            "worker.cuont (from CALLSPOOL__WORKER__CUONT): there is no such key; [worker] has count",
            "worker.count (from CALLSPOOL__WORKER__COUNT): allowed is a whole number from 1 to 1024",
            "migrations.run (from RUN_MIGRATIONS): allowed is 0 or 1",
            "process.roles (from CALLSPOOL_ROLES): allowed is one or more of",
            "DATABASE_URL is required",
            "belong together",
        ] {
            assert!(faults.contains(expected), "{expected} is not in:\n{faults}");
        }
    }

    #[test]
    fn a_file_with_an_unknown_key_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.toml"), "[queue]\npoll = \"1s\"\n").unwrap();
        let refused = Settings::load(Some("test"), Some(folder.path()), &Vars::default()).err().unwrap();
        assert!(
            refused.faults[0].contains("queue.poll (from") && refused.faults[0].contains("test.toml"),
            "{refused}"
        );
    }

    #[test]
    fn a_file_that_is_no_toml_is_named_with_the_place_and_not_the_text() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.toml"), "[http]\napi_token = s3cret-canary\n").unwrap();
        let refused = Settings::load(Some("test"), Some(folder.path()), &Vars::default()).err().unwrap();
        let fault = &refused.faults[0];
        assert!(fault.contains("test.toml") && fault.contains("line 2"), "{fault}");
        assert!(!fault.contains("canary"), "{fault}");
    }

    #[test]
    fn a_folder_that_was_asked_for_has_to_be_there() {
        let refused = Settings::load(Some("test"), Some(Path::new("/no/such")), &Vars::default()).err().unwrap();
        assert_eq!(refused.faults, ["--config: there is no folder /no/such"]);
    }

    #[test]
    fn each_environments_file_is_built_in() {
        let (development, _) = load("development", &[]).unwrap();
        assert!(development.migrations.run && development.log.format == crate::settings::LogFormat::Pretty);
        let (production, _) = load("production", &[DATABASE]).unwrap();
        assert!(!production.migrations.run && production.log.format == crate::settings::LogFormat::Json);
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let vars = [("CALLSPOOL__HTTP__PUBLIC_URL", ""), ("TWILIO_AUTH_TOKEN", ""), ("DATABASE_URL", "")];
        let (settings, _) = load("test", &vars).unwrap();
        assert!(settings.http.public_url.is_none() && settings.database.url.is_none());
    }

    #[test]
    fn a_secret_with_a_line_break_is_refused_rather_than_never_right() {
        for (name, key) in [("CALLSPOOL_API_TOKEN", "http.api_token"), ("TWILIO_AUTH_TOKEN", "twilio.auth_token")] {
            let refused = faults("test", &[(name, "s3cret-canary\n")]).join("\n");
            assert!(refused.contains(key) && !refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn an_api_without_a_token_stays_on_loopback() {
        let open = [DATABASE, ("CALLSPOOL_HTTP_BIND", "0.0.0.0:8080")];
        assert!(faults("production", &open)[0].contains("loopback"));
        let closed =
            [DATABASE, ("CALLSPOOL_HTTP_BIND", "0.0.0.0:8080"), ("CALLSPOOL_API_TOKEN", "0123456789abcdef")];
        assert!(load("production", &closed).is_ok());
        let named = [DATABASE, ("CALLSPOOL_HTTP_BIND", "0.0.0.0:8080"), ("CALLSPOOL_API_TOKENS", TOKENS)];
        assert!(load("production", &named).is_ok());
        let other = [DATABASE, ("CALLSPOOL_HTTP_BIND", "0.0.0.0:8080"), ("CALLSPOOL_ROLES", "worker,webhooks")];
        assert!(load("production", &other).is_ok());
    }

    #[test]
    fn beyond_loopback_a_token_has_a_length_that_nobody_guesses() {
        let short = ("CALLSPOOL_API_TOKEN", "s3cret-canary-1");
        let beyond = ("CALLSPOOL_HTTP_BIND", "0.0.0.0:8080");
        let faults =
            faults("production", &[DATABASE, beyond, short, ("CALLSPOOL__WORKER__COUNT", "many")]).join("\n");
        let fault = "http.api_token (from CALLSPOOL_API_TOKEN): a token has at least 16 characters";
        assert!(faults.contains(fault) && faults.contains("worker.count"), "{faults}");
        assert!(!faults.contains("canary"), "{faults}");
        assert!(load("production", &[DATABASE, short, ("CALLSPOOL_HTTP_BIND", "[::1]:8080")]).is_ok());
        assert!(load("production", &[DATABASE, beyond, short, ("CALLSPOOL_ROLES", "worker")]).is_ok());
    }

    const TOKENS: &str = "grafana:read:s3cret-canary-1234,app:enqueue+read:s3cret-canary-5678";

    #[test]
    fn tokens_have_names_and_scopes_and_the_unnamed_one_has_all() {
        let vars = [DATABASE, ("CALLSPOOL_API_TOKEN", "t"), ("CALLSPOOL_API_TOKENS", TOKENS)];
        let (settings, effective) = load("production", &vars).unwrap();
        let tokens: Vec<_> = settings.http.api_tokens.iter().map(|t| (t.name.as_str(), t.scopes.len())).collect();
        assert_eq!(tokens, [("default", 3), ("grafana", 1), ("app", 2)]);
        assert!(!format!("{settings:?}{effective:?}").contains("canary"));
    }

    #[test]
    fn faults_of_tokens_come_with_all_others_and_without_the_tokens() {
        let twice = [
            ("CALLSPOOL_API_TOKEN", "s3cret-canary-1234"),
            ("CALLSPOOL_API_TOKENS", TOKENS),
            ("CALLSPOOL__WORKER__COUNT", "many"),
        ];
        let wrong = [("CALLSPOOL_API_TOKENS", "s3cret-canary"), ("CALLSPOOL__WORKER__COUNT", "many")];
        for (vars, fault) in [
            (&twice[..], "CALLSPOOL_API_TOKEN is one of them"),
            (&wrong[..], "entry 1: it has to be name:scope+scope:token"),
        ] {
            let faults = faults("test", vars).join("\n");
            let fault = format!("http.api_tokens (from CALLSPOOL_API_TOKENS): {fault}");
            assert!(faults.contains(&fault) && faults.contains("worker.count"), "{faults}");
            assert!(!faults.contains("canary"), "{faults}");
        }
    }

    #[test]
    fn behind_a_transaction_pooler_the_direct_address_is_needed_too() {
        let pooled = ("CALLSPOOL__DATABASE__POOLER", "transaction");
        let missing = faults("production", &[DATABASE, pooled]).join("\n");
        let from = "database.pooler (from CALLSPOOL__DATABASE__POOLER): ";
        assert!(missing.contains(&format!("{from}transaction needs MIGRATION_DATABASE_URL")), "{missing}");
        assert!(
            faults("test", &[pooled]).join("\n").contains("MIGRATION_DATABASE_URL"),
            "an embedded one is direct"
        );
        let same = faults("production", &[DATABASE, ("MIGRATION_DATABASE_URL", DATABASE.1), pooled]).join("\n");
        assert!(same.contains("the pooler's address too") && !same.contains("canary"), "{same}");
        let direct = ("MIGRATION_DATABASE_URL", "postgres://me@direct/app");
        let (settings, _) = load("production", &[DATABASE, direct, pooled]).unwrap();
        assert_eq!(settings.database.pooler, Pooler::Transaction);
        let options = ("DATABASE_URL", "postgres://me@pooler/app?options=-c%20search_path%3Dx");
        let refused = faults("production", &[options, direct, pooled]).join("\n");
        assert!(refused.contains("options of the session"), "{refused}");
        assert!(load("production", &[options]).is_ok(), "without a pooler a session keeps them");
    }

    #[test]
    fn a_lease_outlasts_its_attempt_and_a_beat_is_missed_thrice() {
        let vars = [("CALLSPOOL__QUEUE__LEASE", "1min"), ("CALLSPOOL__QUEUE__BEAT_TTL", "3s")];
        let faults = faults("test", &vars);
        assert!(faults.iter().any(|fault| fault.starts_with("queue.lease") && fault.contains("attempt_timeout")));
        assert!(faults.iter().any(|fault| fault.starts_with("queue.beat_ttl") && fault.contains("3 times")));
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let canary = "s3cret-canary";
        let url = "postgres://me:s3cret-canary@db/app";
        let good = [
            DATABASE,
            ("MIGRATION_DATABASE_URL", url),
            ("CALLSPOOL_API_TOKEN", canary),
            ("TWILIO_ACCOUNT_SID", "AC0123456789abcdef0123456789abcdef"),
            ("TWILIO_AUTH_TOKEN", canary),
        ];
        let (settings, effective) = load("production", &good).unwrap();
        assert!(!format!("{settings:?}{effective:?}").contains(canary));
        assert!(effective.iter().any(|value| value.value.as_deref() == Some("********")));
        let refused = load("production", &[("DATABASE_URL", "mysql://me:s3cret-canary@db")]).err().unwrap();
        assert!(!refused.to_string().contains(canary), "{refused}");
    }

    #[cfg(not(feature = "faults"))]
    #[test]
    fn faults_on_purpose_are_not_compiled_in() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.toml"), "[[faults]]\nactor = \"x\"\n").unwrap();
        let refused = Settings::load(Some("test"), Some(folder.path()), &Vars::default()).err().unwrap();
        assert!(refused.faults[0].contains("faults") && refused.faults[0].contains("no such key"), "{refused}");
    }
}
