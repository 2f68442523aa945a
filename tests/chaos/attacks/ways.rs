//! One process's ways to the database.

use super::Held;
use crate::{
    attack::{Attack, Strike},
    world::World,
};
use std::time::Duration;

/// Of an answer.
const DELAY: Duration = Duration::from_millis(200);

/// To both nodes.
pub(super) fn begin(strike: &Strike, world: &World) -> Held {
    for way in &world.fleet.members[strike.place()].ways {
        match strike.attack {
            Attack::Cut => way.cut(),
            Attack::Silence => way.fall_silent(),
            Attack::Delay => way.delay(DELAY),
            _ => way.lose_notifications(true),
        }
    }
    Held::Nothing
}

pub(super) fn end(strike: &Strike, world: &World) {
    for way in &world.fleet.members[strike.place()].ways {
        match strike.attack {
            Attack::Cut => way.mend(),
            Attack::Delay => way.delay(Duration::ZERO),
            _ => way.lose_notifications(false),
        }
    }
}
