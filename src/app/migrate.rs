//! Migrating without anything else: what `callspool migrate` needs beyond the store.

use super::{Bars, Session};
use crate::{
    actors::{
        migration::{MigrationActor, MigrationDeps},
        obstacle::Obstacle,
        supervision::{ChildRef, ChildSpec, Outbox, Reclaim, Restart, Roster, Supervisor, start_root},
    },
    adapters::clock::SystemClock,
    domain::{
        faults::Faults,
        migration::{
            LockTry, MigrationFailure, MigrationOutcome, MigrationSet, MigrationState, SchemaVersions, Version,
        },
        observation::Unobserved,
        ports::{BellEar, Gate},
    },
};
use actix_rt::System;
use anyhow::Context;
use indicatif::ProgressBar;
use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Between two tries for the lock, or looks at the schema.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Runs the migration actor of `callspool run` alone, until it has migrated, skipped or failed.
pub fn migrate(session: &Session) -> anyhow::Result<MigrationOutcome> {
    let (report, reported) = mpsc::channel();
    let migrations = &session.settings.migrations;
    let deps = MigrationDeps {
        gate: Arc::new(session.store.clone()),
        clock: Arc::new(SystemClock),
        enabled: true,
        lock_wait: migrations.lock_wait,
        retries: migrations.retries,
        heal_interval: Duration::ZERO,
        only: Some(Outbox::new(move |outcome| report.send(outcome).is_ok())),
        schema_fits: Outbox::new(|_| true),
        obstacle: Obstacle::default(),
        observer: Arc::new(Unobserved),
    };
    let seen = session.bars.are_seen();
    let watch = seen.then(|| session.io.spawn(show_progress(session.store.clone(), session.bars.clone())));
    let (policy, io) = (super::tree::restart_policy(&session.settings), session.io.clone());
    // The thread and its System go with the process: nothing is under way when the outcome is there.
    thread::Builder::new().name("callspool-control".to_owned()).spawn(move || {
        let system = System::new();
        system.block_on(async move {
            let spec = ChildSpec::new("migration", ChildRef::default(), move |_, child| {
                MigrationActor::new(child, deps.clone())
            })
            .restart(Restart::Transient);
            // It holds nothing but its connection.
            let reclaim: Reclaim = Arc::new(|_, _, _| Box::pin(std::future::ready(())));
            let (roster, shutdown) = (Roster::default(), CancellationToken::new());
            start_root(move || {
                Supervisor::new(vec![spec], policy, reclaim, roster, io, shutdown, Faults::default())
            });
        });
        system.run()
    })?;
    let outcome = reported.recv().context("the migration actor ended without an outcome");
    if let Some(watch) = watch {
        watch.abort();
        // Its end takes the bar away.
        let _ = session.io.block_on(watch);
    }
    outcome
}

/// Shows how many migrations are done of those that were pending, and since when the next one is.
async fn show_progress(gate: impl Gate, bars: Bars) {
    /// Dropped with the task, whenever that is.
    struct Shown(Option<(ProgressBar, MigrationSet, Version)>);
    impl Drop for Shown {
        fn drop(&mut self) {
            if let Some((bar, ..)) = &self.0 {
                bar.finish_and_clear();
            }
        }
    }
    let mut shown = Shown(None);
    loop {
        // What cannot be seen now is tried again: whether migrating works is not found out here.
        let records = gate.records().await.unwrap_or_default();
        let pending = || records.iter().filter(|record| record.state == MigrationState::Pending);
        if let Some(next) = pending().next() {
            let left = pending().count() as u64;
            let now = (next.set, next.version);
            let (bar, set, version) = shown.0.get_or_insert_with(|| {
                let bar = bars.count(left, "migrations");
                bar.enable_steady_tick(TRY_EVERY / 4);
                (bar, next.set, 0)
            });
            if (*set, *version) != now {
                (*set, *version) = now;
                bar.set_position(bar.length().unwrap_or(left).saturating_sub(left));
                bar.set_message(format!("{} {}: {}", next.set, next.version, next.description));
                bar.reset_elapsed();
            }
        }
        tokio::time::sleep(TRY_EVERY / 4).await;
    }
}

/// Waits until the schema fits this binary; `None`: not within `limit`.
pub async fn wait_for_schema(
    gate: &dyn Gate,
    limit: Option<Duration>,
    mut say: impl FnMut(&str),
) -> Option<SchemaVersions> {
    let mut said = String::new();
    let fits = async {
        let mut ear = gate.listen(false).await.ok();
        loop {
            let obstacle = match gate.versions().await {
                Ok(versions) if versions.fits() => return versions,
                Ok(versions) => versions.to_string(),
                Err(error) => error.to_string(),
            };
            if obstacle != said {
                say(&obstacle);
                said = obstacle;
            }
            // A bell that is not heard costs half a second.
            let _ = tokio::time::timeout(TRY_EVERY, hear(&mut ear)).await;
        }
    };
    match limit {
        None => Some(fits.await),
        Some(limit) => tokio::time::timeout(limit, fits).await.ok(),
    }
}

async fn hear(ear: &mut Option<Box<dyn BellEar>>) {
    match ear {
        Some(heard) => {
            if heard.hear().await.is_err() {
                *ear = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// Marks migrations as applied, under the lock; `None`: it was busy the whole time.
pub async fn baseline(
    gate: &dyn Gate,
    set: MigrationSet,
    version: Version,
    lock_wait: Duration,
) -> Result<Option<u32>, MigrationFailure> {
    let mut session = gate.open().await?;
    let since = Instant::now();
    while session.try_lock().await? != LockTry::Acquired {
        if since.elapsed() >= lock_wait {
            return Ok(None);
        }
        tokio::time::sleep(TRY_EVERY.min(lock_wait)).await;
    }
    let marked = session.baseline(set, version).await?;
    session.close().await?;
    Ok(Some(marked))
}
