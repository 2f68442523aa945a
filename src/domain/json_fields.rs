//! One JSON object, taken apart field by field, so that one of the wrong kind does not hide what else is wrong.

use super::enqueue_request::FieldFault;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::Value;
use std::fmt;

/// What is left of an object, and what was wrong with what was taken.
pub struct JsonFields {
    entries: Vec<(String, Value)>,
    faults: Vec<FieldFault>,
    known: Vec<&'static str>,
}

/// Names that are left and told one by one: an answer is not to be a hundred times as long as what it refuses.
pub const LEFT_SHOWN: usize = 20;

/// What stands for the others: `what` are fields or parameters.
pub fn not_shown(what: &str, more: usize) -> Option<FieldFault> {
    (more > 0).then(|| FieldFault::new(what, format!("{more} more {what} are none of these, or stand there twice")))
}

impl JsonFields {
    pub fn parse(text: &[u8]) -> Result<Self, FieldFault> {
        let Entries(entries) = serde_json::from_slice(text).map_err(|error| FieldFault::new("body", error))?;
        Ok(Self { entries, faults: Vec::new(), known: Vec::new() })
    }

    pub fn required<T: DeserializeOwned + Default>(&mut self, name: &'static str) -> T {
        if !self.entries.iter().any(|(other, _)| other == name) {
            self.faults.push(FieldFault::new(name, format!("{name} is missing")));
        }
        self.take(name).unwrap_or_default()
    }

    /// `null` is as good as nothing.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        self.take::<Option<T>>(name).flatten()
    }

    /// `null` is a value of its own: `Some(None)`.
    pub fn nullable<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<Option<T>> {
        self.take(name)
    }

    fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        self.known.push(name);
        let at = self.entries.iter().position(|(other, _)| other == name)?;
        let (_, value) = self.entries.remove(at);
        serde_json::from_value(value).map_err(|error| self.faults.push(FieldFault::new(name, error))).ok()
    }

    /// After the last field was taken: everything that is wrong, what is left included.
    pub fn into_faults(mut self) -> Vec<FieldFault> {
        let known = &self.known;
        let more = self.entries.len().saturating_sub(LEFT_SHOWN);
        let left = self.entries.into_iter().take(LEFT_SHOWN).map(|(name, _)| {
            if known.contains(&name.as_str()) {
                FieldFault::new(name, "stands there twice")
            } else {
                FieldFault::new(name, format!("there is no such field; there are {}", known.join(", ")))
            }
        });
        self.faults.extend(left);
        self.faults.extend(not_shown("fields", more));
        self.faults
    }
}

/// The entries of one JSON object in their order. A name that comes twice is kept twice: readers of JSON differ in
/// which of the two counts, so it is refused.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
