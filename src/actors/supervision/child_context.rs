//! What a child gets from its supervisor.

use super::life::{ChildId, Exit, Life};
use crate::domain::{
    faults::{FaultKind, Faults},
    panic_place,
};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, SpawnHandle, fut::wrap_future};
use futures_util::FutureExt;
use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, task::AbortHandle};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

const IO_PANICKED: &str = "an I/O task panicked";

/// The identity, the I/O and the end of one life. Cheap to clone; every clone is the same life.
#[derive(Debug, Clone)]
pub struct ChildContext {
    life: Life,
    /// Cancelled when this child is to finish what it has and stop.
    drain: CancellationToken,
    /// Cancelled when the whole process begins to stop: nothing new is to be taken in.
    shutdown: CancellationToken,
    io: Handle,
    /// All I/O of this life; the supervisor waits for it before it reclaims.
    tasks: TaskTracker,
    error: Arc<Mutex<Option<String>>>,
    panicked_at: Arc<Mutex<Option<String>>>,
    faults: Faults,
}

/// I/O panicked; where, the life has noted.
struct Panicked;

impl ChildContext {
    pub(super) fn new(
        child: ChildId,
        generation: u64,
        shutdown: CancellationToken,
        io: Handle,
        faults: Faults,
    ) -> Self {
        Self {
            life: Life { child, generation },
            drain: CancellationToken::new(),
            shutdown,
            io,
            tasks: TaskTracker::new(),
            error: Arc::default(),
            panicked_at: Arc::default(),
            faults,
        }
    }

    pub fn life(&self) -> &Life {
        &self.life
    }

