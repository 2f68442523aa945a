//! A business as an operator sees and changes it.

use super::{completion::CompletionRules, enqueue_request::FieldFault, ids::BusinessId, media::Forms};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Slots that a business may have. 0: none of its jobs runs.
pub const SLOTS: std::ops::RangeInclusive<i32> = 0..=10_000;
/// Turns of the ring, relative to others.
pub const WEIGHTS: std::ops::RangeInclusive<i16> = 1..=100;
/// Days that recordings are kept. 0: for ever.
pub const RETENTION_DAYS: std::ops::RangeInclusive<i32> = 0..=36_500;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BusinessView {
    pub business_id: BusinessId,
    /// Recordings of it that may be processed at a time, over the whole fleet.
    pub max_slots: i32,
    /// Its share among businesses that wait: one of weight 3 gets three turns for each of one of weight 1.
    pub weight: i16,
    pub paused: bool,
    pub paused_at: Option<DateTime<Utc>>,
    /// The operator who paused it.
    pub paused_by: Option<String>,
    pub running: i32,
    pub ready: i64,
    pub scheduled: i64,
    pub done: i64,
    pub cancelled: i64,
    pub dead: i64,
    /// Since when its ready jobs have waited without one being picked; where it has none, when the last was picked.
    pub waiting_since: DateTime<Utc>,
    /// Wanted forms in order; null: as configured for all.
    pub forms: Option<Forms>,
    /// Days that its recordings are kept, 0: for ever; null: as configured for all.
    pub retention_days: Option<i32>,
    /// Whether a recording is deleted at the provider once it is stored; null: as configured for all.
    pub delete_at_provider: Option<bool>,
    /// Where it is told of its recordings; null: as configured for all. Without its query, for a token without `operate`.
    pub completion_url: Option<String>,
}

/// Which businesses to list: by number, upwards.
#[derive(Debug, Clone, Copy, Default)]
pub struct BusinessFilter {
    /// Only those with a larger number.
    pub after: Option<BusinessId>,
    /// 1 to 1,000.
    pub limit: u16,
}

/// What is to be changed; `None` leaves it as it is. Where null is allowed, it is as configured for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub struct BusinessChange {
    #[schema(minimum = 0, maximum = 10_000)]
    pub max_slots: Option<i32>,
    #[schema(minimum = 1, maximum = 100)]
    pub weight: Option<i16>,
    pub paused: Option<bool>,
    #[schema(value_type = Option<Forms>)]
    pub forms: Option<Option<Forms>>,
    #[schema(value_type = Option<i32>, minimum = 0, maximum = 36_500)]
    pub retention_days: Option<Option<i32>>,
    #[schema(value_type = Option<bool>)]
    pub delete_at_provider: Option<Option<bool>>,
    /// An https URL of the public internet, or one at the origin of `completion.url`.
    #[schema(value_type = Option<String>, max_length = 2048)]
    pub completion_url: Option<Option<String>>,
}

impl BusinessChange {
    /// Every value that is not allowed, and a change that changes nothing.
    pub fn check(self, rules: &CompletionRules) -> Result<Self, Vec<FieldFault>> {
        let mut faults = Vec::new();
        if self.max_slots.is_some_and(|slots| !SLOTS.contains(&slots)) {
            faults.push(FieldFault::new("max_slots", "max_slots must be a whole number from 0 to 10000"));
        }
        if self.weight.is_some_and(|weight| !WEIGHTS.contains(&weight)) {
            faults.push(FieldFault::new("weight", "weight must be a whole number from 1 to 100"));
        }
        if self.retention_days.flatten().is_some_and(|days| !RETENTION_DAYS.contains(&days)) {
            let allowed = "retention_days must be a whole number from 0, for ever, to 36500, or null";
            faults.push(FieldFault::new("retention_days", allowed));
        }
        let url = self.completion_url.as_ref().and_then(Option::as_deref);
        if let Some(Err(fault)) = url.map(|url| rules.check(url)) {
            faults.push(FieldFault::new("completion_url", fault));
        }
        if self == Self::default() {
            let names = "max_slots, weight, paused, forms, retention_days, delete_at_provider, completion_url";
            faults.push(FieldFault::new("body", format!("one of these must be given: {names}")));
        }
        if faults.is_empty() { Ok(self) } else { Err(faults) }
    }
}
