//! Who may do what next.

use crate::{
    Protocol, claim, enqueue, operator, settle,
    state::{At, BUSINESSES, CLAIMERS, ENQUEUERS, OPERATOR, Process, Set, State, UPKEEP, row},
    upkeep,
};

/// How an attempt ends by its worker's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    Retry,
    HandBack,
}

/// One statement, or what ends a transaction. The process that takes it stands beside it in [`Action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The job rows, the ready rows and the bells of one parcel.
    Enqueue,
    /// Deletes bells of these businesses: those that nobody else has, as far as the limit goes. `left`: of these
    /// businesses, those that have another bell.
    Drain {
        bells: Set,
        left: Set,
    },
    /// Locks the next business in order, and writes what the statement after the locks writes.
    LockNext,
    /// The snapshot of a claim that is one statement.
    TakeSnapshot,
    /// Locks businesses that can run jobs, from this one on round the ring.
    Select {
        first: usize,
    },
    /// Ends the walk round the ring: what could run is locked, or was when it passed.
    PassOver,
    /// Locks their first ready jobs.
    Pick,
    /// Counts, marks, and makes leases.
    Move,
    /// Ends the lease of the next job of these.
    Report {
        jobs: Set,
        end: End,
    },
    /// Takes these leases as lost.
    Reap {
        jobs: Set,
    },
    /// Makes scheduled jobs ready: all that are due.
    Promote {
        jobs: Set,
    },
    Cancel {
        job: usize,
    },
    TakeOut,
    Retry {
        job: usize,
    },
    Commit,
    /// Commits, and the answer is lost.
    CommitUnseen,
    /// The transaction ends without effect; its process goes on.
    RollBack,
    /// The process ends between two statements, and another one starts.
    Crash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    pub process: usize,
    pub step: Step,
}

impl Protocol {
    /// What each process may try next; what has to wait changes nothing in [`Protocol::after`].
    pub(crate) fn choices(&self, state: &State, actions: &mut Vec<Action>) {
        for claimer in 0..self.scope.claimers {
            self.choices_of_claimer(state, claimer, &mut |step| actions.push(Action { process: claimer, step }));
        }
        for process in
            (UPKEEP..ENQUEUERS + self.scope.parcels.len()).filter(|p| *p != OPERATOR || self.scope.operator)
        {
            let mut push = |step| actions.push(Action { process, step });
            match (state.processes[process].at, process) {
                (At::Idle, UPKEEP) => {
                    upkeep::victims(state).into_iter().for_each(|jobs| push(Step::Reap { jobs }));
                    if self.scope.retries || self.scope.operator {
                        upkeep::due(state).into_iter().for_each(|jobs| push(Step::Promote { jobs }));
                    }
                }
                (At::Idle, OPERATOR) => {
                    for job in 0..self.scope.business_of.len() {
                        push(Step::Cancel { job });
                        push(Step::Retry { job });
                    }
                }
                (At::Idle, _) => push(Step::Enqueue),
                (At::Lock | At::CancelLock, _) => push(Step::LockNext),
                (At::Cancel, _) => push(Step::TakeOut),
                (_, _) => push(Step::Commit),
            }
            if state.processes[process].at != At::Idle {
                push(Step::RollBack);
            }
        }
    }

    fn choices_of_claimer(&self, state: &State, claimer: usize, push: &mut dyn FnMut(Step)) {
        let process = &state.processes[claimer];
        match process.at {
            At::Idle => {
                let late = (0..8).filter(|job| process.late.get(*job).is_some_and(|late| *late != 0));
                let all = late.fold(process.held, |set, job| set | 1 << job);
                let ends = self.ends();
                for jobs in singles(all).chain((all.count_ones() > 1).then_some(all)) {
                    ends.for_each_end(|end| push(Step::Report { jobs, end }));
                }
                for bells in (1..4).filter(|bells| state.bells & bells == *bells) {
                    push(Step::Drain { bells, left: 0 });
                }
                if state.bells == 0 {
                    (0..BUSINESSES).for_each(|first| push(Step::Select { first }));
                }
            }
            At::Drain | At::Lock | At::CancelLock => push(Step::LockNext),
            At::Snapshot => push(Step::TakeSnapshot),
            At::Select => {
                push(Step::PassOver);
                (0..BUSINESSES).for_each(|first| push(Step::Select { first }));
            }
            At::Pick => push(Step::Pick),
            At::Move => push(Step::Move),
            At::Report => self.ends().for_each_end(|end| push(Step::Report { jobs: process.jobs, end })),
            At::Cancel => {}
            At::Commit => {
                push(Step::Commit);
                if self.scope.unseen {
                    push(Step::CommitUnseen);
                }
            }
        }
        if process.at != At::Idle {
            push(Step::RollBack);
        }
        if *process != Process::default() {
            push(Step::Crash);
        }
    }

    fn ends(&self) -> Ends {
        Ends { retries: self.scope.retries, hands_back: self.scope.hands_back }
    }

