//! What a child is and when it is restarted.

use super::{
    child_context::ChildContext,
    child_ref::ChildRef,
    launch::launch,
    life::{ChildId, Exit},
};
use actix::{Actor, Context};
use std::{fmt, rc::Rc, time::Duration};
use tokio::task::JoinHandle;

/// When a child that ended is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always: it is never meant to end.
    Permanent,
    /// After an error or a panic: a normal stop means that it is done.
    Transient,
    /// Never.
    Temporary,
}

/// How to make one child. The order of the specs is the order of start; the stop goes the other way, all children of
/// one group at once.
pub struct ChildSpec {
    pub(super) id: ChildId,
    pub(super) group: &'static str,
    pub(super) restart: Restart,
    pub(super) grace: Duration,
    pub(super) leaving: Duration,
    pub(super) behind_gate: bool,
    pub(super) start: Box<dyn Fn(ChildContext) -> JoinHandle<Result<(), Exit>>>,
}

impl ChildSpec {
    /// A permanent child, started at once, with 5 s of grace.
    ///
    /// `make` runs at every start; `address` is refreshed then.
    pub fn new<A, F>(group: &'static str, address: ChildRef<A>, make: F) -> Self
    where
        A: Actor<Context = Context<A>>,
        F: Fn(&mut Context<A>, ChildContext) -> A + 'static,
    {
        let make = Rc::new(make);
        let start = move |child: ChildContext| {
            let make = Rc::clone(&make);
            let panicked = child.clone();
            let (addr, monitor) = launch(move |context| make(context, child), move || panicked.note_panic());
            address.set(addr);
            monitor
        };
        Self {
            id: group.into(),
            group,
            restart: Restart::Permanent,
            grace: Duration::from_secs(5),
            leaving: Duration::ZERO,
            behind_gate: false,
            start: Box::new(start),
        }
    }

    /// Its place in a pool: `recording_worker` becomes `recording_worker-3`.
    #[must_use]
    pub fn numbered(mut self, place: u16) -> Self {
        self.id = format!("{}-{place}", self.group).into();
        self
    }

    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long it may drain before it is aborted.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// What it must leave of the whole stop's time to those that stop after it, however long its own grace is.
    #[must_use]
    pub fn leaving(mut self, rest: Duration) -> Self {
        self.leaving = rest;
        self
    }

    /// Started only after [`super::OpenGate`].
    #[must_use]
    pub fn behind_gate(mut self) -> Self {
        self.behind_gate = true;
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec").field("id", &self.id).field("restart", &self.restart).finish_non_exhaustive()
    }
}
