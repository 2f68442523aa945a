//! What must always hold, and what the model must be able to reach, so that it means something that the rest holds.

use crate::{
    Action, End, Protocol, Scope, Step,
    state::{At, BUSINESSES, CLAIMERS, ENQUEUERS, OPERATOR, PROCESSES, State, UPKEEP, row},
    steps::{is_claimer, singles, waits_for},
};
use stateright::{Model, Property};

pub const ONE_PLACE: &str = "a job is in one place, or over";
pub const ONE_END: &str = "a job is done once";
pub const LIMIT: &str = "no business has more leases than slots";
pub const COUNT: &str = "a business counts its leases";
pub const WAKE_UP: &str = "who has ready jobs has a mark or a bell";
pub const AT_REST: &str = "when nothing is in flight and no bell is left, ready jobs are marked";
pub const FENCE: &str = "a lease ends by its holder's report, or is reaped";
pub const DEADLOCK: &str = "nobody waits in a circle";
pub const LEFT_ALONE: &str = "left alone, all jobs end";

/// The properties of this scope. Those that begin with "some" are to be reached.
pub fn all(scope: &Scope) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always(ONE_PLACE, |p: &Protocol, s: &State| places_are_right(p, s)),
        Property::always(ONE_END, |_: &Protocol, s: &State| !s.jobs.iter().any(|job| job.now.has(row::TWICE))),
        Property::always(LIMIT, |p: &Protocol, s: &State| {
            (0..BUSINESSES).all(|b| leases(p, s, b) <= p.scope.max_slots[b])
        }),
        Property::always(COUNT, |p: &Protocol, s: &State| {
            (0..BUSINESSES).all(|b| leases(p, s, b) == s.businesses[b].now.running)
        }),
        Property::always(WAKE_UP, |p: &Protocol, s: &State| unmarked(p, s) & !s.committed_bells() == 0),
        Property::always(AT_REST, |p: &Protocol, s: &State| !is_at_rest(s) || unmarked(p, s) == 0),
        Property::always(FENCE, |_: &Protocol, s: &State| leases_are_held(s)),
        Property::always(DEADLOCK, |p: &Protocol, s: &State| {
            !(0..PROCESSES).any(|process| waits_in_a_circle(p, s, process))
        }),
    ];
    if scope.looks_ahead {
        all.push(Property::always(LEFT_ALONE, all_jobs_end));
    }
    // Whoever looks for a counterexample is not to go on for examples.
    if scope.mutant.is_none() {
        all.extend(examples(scope));
    }
    all
}

fn examples(scope: &Scope) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::sometimes("some time all jobs are done", |p: &Protocol, s: &State| {
            s.which(|job| job.now.has(row::DONE)).count_ones() as usize == p.scope.business_of.len()
        }),
        Property::sometimes("some worker goes on after its job was reaped", |_: &Protocol, s: &State| {
            s.processes[..CLAIMERS].iter().any(|c| (0..4).any(|job| c.is_late(job)))
        }),
        Property::sometimes(
            "some drain waits for a claim that is taking the mark away",
            |_: &Protocol, s: &State| {
                (0..CLAIMERS).any(|drains| {
                    let mine = s.processes[drains];
                    mine.at == At::Drain
                        && s.businesses.iter().enumerate().any(|(b, row)| {
                            mine.wants & (1 << b) != 0
                                && is_claimer(row.owner.into())
                                && !row.is_of(drains)
                                && row.now.has_more
                                && !row.next.has_more
                        })
                })
            },
        ),
        Property::sometimes("some claims have one business each", |_: &Protocol, s: &State| {
            let at_work = |b: usize| is_claimer(s.businesses[b].owner.into());
            at_work(0) && at_work(1) && s.businesses[0].owner != s.businesses[1].owner
        }),
        Property::sometimes("some report waits for the reaper", |_: &Protocol, s: &State| {
            s.jobs
                .iter()
                .any(|job| job.is_of(UPKEEP) && job.now.has(row::LEASE) && is_claimer(job.now.holder.into()))
        }),
        Property::sometimes("some younger job is committed first", |_: &Protocol, s: &State| {
            let is_late = |first: usize| s.jobs[first].owner != crate::state::NOBODY && s.jobs[first].now.rows == 0;
            (1..4).any(|next| s.jobs[next].now.rows != 0 && is_late(next - 1))
        }),
        Property::sometimes("some reaper waits for a business", |_: &Protocol, s: &State| {
            let reaper = s.processes[UPKEEP];
            reaper.at == At::Lock
                && (0..BUSINESSES).any(|b| reaper.wants & (1 << b) != 0 && !s.businesses[b].is_free_for(UPKEEP))
        }),
    ];
    // Reaped with its last attempt, no job is leased again.
    if scope.max_attempts > 1 {
        all.push(Property::sometimes(
            "some job is leased again while its old worker goes on",
            |_: &Protocol, s: &State| {
                (0..4).any(|job| {
                    s.jobs[job].now.has(row::LEASE)
                        && (0..CLAIMERS)
                            .any(|c| s.processes[c].is_late(job) && usize::from(s.jobs[job].now.holder) != c)
                })
            },
        ));
    }
    if scope.operator {
        all.push(Property::sometimes("some cancel stops a job that runs", |_: &Protocol, s: &State| {
            s.jobs.iter().any(|job| job.now.has(row::STOP))
        }));
    }
    all
}

