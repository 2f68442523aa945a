//! Rows of what the watch wrote down, see `rows`.

use super::rows::{business_id, unknown};
use crate::domain::{
    business::BusinessView,
    overview::{Failing, Overview, PulsePoint, Stall, StallChange, quantile_ms},
    ports::{Backlog, StoreResult},
};
use chrono::{DateTime, Utc};
use sqlx::types::Json;

#[derive(sqlx::FromRow)]
pub(super) struct StallRow {
    change: String,
    reason: String,
    since: DateTime<Utc>,
    businesses: i64,
    ready: i64,
    business_id: i64,
}

impl StallRow {
    pub(super) fn change(self) -> StoreResult<StallChange> {
        let is_over = self.change == "over";
        let (since, businesses, ready) = (self.since, self.businesses, self.ready);
        let stall = stall(&self.reason, since, businesses, ready, self.business_id)?;
        Ok(if is_over { StallChange::Over(stall) } else { StallChange::Begun(stall) })
    }
}

fn stall(reason: &str, since: DateTime<Utc>, businesses: i64, ready: i64, id: i64) -> StoreResult<Stall> {
    let reason = reason.parse().map_err(|_| unknown("reason"))?;
    Ok(Stall::new(reason, since, businesses, ready, business_id(id)?))
}

#[derive(sqlx::FromRow)]
pub(super) struct OverviewRow {
    pub(super) now: DateTime<Utc>,
    pub(super) watched_at: Option<DateTime<Utc>>,
    ready: i64,
    scheduled: i64,
    running: i64,
    done: i64,
    cancelled: i64,
    dead: i64,
    oldest_ready: Option<DateTime<Utc>>,
    live_instances: i32,
    live_workers: i32,
    busiest: Vec<i64>,
    stalls: Json<Vec<StallJson>>,
    failing: Json<Vec<Failing>>,
}

#[derive(serde::Deserialize)]
struct StallJson {
    reason: String,
    since: DateTime<Utc>,
    businesses: i64,
    ready: i64,
    business_id: i64,
}

impl OverviewRow {
    pub(super) fn busiest(&self) -> Vec<i64> {
        self.busiest.clone()
    }

    pub(super) fn overview(self, businesses: Vec<BusinessView>, pulse: Vec<PulsePoint>) -> StoreResult<Overview> {
        let stalls = self.stalls.0.into_iter();
        let stalls = stalls.map(|s| stall(&s.reason, s.since, s.businesses, s.ready, s.business_id));
        Ok(Overview {
            at: self.watched_at,
            stalls: stalls.collect::<StoreResult<_>>()?,
            failing: self.failing.0,
            backlog: Backlog {
                ready: self.ready.max(0),
                scheduled: self.scheduled.max(0),
                running: self.running,
                done: self.done,
                cancelled: self.cancelled,
                dead: self.dead,
            },
            slots_in_use: self.running,
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
