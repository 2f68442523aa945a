//! Slot arithmetic: how much one claim may take from one business. The claim in SQL does the same sum under the
//! business's lock; this is the rule in words, and what the model in the tests checks the SQL against.

/// Where a claimer stands in the ring of businesses, from one claim to the next. The default is its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingPlace {
    /// The business that was served last; those after it come next.
    pub after: i64,
    /// Jobs that this business has still to get of its turn, because the workers did not suffice: it comes first then.
    /// Most claims are for one worker that became free; a turn that ended with each claim would make weights mean
    /// nothing.
    pub turn_left: i32,
}

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
