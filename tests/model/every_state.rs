//! All states of the model, and no property that fails in one.

use callspool_protocol::{Checked, Scope, check};

const CORES: usize = 2;

fn two_claimers() -> Scope {
    Scope {
        name: "two claimers",
        claimers: 2,
        workers: 1,
        business_of: vec![0, 1, 0],
        parcels: vec![0b001, 0b110],
        max_slots: [1, 1],
        max_attempts: 2,
        retries: false,
        hands_back: true,
        operator: false,
        unseen: false,
        looks_ahead: true,
        mutant: None,
    }
}

/// 2 businesses, 3 claimers, 4 jobs.
fn three_claimers() -> Scope {
    Scope {
        name: "three claimers",
        claimers: 3,
        business_of: vec![0, 1, 0, 1],
        parcels: vec![0b0001, 0b0010, 0b1100],
        hands_back: false,
        max_attempts: 1,
        looks_ahead: false,
        ..two_claimers()
    }
}

fn assert_all_is_well(scope: &Scope) -> Checked {
    let checked = check(scope, CORES);
    println!("{}: {checked}", scope.name);
    assert!(checked.faults.is_empty(), "{}: {}", scope.name, checked.faults.join("\n"));
    checked
}

#[test]
fn no_property_fails_with_two_claimers() {
    let checked = assert_all_is_well(&two_claimers());
    assert!(checked.states > 100_000, "it was cut short: {checked}");
}

#[test]
#[ignore = "minutes: `make test-all` runs it"]
fn no_property_fails_with_three_claimers_and_four_jobs() {
    assert_all_is_well(&three_claimers());
}
