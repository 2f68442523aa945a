//! A panic, an error and a normal stop in each place of an actor.

use super::{
    super::{ChildContext, ChildRef, ChildSpec, ChildState, Exit, Restart},
    Entry, Journal, NoteAtEnd, Number, Sibling, Tree, endless_io, in_system, quick,
};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Running, fut::wrap_future,
};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Factory,
    Started,
    Handler,
    Spawned,
    Waited,
    Timer,
    Io,
    Stopping,
    Stopped,
    Dropped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Panic,
    Error,
    Stop,
}

const PLACES: [Place; 10] = [
    Place::Factory,
    Place::Started,
    Place::Handler,
    Place::Spawned,
    Place::Waited,
    Place::Timer,
    Place::Io,
    Place::Stopping,
    Place::Stopped,
    Place::Dropped,
];
const KINDS: [Kind; 3] = [Kind::Panic, Kind::Error, Kind::Stop];

/// Its first life fails in one place; the others are healthy.
struct Patient {
    child: ChildContext,
    journal: Journal,
    illness: Option<(Place, Kind)>,
}

impl Patient {
    fn spec(place: Place, kind: Kind, address: &ChildRef<Self>, journal: &Journal) -> ChildSpec {
        let journal = journal.clone();
        ChildSpec::new("patient", address.clone(), move |ctx, child| {
            let illness = (child.life().generation == 1).then_some((place, kind));
            let patient = Self { child, journal: journal.clone(), illness };
            // I/O that is under way when the life ends.
            let guard = patient.guard();
            patient.child.spawn_io(ctx, endless_io(guard), |_: &mut Self, (), _| ());
            patient.suffer(Place::Factory, ctx);
            patient
        })
    }

    fn guard(&self) -> NoteAtEnd {
        let life = self.child.life().clone();
        NoteAtEnd(self.journal.clone(), Some(Entry::IoEnded(life.child, life.generation)))
    }

    fn suffer(&self, place: Place, ctx: &mut Context<Self>) {
        if let Some((ill, kind)) = self.illness
            && ill == place
        {
            match kind {
                Kind::Panic => panic!("asked for"),
                Kind::Error => self.child.fail(ctx, "asked for"),
                Kind::Stop => ctx.stop(),
            }
        }
    }
}

impl Actor for Patient {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let life = self.child.life().clone();
        self.journal.note(Entry::Started(life.child, life.generation));
        self.child.clone().on_drain(ctx, |_: &mut Self, ctx| ctx.stop());
        self.suffer(Place::Started, ctx);
    }

    fn stopping(&mut self, ctx: &mut Context<Self>) -> Running {
        self.suffer(Place::Stopping, ctx);
        Running::Stop
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        self.suffer(Place::Stopped, ctx);
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        assert!(self.illness != Some((Place::Dropped, Kind::Panic)), "asked for");
    }
}

/// Makes the illness break out, where it has not by itself.
#[derive(Message)]
#[rtype(result = "()")]
struct Provoke;

impl Handler<Provoke> for Patient {
    type Result = ();

    fn handle(&mut self, _: Provoke, ctx: &mut Context<Self>) {
        let Some((place, kind)) = self.illness else { return };
        let suffer = move |(), this: &mut Self, ctx: &mut Context<Self>| this.suffer(place, ctx);
        match place {
            Place::Handler => self.suffer(place, ctx),
            Place::Spawned => drop(ctx.spawn(wrap_future(async {}).map(suffer))),
            Place::Waited => ctx.wait(wrap_future(async {}).map(suffer)),
            Place::Timer => {
                self.child.run_later(ctx, Duration::from_millis(1), move |this: &mut Self, ctx| {
                    this.suffer(place, ctx);
                });
            }
            Place::Io => {
                let io = async move { assert!(kind != Kind::Panic, "asked for") };
                self.child.spawn_io(ctx, io, move |this: &mut Self, (), ctx| this.suffer(place, ctx));
            }
            // These are passed when it ends.
            Place::Factory | Place::Started | Place::Stopping | Place::Stopped | Place::Dropped => ctx.stop(),
        }
    }
}

impl Handler<Number> for Patient {
    type Result = ();

    fn handle(&mut self, Number(number): Number, _: &mut Context<Self>) {
        let life = self.child.life();
        self.journal.note(Entry::Got(life.child.clone(), life.generation, number));
    }
}