    pub fn shutting_down(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Stops the actor with an error. (An ordinary `ctx.stop()` is a normal exit.)
    pub fn fail(&self, ctx: &mut impl ActorContext, why: impl Into<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
        ctx.stop();
    }

    /// Runs `future` on the I/O runtime and then `then` in the actor. When the actor ends first, the future is aborted
    /// and `then` never runs. A panic in the future ends the child.
    pub fn spawn_io<A, F>(
        &self,
        ctx: &mut Context<A>,
        future: F,
        then: impl FnOnce(&mut A, F::Output, &mut Context<A>) + 'static,
    ) -> IoTask
    where
        A: Actor<Context = Context<A>>,
        F: Future<Output: Send> + Send + 'static,
    {
        let visitor = self.clone();
        let task = self.io.spawn(self.tasks.track_future(self.catching(async move {
            let fault = visitor.visit("io");
            drop(visitor);
            (future.await, fault)
        })));
        let abort = task.abort_handle();
        let this = self.clone();
        ctx.spawn(wrap_future(AbortOnDropHandle::new(task)).map(
            move |joined, actor: &mut A, ctx: &mut Context<A>| match joined {
                Ok(Ok((output, None))) => then(actor, output, ctx),
                Ok(Ok((_, Some(fault)))) => this.give_in(fault, ctx),
                Ok(Err(Panicked)) => this.fail(ctx, IO_PANICKED),
                Err(error) if error.is_panic() => this.fail(ctx, IO_PANICKED),
                Err(_) => {}
            },
        ));
        IoTask(abort)
    }

    /// The same on this thread, for what is no `Send` and ends by itself once its actor is gone, such as a server that
    /// is told to stop when its actor drops: it is never aborted, and the supervisor waits for its end before the next
    /// life begins.
    pub fn spawn_here<A, F>(
        &self,
        ctx: &mut Context<A>,
        future: F,
        then: impl FnOnce(&mut A, F::Output, &mut Context<A>) + 'static,
    ) where
        A: Actor<Context = Context<A>>,
        F: Future + 'static,
    {
        let visitor = self.clone();
        let task = actix_rt::spawn(self.tasks.track_future(self.catching(async move {
            match visitor.visit("io") {
                None => Ok(future.await),
                Some(fault) => Err(fault),
            }
        })));
        let this = self.clone();
        ctx.spawn(wrap_future(task).map(move |joined, actor: &mut A, ctx: &mut Context<A>| match joined {
            Ok(Ok(Ok(output))) => then(actor, output, ctx),
            Ok(Ok(Err(fault))) => this.give_in(fault, ctx),
            Ok(Err(Panicked)) => this.fail(ctx, IO_PANICKED),
            Err(error) if error.is_panic() => this.fail(ctx, IO_PANICKED),
            Err(_) => {}
        }));
    }

    /// Catches a panic of `future` on the thread where it happens: only there its place is known.
    fn catching<F: Future>(&self, future: F) -> impl Future<Output = Result<F::Output, Panicked>> + use<F> {
        let life = self.clone();
        AssertUnwindSafe(future).catch_unwind().map(move |caught| {
            caught.map_err(|_| {
                life.note_panic();
                Panicked
            })
        })
    }

    /// Right after a panic of this life was caught, on the thread where it was.
    pub(super) fn note_panic(&self) {
        if let Some(at) = panic_place::take() {
            *self.panicked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        }
    }

    /// Where this life panicked.
    pub(super) fn panicked_at(&self) -> Option<String> {
        self.panicked_at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `then` once, when this child is to drain.
    pub fn on_drain<A>(&self, ctx: &mut Context<A>, then: impl FnOnce(&mut A, &mut Context<A>) + 'static)
    where
        A: Actor<Context = Context<A>>,
    {
        let token = self.drain.clone();
        ctx.spawn(wrap_future(token.cancelled_owned()).map(move |(), actor: &mut A, ctx: &mut Context<A>| {
            then(actor, ctx);
        }));
    }

    /// Runs `then` once, when the whole process begins to stop.
    pub fn on_shutdown<A>(&self, ctx: &mut Context<A>, then: impl FnOnce(&mut A, &mut Context<A>) + 'static)
    where
        A: Actor<Context = Context<A>>,
    {
        let token = self.shutdown.clone();
        ctx.spawn(wrap_future(token.cancelled_owned()).map(move |(), actor: &mut A, ctx: &mut Context<A>| {
            then(actor, ctx);
        }));
    }

    /// A timer that also passes by the `timer` place of the fault rules.
    pub fn run_later<A>(
        &self,
        ctx: &mut Context<A>,
        wait: Duration,
        then: impl FnOnce(&mut A, &mut Context<A>) + 'static,
    ) -> SpawnHandle
    where
        A: Actor<Context = Context<A>>,
    {
        let this = self.clone();
        ctx.run_later(wait, move |actor, ctx| {
            if this.survives("timer", ctx) {
                then(actor, ctx);
            }
        })
    }

    /// A place where a test or the demo may make this child fail; `false`: it was told to, and is stopping.
    pub fn survives(&self, place: &str, ctx: &mut impl ActorContext) -> bool {
        let fault = self.visit(place);
        if let Some(fault) = fault {
            self.give_in(fault, ctx);
        }
        fault.is_none()
    }

    /// Says what fault was asked for here; those that need no context happen at once.
    fn visit(&self, place: &str) -> Option<FaultKind> {
        let kind = self.faults.hit(&self.life.child, place)?;
        let Life { child, generation } = &self.life;
        tracing::warn!(actor = %child, generation, place, fault = ?kind, "a fault was asked for");
        match kind {
            FaultKind::Panic => panic!("a fault was asked for"),
            FaultKind::Block => loop {
                std::thread::park();
            },
            FaultKind::Error | FaultKind::Stop => Some(kind),
        }
    }

    fn give_in(&self, fault: FaultKind, ctx: &mut impl ActorContext) {
        match fault {
            FaultKind::Stop => ctx.stop(),
            FaultKind::Error | FaultKind::Panic | FaultKind::Block => self.fail(ctx, "a fault was asked for"),
        }
    }

    pub(super) fn begin_drain(&self) {
        self.drain.cancel();
    }

    /// Waits until no I/O of this life runs any more.
    pub(super) async fn io_ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What an ordinary end of the actor means: an error when it said so.
    pub(super) fn exit(&self) -> Exit {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Exit::Normal, Exit::Error)
    }
}

/// I/O that was started by [`ChildContext::spawn_io`]. Dropping this does nothing; the actor owns the I/O.
#[derive(Debug)]
pub struct IoTask(AbortHandle);

impl IoTask {
    /// Ends it; its `then` does not run, unless it had just ended by itself.
    pub fn abort(&self) {
        self.0.abort();
    }
}

/// The hooks of a supervised actor: they do nothing, but a test may make them fail.
macro_rules! hooks_for_faults {
    () => {
        fn stopping(&mut self, ctx: &mut Self::Context) -> actix::Running {
            self.child.survives("stopping", ctx);
            actix::Running::Stop
        }

        fn stopped(&mut self, ctx: &mut Self::Context) {
            self.child.survives("stopped", ctx);
        }
    };
}
pub(crate) use hooks_for_faults;
