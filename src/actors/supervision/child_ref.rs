//! Addresses that stay right over restarts: an `Addr` dies with its actor.

use actix::{
    Actor, Addr, Handler, Message,
    dev::{MessageResponse, ToEnvelope},
};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// A child, whichever its generation. The supervisor sets the address at each start; everybody else reads it.
pub struct ChildRef<A: Actor>(Arc<RwLock<Option<Addr<A>>>>);

impl<A: Actor> ChildRef<A> {
    /// `None` while the child is down.
    pub fn get(&self) -> Option<Addr<A>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone().filter(Addr::connected)
    }

    pub(super) fn set(&self, addr: Addr<A>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(addr);
    }

    /// Puts a message into the child's mailbox; `false`: the child is down and the message is gone.
    pub fn send<M>(&self, message: M) -> bool
    where
        M: Message + Send + 'static,
        M::Result: MessageResponse<A, M> + Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let addr = self.get();
        if let Some(addr) = &addr {
            addr.do_send(message);
        }
        addr.is_some()
    }

    /// The same for one kind of message, without naming the actor: a sender need not import its receiver.
    pub fn outbox<M>(&self) -> Outbox<M>
    where
        M: Message + Send + 'static,
        M::Result: MessageResponse<A, M> + Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let child = self.clone();
        Outbox::new(move |message| child.send(message))
    }
}

impl<A: Actor> Clone for ChildRef<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Actor> Default for ChildRef<A> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<A: Actor> fmt::Debug for ChildRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildRef").field("up", &self.get().is_some()).finish()
    }
}

/// Where one kind of message goes.
pub struct Outbox<M>(Arc<dyn Fn(M) -> bool + Send + Sync>);

impl<M> Outbox<M> {
    pub fn new(deliver: impl Fn(M) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliver))
    }

    /// `false`: the receiver is down and the message is gone.
    pub fn send(&self, message: M) -> bool {
        (self.0)(message)
    }
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Outbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}
