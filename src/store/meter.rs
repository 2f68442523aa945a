//! The fleet, measured at a scrape: what the watch over the queue wrote down, and what holds back the vacuum.

use super::{
    Store,
    errors::clean_error,
    rows::{BacklogRow, business_id, unknown},
};
use crate::domain::{
    explain::Reason,
    hold::HoldKind,
    observation::{BusinessSlots, FleetGauges, FleetMeter, Horizon, PoolUse},
    ports::StoreResult,
};
use async_trait::async_trait;
use sqlx::types::Json;
use std::time::Duration;

#[derive(sqlx::FromRow)]
struct MeterRow {
    #[sqlx(flatten)]
    backlog: BacklogRow,
    live_instances: i32,
    live_workers: i32,
    oldest_ready_ms: Option<i64>,
    watch_age_ms: Option<i64>,
    stall_reasons: Vec<String>,
    stall_businesses: Vec<i64>,
    slots: Json<Vec<SlotsJson>>,
    hold_kinds: Vec<String>,
    hold_waiting: Vec<i64>,
    oldest_transaction_ms: Option<i64>,
    oldest_xmin: Option<i32>,
}

#[derive(serde::Deserialize)]
struct SlotsJson {
    business_id: i64,
    in_use: i64,
    limit: i64,
}

impl SlotsJson {
    fn slots(self) -> StoreResult<BusinessSlots> {
        let Self { business_id: id, in_use, limit } = self;
        Ok(BusinessSlots { business_id: business_id(id)?, in_use, limit })
    }
}

impl TryFrom<MeterRow> for FleetGauges {
    type Error = crate::domain::ports::StoreError;

    fn try_from(row: MeterRow) -> StoreResult<Self> {
        let reason = |text: String| text.parse::<Reason>().map_err(|_| unknown("reason"));
        let kind = |text: String| {
            HoldKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| unknown("hold kind"))
        };
        let holds = row.hold_kinds.into_iter().zip(row.hold_waiting);
        let stalled = row.stall_reasons.into_iter().zip(row.stall_businesses);
        Ok(Self {
            backlog: row.backlog.into(),
            instances: row.live_instances.into(),
            workers: row.live_workers.into(),
            businesses: row.slots.0.into_iter().map(SlotsJson::slots).collect::<StoreResult<_>>()?,
            stalled: stalled
                .map(|(text, businesses)| Ok((reason(text)?, businesses)))
                .collect::<StoreResult<_>>()?,
            holds: holds.map(|(text, waiting)| Ok((kind(text)?, waiting))).collect::<StoreResult<_>>()?,
            oldest_ready: row.oldest_ready_ms.map(from_millis),
            watch_age: row.watch_age_ms.map(from_millis),
            horizon: Horizon {
                oldest_transaction: from_millis(row.oldest_transaction_ms.unwrap_or(0)),
                oldest_xmin: row.oldest_xmin.and_then(|age| u32::try_from(age).ok()).unwrap_or(0),
            },
        })
    }
}

/// Zero where two clocks made it less.
fn from_millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

impl Store {
    pub fn pool_use(&self) -> PoolUse {
        self.pool().connections(self.config().pool_size)
    }
}

#[async_trait]
impl FleetMeter for Store {
    async fn gauges(&self) -> StoreResult<FleetGauges> {
        let row: MeterRow = sqlx::query_as(self.sql().meter.clone())
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        row.try_into()
    }
}
