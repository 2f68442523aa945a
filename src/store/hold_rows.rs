//! Rows of holds, see `rows`.

use super::rows::unknown;
use crate::domain::{
    hold::{EndedBy, Hold, HoldKey, HoldView},
    ports::{EndedHold, Met, StoreError, StoreResult},
};
use chrono::{DateTime, Utc};
use std::time::Duration;

/// As a row, or within the JSON of one.
#[derive(sqlx::FromRow, serde::Deserialize)]
pub(super) struct HoldRow {
    hold_key: String,
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    probe_at: Option<DateTime<Utc>>,
    message: String,
    met: i64,
}

impl TryFrom<HoldRow> for Hold {
    type Error = StoreError;

    fn try_from(row: HoldRow) -> StoreResult<Self> {
        let HoldRow { hold_key, since, until, probe_at, message, met } = row;
        let key: HoldKey = hold_key.parse().map_err(|_| unknown("hold_key"))?;
        Ok(Self { kind: key.kind(), key, since, until, probe_at, message, met })
    }
}

/// The same with the jobs that wait.
#[derive(sqlx::FromRow, serde::Deserialize)]
pub(super) struct HoldViewRow {
    #[sqlx(flatten)]
    #[serde(flatten)]
    hold: HoldRow,
    waiting: i64,
}

impl TryFrom<HoldViewRow> for HoldView {
    type Error = StoreError;

    fn try_from(row: HoldViewRow) -> StoreResult<Self> {
        Ok(Self::new(row.hold.try_into()?, row.waiting))
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct StandingRow {
    pub(super) is_due: bool,
    pub(super) stands: bool,
    #[sqlx(flatten)]
    pub(super) hold: HoldRow,
}

#[derive(sqlx::FromRow)]
pub(super) struct MetRow {
    began: bool,
    counts: bool,
    #[sqlx(flatten)]
    hold: HoldRow,
}

impl TryFrom<MetRow> for Met {
    type Error = StoreError;

    fn try_from(row: MetRow) -> StoreResult<Self> {
        Ok(Self { hold: row.hold.try_into()?, began: row.began, counts: row.counts })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct EndedRow {
    ended_by: Option<String>,
    lasted_ms: i64,
    waiting: i64,
    #[sqlx(flatten)]
    hold: HoldRow,
}

impl EndedRow {
    /// `otherwise`: who ended it, where no operator did.
    pub(super) fn ended(self, otherwise: EndedBy) -> StoreResult<EndedHold> {
        Ok(EndedHold {
            hold: self.hold.try_into()?,
            by: self.ended_by.map_or(otherwise, EndedBy::Operator),
            lasted: Duration::from_millis(u64::try_from(self.lasted_ms).unwrap_or(0)),
            waiting: self.waiting,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct TendedRow {
    pub(super) what: String,
    #[sqlx(flatten)]
    pub(super) hold: EndedRow,
}

impl TendedRow {
    pub(super) fn probe(self) -> StoreResult<Hold> {
        self.hold.hold.try_into()
    }
}