    /// The state after this step; `None` where it has to wait, or would change nothing.
    pub fn after(&self, state: &State, Action { process, step }: Action) -> Option<State> {
        if !is_possible(state.processes[process].at, step) {
            return None;
        }
        let mut next = state.clone();
        let state = &mut next;
        let keeps_attempts = self.scope.is(crate::Mutant::FenceIsTheAttempt);
        match step {
            Step::Enqueue => enqueue::insert(&self.scope, state, process)?,
            Step::Drain { bells, left } => claim::drain(&self.scope, state, process, (bells, left))?,
            Step::TakeSnapshot => claim::take_snapshot(state, process),
            Step::Select { first } => claim::select(&self.scope, state, process, first)?,
            Step::PassOver => claim::pass_over(state, process),
            Step::Pick => claim::pick(&self.scope, state, process),
            Step::Move => claim::move_jobs(&self.scope, state, process)?,
            Step::LockNext => match state.processes[process].at {
                At::Drain => claim::lock_next(&self.scope, state, process)?,
                At::CancelLock => operator::lock(&self.scope, state, process)?,
                _ if process >= ENQUEUERS => enqueue::mark(state, process)?,
                _ => settle::lock_next(&self.scope, state, process)?,
            },
            Step::Report { jobs, end } => settle::report(&self.scope, state, process, jobs, end)?,
            Step::Reap { jobs } => upkeep::reap(&self.scope, state, jobs)?,
            Step::Promote { jobs } => upkeep::promote(&self.scope, state, jobs)?,
            Step::Cancel { job } => operator::cancel(&self.scope, state, job)?,
            Step::TakeOut => operator::take_out(&self.scope, state),
            Step::Retry { job } => operator::retry(&self.scope, state, job)?,
            Step::Commit => state.commit(process, keeps_attempts),
            Step::CommitUnseen => {
                let ended = state.which(|job| job.is_of(process) && job.now.has(row::LEASE));
                let begun = state.which(|job| job.is_of(process) && job.next.has(row::LEASE));
                let attempts = state.jobs.map(|job| job.now.attempt);
                state.commit(process, keeps_attempts);
                state.forget(process, begun);
                for job in singles(ended).map(|job| job.trailing_zeros() as usize) {
                    state.processes[process].late[job] = if keeps_attempts { attempts[job] } else { 1 };
                }
            }
            Step::RollBack => state.roll_back(process),
            Step::Crash => state.crash(process),
        }
        Some(next)
    }
}

/// Each step has its place in a transaction.
fn is_possible(at: At, step: Step) -> bool {
    match step {
        Step::Enqueue
        | Step::Drain { .. }
        | Step::Reap { .. }
        | Step::Promote { .. }
        | Step::Cancel { .. }
        | Step::Retry { .. } => at == At::Idle,
        Step::LockNext => matches!(at, At::Drain | At::Lock | At::CancelLock),
        Step::TakeSnapshot => at == At::Snapshot,
        Step::Select { .. } => matches!(at, At::Idle | At::Select),
        Step::PassOver => at == At::Select,
        Step::Pick => at == At::Pick,
        Step::Move => at == At::Move,
        Step::Report { .. } => matches!(at, At::Idle | At::Report),
        Step::TakeOut => at == At::Cancel,
        Step::Commit | Step::CommitUnseen => at == At::Commit,
        Step::RollBack | Step::Crash => true,
    }
}

struct Ends {
    retries: bool,
    hands_back: bool,
}

impl Ends {
    fn for_each_end(&self, mut push: impl FnMut(End)) {
        push(End::Done);
        if self.retries {
            push(End::Retry);
        }
        if self.hands_back {
            push(End::HandBack);
        }
    }
}

/// Each of them as a set of its own.
pub(crate) fn singles(set: Set) -> impl Iterator<Item = Set> {
    (0..8).map(|number| 1 << number).filter(move |single| set & single != 0)
}

/// The next business in order whose lock this process wants.
pub(crate) fn next_wanted(state: &State, process: usize, backwards: bool) -> Option<usize> {
    let wants = state.processes[process].wants;
    let mut order = (0..BUSINESSES).filter(|business| wants & (1 << business) != 0);
    if backwards { order.next_back() } else { order.next() }
}

/// Locks the next business in order, and notes that; `None`: somebody else has it.
pub(crate) fn lock_wanted(state: &mut State, process: usize, backwards: bool) -> Option<usize> {
    let business = next_wanted(state, process, backwards)?;
    if !state.businesses[business].is_free_for(process) {
        return None;
    }
    state.businesses[business].lock(process);
    state.processes[process].wants &= !(1 << business);
    Some(business)
}

/// For whom a process waits just now.
pub(crate) fn waits_for(protocol: &Protocol, state: &State, process: usize) -> Option<usize> {
    let mine = &state.processes[process];
    let owner = match mine.at {
        At::Drain | At::Lock | At::CancelLock => {
            let backwards = process == UPKEEP && protocol.scope.is(crate::Mutant::ReapLocksBackwards);
            state.businesses[next_wanted(state, process, backwards)?].owner
        }
        At::Select if protocol.scope.is(crate::Mutant::ClaimWaits) => {
            state.businesses[claim::first_runnable(&protocol.scope, state, process)?].owner
        }
        At::Report => state.jobs[mine.jobs.trailing_zeros() as usize].owner,
        _ => return None,
    };
    (owner != crate::state::NOBODY && usize::from(owner) != process).then_some(usize::from(owner))
}

/// Claimers are 0 to 2.
pub(crate) fn is_claimer(process: usize) -> bool {
    process < CLAIMERS
}
