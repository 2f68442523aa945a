//! The holds that this process knows of, and what its hosts answered since it last told the fleet.
//!
//! The truth is in the database; the keeper copies it here every `holds.refresh`, so that an attempt can look before it
//! asks anybody, and a good download costs no question of the database.

use crate::domain::{
    hold::{Hold, HoldKey, HoldKind},
    locks::{Mutex, MutexGuard},
};
use chrono::{DateTime, Utc};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

/// Each clone is the same board.
#[derive(Debug, Clone, Default)]
pub struct HoldBoard(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    holds: HashMap<HoldKey, Hold>,
    /// The database's holds were copied here, once at least.
    is_known: bool,
    /// Counts what was noted here; a copy that was read before that does not have it.
    noted: u64,
    /// Good answers, by key.
    answers: HashMap<HoldKey, u32>,
}

impl HoldBoard {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first of these keys whose hold stands.
    pub fn first<'a>(&self, keys: impl IntoIterator<Item = &'a HoldKey>, now: DateTime<Utc>) -> Option<Hold> {
        let board = self.board();
        if board.holds.is_empty() {
            return None;
        }
        let stands = |hold: &&Hold| hold.until.is_none_or(|until| until > now);
        keys.into_iter().find_map(|key| board.holds.get(key).filter(stands).cloned())
    }

    /// Whether jobs are to be claimed: not before it is known what is held, and not while no recording can be stored,
    /// since whatever is claimed then would only wait.
    pub fn lets_claim(&self) -> bool {
        let board = self.board();
        board.is_known && board.holds.values().all(|hold| hold.kind != HoldKind::Storage)
    }

    /// A failure of this process met this hold.
    pub(super) fn note(&self, hold: &Hold) {
        let mut board = self.board();
        board.noted += 1;
        board.holds.insert(hold.key.clone(), hold.clone());
    }

    /// Before a copy is read: what to give to [`HoldBoard::replace`].
    pub(super) fn noted(&self) -> u64 {
        self.board().noted
    }

    /// The holds as the database has them; `false`: one was noted since, and the copy is older than that.
    pub(super) fn replace(&self, noted: u64, holds: Vec<Hold>) -> bool {
        let mut board = self.board();
        if board.noted != noted {
            return false;
        }
        board.holds = holds.into_iter().map(|hold| (hold.key.clone(), hold)).collect();
        board.is_known = true;
        true
    }

    pub(super) fn has(&self, key: &HoldKey) -> bool {
        self.board().holds.contains_key(key)
    }

    /// How many of those that are known are of this sort, the hold of `but` aside.
    pub(super) fn count_but(&self, but: &HoldKey, is_of: impl Fn(&HoldKey) -> bool) -> usize {
        self.board().holds.keys().filter(|key| *key != but && is_of(key)).count()
    }

    /// It answered, and well.
    pub(super) fn credit(&self, key: &HoldKey) {
        let mut board = self.board();
        match board.answers.get_mut(key) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                board.answers.insert(key.clone(), 1);
            }
        }
    }

    /// What was not told yet of one key.
    pub(super) fn take_answers_of(&self, key: &HoldKey) -> u32 {
        self.board().answers.remove(key).unwrap_or(0)
    }

    pub(super) fn take_answers(&self) -> Vec<(HoldKey, u32)> {
        self.board().answers.drain().collect()
    }
}
