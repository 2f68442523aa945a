//! Fields of others' answers that are welcome and not needed: what is odd about one costs that one, not the whole answer.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// The value, where it is of the right kind. Not for what an answer is useless without.
pub(super) fn right<'de, D: Deserializer<'de>, T: DeserializeOwned>(field: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(field)?).ok())
}
