//! The ordered stop: the other way round, a group at once, and nobody for longer than the grace.

use super::{
    super::{ChildContext, ChildRef, ChildSpec, Exit},
    Entry, Journal, NoteAtEnd, Sibling, Tree, endless_io, in_system, quick,
};
use actix::{Actor, ActorContext, Context, Handler, Message};
use std::time::Duration;

/// An actor that notes that it is to drain, and leaves when the test says so.
struct Lingering {
    child: ChildContext,
    journal: Journal,
}

impl Lingering {
    fn spec(group: &'static str, address: &ChildRef<Self>, journal: &Journal) -> ChildSpec {
        let journal = journal.clone();
        ChildSpec::new(group, address.clone(), move |_, child| Self { child, journal: journal.clone() })
    }
}

impl Actor for Lingering {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let life = self.child.life().clone();
        self.journal.note(Entry::Started(life.child.clone(), life.generation));
        let guard = NoteAtEnd(self.journal.clone(), Some(Entry::IoEnded(life.child, life.generation)));
        self.child.clone().spawn_io(ctx, endless_io(guard), |_: &mut Self, (), _| ());
        self.child.clone().on_drain(ctx, |this: &mut Self, _| {
            this.journal.note(Entry::Drained(this.child.life().child.clone()));
        });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Leave;

impl Handler<Leave> for Lingering {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

fn drained(id: &'static str) -> Entry {
    Entry::Drained(id.into())
}

#[test]
fn the_last_group_stops_first_and_its_members_at_once() {
    let code = in_system(|journal| async move {
        let (first, pool, last) =
            (ChildRef::default(), [ChildRef::default(), ChildRef::default()], ChildRef::default());
        let specs = vec![
            Lingering::spec("first", &first, &journal),
            Lingering::spec("pool", &pool[0], &journal).numbered(0),
            Lingering::spec("pool", &pool[1], &journal).numbered(1),
            Lingering::spec("last", &last, &journal),
        ];
        let tree = Tree::start(&journal, quick(), specs);
        journal.time_of(Entry::Started("last".into(), 1)).await;
        tree.stop(Duration::from_mins(1));
        let drains = || journal.count(|entry| matches!(entry, Entry::Drained(_)));

        journal.time_of(drained("last")).await;
        assert_eq!(drains(), 1);
        last.send(Leave);
        journal.time_of(drained("pool-0")).await;
        journal.time_of(drained("pool-1")).await;
        pool[1].send(Leave);
        journal.until("the death of one", |_| journal.deaths("pool-1").len() == 1).await;
        assert_eq!(drains(), 3, "the first waits for all of the pool");
        pool[0].send(Leave);
        journal.time_of(drained("first")).await;
        first.send(Leave);
        for id in ["first", "pool-0", "pool-1", "last"] {
            journal.until(id, |_| journal.deaths(id).len() == 1).await;
            assert_eq!(journal.deaths(id), [(1, Exit::Normal)]);
        }
        assert_eq!(journal.count(|entry| matches!(entry, Entry::Started(_, 2..))), 0);
    });
    assert_eq!(code, 0);
}

#[test]
fn a_child_that_does_not_drain_is_aborted_after_its_grace_and_its_io_ends() {
    let code = in_system(|journal| async move {
        let spec = Lingering::spec("lingering", &ChildRef::default(), &journal).grace(Duration::from_millis(50));
        let tree = Tree::start(&journal, quick(), vec![spec]);
        journal.time_of(Entry::Started("lingering".into(), 1)).await;
        tree.stop(Duration::from_mins(1));
        let began = journal.time_of(drained("lingering")).await;
        let ended = journal.time_of(Entry::Reclaimed("lingering".into(), 1, Exit::Killed, true)).await;
        assert!(ended.duration_since(began) >= Duration::from_millis(45));
        let io_ended = journal.time_of(Entry::IoEnded("lingering".into(), 1)).await;
        assert!(io_ended <= ended);
    });
    assert_eq!(code, 0);
}

#[test]
fn no_group_uses_up_the_time_of_those_after_it() {
    in_system(|journal| async move {
        let (settling, lingering) = (ChildRef::default(), ChildRef::default());
        let specs = vec![
            Lingering::spec("settling", &settling, &journal),
            Lingering::spec("lingering", &lingering, &journal)
                .grace(Duration::from_mins(1))
                .leaving(Duration::from_secs(30)),
        ];
        let tree = Tree::start(&journal, quick(), specs);
        journal.time_of(Entry::Started("lingering".into(), 1)).await;
        tree.stop(Duration::from_millis(30_050));
        journal.time_of(Entry::Reclaimed("lingering".into(), 1, Exit::Killed, true)).await;
        // It still has its 30 s, and is not aborted at once.
        journal.time_of(drained("settling")).await;
        settling.send(Leave);
        journal.time_of(Entry::Reclaimed("settling".into(), 1, Exit::Normal, true)).await;
    });
}

#[test]
fn a_child_that_dies_while_the_others_stop_is_not_made_anew() {
    let code = in_system(|journal| async move {
        let (lingering, sibling) = (ChildRef::default(), ChildRef::default());
        let specs =
            vec![Lingering::spec("early", &sibling, &journal), Lingering::spec("lingering", &lingering, &journal)];
        let tree = Tree::start(&journal, quick(), specs);
        journal.time_of(Entry::Started("lingering".into(), 1)).await;
        tree.stop(Duration::from_mins(1));
        journal.time_of(drained("lingering")).await;
        sibling.send(Leave);
        journal.time_of(Entry::Reclaimed("early".into(), 1, Exit::Normal, true)).await;
        lingering.send(Leave);
        journal.time_of(Entry::Reclaimed("lingering".into(), 1, Exit::Normal, true)).await;
        assert_eq!(journal.count(|entry| matches!(entry, Entry::Started(_, 2..))), 0);
    });
    assert_eq!(code, 0);
}

#[test]
fn a_stop_without_children_that_run_ends_the_system() {
    let code = in_system(|journal| async move {
        let spec = Sibling::spec("gated", &ChildRef::default(), &journal).behind_gate();
        let tree = Tree::start(&journal, quick(), vec![spec]);
        tree.stop(Duration::from_mins(1));
    });
    assert_eq!(code, 0);
}
