//! The watch over the queue, and what it wrote down.

use super::{
    Store,
    errors::clean_error,
    millis,
    overview_rows::{OverviewRow, PulseRow, StallChangeRow},
};
use crate::domain::{
    overview::{Overview, PulseCounts, StallChange},
    ports::{StoreResult, Watch, WatchRules},
};
use async_trait::async_trait;
use chrono::TimeDelta;
use std::time::Duration;

#[async_trait]
impl Watch for Store {
    async fn watch(&self, rules: &WatchRules) -> StoreResult<Vec<StallChange>> {
        let rows: Vec<StallChangeRow> = sqlx::query_as(self.sql().watch.clone())
            .bind(millis(rules.every))
            .bind(millis(rules.stalled_after))
            .bind(millis(rules.beat_ttl))
            .bind(millis(rules.keep))
            .bind(rules.default_max_slots)
            .bind(rules.businesses.cast_signed())
            .fetch_all(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn add_pulse(&self, counts: &PulseCounts) -> StoreResult<()> {
        sqlx::query(self.sql().add_pulse.clone())
            .bind(counts.done)
            .bind(counts.failed)
            .bind(counts.dead)
            .bind(counts.bytes)
            .bind(&counts.latency)
            .execute(self.upkeep())
            .await
            .map(|_| ())
            .map_err(|error| clean_error(&error))
    }
}

/// Of what operators did: a look in another's place lets nothing go.
const KEEP: Duration = Duration::from_hours(24 * 36_500);
/// Every process that lives looks at the queue every few seconds.
const NOBODY_LOOKS: TimeDelta = TimeDelta::seconds(40);

impl Store {
    pub(super) async fn read_overview(&self, minutes: u16) -> StoreResult<Overview> {
        let mut row = self.overview_row().await?;
        if row.watched_at.is_none_or(|at| row.now - at > NOBODY_LOOKS) {
            // The whole fleet is away, and what it wrote down last is no longer so. Whoever asks looks in its place.
            let rules = WatchRules {
                every: Duration::ZERO,
                stalled_after: Duration::ZERO,
                beat_ttl: self.config().beat_ttl,
                keep: KEEP,
                default_max_slots: self.config().default_max_slots,
                businesses: i32::MAX.cast_unsigned(),
            };
            self.watch(&rules).await?;
            row = self.overview_row().await?;
        }
        let pulse: Vec<PulseRow> = if minutes == 0 {
            Vec::new()
        } else {
            sqlx::query_as(self.sql().pulse.clone())
                .bind(i32::from(minutes))
                .fetch_all(self.pool())
                .await
                .map_err(|error| clean_error(&error))?
        };
        let busiest = &row.busiest;
        let businesses = if busiest.is_empty() { Vec::new() } else { self.businesses_by_id(busiest).await? };
        row.overview(businesses, pulse.into_iter().map(Into::into).collect())
    }

    async fn overview_row(&self) -> StoreResult<OverviewRow> {
        sqlx::query_as(self.sql().overview.clone())
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))
    }
}
