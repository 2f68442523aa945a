//! The fleet at a glance.

use super::{
    Store,
    errors::clean_error,
    rows::{BacklogRow, InstanceRow},
};
use crate::domain::{
    migration::LockHolder,
    overview::Overview,
    ports::{Backlog, FleetStatus, FleetView, Gate, StoreResult},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

#[derive(sqlx::FromRow)]
pub(super) struct HolderRow {
    pid: i32,
    app: String,
    client: Option<String>,
    since: Option<DateTime<Utc>>,
    state: Option<String>,
    query: Option<String>,
}

impl From<HolderRow> for LockHolder {
    fn from(HolderRow { pid, app, client, since, state, query }: HolderRow) -> Self {
        Self { pid, app, client, since, state, query }
    }
}

#[async_trait]
impl FleetView for Store {
    async fn fleet_status(&self) -> StoreResult<FleetStatus> {
        let schema = self.versions().await?;
        let failed_migrations = self.failed_migrations().await?;
        let fleet = async {
            let lock_holder = self.lock_holder().await?;
            let mut status = FleetStatus {
                stalls: Vec::new(),
                holds: Vec::new(),
                failing: Vec::new(),
                instances: Vec::new(),
                slots_in_use: 0,
                backlog: Backlog::default(),
                oldest_ready: None,
                schema,
                lock_holder,
                failed_migrations,
                backfills: Vec::new(),
            };
            if !schema.fits() {
                return Ok(status);
            }
            let instances: Vec<InstanceRow> = sqlx::query_as(self.sql().instances.clone())
                .bind(super::millis(self.config().beat_ttl))
                .fetch_all(self.pool())
                .await?;
            status.instances = instances.into_iter().map(Into::into).collect();
            let backlog: BacklogRow = sqlx::query_as(self.sql().backlog.clone()).fetch_one(self.pool()).await?;
            status.backlog = backlog.into();
            status.slots_in_use = status.backlog.running;
            status.oldest_ready =
                sqlx::query_scalar(self.sql().oldest_ready.clone()).fetch_optional(self.pool()).await?;
            Ok(status)
        };
        let mut status = fleet.await.map_err(|error: sqlx::Error| clean_error(&error))?;
        if schema.fits() {
            let overview = self.read_overview(0).await?;
            status.stalls = overview.stalls;
            status.holds = overview.holds;
            status.failing = overview.failing;
            status.backfills = self.backfill_statuses().await?;
        }
        Ok(status)
    }

    async fn overview(&self, minutes: u16) -> StoreResult<Overview> {
        self.read_overview(minutes).await
    }
}

impl Store {
    pub(super) async fn lock_holder(&self) -> Result<Option<LockHolder>, sqlx::Error> {
        let holder: Option<HolderRow> = sqlx::query_as(self.sql().lock_holder.clone())
            .bind(self.config().migration_lock_id)
            .fetch_optional(self.pool())
            .await?;
        Ok(holder.map(Into::into))
    }
}
