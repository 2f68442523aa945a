//! The actor that starts, watches, restarts and stops its children.

use super::{
    child_context::ChildContext,
    launch::launch,
    life::{Exit, Life},
    restarts::{History, RestartPolicy, Verdict},
    roster::{ChildState, Roster},
    spec::{ChildSpec, Restart},
};
use crate::domain::{
    faults::Faults,
    observation::{Observation, Observer, Unobserved},
};
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, System};
use futures_util::future::BoxFuture;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Exit code of a process whose supervision gave up (`EX_SOFTWARE`).
const GAVE_UP: i32 = 70;
/// Longest wait for the I/O of an aborted life, and for giving back what it held. The lease's end is the backstop.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(3);

/// Gives back what a life held, on the I/O runtime: after all its I/O ended, before the next life begins.
///
/// The flag says whether the process is stopping: what is given back then was interrupted, not failed.
pub type Reclaim = Arc<dyn Fn(Life, Exit, bool) -> BoxFuture<'static, ()> + Send + Sync>;

pub struct Supervisor {
    children: Vec<Child>,
    policy: RestartPolicy,
    reclaim: Reclaim,
    roster: Roster,
    io: Handle,
    faults: Faults,
    observer: Arc<dyn Observer>,
    gate_open: bool,
    /// Cancelled when the stop begins; every child holds a clone.
    shutdown: CancellationToken,
    stopping: Option<Stopping>,
    /// An actor that nobody holds an address of stops by itself.
    me: Option<Addr<Self>>,
}

struct Child {
    spec: ChildSpec,
    generation: u64,
    running: Option<Running>,
    history: History,
}

struct Running {
    context: ChildContext,
    kill: CancellationToken,
    since: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Stopping {
    code: i32,
    deadline: Instant,
}

impl Supervisor {
    /// `shutdown` is cancelled when the stop begins: by the supervisor, or by whoever asks for the stop.
    pub fn new(
        specs: Vec<ChildSpec>,
        policy: RestartPolicy,
        reclaim: Reclaim,
        roster: Roster,
        io: Handle,
        shutdown: CancellationToken,
        faults: Faults,
    ) -> Self {
        roster.enlist(specs.iter().map(|spec| spec.id.clone()));
        let children = specs
            .into_iter()
            .map(|spec| Child { spec, generation: 0, running: None, history: History::default() })
            .collect();
        Self {
            children,
            policy,
            reclaim,
            roster,
            io,
            faults,
            observer: Arc::new(Unobserved),
            gate_open: false,
            shutdown,
            stopping: None,
            me: None,
        }
    }

    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    fn start_child(&mut self, place: usize, ctx: &mut Context<Self>) {
        let child = &mut self.children[place];
        let held_back = child.spec.behind_gate && !self.gate_open;
        if self.stopping.is_some() || child.running.is_some() || held_back {
            return;
        }
        child.generation += 1;
        let generation = child.generation;
        let context = ChildContext::new(
            child.spec.id.clone(),
            generation,
            self.shutdown.clone(),
            self.io.clone(),
            self.faults.clone(),
        );
        let kill = CancellationToken::new();
        let monitor = (child.spec.start)(context.clone());
        child.running = Some(Running { context: context.clone(), kill: kill.clone(), since: Instant::now() });
        self.roster.set(place, generation, ChildState::Up);
        self.observer.observe(Observation::ActorStarted { group: child.spec.group, generation });
        let marker = if generation == 1 { "ACTOR_STARTED" } else { "ACTOR_RESTARTED" };
        tracing::info!(marker, actor = %child.spec.id, generation, "actor started");
        self.watch(place, context, monitor, kill, ctx);
    }

    /// Waits for the end of a life, ends its I/O, gives back what it held, then reports it.
    fn watch(
        &self,
        place: usize,
        context: ChildContext,
        mut monitor: tokio::task::JoinHandle<Result<(), Exit>>,
        kill: CancellationToken,
        ctx: &mut Context<Self>,
    ) {
        let (me, io, reclaim, shutdown) =
            (ctx.address(), self.io.clone(), Arc::clone(&self.reclaim), self.shutdown.clone());
        let roster = self.roster.clone();
        // Not `ctx.spawn`: the watch goes on while the supervisor handles other deaths.
        actix_rt::spawn(async move {
            let joined = tokio::select! {
                joined = &mut monitor => joined,
                () = kill.cancelled() => { monitor.abort(); monitor.await }
            };
            let exit = match joined {
                Ok(Ok(())) => context.exit(),
                Ok(Err(exit)) => exit,
                Err(_) => Exit::Killed,
            };
            let Life { child, generation } = context.life().clone();
            if let Some(at) = context.panicked_at() {
                roster.panicked(place, at);
            }
            // At once: giving back may take a while, and nobody is there meanwhile.
            roster.set(place, generation, ChildState::Down);
            if tokio::time::timeout(CLEAN_UP_LIMIT, context.io_ended()).await.is_err() {
                tracing::warn!(actor = %child, generation, "I/O of an ended life does not end");
            }
            // The panic of a reclaim is its own, also where it makes its future: the task catches it, and the lease's
            // end is the backstop.
            let (life, how) = (context.life().clone(), exit.clone());
            let reclaiming = io.spawn(async move { reclaim(life, how, shutdown.is_cancelled()).await });
            if !matches!(tokio::time::timeout(CLEAN_UP_LIMIT, reclaiming).await, Ok(Ok(()))) {
                tracing::warn!(actor = %child, generation, "what an ended life held is left to the reaper");
            }
            me.do_send(Down { place, generation, exit });
        });
    }