fn leases(protocol: &Protocol, state: &State, business: usize) -> u8 {
    let leased = state.which(|job| job.now.has(row::LEASE)) & protocol.scope.jobs_of(business);
    u8::try_from(leased.count_ones()).unwrap_or(u8::MAX)
}

fn places_are_right(protocol: &Protocol, state: &State) -> bool {
    state.jobs[..protocol.scope.business_of.len()].iter().all(|job| {
        let (live, over) = (job.now.rows & row::LIVE, job.now.rows & (row::DONE | row::LOST));
        if job.now.has(row::JOB) {
            live.count_ones() == 1 && over == 0
        } else {
            live == 0 && (over.count_ones() == 1 || job.now.rows == 0)
        }
    })
}

/// Businesses with ready jobs and without a mark, as anybody reads it at this moment.
fn unmarked(protocol: &Protocol, state: &State) -> u8 {
    let with_ready = protocol.scope.businesses_of(state.which(|job| job.now.has(row::READY)));
    (0..BUSINESSES).filter(|b| !state.businesses[*b].now.has_more).fold(0, |set, b| set | 1 << b) & with_ready
}

fn is_at_rest(state: &State) -> bool {
    state.bells == 0 && state.processes.iter().all(|process| process.at == At::Idle)
}

fn leases_are_held(state: &State) -> bool {
    let believes = |claimer: usize| {
        singles(state.processes[claimer].held).all(|job| {
            let job = state.jobs[job.trailing_zeros() as usize].now;
            job.has(row::LEASE) && usize::from(job.holder) == claimer
        })
    };
    (0..CLAIMERS).all(believes)
}

fn waits_in_a_circle(protocol: &Protocol, state: &State, process: usize) -> bool {
    let mut at = process;
    for _ in 0..PROCESSES {
        match waits_for(protocol, state, at) {
            Some(next) if next == process => return true,
            Some(next) => at = next,
            None => return false,
        }
    }
    false
}

/// Whether all jobs are over after a while in which nothing goes wrong: transactions end, leases of the dead are reaped,
/// and workers succeed. Nobody enqueues more.
fn all_jobs_end(protocol: &Protocol, state: &State) -> bool {
    let mut state = state.clone();
    // The longest way takes each job through all of its places.
    for _ in 0..400 {
        if state.jobs.iter().all(|job| !job.now.has(row::JOB) && job.owner == crate::state::NOBODY) {
            return true;
        }
        let mut actions = Vec::new();
        protocol.actions(&state, &mut actions);
        let next = actions.into_iter().filter(|action| is_progress(&state, *action));
        match next.filter_map(|action| protocol.after(&state, action)).next() {
            Some(next) => state = next,
            None => return false,
        }
    }
    false
}

fn is_progress(state: &State, Action { process, step }: Action) -> bool {
    match step {
        Step::RollBack
        | Step::Crash
        | Step::PassOver
        | Step::CommitUnseen
        | Step::Cancel { .. }
        | Step::Retry { .. }
        | Step::Enqueue => false,
        Step::Report { end, .. } => end == End::Done,
        Step::Reap { jobs } => {
            singles(jobs).all(|job| state.jobs[job.trailing_zeros() as usize].now.holder == crate::state::NOBODY)
        }
        _ => process < ENQUEUERS + 4 && process != OPERATOR || state.processes[process].at != At::Idle,
    }
}
