//! A line for each step, and the closing table.

use crate::{
    attack::Strike,
    plan::Step,
    record::{Record, Tally},
    recovery::Recovery,
};
use std::time::Duration;

/// What a recovery should take at most, on a machine that has nothing else to do.
const GOAL_MS: u64 = 2_000;

#[derive(Default)]
pub struct Report {
    record: Record,
    violations: Vec<String>,
    slow: u32,
}

impl Report {
    pub fn step(
        &mut self,
        number: usize,
        at: Duration,
        strikes: &[Strike],
        outcome: &Recovery,
        rescue: Option<u64>,
    ) {
        let total = outcome.total();
        let took = total.map_or("NOT WELL AGAIN".to_owned(), |ms| format!("well after {ms:>5} ms"));
        let rescued = rescue.map_or(String::new(), |ms| format!("; jobs of the dead taken back after {ms} ms"));
        println!(
            "{number:>4}  {:>6.1} s  {:<44}  {took} ({}){rescued}",
            at.as_secs_f64(),
            names(strikes),
            outcome.parts()
        );
        for strike in strikes {
            let tally = self.record.attacks.entry(strike.attack.name().to_owned()).or_default();
            tally.tried += 1;
            tally.survived += u64::from(total.is_some());
            tally.worst_recovery_ms = tally.worst_recovery_ms.max(total.unwrap_or_default());
        }
        self.record.worst_rescue_ms = self.record.worst_rescue_ms.max(rescue.unwrap_or_default());
        self.slow += u32::from(total.is_some_and(|ms| ms > GOAL_MS));
        if total.is_none() {
            self.violation(format!("step {number}, {}: not well again within a minute", names(strikes)));
        }
    }

    pub fn violation(&mut self, what: String) {
        println!("      VIOLATION  {what}");
        self.violations.push(what);
    }

    pub fn violations(&mut self, found: impl IntoIterator<Item = String>) {
        found.into_iter().for_each(|what| self.violation(what));
    }

    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// What can be added to the page. Where a promise was broken and nobody knows by which attack, none counts.
    pub fn record(&self, ran: Duration) -> Record {
        let mut record = self.record.clone();
        (record.runs, record.seconds) = (1, ran.as_secs());
        if !self.is_clean() {
            record.attacks.values_mut().for_each(|tally| tally.survived = 0);
        }
        record
    }

    pub fn close(&self) {
        println!("\n{:<20} {:>6} {:>9} {:>14}", "ATTACK", "TRIED", "SURVIVED", "WORST RECOVERY");
        for (attack, Tally { tried, survived, worst_recovery_ms }) in &self.record.attacks {
            println!("{attack:<20} {tried:>6} {survived:>9} {worst_recovery_ms:>11} ms");
        }
        println!("{} steps took longer than {GOAL_MS} ms to be well again", self.slow);
    }
}

pub fn plan(steps: &[Step]) {
    for (number, step) in steps.iter().enumerate() {
        println!("{:>4}  after {:>3} ms  {}", number + 1, step.quiet.as_millis(), names(&step.strikes));
    }
}

fn names(strikes: &[Strike]) -> String {
    let name = |strike: &Strike| {
        let target = strike.target.map_or(String::new(), |place| format!(" {}", crate::fleet::NAMES[place]));
        format!("{}{target} {} ms", strike.attack, strike.hold.as_millis())
    };
    strikes.iter().map(name).collect::<Vec<_>>().join(" + ")
}
