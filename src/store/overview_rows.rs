//! Rows of what the watch wrote down, see `rows`.

use super::{
    hold_rows::HoldViewRow,
    rows::{BacklogRow, business_id, unknown},
};
use crate::domain::{
    business::BusinessView,
    overview::{Failing, Overview, PulsePoint, Stall, StallChange, quantile_ms},
    ports::{Backlog, StoreError, StoreResult},
};
use chrono::{DateTime, Utc};
use sqlx::types::Json;

/// As a row, or within the JSON of one.
#[derive(sqlx::FromRow, serde::Deserialize)]
pub(super) struct StallRow {
    reason: String,
    since: DateTime<Utc>,
    businesses: i64,
    ready: i64,
    business_id: i64,
}

impl TryFrom<StallRow> for Stall {
    type Error = StoreError;

    fn try_from(row: StallRow) -> StoreResult<Self> {
        let reason = row.reason.parse().map_err(|_| unknown("reason"))?;
        Ok(Self::new(reason, row.since, row.businesses, row.ready, business_id(row.business_id)?))
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct StallChangeRow {
    change: String,
    #[sqlx(flatten)]
    stall: StallRow,
}

impl TryFrom<StallChangeRow> for StallChange {
    type Error = StoreError;

    fn try_from(row: StallChangeRow) -> StoreResult<Self> {
        let stall = row.stall.try_into()?;
        Ok(if row.change == "over" { Self::Over(stall) } else { Self::Begun(stall) })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct OverviewRow {
    pub(super) now: DateTime<Utc>,
    /// When somebody looked last, if only at a part.
    pub(super) watched_at: Option<DateTime<Utc>>,
    swept_at: Option<DateTime<Utc>>,
    #[sqlx(flatten)]
    backlog: BacklogRow,
    oldest_ready: Option<DateTime<Utc>>,
    live_instances: i32,
    live_workers: i32,
    pub(super) busiest: Vec<i64>,
    stalls: Json<Vec<StallRow>>,
    holds: Json<Vec<HoldViewRow>>,
    failing: Json<Vec<Failing>>,
}

impl OverviewRow {
    pub(super) fn overview(self, businesses: Vec<BusinessView>, pulse: Vec<PulsePoint>) -> StoreResult<Overview> {
        let backlog = Backlog::from(self.backlog);
        Ok(Overview {
            at: self.swept_at,
            stalls: self.stalls.0.into_iter().map(TryInto::try_into).collect::<StoreResult<_>>()?,
            holds: self.holds.0.into_iter().map(TryInto::try_into).collect::<StoreResult<_>>()?,
            failing: self.failing.0,
            backlog,
            slots_in_use: backlog.running,
            oldest_ready: self.oldest_ready,
            businesses,
            instances: self.live_instances,
            workers: self.live_workers,
            pulse,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct PulseRow {
    at: DateTime<Utc>,
    ready: Option<i64>,
    scheduled: Option<i64>,
    running: Option<i64>,
    done: i64,
    failed: i64,
    dead: i64,
    bytes: i64,
    latency: Vec<i64>,
}

impl From<PulseRow> for PulsePoint {
    fn from(row: PulseRow) -> Self {
        Self {
            at: row.at,
            ready: row.ready.map(|ready| ready.max(0)),
            scheduled: row.scheduled.map(|scheduled| scheduled.max(0)),
            running: row.running,
            done: row.done,
            failed: row.failed,
            dead: row.dead,
            bytes: row.bytes,
            p50_ms: quantile_ms(&row.latency, 0.5),
            p95_ms: quantile_ms(&row.latency, 0.95),
        }
    }
}
