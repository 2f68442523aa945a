//! What the provider has, and what is known of it here.

use super::StoreResult;
use crate::domain::{
    ids::{AccountSid, CallSid, RecordingSid},
    reconcile::{Counts, Round, RoundRules, Standing},
};
use async_trait::async_trait;
use std::time::Duration;

/// Rounds over an account's recordings: one process of the fleet has an account in hand at a time.
#[async_trait]
pub trait IntakeBook: Send + Sync {
    /// What is known of each of these, in their order, whosever they are; `None`: nothing.
    async fn known(&self, recordings: &[(CallSid, RecordingSid)]) -> StoreResult<Vec<Option<Standing>>>;
    /// Takes an account in hand, where it is due and in nobody's: its round goes on, or a new one begins.
    async fn begin_round(&self, account: &AccountSid, rules: &RoundRules) -> StoreResult<Option<Round>>;
    /// One page more; without a next one the round is over, and the next is due after its interval. `None`: the account
    /// is in other hands by now.
    async fn note_page(
        &self,
        account: &AccountSid,
        next: Option<&str>,
        counts: &Counts,
        rules: &RoundRules,
    ) -> StoreResult<Option<Round>>;
    /// Gives an account out of hand for at least `wait`; `anew`: its round begins with the first page again.
    async fn leave_round(&self, account: &AccountSid, wait: Duration, anew: bool) -> StoreResult<()>;
}
