//! The model can fail: each mistake that it knows is found.

use callspool_protocol::{Mutant, Scope, counterexample, properties as must};

/// A scope in which this mistake shows, and what it breaks first.
fn shows(mutant: Mutant) -> (Scope, &'static [&'static str]) {
    const STRANDED: &[&str] = &[must::WAKE_UP, must::AT_REST];
    let small = Scope {
        name: "small",
        claimers: 2,
        workers: 1,
        business_of: vec![0, 1, 0],
        parcels: vec![0b001, 0b010, 0b100],
        max_slots: [1, 1],
        max_attempts: 2,
        retries: false,
        hands_back: true,
        operator: false,
        unseen: false,
        looks_ahead: false,
        mutant: Some(mutant),
    };
    let two_each = Scope {
        workers: 2,
        business_of: vec![0, 1, 0, 1],
        parcels: vec![0b0011, 0b1100],
        max_attempts: 1,
        hands_back: false,
        ..small.clone()
    };
    match mutant {
        Mutant::DrainSkipsMarked
        | Mutant::DrainCommitsFirst
        | Mutant::ClaimIsOneStatement
        | Mutant::EnqueueMarks
        | Mutant::HandBackDoesNotMark
        | Mutant::ReapDoesNotMark => (small, STRANDED),
        Mutant::ClaimDoesNotLock => {
            (Scope { hands_back: false, ..small }, &[must::LIMIT, must::WAKE_UP, must::AT_REST])
        }
        Mutant::ClaimWaits | Mutant::ReapLocksBackwards => (two_each, &[must::DEADLOCK]),
        Mutant::NoFence => (small, &[must::FENCE]),
        Mutant::FenceIsTheAttempt => (Scope { unseen: true, ..small }, &[must::FENCE]),
        Mutant::ReportsAreBelieved => (small, &[must::ONE_PLACE, must::ONE_END]),
        Mutant::StaleReportFreesSlot | Mutant::SettleInTwo => (small, &[must::COUNT]),
        Mutant::PromoteDoesNotRing => (Scope { retries: true, ..small }, STRANDED),
        Mutant::CancelLocksLate | Mutant::CancelUnmarks | Mutant::RetryDoesNotRing => {
            (Scope { operator: true, ..small }, STRANDED)
        }
    }
}

#[test]
fn each_mistake_has_a_counterexample() {
    for mutant in Mutant::ALL {
        let (scope, breaks) = shows(mutant);
        let found = counterexample(&scope).unwrap_or_else(|| panic!("{mutant:?} was not found"));
        println!("{mutant:?}: {} steps: {}", found.steps, found.property);
        assert!(breaks.contains(&found.property), "{mutant:?} breaks {}:\n{}", found.property, found.told);
    }
}
