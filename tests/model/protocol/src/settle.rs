//! `settle_attempts`: ends leases that are still held, then frees their slots.

use crate::{
    scope::{Mutant, Scope},
    state::{At, Job, Set, State, UPKEEP, row},
    steps::{End, is_claimer, lock_wanted},
};

/// `delete from job_lease where job_id = … and lease_id = …`, job by job in order: one that a reaper or a cancel has just
/// now is waited for. No lease, no effect: the fence.
pub fn report(scope: &Scope, state: &mut State, process: usize, jobs: Set, end: End) -> Option<()> {
    let number = jobs.trailing_zeros() as usize;
    let mine = state.processes[process];
    let job = state.jobs[number];
    let is_held = mine.held & (1 << number) != 0;
    let late = mine.late[number];
    let has_lease = job.now.has(row::LEASE);
    let is_matched = has_lease
        && (is_held || scope.is(Mutant::NoFence) || scope.is(Mutant::FenceIsTheAttempt) && late == job.now.attempt);
    if is_matched && !job.is_free_for(process) {
        return None;
    }
    let business = scope.business_of[number];
    if is_matched {
        let next = state.jobs[number].lock(process);
        *next = ended(*next, end);
        state.processes[process].wants |= 1 << business;
        if scope.is(Mutant::SettleInTwo) {
            state.jobs[number].now = *state.jobs[number].lock(process);
            state.jobs[number].owner = crate::state::NOBODY;
            state.jobs[number].next = Job::default();
            state.processes[process].held &= !(1 << number);
            state.processes[process].takes[business] += 1;
        }
    } else {
        if scope.is(Mutant::StaleReportFreesSlot) {
            state.processes[process].wants |= 1 << business;
            state.processes[process].takes[business] += 1;
        }
        if scope.is(Mutant::ReportsAreBelieved) && end == End::Done && job.is_free_for(process) {
            let next = state.jobs[number].lock(process);
            next.rows |= if next.has(row::DONE) { row::TWICE } else { row::DONE };
        }
    }
    let mine = &mut state.processes[process];
    if !is_held {
        mine.late[number] = 0;
    }
    mine.jobs = jobs & !(1 << number);
    mine.at = match (mine.jobs, mine.wants) {
        (0, 0) if state.jobs.iter().any(|job| job.is_of(process)) => At::Commit,
        (0, 0) => At::Idle,
        (0, _) => At::Lock,
        _ => At::Report,
    };
    Some(())
}

fn ended(job: Job, end: End) -> Job {
    let (rows, attempt) = match end {
        End::Done if job.has(row::DONE) => (row::TWICE, job.attempt),
        End::Done => (row::DONE, job.attempt),
        End::Retry | End::HandBack if job.has(row::STOP) => (row::LOST, 0),
        End::Retry => (row::JOB | row::SCHEDULED, job.attempt),
        End::HandBack => (row::JOB | row::READY, job.attempt - 1),
    };
    let kept = job.rows & (row::DONE | row::TWICE);
    Job { rows: rows | kept, attempt: if rows & row::JOB == 0 { 0 } else { attempt }, holder: crate::state::NOBODY }
}

/// Locks in id order; settle, reap and retry do so alike.
pub fn lock_next(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let backwards = process == UPKEEP && scope.is(Mutant::ReapLocksBackwards);
    let business = lock_wanted(state, process, backwards)?;
    let jobs = scope.jobs_of(business);
    let ended =
        state.which(|job| job.is_of(process) && job.now.has(row::LEASE) && !job.next.has(row::LEASE)) & jobs;
    let back = state.which(|job| job.is_of(process) && job.next.has(row::READY)) & ended;
    let marks = match process {
        UPKEEP => !scope.is(Mutant::ReapDoesNotMark),
        _ => !scope.is(Mutant::HandBackDoesNotMark),
    };
    let freed = u8::try_from(ended.count_ones()).ok()? + state.processes[process].takes[business];
    let next = &mut state.businesses[business].next;
    next.running = next.running.wrapping_sub(freed) & 7;
    next.has_more |= back != 0 && marks;
    if scope.is(Mutant::CancelLocksLate) && !is_claimer(process) && process != UPKEEP {
        crate::operator::unmark(scope, state, process, business);
    }
    if state.processes[process].wants == 0 {
        state.processes[process].at = At::Commit;
    }
    Some(())
}
