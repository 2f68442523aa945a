//! What surrounds a restart: clean-up, backoff, intensity, the gate, references.

use super::{
    super::{ChildContext, ChildRef, ChildSpec, ChildState, Exit, OpenGate, Reclaim, RestartPolicy},
    Entry, Journal, NoteAtEnd, Number, Sibling, Tree, in_system, noting, quick,
};
use actix::{Actor, ActorContext, Context, Handler, Message};
use futures_util::future::BoxFuture;
use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};
use tokio::sync::Notify;

type Script = Arc<dyn Fn(&mut Scripted, &mut Context<Scripted>)>;

/// An actor that does at its start what the test says, with its generation at hand.
struct Scripted {
    child: ChildContext,
    journal: Journal,
    script: Script,
}

impl Scripted {
    fn spec(
        address: &ChildRef<Self>,
        journal: &Journal,
        script: impl Fn(&mut Self, &mut Context<Self>) + 'static,
    ) -> ChildSpec {
        let (journal, script): (_, Script) = (journal.clone(), Arc::new(script));
        ChildSpec::new("scripted", address.clone(), move |_, child| Self {
            child,
            journal: journal.clone(),
            script: Arc::clone(&script),
        })
    }

    fn generation(&self) -> u64 {
        self.child.life().generation
    }
}

