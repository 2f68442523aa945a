//! One process's way to the database.

use super::Held;
use crate::{
    attack::{Attack, Strike},
    world::World,
};
use std::time::Duration;

/// Of an answer.
const DELAY: Duration = Duration::from_millis(200);

pub(super) fn begin(strike: &Strike, world: &World) -> Held {
    let way = &world.fleet.members[strike.place()].way;
    match strike.attack {
        Attack::Cut => way.cut(),
        Attack::Silence => way.fall_silent(),
        Attack::Delay => way.delay(DELAY),
        _ => way.lose_notifications(true),
    }
    Held::Nothing
}

pub(super) fn end(strike: &Strike, world: &World) {
    let way = &world.fleet.members[strike.place()].way;
    match strike.attack {
        Attack::Cut => way.mend(),
        Attack::Delay => way.delay(Duration::ZERO),
        _ => way.lose_notifications(false),
    }
}
