//! Processes die, stand still, are told to go, and fail inside.

use super::Held;
use crate::{attack::Strike, checker::Moment, support::PATIENCE, world::World};
use nix::sys::signal::Signal;
use std::{fmt::Write, time::Duration};
use tokio::time::Instant;

/// What fails: a child of the tree, and a place in it.
const PLACES: [(&str, &str); 14] = [
    ("slot_manager", "handler"),
    ("slot_manager", "timer"),
    ("slot_manager", "io"),
    ("slot_manager", "started"),
    ("recording_worker", "handler"),
    ("recording_worker", "io"),
    ("recording_worker", "stopping"),
    ("listener", "io"),
    ("listener", "timer"),
    ("maintenance", "io"),
    ("maintenance", "timer"),
    ("hold_keeper", "io"),
    ("watcher", "io"),
    ("http", "io"),
];
/// Well below `supervision.max_restarts`.
const PANICS: usize = 4;

pub(super) async fn kill(strike: &Strike, world: &mut World) -> Result<Held, String> {
    let place = strike.place();
    let pid = world.fleet.members[place].pid().cast_signed();
    world.fleet.members[place].kill().await?;
    let (sql, began) = (world.sql.clone(), Instant::now());
    Ok(Held::Rescue(tokio::spawn(async move {
        let held = "select count(*) from job_lease join instance using (instance_id) where pid = $1";
        while began.elapsed() < PATIENCE {
            let left: Result<i64, _> = sqlx::query_scalar(held).bind(pid).fetch_one(&sql).await;
            if left.is_ok_and(|left| left == 0) {
                return u64::try_from(began.elapsed().as_millis()).ok();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    })))
}

pub(super) async fn drain(strike: &Strike, world: &mut World) -> Result<Held, String> {
    world.fleet.drain(strike.place()).await?;
    Ok(Held::Nothing)
}

pub(super) fn start_again(strike: &Strike, world: &mut World) {
    world.fleet.start(strike.place());
}

pub(super) fn freeze(strike: &Strike, world: &mut World) -> Held {
    world.fleet.members[strike.place()].signal(Signal::SIGSTOP);
    Held::Nothing
}

pub(super) fn wake(strike: &Strike, world: &mut World, since: Moment) {
    world.fleet.members[strike.place()].signal(Signal::SIGCONT);
    world.fleet.could_not_beat(strike.place(), since);
}

/// In its next life some of its actors panic, after some work each.
pub(super) async fn panic(strike: &Strike, world: &mut World) -> Result<Held, String> {
    let place = strike.place();
    world.fleet.drain(place).await?;
    let mut faults = String::new();
    for number in 0..PANICS {
        let draw = strike.draw as usize >> (number * 6);
        let (actor, fails) = PLACES[draw % PLACES.len()];
        let after = draw / PLACES.len() % 12;
        let rule =
            format!("[[faults]]\nactor = \"{actor}\"\nplace = \"{fails}\"\nkind = \"panic\"\nafter = {after}\n");
        _ = writeln!(faults, "{rule}");
    }
    world.fleet.members[place].next_fails(faults);
    world.fleet.start(place);
    Ok(Held::Nothing)
}
