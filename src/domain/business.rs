//! A business as an operator sees and changes it.

use super::{enqueue_request::FieldFault, ids::BusinessId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Slots that a business may have. 0: none of its jobs runs.
pub const SLOTS: std::ops::RangeInclusive<i32> = 0..=10_000;
/// Turns of the ring, relative to others.
pub const WEIGHTS: std::ops::RangeInclusive<i16> = 1..=100;

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
}

/// Which businesses to list: by number, upwards.
#[derive(Debug, Clone, Copy, Default)]
pub struct BusinessFilter {
    /// Only those with a larger number.
    pub after: Option<BusinessId>,
    /// 1 to 1,000.
    pub limit: u16,
}

/// What is to be changed; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub struct BusinessChange {
    #[schema(minimum = 0, maximum = 10_000)]
    pub max_slots: Option<i32>,
    #[schema(minimum = 1, maximum = 100)]
    pub weight: Option<i16>,
    pub paused: Option<bool>,
}

impl BusinessChange {
    /// Every value that is not allowed, and a change that changes nothing.
    pub fn check(self) -> Result<Self, Vec<FieldFault>> {
        let mut faults = Vec::new();
        if self.max_slots.is_some_and(|slots| !SLOTS.contains(&slots)) {
            faults.push(FieldFault::new("max_slots", "max_slots must be a whole number from 0 to 10000"));
        }
        if self.weight.is_some_and(|weight| !WEIGHTS.contains(&weight)) {
            faults.push(FieldFault::new("weight", "weight must be a whole number from 1 to 100"));
        }
        if self == Self::default() {
            faults.push(FieldFault::new("body", "one of max_slots, weight and paused must be given"));
        }
        if faults.is_empty() { Ok(self) } else { Err(faults) }
    }
}
