//! The schema gate: it opens when the schema fits, whoever migrated. It hears of migrations by a bell, and looks now
//! and then behind it.

use super::MigrationActor;
use crate::{
    actors::{answer::answered, supervision::IoTask},
    domain::{
        migration::{MigrationFailure, SchemaVersions},
        ports::{BellEar, Gate, StoreResult},
    },
};
use actix::{AsyncContext, Context, SpawnHandle};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two looks at the schema while it does not fit: from the first to the slowest.
const LOOK_MIN: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// What stands in the way is said at once when it changes, and again after a wait that doubles up to the slowest.
const SAY_MIN: Duration = Duration::from_secs(2);
const SAY_MAX: Duration = Duration::from_mins(2);
/// Wait before listening again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct SchemaGate {
    /// Of this process's own migrating.
    pub(super) failure: Option<MigrationFailure>,
    pub(super) fits: bool,
    looking: Option<IoTask>,
    timer: Option<SpawnHandle>,
    wait: Duration,
    listening: Option<IoTask>,
    /// What was said last to stand in the way, when, and when it is said again.
    said: Option<(String, Instant, Duration)>,
}

impl Default for SchemaGate {
    fn default() -> Self {
        Self { failure: None, fits: false, looking: None, timer: None, wait: LOOK_MIN, listening: None, said: None }
    }
}

/// The schema, and whether anybody is there who migrates it.
type Seen = StoreResult<(SchemaVersions, bool)>;

impl MigrationActor {
    /// Looks now, and often for a while.
    pub(super) fn look_again(&mut self, ctx: &mut Context<Self>) {
        self.schema.wait = LOOK_MIN;
        self.look(ctx);
    }

    /// Looks now, instead of whatever look is under way or to come.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.schema.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(look) = self.schema.looking.take() {
            look.abort();
        }
        if !self.schema.fits {
            let gate = Arc::clone(&self.deps.gate);
            self.schema.looking = Some(self.child.spawn_io(ctx, async move { see(gate).await }, Self::looked));
        }
    }

    fn looked(&mut self, seen: Seen, ctx: &mut Context<Self>) {
        if let Ok((versions @ SchemaVersions { have, need, .. }, _)) = seen
            && versions.fits()
            && self.deps.schema_fits.send(versions)
        {
            tracing::info!(marker = "SCHEMA_READY", have, need, "schema fits");
            self.deps.obstacle.set(None);
            self.schema.fits = true;
            if let Some(listening) = self.schema.listening.take() {
                listening.abort();
            }
            return;
        }
        let obstacle = match (&seen, &self.schema.failure) {
            (_, Some(failure)) => failure.to_string(),
            (Ok((versions, true)), None) => versions.to_string(),
            (Ok((versions, false)), None) => format!("{versions}; no process with RUN_MIGRATIONS=1 is alive"),
            (Err(error), None) => error.to_string(),
        };
        // First what is asked, then what is told: whoever reads the line finds `/readyz` saying the same.
        self.deps.obstacle.set(Some(obstacle.clone()));
        self.say(&obstacle, seen.map(|(versions, _)| versions).ok());
        let wait = self.schema.wait;
        self.schema.wait = (wait * 2).min(LOOK_MAX);
        self.schema.timer = Some(self.child.run_later(ctx, wait, Self::look));
    }

    fn say(&mut self, obstacle: &str, versions: Option<SchemaVersions>) {
        if self.migrating {
            return;
        }
        let again = match &self.schema.said {
            Some((said, when, wait)) if said == obstacle => {
                if when.elapsed() < *wait {
                    return;
                }
                (*wait * 2).min(SAY_MAX)
            }
            _ => SAY_MIN,
        };
        let (have, need) = (versions.map(|v| v.have), versions.map(|v| v.need));
        tracing::warn!(marker = "SCHEMA_WAITING", have, need, %obstacle, "waiting for a schema that fits");
        self.schema.said = Some((obstacle.to_owned(), Instant::now(), again));
    }

    /// One connection, until the schema fits.
    pub(super) fn listen(&mut self, ctx: &mut Context<Self>) {
        if !self.schema.fits {
            let (gate, migrates) = (Arc::clone(&self.deps.gate), self.deps.enabled);
            let listen = async move { gate.listen(migrates).await };
            self.schema.listening = Some(self.child.spawn_io(ctx, listen, Self::hear));
        }
    }

    fn hear(&mut self, ear: StoreResult<Box<dyn BellEar>>, ctx: &mut Context<Self>) {
        // A bell that was on its way when the look found that the schema fits.
        if self.schema.fits {
            return;
        }
        // A bell was heard, or the ear is new, or it broke: something may have been missed.
        self.look_again(ctx);
        match ear {
            Ok(mut ear) => {
                let hear = async move { ear.hear().await.map(|_| ear) };
                self.schema.listening = Some(self.child.spawn_io(ctx, hear, Self::hear));
            }
            Err(error) => {
                tracing::debug!(%error, "not listening for migrations; looking goes on");
                self.child.run_later(ctx, LISTEN_AGAIN, Self::listen);
            }
        }
    }
}

async fn see(gate: Arc<dyn Gate>) -> Seen {
    answered(async {
        let versions = gate.versions().await?;
        let somebody = versions.fits() || gate.somebody_migrates().await?;
        Ok((versions, somebody))
    })
    .await
}
