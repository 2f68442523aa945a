//! What the provider said of a recording beside its URL: kept with the job, so that the attempt can check against it.

use super::ids::CallSid;
use chrono::{DateTime, Datelike, FixedOffset, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All of it may be missing. In the database as JSON; what a later version adds is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Details {
    /// The call that this one is a leg of; its recording stands in where this one has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_call_sid: Option<CallSid>,
    /// Of the recording, in seconds, as the provider counts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// When the recording began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
}

/// A time as a provider told it, where calls were recorded at such a time: names of files are made of it.
pub fn told_at(at: DateTime<FixedOffset>) -> Option<DateTime<Utc>> {
    Some(at.to_utc()).filter(|at| (1970..=9999).contains(&at.year()))
}

impl Details {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
