//! `reap_leases` and `promote`.

use crate::{
    scope::{Mutant, Scope},
    state::{At, Job, NOBODY, Set, State, UPKEEP, row},
    steps::singles,
};

/// What a reaper may take for lost. Any lease can be: its holder is dead, or frozen, or its clock stood still. All that
/// nobody holds are one case, each lease alone is another.
pub fn victims(state: &State) -> Vec<Set> {
    let leased = state.which(|job| job.now.has(row::LEASE) && job.owner == NOBODY);
    let orphans = state.which(|job| job.now.holder == NOBODY) & leased;
    let mut victims: Vec<Set> = singles(leased).collect();
    if orphans.count_ones() > 1 {
        victims.push(orphans);
    }
    victims
}

/// `for update skip locked`: a lease that is reported just now is passed over.
pub fn reap(scope: &Scope, state: &mut State, jobs: Set) -> Option<()> {
    let free = state.which(|job| job.now.has(row::LEASE) && job.owner == NOBODY);
    if jobs == 0 || jobs & !free != 0 {
        return None;
    }
    for number in singles(jobs).map(|job| job.trailing_zeros() as usize) {
        let job = state.jobs[number].lock(UPKEEP);
        let is_over = job.has(row::STOP) || job.attempt >= scope.max_attempts;
        let kept = job.rows & (row::DONE | row::TWICE);
        *job = if is_over {
            Job { rows: row::LOST | kept, attempt: 0, holder: NOBODY }
        } else {
            Job { rows: row::JOB | row::READY | kept, attempt: job.attempt, holder: NOBODY }
        };
    }
    state.processes[UPKEEP].wants = scope.businesses_of(jobs);
    state.processes[UPKEEP].at = At::Lock;
    Some(())
}

/// Whatever is scheduled may be due: all of it, or one.
pub fn due(state: &State) -> Vec<Set> {
    let free = state.which(|job| job.now.has(row::SCHEDULED) && job.owner == NOBODY);
    singles(free).chain((free.count_ones() > 1).then_some(free)).collect()
}

/// `where run_at <= now() for update skip locked`. It rings rather than locks.
pub fn promote(scope: &Scope, state: &mut State, due: Set) -> Option<()> {
    let free = state.which(|job| job.now.has(row::SCHEDULED) && job.owner == NOBODY);
    if due == 0 || due & !free != 0 {
        return None;
    }
    for number in singles(due).map(|job| job.trailing_zeros() as usize) {
        state.jobs[number].lock(UPKEEP).rows = row::JOB | row::READY;
    }
    let mine = &mut state.processes[UPKEEP];
    mine.rang = if scope.is(Mutant::PromoteDoesNotRing) { 0 } else { scope.businesses_of(due) };
    mine.at = At::Commit;
    Some(())
}
