//! What operators see and do, and how the fleet knows it.

use super::StoreResult;
use crate::domain::{
    backfill::BackfillStatus,
    business::{BusinessChange, BusinessFilter, BusinessView},
    explain::Explanation,
    hold::HoldView,
    ids::{BusinessId, CallSid, InstanceId, JobId},
    job::{JobState, Priority},
    migration::SchemaVersions,
    operate::{JobOutcome, Operator, OperatorAction},
    overview::{Failing, Overview, PulseCounts, Stall, StallChange},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// What operators ask and do: the API, the dashboard and the command line.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Why a job does not run now; `None`: there is no such job.
    async fn explain(&self, id: JobId) -> StoreResult<Option<Explanation>>;
    /// Cancels up to [`crate::domain::operate::BATCH`] jobs; one answer for each different id, in order of the ids.
    /// `only`: those that are in this state when it comes to it.
    async fn cancel(
        &self,
        ids: &[JobId],
        only: Option<JobState>,
        operator: &Operator,
    ) -> StoreResult<Vec<JobOutcome>>;
    /// Tries up to [`crate::domain::operate::BATCH`] jobs again, the scheduled ones at once; answers as [`Operations::cancel`].
    async fn retry(&self, ids: &[JobId], operator: &Operator) -> StoreResult<Vec<JobOutcome>>;
    /// Somebody waits for this call: its live jobs get this priority where theirs is lower. Returns how many did; asked
    /// again, it only reads.
    async fn expedite(&self, business_id: BusinessId, call_sid: &CallSid, priority: Priority) -> StoreResult<u32>;
    async fn businesses(&self, filter: BusinessFilter) -> StoreResult<Vec<BusinessView>>;
    async fn business(&self, id: BusinessId) -> StoreResult<Option<BusinessView>>;
    /// Changes a business, or makes it before its first job. The change was checked.
    async fn set_business(
        &self,
        id: BusinessId,
        change: BusinessChange,
        operator: &Operator,
    ) -> StoreResult<BusinessView>;
    /// What operators did to a business and its jobs, the newest first.
    async fn actions(&self, id: BusinessId, limit: u16) -> StoreResult<Vec<OperatorAction>>;
}

/// The watch over the queue, which every process keeps and one at a time carries out.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Looks at the queue, unless another process has just done so; what changed of the reasons for which ready jobs
    /// are not picked.
    async fn watch(&self, rules: &WatchRules) -> StoreResult<Vec<StallChange>>;
    /// Adds what ended in this process to the fleet's pulse.
    async fn add_pulse(&self, counts: &PulseCounts) -> StoreResult<()>;
}

#[derive(Debug, Clone, PartialEq)]
pub struct WatchRules {
    /// Between two looks, whichever processes take them.
    pub every: Duration,
    /// Ready jobs of which none was picked for so long are stalled.
    pub stalled_after: Duration,
    /// Without a beat for so long an instance is dead.
    pub beat_ttl: Duration,
    /// How long it is kept what operators did.
    pub keep: Duration,
    /// Slots of a business that is met for the first time.
    pub default_max_slots: i32,
    /// How many one look has; where there are more, the figures are complete after several of them.
    pub businesses: u32,
}

/// A process as the fleet sees it. `actors` is what `status` shows of its tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstanceInfo {
    pub instance: InstanceId,
    pub host: String,
    pub pid: u32,
    pub roles: Vec<String>,
    pub version: String,
    pub workers: u16,
    pub draining: bool,
    pub actors: Vec<ActorInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActorInfo {
    pub actor: String,
    pub generation: u64,
    /// `up`, `restarting`, `waiting` (for the schema), `stopped`.
    pub state: String,
    /// Where it last panicked, such as `src/actors/listener.rs:12`, in whichever life; older processes do not say it.
    #[serde(default)]
    pub last_panic: Option<String>,
}

/// What `status` prints.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FleetStatus {
    /// Why ready jobs are not picked; empty: all goes well.
    pub stalls: Vec<Stall>,
    /// What many jobs wait for together, the oldest first.
    pub holds: Vec<HoldView>,
    /// Why jobs fail, the commonest first.
    pub failing: Vec<Failing>,
    pub instances: Vec<InstanceStatus>,
    pub slots_in_use: i64,
    pub backlog: Backlog,
    pub oldest_ready: Option<DateTime<Utc>>,
    pub schema: SchemaVersions,
    pub lock_holder: Option<crate::domain::migration::LockHolder>,
    /// Also of the application's migrations, which no worker waits for.
    pub failed_migrations: Vec<crate::domain::migration::FailedMigration>,
    /// In the order in which they run.
    pub backfills: Vec<BackfillStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InstanceStatus {
    #[serde(flatten)]
    pub info: InstanceInfo,
    pub started_at: DateTime<Utc>,
    /// Since its last beat, by the database's clock, in milliseconds.
    pub beat_age_ms: i64,
    /// Its beats have not stopped for so long that others take its jobs.
    pub live: bool,
}

/// Jobs by state, from kept counters: never counted over the backlog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Backlog {
    pub ready: i64,
    pub scheduled: i64,
    pub running: i64,
    pub done: i64,
    pub cancelled: i64,
    pub dead: i64,
}

#[async_trait]
pub trait FleetView: Send + Sync {
    async fn fleet_status(&self) -> StoreResult<FleetStatus>;
    /// What the watch and the processes wrote down: two cheap queries, whatever the backlog. The pulse is of the last
    /// `minutes`, 0 to 1,440.
    async fn overview(&self, minutes: u16) -> StoreResult<Overview>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_process_says_of_its_actors_is_still_read() {
        let older = r#"{"actor": "http", "generation": 1, "state": "up"}"#;
        assert_eq!(serde_json::from_str::<ActorInfo>(older).unwrap().last_panic, None);
    }
}
