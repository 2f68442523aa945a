//! `enqueue_many`, in a transaction of its own or an application's: it may commit late, or never.

use crate::{
    scope::{Mutant, Scope},
    state::{At, BUSINESSES, ENQUEUERS, State, row},
    steps::lock_wanted,
};

/// Inserts jobs, ready rows and bells. It touches no row that others have.
pub fn insert(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let parcel = scope.parcels[process - ENQUEUERS];
    let is_new = state.which(|job| job.now.rows == 0) & parcel == parcel;
    if !is_new {
        return None;
    }
    for (_, job) in state.jobs.iter_mut().enumerate().filter(|(job, _)| parcel & (1 << job) != 0) {
        job.lock(process).rows = row::JOB | row::READY;
    }
    let businesses = scope.businesses_of(parcel);
    let mine = &mut state.processes[process];
    mine.at = At::Commit;
    if scope.is(Mutant::EnqueueMarks) {
        // update business set has_more = true where business_id = any (…) and not has_more
        let unmarked =
            (0..BUSINESSES).filter(|b| !state.businesses[*b].now.has_more).fold(0, |set, b| set | 1 << b);
        mine.wants = businesses & unmarked;
        if mine.wants != 0 {
            mine.at = At::Lock;
        }
    } else {
        mine.rang = businesses;
    }
    Some(())
}

/// Only where enqueueing marks.
pub fn mark(state: &mut State, process: usize) -> Option<()> {
    let business = lock_wanted(state, process, false)?;
    state.businesses[business].next.has_more = true;
    if state.processes[process].wants == 0 {
        state.processes[process].at = At::Commit;
    }
    Some(())
}
