//! `cancel_jobs` and `retry_jobs`, of one job at a time.

use crate::{
    scope::{Mutant, Scope},
    state::{At, NOBODY, OPERATOR, State, row},
    steps::lock_wanted,
};

/// The lock of its business comes first.
pub fn cancel(scope: &Scope, state: &mut State, job: usize) -> Option<()> {
    if !state.jobs[job].now.has(row::JOB) {
        return None;
    }
    let mine = &mut state.processes[OPERATOR];
    mine.jobs = 1 << job;
    if scope.is(Mutant::CancelLocksLate) {
        take_out(scope, state);
        let is_taken = state.jobs[job].is_of(OPERATOR) && !state.jobs[job].next.has(row::JOB);
        let mine = &mut state.processes[OPERATOR];
        if is_taken {
            mine.wants = 1 << scope.business_of[job];
            mine.at = At::Lock;
        }
        return Some(());
    }
    mine.wants = 1 << scope.business_of[job];
    mine.at = At::CancelLock;
    Some(())
}

pub fn lock(_scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    lock_wanted(state, process, false)?;
    state.processes[process].at = At::Cancel;
    Some(())
}

/// Takes out what waits, and asks what runs to stop. Scheduled and leased rows that somebody has are passed over; ready
/// rows can be nobody's, since whoever takes them has the business.
pub fn take_out(scope: &Scope, state: &mut State) {
    let number = state.processes[OPERATOR].jobs.trailing_zeros() as usize;
    let business = scope.business_of[number];
    let job = &mut state.jobs[number];
    if job.is_free_for(OPERATOR) && job.now.has(row::READY | row::SCHEDULED) {
        let next = job.lock(OPERATOR);
        (next.rows, next.attempt) = (row::LOST, 0);
        if !scope.is(Mutant::CancelLocksLate) {
            unmark(scope, state, OPERATOR, business);
        }
    } else if job.is_free_for(OPERATOR) && job.now.has(row::LEASE) {
        job.lock(OPERATOR).rows |= row::STOP;
    }
    state.processes[OPERATOR].jobs = 0;
    state.processes[OPERATOR].at = At::Commit;
}

/// `has_more and exists (ready)`.
pub fn unmark(scope: &Scope, state: &mut State, process: usize, business: usize) {
    let ready = state.which(|job| job.seen_by(process).has(row::READY)) & scope.jobs_of(business);
    let is_left = ready != 0 && !scope.is(Mutant::CancelUnmarks);
    let next = state.businesses[business].lock(process);
    next.has_more &= is_left;
}

/// What is over is ready again, and what is scheduled now. Both ring.
pub fn retry(scope: &Scope, state: &mut State, job: usize) -> Option<()> {
    let business = 1 << scope.business_of[job];
    let row = &mut state.jobs[job];
    let is_over = row.now.has(row::LOST);
    if row.owner != NOBODY || !(is_over || row.now.has(row::SCHEDULED)) {
        return None;
    }
    row.lock(OPERATOR).rows = row::JOB | row::READY;
    let mine = &mut state.processes[OPERATOR];
    mine.rang = if scope.is(Mutant::RetryDoesNotRing) { 0 } else { business };
    (mine.wants, mine.at) = if is_over { (business, At::Lock) } else { (0, At::Commit) };
    Some(())
}
