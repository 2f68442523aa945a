//! `drain` and `claim_work`, one transaction: a statement a step, and a lock a step where it may wait.

use crate::{
    scope::{Mutant, Scope},
    state::{At, BUSINESSES, Set, State, row},
    steps::{lock_wanted, singles},
};

/// Deletes the bells that nobody else has.
pub fn drain(scope: &Scope, state: &mut State, process: usize, (bells, left): (Set, Set)) -> Option<()> {
    let room = scope.workers.saturating_sub(u8::try_from(state.processes[process].held.count_ones()).ok()?);
    if bells == 0 || state.bells & bells != bells || room == 0 {
        return None;
    }
    let mine = &mut state.processes[process];
    mine.took = bells;
    mine.wants = bells;
    state.bells &= !bells | left;
    if scope.is(Mutant::DrainCommitsFirst) {
        mine.took = 0;
    }
    if scope.is(Mutant::DrainSkipsMarked) {
        for (business, row) in state.businesses.iter().enumerate() {
            if row.now.has_more {
                mine.wants &= !(1 << business);
            }
        }
    }
    mine.at = if mine.wants == 0 { after_drain(scope) } else { At::Drain };
    Some(())
}

fn after_drain(scope: &Scope) -> At {
    if scope.is(Mutant::ClaimIsOneStatement) { At::Snapshot } else { At::Select }
}

/// Locks in id order, always, also what is marked already. The marks are written when all locks are there; nobody sees
/// them before the commit.
pub fn lock_next(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let business = lock_wanted(state, process, false)?;
    state.businesses[business].next.has_more = true;
    if state.processes[process].wants == 0 {
        state.processes[process].at = after_drain(scope);
    }
    Some(())
}

/// Only where the claim is one statement: the ready jobs of its snapshot.
pub fn take_snapshot(state: &mut State, process: usize) {
    state.processes[process].jobs = state.which(|job| job.now.has(row::READY));
    state.processes[process].at = At::Select;
}

/// `for no key update skip locked`: those that another claimer has are passed over.
pub fn select(scope: &Scope, state: &mut State, process: usize, first: usize) -> Option<()> {
    let given = state.which(|job| job.is_of(process) && job.next.has(row::LEASE)).count_ones();
    let held = state.processes[process].held.count_ones();
    let room = u32::from(scope.workers).saturating_sub(held + given);
    let is_begun = state.processes[process].at != At::Idle;
    if !is_begun && scope.is(Mutant::ClaimIsOneStatement) {
        // With no bell to drain, this is its first statement, and its snapshot is taken before its locks.
        (0..BUSINESSES).any(|b| runnable(scope, state, process, b)).then_some(())?;
        (first == 0 && room > 0).then_some(())?;
        state.processes[process].at = At::Snapshot;
        return Some(());
    }
    let ring = (0..BUSINESSES).map(|n| (first + n) % BUSINESSES);
    let free = ring.filter(|b| runnable(scope, state, process, *b)).collect::<Vec<_>>();
    let ids = if scope.is(Mutant::ClaimWaits) {
        let waits = first_runnable(scope, state, process);
        if waits.is_some_and(|b| !state.businesses[b].is_free_for(process)) {
            return None;
        }
        waits.into_iter().collect()
    } else {
        free.into_iter()
            .filter(|b| state.businesses[*b].is_free_for(process) || scope.is(Mutant::ClaimDoesNotLock))
            .take(room as usize)
            .collect::<Vec<_>>()
    };
    if ids.is_empty() {
        if !is_begun {
            return None;
        }
        pass_over(state, process);
        return Some(());
    }
    // Whole turns, quantum and weight 1, up to the free slots, until the workers are used up.
    let turns = (room / u32::try_from(ids.len()).ok()?).max(1);
    let mut left = room;
    let mut takes = [0; BUSINESSES];
    for business in &ids {
        let row = &state.businesses[*business];
        let slots = u32::from(scope.max_slots[*business] - row.seen_by(process).running);
        let take = turns.min(slots).min(left);
        left -= take;
        takes[*business] = u8::try_from(take).ok()?;
        if !scope.is(Mutant::ClaimDoesNotLock) {
            state.businesses[*business].lock(process);
        }
    }
    let mine = &mut state.processes[process];
    mine.chosen = ids.into_iter().fold(0, |set, b| set | 1 << b);
    mine.takes = takes;
    mine.at = At::Pick;
    Some(())
}

