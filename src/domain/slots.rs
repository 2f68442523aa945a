//! Slot arithmetic: how much one claim may take from one business. The claim in SQL does the same sum under the
//! business's lock; this is the rule in words, and what the model in the tests checks the SQL against.

/// Jobs that one visit of the ring may take from a business: its turn (`quantum` × `weight`, deficit round-robin),
/// but never more than its free slots.
pub fn turn(quantum: u16, weight: u16, max_slots: i32, running: i32) -> u32 {
    let turn = u32::from(quantum) * u32::from(weight);
    let free = u32::try_from(max_slots - running).unwrap_or(0);
    turn.min(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_never_exceeds_the_free_slots() {
        assert_eq!(turn(1, 1, 5, 0), 1);
        assert_eq!(turn(4, 2, 5, 0), 5);
        assert_eq!(turn(4, 1, 5, 3), 2);
    }

    #[test]
    fn a_business_above_a_lowered_limit_gets_nothing() {
        assert_eq!(turn(1, 1, 2, 5), 0);
    }
}
