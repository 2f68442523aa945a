//! Whether what was recorded is something that the model can do.
//!
//! Each statement of a committed transaction is one step of the model, with what came of it. A statement took its
//! snapshot and its locks at some time after the statement before it and before its changes were written down, so the
//! order of the steps is found by trying; that of the commits is known.

use callspool_protocol::{
    Action, Protocol, Scope, State, Step,
    state::{At, BUSINESSES, Job, PROCESSES, row},
};
use std::collections::HashSet;

/// What has to be so after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// A claim has chosen this business and no other.
    Chose(usize),
    /// A claim has locked these jobs.
    Picked(u8),
    /// A business, as the transaction writes it.
    Wrote { business: usize, running: u8, has_more: bool },
    /// A job, as the transaction writes it.
    Moved { job: usize, is: Job },
    /// The bells that the transaction rings.
    Rang(u8),
    /// The report of a lease that is over has changed nothing.
    Refused { job: usize },
}

#[derive(Debug, Clone)]
pub struct Act {
    /// Written down after this number, and before that one; both are of the recording.
    pub after: i64,
    pub before: i64,
    pub is_commit: bool,
    pub action: Action,
    /// Rows of the doorbell by business: inserted by this commit, or deleted by this drain.
    pub bells: [i64; BUSINESSES],
    pub expect: Vec<Expect>,
}

/// What each process did, in its order.
#[derive(Debug, Clone)]
pub struct Behaviour {
    pub scope: Scope,
    pub chains: Vec<Vec<Act>>,
}

/// How far it went at most, and what could not come next.
#[derive(Debug)]
pub struct Refused {
    pub steps: usize,
    pub next: Vec<String>,
}

/// One point of the search: how many acts of each process are done.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Point {
    done: [usize; PROCESSES],
    state: State,
    bells: [i64; BUSINESSES],
}

impl Behaviour {
    /// `Ok`: how many steps the model has taken.
    pub fn is_of_the_model(&self) -> Result<usize, Refused> {
        let protocol = Protocol { scope: self.scope.clone() };
        let all: usize = self.chains.iter().map(Vec::len).sum();
        let mut refused = Refused { steps: 0, next: Vec::new() };
        let mut seen = HashSet::new();
        let mut open = vec![Point { done: [0; PROCESSES], state: State::new(), bells: [0; BUSINESSES] }];
        while let Some(point) = open.pop() {
            let steps = point.done.iter().sum();
            if steps == all {
                return Ok(steps);
            }
            if !seen.insert(point.clone()) {
                continue;
            }
            let mut next = self.may_come_next(&point.done);
            if steps >= refused.steps {
                refused = Refused { steps, next: next.iter().map(|act| format!("{act:?}")).collect() };
            }
            // What was written down first is tried first.
            next.sort_by_key(|act| std::cmp::Reverse(if act.is_commit { act.after } else { act.before }));
            open.extend(next.into_iter().filter_map(|act| point.then(&protocol, act)));
        }
        Err(refused)
    }

    /// The next act of each process, but for those before which another one must have been.
    fn may_come_next(&self, done: &[usize; PROCESSES]) -> Vec<&Act> {
        let next: Vec<&Act> = self.chains.iter().zip(done).filter_map(|(chain, done)| chain.get(*done)).collect();
        let first_end = next.iter().map(|act| act.before).min();
        next.into_iter().filter(|act| first_end.is_some_and(|end| act.after < end)).collect()
    }
}

impl Point {
    fn then(&self, protocol: &Protocol, act: &Act) -> Option<Self> {
        let mut next = self.clone();
        let Action { process, mut step } = act.action;
        for (kept, change) in next.bells.iter_mut().zip(act.bells) {
            *kept += if act.is_commit { change } else { -change };
            if *kept < 0 {
                return None;
            }
        }
        if let Step::Drain { bells, left } = &mut step {
            *left = (0..BUSINESSES).filter(|b| next.bells[*b] > 0).fold(0, |set, b| set | 1 << b) & *bells;
        }
        let was_late = |job: usize| self.state.processes[process].is_late(job);
        if act.expect.iter().any(|expect| matches!(expect, Expect::Refused { job } if !was_late(*job))) {
            return None;
        }
        next.state = protocol.after(&self.state, Action { process, step })?;
        next.done[process] += 1;
        act.expect.iter().all(|expect| is_met(&next.state, process, expect)).then_some(next)
    }
}

fn is_met(state: &State, process: usize, expect: &Expect) -> bool {
    let mine = &state.processes[process];
    match *expect {
        Expect::Chose(business) => mine.chosen == 1 << business,
        Expect::Picked(jobs) => mine.jobs == jobs,
        Expect::Wrote { business, running, has_more } => {
            let row = &state.businesses[business];
            row.is_of(process) && (row.next.running, row.next.has_more) == (running, has_more)
        }
        Expect::Moved { job, is } => {
            let row = &state.jobs[job];
            let attempt_is_kept = is.has(row::JOB);
            row.is_of(process)
                && row.next.rows == is.rows
                && (!attempt_is_kept || row.next.attempt == is.attempt)
                && (!is.has(row::LEASE) || row.next.holder == is.holder)
        }
        Expect::Rang(bells) => mine.rang == bells,
        Expect::Refused { job } => mine.at == At::Idle && !mine.is_late(job) && !state.jobs[job].is_of(process),
    }
}