impl Actor for Scripted {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.journal.note(started(self.generation()));
        self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
        let script = Arc::clone(&self.script);
        script(self, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Scripted {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Context<Self>) {
        panic!("asked for");
    }
}

fn started(generation: u64) -> Entry {
    Entry::Started("scripted".into(), generation)
}

fn panicked() -> Exit {
    Exit::Panic("asked for".to_owned())
}

fn reclaimed(generation: u64) -> Entry {
    Entry::Reclaimed("scripted".into(), generation, panicked(), false)
}

#[test]
fn nothing_is_given_back_while_io_of_the_dead_life_still_runs() {
    in_system(|journal| async move {
        // The I/O's end is held up by the test, in the middle of its clean-up.
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let address = ChildRef::default();
        let script = {
            let journal = journal.clone();
            move |this: &mut Scripted, ctx: &mut Context<Scripted>| {
                if this.generation() == 1 {
                    let guard = SlowEnd(journal.clone(), Arc::clone(&held));
                    let io = async move {
                        std::future::pending::<()>().await;
                        drop(guard);
                    };
                    this.child.spawn_io(ctx, io, |_: &mut Scripted, (), _| ());
                }
            }
        };
        let tree = Tree::start(&journal, quick(), vec![Scripted::spec(&address, &journal, script)]);
        journal.time_of(started(1)).await;
        address.send(Die);
        journal.time_of(Entry::Drained("I/O".into())).await;
        tree.until_state("scripted", ChildState::Down).await;
        assert_eq!(journal.deaths("scripted"), [], "the I/O still ends");
        release.send(()).unwrap();
        journal.time_of(started(2)).await;
        let order = [Entry::IoEnded("I/O".into(), 1), reclaimed(1), started(2)];
        let places = order.map(|wanted| journal.place(|entry| *entry == wanted));
        assert!(places.is_sorted(), "{:#?}", journal.entries());
        tree.stop(Duration::from_secs(5));
    });
}

struct SlowEnd(Journal, Arc<Mutex<mpsc::Receiver<()>>>);

impl Drop for SlowEnd {
    fn drop(&mut self) {
        self.0.note(Entry::Drained("I/O".into()));
        self.1.lock().unwrap().recv().unwrap();
        self.0.note(Entry::IoEnded("I/O".into(), 1));
    }
}

#[test]
fn io_that_never_ends_delays_a_restart_and_does_not_prevent_it() {
    in_system(|journal| async move {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let address = ChildRef::default();
        let begun = Arc::new(Notify::new());
        let script = {
            let begun = Arc::clone(&begun);
            move |this: &mut Scripted, ctx: &mut Context<Scripted>| {
                let (held, begun) = (Arc::clone(&held), Arc::clone(&begun));
                // Blocks its thread: no abort reaches it.
                let io = async move {
                    begun.notify_one();
                    let _ = held.lock().unwrap().recv();
                };
                if this.generation() == 1 {
                    this.child.spawn_io(ctx, io, |_: &mut Scripted, (), _| ());
                }
            }
        };
        let tree = Tree::start(&journal, quick(), vec![Scripted::spec(&address, &journal, script)]);
        begun.notified().await;
        address.send(Die);
        journal.time_of(started(2)).await;
        assert_eq!(journal.deaths("scripted"), [(1, panicked())]);
        drop(release);
        tree.stop(Duration::from_secs(5));
    });
}

#[test]
fn what_runs_here_is_not_aborted_and_ends_before_the_next_life() {
    in_system(|journal| async move {
        let (address, told) = (ChildRef::default(), Arc::new(Notify::new()));
        let script = {
            let (journal, told) = (journal.clone(), Arc::clone(&told));
            move |this: &mut Scripted, ctx: &mut Context<Scripted>| {
                let guard = NoteAtEnd(journal.clone(), Some(Entry::IoEnded("here".into(), this.generation())));
                let told = Arc::clone(&told);
                let here = async move {
                    told.notified().await;
                    drop(guard);
                };
                this.child.spawn_here(ctx, here, |_: &mut Scripted, (), _| ());
            }
        };
        let tree = Tree::start(&journal, quick(), vec![Scripted::spec(&address, &journal, script)]);
        journal.time_of(started(1)).await;
        address.send(Die);
        tree.until_state("scripted", ChildState::Down).await;
        assert_eq!(journal.entries(), [started(1)], "it goes on until it is told");
        told.notify_one();
        journal.time_of(started(2)).await;
        let order = [Entry::IoEnded("here".into(), 1), reclaimed(1), started(2)];
        let places = order.map(|wanted| journal.place(|entry| *entry == wanted));
        assert!(places.is_sorted(), "{:#?}", journal.entries());
        told.notify_one();
        tree.stop(Duration::from_secs(5));
    });
}

#[test]
fn a_panic_while_giving_back_hurts_nobody() {
    let inside: Reclaim = Arc::new(|_, _, _| Box::pin(async { panic!("in the future") }));
    let before: Reclaim = Arc::new(|_, _, _| -> BoxFuture<'static, ()> { panic!("before the future") });
    for reclaim in [inside, before] {
        let code = in_system(|journal| async move {
            let address = ChildRef::default();
            let spec = Scripted::spec(&address, &journal, |_, _| ());
            let tree = Tree::start_with(&journal, quick(), vec![spec], reclaim);
            journal.time_of(started(1)).await;
            address.send(Die);
            journal.time_of(started(2)).await;
            tree.stop(Duration::from_secs(5));
        });
        assert_eq!(code, 0);
    }
}

#[test]
fn a_timer_of_a_dead_life_does_not_fire() {
    in_system(|journal| async move {
        let address = ChildRef::default();
        let spec = Scripted::spec(&address, &journal, |this, ctx| {
            this.child.clone().run_later(ctx, Duration::from_millis(30), |this: &mut Scripted, _| {
                this.journal.note(Entry::Got("timer".into(), this.generation(), 0));
            });
        });
        let tree = Tree::start(&journal, quick(), vec![spec]);
        journal.time_of(started(1)).await;
        address.send(Die);
        // Set later, so it fires later than the first one would.
        journal.time_of(Entry::Got("timer".into(), 2, 0)).await;
        assert_eq!(journal.count(|entry| matches!(entry, Entry::Got(_, 1, _))), 0);
        tree.stop(Duration::from_secs(5));
    });
}

#[test]
fn restarts_wait_longer_each_time() {
    in_system(|journal| async move {
        let policy = RestartPolicy {
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(80),
            ..quick()
        };
        let address = ChildRef::default();
        let spec = Scripted::spec(&address, &journal, |this, _| assert!(this.generation() == 5, "asked for"));
        let tree = Tree::start(&journal, policy, vec![spec]);
        for (death, least) in [(1, 10), (2, 20), (3, 40), (4, 40)] {
            let (died, again) =
                (journal.time_of(reclaimed(death)).await, journal.time_of(started(death + 1)).await);
            // Half of it is jitter.
            assert!(again.duration_since(died) >= Duration::from_millis(least), "after death {death}");
        }
        tree.stop(Duration::from_secs(5));
    });
}

#[test]
fn a_child_that_never_stays_up_ends_the_process_with_70_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let entries = Arc::clone(&seen);
    let code = in_system(|journal| async move {
        let policy = RestartPolicy { max_restarts: 3, ..quick() };
        let sibling = ChildRef::default();
        let specs = vec![
            Sibling::spec("sibling", &sibling, &journal),
            Scripted::spec(&ChildRef::default(), &journal, |_, _| panic!("asked for")),
        ];
        drop(Tree::start(&journal, policy, specs));
        journal.until("the sibling's end", |_| journal.deaths("sibling").len() == 1).await;
        *entries.lock().unwrap() = journal.entries();
    });
    assert_eq!(code, 70);
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.iter().filter(|entry| matches!(entry, Entry::Started(child, _) if child == "scripted")).count(),
        4
    );
    assert!(seen.contains(&Entry::Drained("sibling".into())), "the others are stopped in order");
}

