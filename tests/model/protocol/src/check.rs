//! Runs the checker.

use crate::{Protocol, Scope};
use stateright::{Checker, HasDiscoveries, Model};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// What an exhaustive run has found.
#[derive(Debug)]
pub struct Checked {
    /// States that differ, but for which claimer is which.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Steps from the beginning to the state that is farthest from it.
    pub depth: usize,
    pub took: Duration,
    /// Properties that do not hold, each with the way there; examples that were not reached.
    pub faults: Vec<String>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, depth, took, .. } = self;
        write!(f, "{states} states, {steps} steps, depth {depth}, {} s", took.as_secs())
    }
}

/// Every state of this scope, however long it takes.
///
/// # Panics
///
/// Where the checker itself does.
pub fn check(scope: &Scope, threads: usize) -> Checked {
    let began = Instant::now();
    let protocol = Protocol { scope: scope.clone() };
    let checker =
        protocol.clone().checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discoveries();
    let mut faults = Vec::new();
    for property in protocol.properties() {
        match found.get(property.name) {
            Some(path) if property.expectation.discovery_is_failure() => {
                let actions = path.clone().into_actions();
                faults.push(format!(
                    "not true: {}, after {} steps:\n{}",
                    property.name,
                    actions.len(),
                    told(&actions)
                ));
            }
            None if !property.expectation.discovery_is_failure() => {
                faults.push(format!("never reached: {}", property.name));
            }
            _ => {}
        }
    }
    Checked {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth().saturating_sub(1),
        took: began.elapsed(),
        faults,
    }
}

/// A shortest way to where a property does not hold.
#[derive(Debug)]
pub struct Counterexample {
    pub property: &'static str,
    pub steps: usize,
    /// A step a line.
    pub told: String,
}

/// Looks for one, the nearest states first. `None`: all states were seen.
///
/// # Panics
///
/// Where the checker itself does.
pub fn counterexample(scope: &Scope) -> Option<Counterexample> {
    let mut shortest = None;
    // The checker reports the last one that it has met before it stopped; those before are at most as far away.
    let mut depth = usize::MAX;
    loop {
        let protocol = Protocol { scope: scope.clone() };
        let nearer = protocol.checker().target_max_depth(depth).finish_when(HasDiscoveries::AnyFailures);
        let found = nearer.spawn_bfs().join().discoveries();
        let found = found.into_iter().map(|(property, path)| (property, path.into_actions()));
        let Some((property, actions)) = found.min_by_key(|(property, actions)| (actions.len(), *property)) else {
            return shortest;
        };
        // A state is as deep as the way to it has states.
        depth = actions.len() + 1;
        shortest = Some(Counterexample { property, steps: actions.len(), told: told(&actions) });
    }
}

fn told(actions: &[crate::Action]) -> String {
    actions.iter().map(|action| format!("  {}: {:?}\n", action.process, action.step)).collect()
}
