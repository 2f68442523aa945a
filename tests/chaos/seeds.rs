//! Runs that once found something, kept: `--known` repeats them.

use crate::{Arguments, attack::Attack};

/// A seed, for how many seconds, with which attacks (all, where none is named), and what it found.
const FOUND: [(u64, u64, &[Attack], &str); 0] = [];

pub fn runs(arguments: &Arguments) -> Vec<Arguments> {
    let run = |(seed, seconds, only, _): &(u64, u64, &[Attack], &str)| Arguments {
        seed: Some(*seed),
        seconds: *seconds,
        only: only.to_vec(),
        known: false,
        ..arguments.clone()
    };
    FOUND.iter().map(run).collect()
}