#[test]
fn children_behind_the_gate_start_once_when_it_opens() {
    in_system(|journal| async move {
        let (first, second) = (ChildRef::default(), ChildRef::default());
        let specs =
            vec![Sibling::spec("open", &first, &journal), Sibling::spec("gated", &second, &journal).behind_gate()];
        let tree = Tree::start(&journal, quick(), specs);
        journal.time_of(Entry::Started("open".into(), 1)).await;
        assert_eq!(tree.state("gated"), ChildState::Waiting);
        assert!(!second.send(Number(1)), "nobody is there yet");
        for _ in 0..3 {
            tree.root.do_send(OpenGate);
        }
        journal.time_of(Entry::Started("gated".into(), 1)).await;
        assert!(second.send(Number(2)));
        journal.time_of(Entry::Got("gated".into(), 1, 2)).await;
        assert_eq!(journal.count(|entry| matches!(entry, Entry::Started(..))), 2);
        tree.stop(Duration::from_secs(5));
    });
}

#[test]
fn a_message_to_a_child_that_is_down_is_reported_and_the_next_life_does_not_get_it() {
    in_system(|journal| async move {
        let address = ChildRef::default();
        let outbox = address.outbox::<Die>();
        let policy =
            RestartPolicy { backoff_min: Duration::from_mins(1), backoff_max: Duration::from_mins(1), ..quick() };
        let tree = Tree::start(&journal, policy, vec![Scripted::spec(&address, &journal, |_, _| ())]);
        journal.time_of(started(1)).await;
        assert!(outbox.send(Die));
        journal.time_of(reclaimed(1)).await;
        assert!(!outbox.send(Die) && !address.send(Die));
        assert!(address.get().is_none());
        assert_eq!(tree.state("scripted"), ChildState::Down);
        tree.stop(Duration::from_secs(5));
    });
}

#[test]
fn a_supervisor_that_nobody_holds_goes_on() {
    in_system(|journal| async move {
        let address = ChildRef::default();
        let spec = Scripted::spec(&address, &journal, |_, _| ());
        let Tree { root, .. } = Tree::start_with(&journal, quick(), vec![spec], noting(&journal));
        let weak = root.downgrade();
        drop(root);
        for generation in 1..4 {
            journal.time_of(started(generation)).await;
            address.send(Die);
        }
        journal.time_of(started(4)).await;
        let root = weak.upgrade().unwrap();
        root.do_send(super::Shutdown { code: 0, grace: Duration::from_secs(5) });
    });
}
