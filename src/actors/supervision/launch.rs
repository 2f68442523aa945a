//! An actor's context in a task of its own, whose end says why the actor ended.

use super::life::Exit;
use actix::{Actor, Addr, Context, dev::channel};
use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::task::JoinHandle;

/// Messages that `try_send` lets wait; `do_send` is not bounded by it.
const MAILBOX: usize = 1024;

/// Starts an actor on this thread, like `Actor::create`, with a monitor: the handle ends after the actor is wholly
/// dropped. `Ok` is an ordinary stop. `panicked` is called right after a panic was caught, where it was caught.
pub(super) fn launch<A>(
    make: impl FnOnce(&mut Context<A>) -> A + 'static,
    panicked: impl FnOnce() + 'static,
) -> (Addr<A>, JoinHandle<Result<(), Exit>>)
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel::channel(MAILBOX);
    let monitor = actix_rt::spawn(async move {
        let mut running = None;
        let life = async {
            let mut context = Context::with_receiver(receiver);
            context.set_mailbox_capacity(MAILBOX);
            let actor = make(&mut context);
            running.insert(Box::pin(context.into_future(actor))).as_mut().await;
        };
        let ran = AssertUnwindSafe(life).catch_unwind().await;
        // Dropping the context's future runs `stopping` and `stopped`. Outside the unwinding: a second panic in there
        // would abort the process.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(running)));
        ran.and(dropped).map_err(|payload| {
            panicked();
            Exit::from_panic(&*payload)
        })
    });
    (Addr::new(sender), monitor)
}
