//! A model of the queue's protocol: what `enqueue_many`, `drain`, `claim_work`, `settle_attempts`, `reap_leases`,
//! `promote`, `cancel_jobs` and `retry_jobs` do, statement by statement and lock by lock, as READ COMMITTED lets them.
//!
//! docs/model.md says what is modelled and what is not, and has the figures.

mod check;
mod claim;
mod enqueue;
mod operator;
pub mod properties;
pub mod scope;
mod settle;
pub mod state;
mod steps;
mod upkeep;

pub use check::{Checked, Counterexample, check, counterexample};
pub use scope::{Mutant, Scope};
pub use state::State;
pub use steps::{Action, End, Step};

use stateright::{Model, Property};

/// The model of one [`Scope`].
#[derive(Debug, Clone)]
pub struct Protocol {
    pub scope: Scope,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.choices(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = self.after(state, action)?;
        Some(if self.scope.mutant.is_none() { next.representative(self.scope.claimers) } else { next })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.scope)
    }
}
