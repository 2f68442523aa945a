//! How each attack is begun and ended. One that strikes what all share stands in `database` or `surroundings`.

mod database;
mod processes;
mod surroundings;
mod ways;

use crate::{
    attack::{Attack, Strike},
    checker::{Moment, moment},
    world::World,
};
use sqlx::PgConnection;
use tokio::task::JoinHandle;

/// An attack whose cause is there.
pub struct Underway {
    pub strike: Strike,
    since: Moment,
    held: Held,
}

/// What has to stay open meanwhile.
enum Held {
    Nothing,
    Transaction(PgConnection, u32),
    Connections(Vec<PgConnection>),
    /// How long the leases of the dead have stood, in milliseconds.
    Rescue(JoinHandle<Option<u64>>),
}

impl Underway {
    pub async fn begin(strike: Strike, world: &mut World) -> Result<Self, String> {
        let since = moment();
        let held = match strike.attack {
            Attack::Kill => processes::kill(&strike, world).await?,
            Attack::Freeze => processes::freeze(&strike, world),
            Attack::Drain => processes::drain(&strike, world).await?,
            Attack::Panic => processes::panic(&strike, world).await?,
            Attack::Skew => surroundings::skew(&strike, world),
            Attack::DiskFull => surroundings::fill_disk(world)?,
            Attack::Cut | Attack::Silence | Attack::Delay | Attack::LoseNotifications => {
                ways::begin(&strike, world)
            }
            Attack::RestartFast => database::restart("fast", world).await,
            Attack::RestartImmediate => database::restart("immediate", world).await,
            Attack::Failover => database::kill_primary(world).await,
            Attack::Terminate => database::terminate(world).await?,
            Attack::HeldTransaction => database::hold_transaction(world).await?,
            Attack::Exhaust => database::exhaust(world).await?,
        };
        Ok(Self { strike, since, held })
    }

    /// Takes the cause away. How long the jobs of a killed process had to wait for others, in milliseconds.
    pub async fn end(self, world: &mut World) -> Result<Option<u64>, String> {
        let strike = self.strike;
        match strike.attack {
            Attack::Kill | Attack::Drain => processes::start_again(&strike, world),
            Attack::Freeze => processes::wake(&strike, world, self.since),
            Attack::Skew => surroundings::set_right(&strike, world),
            Attack::DiskFull => surroundings::make_room(world)?,
            Attack::Failover => database::promote(world).await,
            Attack::Cut | Attack::Delay | Attack::LoseNotifications => ways::end(&strike, world),
            _ => {}
        }
        match self.held {
            Held::Nothing => {}
            Held::Transaction(connection, number) => database::commit(connection, number, world).await,
            Held::Connections(connections) => drop(connections),
            Held::Rescue(rescue) => {
                let rescued = rescue.await.map_err(|error| error.to_string())?;
                return rescued.map(Some).ok_or_else(|| "the jobs of a killed process stay with it".to_owned());
            }
        }
        Ok(None)
    }
}

impl Strike {
    fn place(&self) -> usize {
        self.target.expect("an attack of one process names it")
    }
}
