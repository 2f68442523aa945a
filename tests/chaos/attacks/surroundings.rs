//! What lies around a process: its clock, and the disk of the recordings.

use super::Held;
use crate::{attack::Strike, world::World};

/// Ahead and behind, far and near.
const OFFSETS: [&str; 4] = ["+2h", "-2h", "+40s", "-40s"];

pub(super) fn skew(strike: &Strike, world: &World) -> Held {
    let offset = OFFSETS[strike.draw as usize % OFFSETS.len()];
    world.fleet.members[strike.place()].set_clock(offset);
    Held::Nothing
}

pub(super) fn set_right(strike: &Strike, world: &World) {
    world.fleet.members[strike.place()].set_clock("+0");
}

pub(super) fn fill_disk(world: &World) -> Result<Held, String> {
    world.disk.fill().map(|()| Held::Nothing)
}

pub(super) fn make_room(world: &World) -> Result<(), String> {
    world.disk.make_room()
}