/// Nothing more is claimed.
pub fn pass_over(state: &mut State, process: usize) {
    state.processes[process].jobs = 0;
    state.processes[process].at = At::Commit;
}

fn runnable(scope: &Scope, state: &State, process: usize, business: usize) -> bool {
    let row = state.businesses[business].seen_by(process);
    row.has_more && row.running < scope.max_slots[business]
}

/// For whom a claim that waits waits first.
pub fn first_runnable(scope: &Scope, state: &State, process: usize) -> Option<usize> {
    (0..BUSINESSES).find(|business| runnable(scope, state, process, *business))
}

/// `order by priority, job_id limit take for update skip locked`, in a snapshot that is younger than the locks.
pub fn pick(scope: &Scope, state: &mut State, process: usize) {
    let mine = state.processes[process];
    let mut picked = 0;
    for business in 0..BUSINESSES {
        let in_snapshot = if scope.is(Mutant::ClaimIsOneStatement) { mine.jobs } else { Set::MAX };
        let ready = state.which(|job| job.now.has(row::READY) && job.owner == crate::state::NOBODY);
        let ready = ready & in_snapshot & scope.jobs_of(business);
        for job in singles(ready).take(usize::from(mine.takes[business])) {
            picked |= job;
            state.jobs[job.trailing_zeros() as usize].lock(process);
        }
    }
    if scope.is(Mutant::ClaimIsOneStatement) {
        // What it believes to be left: what its snapshot had beyond what it takes.
        let left = |b: &usize| {
            (mine.jobs & scope.jobs_of(*b)).count_ones() > u32::from(mine.takes[*b])
                && (picked & scope.jobs_of(*b)).count_ones() == u32::from(mine.takes[*b])
        };
        state.processes[process].rang = (0..BUSINESSES).filter(left).fold(0, |set, b| set | 1 << b) << 4;
    }
    state.processes[process].jobs = picked;
    state.processes[process].at = At::Move;
}

/// The businesses' counts and marks, and the jobs from ready to leased.
pub fn move_jobs(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let mine = state.processes[process];
    let chosen = |b: &usize| mine.chosen & (1 << b) != 0;
    // Without the locks of before, the update takes them now.
    if (0..BUSINESSES).filter(chosen).any(|b| !state.businesses[b].is_free_for(process)) {
        return None;
    }
    for business in (0..BUSINESSES).filter(chosen) {
        let jobs = scope.jobs_of(business);
        let got = u8::try_from((mine.jobs & jobs).count_ones()).ok()?;
        // Others' locks hide nothing from a plain read; the rows taken are still there.
        let visible = state.which(|job| job.seen_by(process).has(row::READY)) & jobs;
        let take = mine.takes[business];
        let has_more = if scope.is(Mutant::ClaimIsOneStatement) {
            mine.rang & (16 << business) != 0
        } else {
            got == take && visible.count_ones() > u32::from(take)
        };
        let row = state.businesses[business].lock(process);
        row.running += got;
        row.has_more = has_more;
    }
    for job in singles(mine.jobs) {
        let job = &mut state.jobs[job.trailing_zeros() as usize].next;
        job.rows = row::JOB | row::LEASE;
        job.attempt += 1;
        job.holder = u8::try_from(process).ok()?;
    }
    let given = state.which(|job| job.is_of(process) && job.next.has(row::LEASE)).count_ones();
    let is_full = given + mine.held.count_ones() >= u32::from(scope.workers);
    let mine = &mut state.processes[process];
    (mine.chosen, mine.takes, mine.jobs, mine.rang) = (0, [0; BUSINESSES], 0, 0);
    mine.at = if is_full { At::Commit } else { after_drain(scope) };
    Some(())
}
