//! Holds: what the whole fleet waits for.

use super::{
    Store,
    errors::clean_error,
    hold_rows::{EndedRow, HoldViewRow, MetRow, StandingRow, TendedRow},
    millis,
};
use crate::domain::{
    hold::{EndedBy, Hold, HoldKey, HoldKind, HoldRules, HoldView},
    operate::Operator,
    ports::{Blamed, EndedHold, Holds, Met, Standing, StoreResult, Tended},
};
use async_trait::async_trait;

#[async_trait]
impl Holds for Store {
    async fn standing(&self) -> StoreResult<Standing> {
        let rows: Vec<StandingRow> = sqlx::query_as(self.sql().holds_standing.clone())
            .fetch_all(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        let is_due = rows.iter().any(|row| row.is_due);
        let holds = rows.into_iter().filter(|row| row.stands).map(|row| row.hold.try_into());
        Ok(Standing { holds: holds.collect::<StoreResult<_>>()?, is_due })
    }

    async fn blame(&self, blamed: &Blamed<'_>, rules: &HoldRules) -> StoreResult<Option<Met>> {
        let key = &blamed.blame.key;
        let lasts = blamed.blame.lasts.map(HoldRules::believed);
        let row: Option<MetRow> = sqlx::query_as(self.sql().hold_blame.clone())
            .bind(key.to_string())
            .bind(key.kind().as_str())
            .bind(blamed.message)
            .bind(blamed.job.0)
            .bind(blamed.is_last)
            .bind(lasts.map(millis))
            .bind(millis(rules.first(key.kind())))
            .bind(millis(rules.longest(key.kind())))
            .bind(millis(rules.window))
            .bind(i32::try_from(rules.min_failures).unwrap_or(i32::MAX))
            .bind(rules.failure_share)
            .bind(i64::from(blamed.ok))
            .fetch_optional(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        row.map(TryInto::try_into).transpose()
    }

    async fn credit(&self, answers: &[(HoldKey, u32)], rules: &HoldRules) -> StoreResult<()> {
        let (keys, counts): (Vec<_>, Vec<_>) =
            answers.iter().map(|(key, count)| (key.to_string(), i64::from(*count))).unzip();
        sqlx::query(self.sql().hold_credit.clone())
            .bind(keys)
            .bind(counts)
            .bind(millis(rules.window))
            .execute(self.upkeep())
            .await
            .map(|_| ())
            .map_err(|error| clean_error(&error))
    }

    async fn tend(&self, rules: &HoldRules) -> StoreResult<Tended> {
        let rows: Vec<TendedRow> = sqlx::query_as(self.sql().hold_tend.clone())
            .bind(HoldKind::ALL.map(HoldKind::as_str).to_vec())
            .bind(HoldKind::ALL.map(|kind| millis(rules.longest(kind))).to_vec())
            .bind(millis(rules.window))
            .fetch_all(self.upkeep())
            .await
            .map_err(|error| clean_error(&error))?;
        let mut tended = Tended::default();
        for row in rows {
            if row.what == "probe" {
                tended.probes.push(row.probe()?);
            } else {
                tended.ended.push(row.hold.ended(EndedBy::Time)?);
            }
        }
        Ok(tended)
    }

    async fn end(&self, hold: &Hold) -> StoreResult<Option<EndedHold>> {
        let row: Option<EndedRow> = sqlx::query_as(self.sql().hold_end.clone())
            .bind(hold.key.to_string())
            .bind(hold.since)
            .fetch_optional(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        row.map(|row| row.ended(EndedBy::Probe)).transpose()
    }

    async fn lift(&self, key: &HoldKey, operator: &Operator) -> StoreResult<bool> {
        sqlx::query_scalar(self.sql().hold_lift.clone())
            .bind(key.to_string())
            .bind(operator.as_str())
            .fetch_one(self.pool())
            .await
            .map_err(|error| clean_error(&error))
    }

    async fn holds(&self) -> StoreResult<Vec<HoldView>> {
        let rows: Vec<HoldViewRow> = sqlx::query_as(self.sql().holds.clone())
            .fetch_all(self.pool())
            .await
            .map_err(|error| clean_error(&error))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}
