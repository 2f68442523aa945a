//! Supervision proved with small actors: what they did and what was done to them stands in a journal, in order.

mod deaths;
mod restarting;
mod stopping;

use super::{
    ChildContext, ChildId, ChildRef, ChildSpec, ChildState, Exit, Reclaim, RestartPolicy, Roster, Shutdown,
    Supervisor, start_root,
};
use crate::domain::faults::Faults;
use actix::{Actor, Addr, Context, Handler, Message};
use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;

/// Ends a test that hangs; nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happened, in order.
#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Started(ChildId, u64),
    /// I/O of this life ended.
    IoEnded(ChildId, u64),
    /// The flag: while the tree stops.
    Reclaimed(ChildId, u64, Exit, bool),
    Drained(ChildId),
    /// A message arrived, or a timer fired.
    Got(ChildId, u64, usize),
}

#[derive(Debug, Clone)]
struct Journal(Arc<watch::Sender<Vec<(Instant, Entry)>>>);

impl Journal {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    fn note(&self, entry: Entry) {
        self.0.send_modify(|entries| entries.push((Instant::now(), entry)));
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.borrow().iter().map(|(_, entry)| entry.clone()).collect()
    }

    /// When this entry was first written.
    async fn time_of(&self, entry: Entry) -> Instant {
        self.until(&format!("{entry:?}"), |entries| entries.contains(&entry)).await;
        self.0.borrow().iter().find(|(_, e)| *e == entry).unwrap().0
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&[Entry]) -> bool) {
        let mut changes = self.0.subscribe();
        let waiting = async {
            while !holds(&self.entries()) {
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "not: {what}; but {:#?}", self.entries());
    }

    fn count(&self, holds: impl Fn(&Entry) -> bool) -> usize {
        self.entries().iter().filter(|entry| holds(entry)).count()
    }

    fn place(&self, holds: impl Fn(&Entry) -> bool) -> usize {
        let place = self.entries().iter().position(holds);
        place.unwrap_or_else(|| panic!("it is not there: {:#?}", self.entries()))
    }

    /// The deaths of a child, in order.
    fn deaths(&self, id: &str) -> Vec<(u64, Exit)> {
        let death = |entry| match entry {
            Entry::Reclaimed(child, generation, exit, _) if child == id => Some((generation, exit)),
            _ => None,
        };
        self.entries().into_iter().filter_map(death).collect()
    }
}

/// Notes the end of the I/O that holds it, however it ends.
struct NoteAtEnd(Journal, Option<Entry>);

impl Drop for NoteAtEnd {
    fn drop(&mut self) {
        self.0.note(self.1.take().unwrap());
    }
}

/// I/O that does not end by itself.
async fn endless_io(guard: NoteAtEnd) {
    std::future::pending::<()>().await;
    drop(guard);
}

fn io() -> Handle {
    static IO: OnceLock<Handle> = OnceLock::new();
    let start = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        Box::leak(Box::new(runtime)).handle().clone()
    };
    IO.get_or_init(start).clone()
}

fn quick() -> RestartPolicy {
    RestartPolicy {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        max_restarts: 100,
        window: Duration::from_mins(1),
    }
}

/// A tree under test.
struct Tree {
    root: Addr<Supervisor>,
    roster: Roster,
    journal: Journal,
}

impl Tree {
    fn start(journal: &Journal, policy: RestartPolicy, specs: Vec<ChildSpec>) -> Self {
        Self::start_with(journal, policy, specs, noting(journal))
    }

    fn start_with(journal: &Journal, policy: RestartPolicy, specs: Vec<ChildSpec>, reclaim: Reclaim) -> Self {
        let roster = Roster::default();
        let (list, shutdown) = (roster.clone(), CancellationToken::new());
        let root =
            start_root(move || Supervisor::new(specs, policy, reclaim, list, io(), shutdown, Faults::default()));
        Self { root, roster, journal: journal.clone() }
    }

    fn state(&self, id: &str) -> ChildState {
        self.roster.children().into_iter().find(|child| child.id == id).unwrap().state
    }

    async fn until_state(&self, id: &str, state: ChildState) {
        let waiting = async {
            let mut pace = tokio::time::interval(Duration::from_millis(1));
            while self.state(id) != state {
                pace.tick().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{id} is not {state:?}; {:#?}", self.journal.entries());
    }

    fn stop(&self, grace: Duration) {
        self.root.do_send(Shutdown { code: 0, grace });
    }
}

/// A reclaim that notes its calls.
fn noting(journal: &Journal) -> Reclaim {
    let journal = journal.clone();
    Arc::new(move |life, exit, stopping| {
        let journal = journal.clone();
        Box::pin(async move { journal.note(Entry::Reclaimed(life.child, life.generation, exit, stopping)) })
    })
}

/// Runs `test` on a System of its own and then waits for that System's end; its exit code.
fn in_system<F: Future<Output = ()>>(test: impl FnOnce(Journal) -> F) -> i32 {
    let system = actix_rt::System::new();
    system.block_on(test(Journal::new()));
    system.run_with_code().unwrap()
}

/// An actor that does nothing wrong: it notes messages, and stops when it is told to drain.
struct Sibling {
    child: ChildContext,
    journal: Journal,
}

impl Sibling {
    fn spec(group: &'static str, address: &ChildRef<Self>, journal: &Journal) -> ChildSpec {
        let journal = journal.clone();
        ChildSpec::new(group, address.clone(), move |_, child| Self { child, journal: journal.clone() })
    }
}

impl Actor for Sibling {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let life = self.child.life().clone();
        self.journal.note(Entry::Started(life.child, life.generation));
        self.child.clone().on_drain(ctx, |this: &mut Self, ctx| {
            this.journal.note(Entry::Drained(this.child.life().child.clone()));
            actix::ActorContext::stop(ctx);
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Number(usize);

impl Handler<Number> for Sibling {
    type Result = ();

    fn handle(&mut self, Number(number): Number, _: &mut Context<Self>) {
        let life = self.child.life();
        self.journal.note(Entry::Got(life.child.clone(), life.generation, number));
    }
}
