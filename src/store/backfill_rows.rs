//! A backfill's rows, as they come and as the domain wants them.

use super::rows::unknown;
use crate::domain::{
    backfill::{BackfillState, BackfillStatus, BackfillTrouble, Standing, percent, rows_per_s},
    ids::InstanceId,
    ports::StoreResult,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

#[derive(sqlx::FromRow)]
pub(super) struct StandingRow {
    state: String,
    checksum: String,
    batches: i64,
    last_error: Option<String>,
    held: bool,
}

impl StandingRow {
    pub(super) fn standing(self) -> Result<Standing, BackfillTrouble> {
        let Self { state, checksum, batches, last_error, held } = self;
        let state = state.parse().map_err(|()| BackfillTrouble::lasting(unknown("state").message))?;
        Ok(Standing { state, checksum, batches, held, last_error })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    /// None: there is no such column.
    pub(super) key_type: Option<String>,
    pub(super) is_not_null: bool,
    pub(super) is_indexed: bool,
}

#[derive(Clone, Copy, sqlx::FromRow)]
pub(super) struct Range {
    pub(super) origin: Option<i64>,
    pub(super) position: Option<i64>,
    pub(super) target: Option<i64>,
}

impl Range {
    pub(super) fn percent(self) -> Option<f64> {
        Some(percent(self.origin?, self.position?, self.target?))
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct StatusRow {
    name: String,
    state: String,
    #[sqlx(flatten)]
    range: Range,
    rows: i64,
    batches: i64,
    attempts: i32,
    last_error: Option<String>,
    instance_id: Option<Uuid>,
    started_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl StatusRow {
    pub(super) fn status(self) -> StoreResult<BackfillStatus> {
        let state: BackfillState = self.state.parse().map_err(|()| unknown("state"))?;
        let took = self.started_at.and_then(|started| (self.updated_at - started).to_std().ok());
        Ok(BackfillStatus {
            name: self.name,
            state,
            percent: if state == BackfillState::Done { Some(100.0) } else { self.range.percent() },
            rows: self.rows,
            batches: self.batches,
            rows_per_s: took.and_then(|took| rows_per_s(self.rows, took)),
            attempts: self.attempts,
            last_error: self.last_error,
            started_at: self.started_at,
            updated_at: self.updated_at,
            finished_at: self.finished_at,
            instance: self.instance_id.map(InstanceId),
        })
    }
}