/// How the first life is to end.
fn expected(place: Place, kind: Kind) -> Exit {
    match kind {
        // A panic on the I/O runtime is reported, not propagated.
        Kind::Panic if place == Place::Io => Exit::Error("an I/O task panicked".to_owned()),
        Kind::Panic => Exit::Panic("asked for".to_owned()),
        // A Drop has no context to fail with.
        Kind::Error if place != Place::Dropped => Exit::Error("asked for".to_owned()),
        Kind::Error | Kind::Stop => Exit::Normal,
    }
}

async fn die_once(restart: Restart, place: Place, kind: Kind, journal: Journal) {
    let case = format!("{restart:?}, {kind:?} in {place:?}");
    let (patient, before, after) = (ChildRef::default(), ChildRef::default(), ChildRef::default());
    let tree = Tree::start(
        &journal,
        quick(),
        vec![
            Sibling::spec("before", &before, &journal),
            Patient::spec(place, kind, &patient, &journal).restart(restart),
            Sibling::spec("after", &after, &journal),
        ],
    );
    journal.time_of(Entry::Started("after".into(), 1)).await;
    for number in 0..500 {
        assert!(before.send(Number(number)) && after.send(Number(number)));
    }
    // An illness of the start breaks out by itself.
    let provoked = !matches!(place, Place::Factory | Place::Started) && patient.send(Provoke);
    journal.until(&case, |_| journal.deaths("patient").len() == 1).await;
    for number in 500..1_000 {
        assert!(before.send(Number(number)) && after.send(Number(number)));
    }
    let exit = expected(place, kind);
    let lives_on = match restart {
        Restart::Permanent => true,
        Restart::Transient => exit != Exit::Normal,
        Restart::Temporary => false,
    };
    if lives_on {
        journal.time_of(Entry::Started("patient".into(), 2)).await;
        assert!(patient.send(Number(7)), "{case}: the reference reaches the new life");
        journal.time_of(Entry::Got("patient".into(), 2, 7)).await;
    } else {
        tree.until_state("patient", ChildState::Stopped).await;
        assert!(!patient.send(Number(7)), "{case}: nobody is there");
    }
    let last = Entry::Got("after".into(), 1, 999);
    journal.until("the siblings' last message", |entries| entries.contains(&last)).await;

    assert_eq!(journal.deaths("patient"), [(1, exit)], "{case} (provoked: {provoked})");
    for sibling in ["before", "after"] {
        let got = |entry| match entry {
            Entry::Got(child, 1, number) if child == sibling => Some(number),
            _ => None,
        };
        let got: Vec<usize> = journal.entries().into_iter().filter_map(got).collect();
        assert!(got.into_iter().eq(0..1_000), "{case}: {sibling} got every message, in order");
        assert_eq!(journal.deaths(sibling), [], "{case}");
    }
    let io_ended = journal.place(|entry| *entry == Entry::IoEnded("patient".into(), 1));
    let reclaimed = journal.place(|entry| matches!(entry, Entry::Reclaimed(child, 1, ..) if child == "patient"));
    assert!(io_ended < reclaimed, "{case}: its I/O ended before what it held was given back");
    if lives_on {
        let restarted = journal.place(|entry| *entry == Entry::Started("patient".into(), 2));
        assert!(reclaimed < restarted, "{case}: what it held was given back before it was made anew");
    }
    assert_eq!(journal.count(|entry| matches!(entry, Entry::Started(child, 3..) if child == "patient")), 0);
    tree.stop(Duration::from_secs(5));
}

fn die_in_each_place(restart: Restart) {
    for place in PLACES {
        for kind in KINDS {
            let code = in_system(|journal| die_once(restart, place, kind, journal));
            assert_eq!(code, 0, "{restart:?}, {kind:?} in {place:?}: the tree stops as ever");
        }
    }
}

#[test]
fn a_permanent_child_that_ends_in_any_place_is_made_anew_once() {
    die_in_each_place(Restart::Permanent);
}

#[test]
fn a_transient_child_is_made_anew_unless_it_stopped_by_itself() {
    die_in_each_place(Restart::Transient);
}

#[test]
fn a_temporary_child_is_never_made_anew() {
    die_in_each_place(Restart::Temporary);
}
