//! Raw values in layers: `default.toml`, the environment's file (each as it is built in, then as it lies in the folder),
//! `CALLSPOOL__SECTION__KEY`, then each key's own variable.

use super::keys::KEYS;
use config::{Config, ConfigError, File, FileFormat, ValueKind};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// The files as they were when this was built: a binary without its folder behaves the same.
const BUILT_IN: [(&str, &str); 5] = [
    ("default", include_str!("../../config/default.toml")),
    ("development", include_str!("../../config/development.toml")),
    ("test", include_str!("../../config/test.toml")),
    ("staging", include_str!("../../config/staging.toml")),
    ("production", include_str!("../../config/production.toml")),
];
const PREFIX: &str = "CALLSPOOL__";

/// The environment's variables, given rather than looked up, so that a test has its own.
#[derive(Debug, Clone, Default)]
pub struct Vars(HashMap<String, String>);

impl Vars {
    /// Those of this process. A variable that is not UTF-8 is none of ours.
    pub fn from_process() -> Self {
        Self(
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect(),
        )
    }

    /// A variable that is empty counts as not set, as `docker compose` passes those that are missing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Name, the rest of the name, and value of those that are set, in order of their names.
    pub(super) fn beginning_with(&self, prefix: &'static str) -> impl Iterator<Item = (&str, &str, &str)> {
        let set = self.0.iter().filter(|(_, value)| !value.is_empty());
        set.filter_map(move |(name, value)| Some((name.as_str(), name.strip_prefix(prefix)?, value.as_str())))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Vars {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// A value as it was written, and where.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) text: String,
    pub(super) origin: String,
}

/// Every value that was set, by path, and what is wrong with the layers themselves.
pub(super) fn gather(
    environment: &str,
    folder: Option<&Path>,
    vars: &Vars,
) -> Result<(BTreeMap<String, Raw>, Vec<config::Value>), ConfigError> {
    let mut builder = Config::builder();
    for name in ["default", environment] {
        // A file has to name only what it changes.
        for (_, text) in BUILT_IN.iter().filter(|(built_in, _)| *built_in == name) {
            builder = builder.add_source(File::from_str(text, FileFormat::Toml));
        }
        if let Some(folder) = folder {
            builder = builder.add_source(File::from(folder.join(format!("{name}.toml"))).required(false));
        }
    }
    let mut raw = BTreeMap::new();
    let mut faults = Vec::new();
    flatten("", builder.build()?.cache, &mut raw, &mut faults);
    for (name, text) in &vars.0 {
        let Some(path) = name.strip_prefix(PREFIX).filter(|_| !text.is_empty()) else { continue };
        let path = lower_case(path);
        raw.insert(path, Raw { text: text.clone(), origin: name.clone() });
    }
    for key in KEYS {
        if let Some((name, text)) = key.variable.and_then(|name| Some((name, vars.get(name)?))) {
            raw.insert(key.path.to_owned(), Raw { text: text.to_owned(), origin: name.to_owned() });
        }
    }
    Ok((raw, faults))
}

/// The name of a section for one account stays as it is: a SID may have letters of both cases.
fn lower_case(path: &str) -> String {
    let (mut whole, mut is_sid) = (String::new(), false);
    for name in path.split("__") {
        let name = if is_sid { name.to_owned() } else { name.to_lowercase() };
        if !whole.is_empty() {
            whole.push('.');
        }
        whole.push_str(&name);
        is_sid = whole == "twilio.accounts";
    }
    whole
}

/// Tables become dotted paths, lists become comma-separated text. `[[faults]]` stays as it is.
fn flatten(path: &str, value: config::Value, raw: &mut BTreeMap<String, Raw>, faults: &mut Vec<config::Value>) {
    let origin = value.origin().map_or_else(|| "the built-in defaults".to_owned(), ToOwned::to_owned);
    match value.kind {
        ValueKind::Table(table) => {
            if path.starts_with("twilio.accounts.") {
                // A section says something already by being there.
                raw.insert(path.to_owned(), Raw { text: String::new(), origin });
            }
            for (name, value) in table {
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                flatten(&path, value, raw, faults);
            }
        }
        ValueKind::Array(rules) if path == "faults" && cfg!(feature = "faults") => faults.extend(rules),
        ValueKind::Array(items) => {
            let text = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            raw.insert(path.to_owned(), Raw { text, origin });
        }
        kind => {
            raw.insert(path.to_owned(), Raw { text: kind.to_string(), origin });
        }
    }
}
