//! Runs that once found something, kept: `--known` repeats them.

use crate::{Arguments, attack::Attack};

/// A seed, for how many seconds, with which attacks (all, where none is named), and the test that is about what it found.
const FOUND: [(u64, u64, &[Attack], &str); 2] = [
    (2, 110, &[], "a_claim_that_is_answered_after_the_beats_have_stopped_is_handed_back_unburnt"),
    // On a machine that had much else to do.
    (3, 90, &[], "a_database_that_answers_later_than_the_next_beat_is_due_is_worked_with"),
];

pub fn runs(arguments: &Arguments) -> Vec<Arguments> {
    let run = |(seed, seconds, only, test): (u64, u64, &[Attack], &str)| {
        println!("again, what is now {test}:");
        Arguments { seed: Some(seed), seconds, only: only.to_vec(), known: false, ..arguments.clone() }
    };
    FOUND.into_iter().map(run).collect()
}
