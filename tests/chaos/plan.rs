//! Which attacks come when: a pure function of the seed.

use crate::{
    attack::{Attack, Reach, Strike},
    fleet::MEMBERS,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use std::time::Duration;

/// What an attack takes besides its own time, about: until all is well again, and a pause.
const AROUND: Duration = Duration::from_secs(2);
/// Below this many seconds a transaction is held open for less than a minute.
const SHORT_RUN: u64 = 240;
/// Of a hundred steps so many have two attacks.
const DOUBLE_PERCENT: u8 = 25;

/// Attacks that are under way together, and the quiet before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub quiet: Duration,
    pub strikes: Vec<Strike>,
}

impl Step {
    fn takes(&self) -> Duration {
        self.quiet + AROUND + self.strikes.iter().map(|strike| strike.hold).max().unwrap_or_default()
    }
}

/// First each attack once, in some order, then any of them, until about `seconds` are full. A machine that is busy gets
/// less far in the same plan, but as far as that each attack comes once where it stands there.
pub fn plan(seed: u64, seconds: u64, of: &[Attack]) -> Vec<Step> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut first = of.to_vec();
    first.shuffle(&mut random);
    let mut left = Duration::from_secs(seconds);
    let mut steps = Vec::new();
    while !of.is_empty() {
        let attack = first.pop().unwrap_or_else(|| of[random.random_range(0..of.len())]);
        let mut strikes = vec![Strike::draw(attack, seconds < SHORT_RUN, MEMBERS, &mut random)];
        let other = of[random.random_range(0..of.len())];
        let second = Strike::draw(other, seconds < SHORT_RUN, MEMBERS, &mut random);
        if random.random_range(0..100) < DOUBLE_PERCENT && go_together(&strikes[0], &second) {
            strikes.push(second);
        }
        let quiet = Duration::from_millis(random.random_range(100..700));
        let step = Step { quiet, strikes };
        let Some(rest) = left.checked_sub(step.takes()) else { break };
        left = rest;
        steps.push(step);
    }
    steps
}

/// Two that strike one process would be one attack with another name; and a drain is judged by itself.
fn go_together(one: &Strike, other: &Strike) -> bool {
    let is_drain = |strike: &Strike| matches!(strike.attack, Attack::Drain | Attack::Panic);
    // A primary that is down can be done nothing else to.
    let fails_over = [one, other].iter().any(|strike| strike.attack == Attack::Failover);
    let concerns_all = one.attack.reach() == Reach::All && other.attack.reach() == Reach::All;
    one.attack != other.attack
        && !(fails_over && concerns_all)
        && !is_drain(one)
        && !is_drain(other)
        && (one.target.is_none() || other.target.is_none() || one.target != other.target)
}