    fn restart_later(&mut self, place: usize, ran: Duration, exit: &Exit, ctx: &mut Context<Self>) {
        let child = &mut self.children[place];
        let (actor, generation) = (&child.spec.id, child.generation);
        match child.history.died(Instant::now(), ran, &self.policy, rand::random()) {
            Verdict::RestartIn(wait) => {
                let restart_in = wait.as_millis();
                tracing::warn!(marker = "ACTOR_DOWN", %actor, generation, reason = %exit, restart_in, "actor down");
                self.roster.set(place, generation, ChildState::Down);
                ctx.run_later(wait, move |this, ctx| this.start_child(place, ctx));
            }
            Verdict::GiveUp => {
                tracing::error!(
                    marker = "ACTOR_DOWN",
                    %actor,
                    generation,
                    reason = %exit,
                    "actor down too often: the process gives up with exit code 70"
                );
                self.roster.set(place, generation, ChildState::Stopped);
                self.begin_stop(GAVE_UP, CLEAN_UP_LIMIT * 3, ctx);
            }
        }
    }

    fn begin_stop(&mut self, code: i32, grace: Duration, ctx: &mut Context<Self>) {
        if self.stopping.is_none() {
            self.stopping = Some(Stopping { code, deadline: Instant::now() + grace });
            tracing::info!(marker = "DRAIN_STARTED", code, "draining; a second signal ends the process at once");
            self.shutdown.cancel();
            self.stop_next_group(ctx);
        }
    }

    /// Drains the last group that still runs; when none does, the System ends.
    fn stop_next_group(&mut self, ctx: &mut Context<Self>) {
        let Some(Stopping { code, deadline }) = self.stopping else { return };
        let Some(group) = self.children.iter().rev().find(|c| c.running.is_some()).map(|c| c.spec.group) else {
            return System::current().stop_with_code(code);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        for child in self.children.iter().filter(|c| c.spec.group == group) {
            let Some(running) = &child.running else { continue };
            running.context.begin_drain();
            let kill = running.kill.clone();
            let patience = child.spec.grace.min(left.saturating_sub(child.spec.leaving));
            ctx.run_later(patience, move |_, _| kill.cancel());
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.me = Some(ctx.address());
        for place in 0..self.children.len() {
            self.start_child(place, ctx);
        }
    }
}

/// The schema fits: children behind the gate start, in their order.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct OpenGate;

impl Handler<OpenGate> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: OpenGate, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.gate_open, true) {
            for place in 0..self.children.len() {
                self.start_child(place, ctx);
            }
        }
    }
}

/// Stop everything in order and end the System with `code`; children that are not done after `grace` are aborted.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Shutdown {
    pub code: i32,
    pub grace: Duration,
}

impl Handler<Shutdown> for Supervisor {
    type Result = ();

    fn handle(&mut self, Shutdown { code, grace }: Shutdown, ctx: &mut Context<Self>) {
        self.begin_stop(code, grace, ctx);
    }
}

/// A watch's report: a life ended, its I/O too, and what it held is given back.
#[derive(Message)]
#[rtype(result = "()")]
struct Down {
    place: usize,
    generation: u64,
    exit: Exit,
}

impl Handler<Down> for Supervisor {
    type Result = ();

    fn handle(&mut self, Down { place, generation, exit }: Down, ctx: &mut Context<Self>) {
        let child = &mut self.children[place];
        if child.generation != generation {
            return;
        }
        let ran = child.running.take().map_or(Duration::ZERO, |running| running.since.elapsed());
        let wanted = match child.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => exit != Exit::Normal,
            Restart::Temporary => false,
        };
        if self.stopping.is_some() || !wanted {
            tracing::info!(marker = "ACTOR_DOWN", actor = %child.spec.id, generation, reason = %exit, "actor ended");
            self.roster.set(place, generation, ChildState::Stopped);
            let group = child.spec.group;
            let group_ended = self.children.iter().all(|c| c.spec.group != group || c.running.is_none());
            if self.stopping.is_some() && group_ended {
                self.stop_next_group(ctx);
            }
        } else {
            self.restart_later(place, ran, &exit, ctx);
        }
    }
}

/// Starts the root. When it ends by itself, which would be a fault of it, the process must end: exit code 70.
pub fn start_root(make: impl FnOnce() -> Supervisor + 'static) -> Addr<Supervisor> {
    let (addr, monitor) = launch(move |_| make(), || {});
    let system = System::current();
    actix_rt::spawn(async move {
        let end = monitor.await;
        tracing::error!(clean = matches!(end, Ok(Ok(()))), "the root supervisor ended");
        system.stop_with_code(GAVE_UP);
    });
    addr
}
