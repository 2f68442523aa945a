//! Our tree: who is started in which order, what a worker's death gives back, how the process drains.

use super::{
    backfill::{BackfillActor, BackfillDeps},
    drain::DrainTally,
    follow_up::{FollowUpActor, FollowUpDeps},
    hold_keeper::{HoldKeeper, HoldKeeperDeps},
    listener::{Listener, ListenerDeps},
    maintenance::{Maintenance, MaintenanceDeps, released},
    migration::{MigrationActor, MigrationDeps},
    reconcile::{Reconcile, ReconcileDeps},
    recording_worker::{RecordingWorker, WorkerDeps},
    retention::{Retention, RetentionDeps},
    slot_manager::{SlotManager, SlotManagerDeps},
    supervision::{ChildRef, ChildSpec, Exit, Life, Reclaim},
    watcher::{Watcher, WatcherDeps},
};
use crate::domain::{
    failure::{Failure, FailureCode},
    ids::InstanceId,
    lease::{Holder, WorkerLife},
    observation::Observer,
    ports::Dispatch,
};
use std::{sync::Arc, time::Duration};

/// The pool's name in the tree.
pub const WORKER_GROUP: &str = "recording_worker";
/// Kept from the whole grace for what follows the workers, settling and handing back: a quarter, and no more than this.
const AFTER_WORKERS: Duration = Duration::from_secs(3);

/// The addresses that outlive their actors.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub migration: ChildRef<MigrationActor>,
    pub slot_manager: ChildRef<SlotManager>,
    pub workers: Vec<ChildRef<RecordingWorker>>,
    pub listener: ChildRef<Listener>,
    pub maintenance: ChildRef<Maintenance>,
}

impl Addresses {
    pub fn new(workers: u16) -> Self {
        Self {
            migration: ChildRef::default(),
            slot_manager: ChildRef::default(),
            workers: (0..workers).map(|_| ChildRef::default()).collect(),
            listener: ChildRef::default(),
            maintenance: ChildRef::default(),
        }
    }
}

/// What the parts of the tree need.
pub struct TreeDeps {
    pub migration: MigrationDeps,
    /// Where this process migrates, and the application has a folder for its own.
    pub backfill: Option<BackfillDeps>,
    pub slot_manager: SlotManagerDeps,
    pub worker: WorkerDeps,
    pub listener: ListenerDeps,
    pub maintenance: MaintenanceDeps,
    pub watcher: WatcherDeps,
    /// Where this process has workers.
    pub hold_keeper: Option<HoldKeeperDeps>,
    pub after: Option<(FollowUpDeps, RetentionDeps)>,
    /// Where it is on, and this process has workers.
    pub reconcile: Option<ReconcileDeps>,
    /// `shutdown.grace_seconds`.
    pub grace: Duration,
}

/// The children in start order; the HTTP server, which stands outside this module, is the last: it stops first, and
/// with it the intake.
pub fn specs(deps: TreeDeps, addresses: &Addresses, http: ChildSpec) -> Vec<ChildSpec> {
    let TreeDeps {
        migration,
        backfill,
        slot_manager,
        worker,
        listener,
        maintenance,
        watcher,
        hold_keeper,
        after,
        reconcile,
        grace,
    } = deps;
    let after_workers = (grace / 4).min(AFTER_WORKERS);
    let mut specs = vec![
        ChildSpec::new("migration", addresses.migration.clone(), move |_, child| {
            MigrationActor::new(child, migration.clone())
        }),
        ChildSpec::new("slot_manager", addresses.slot_manager.clone(), move |_, child| {
            SlotManager::new(child, slot_manager.clone())
        })
        .behind_gate(),
    ];
    // Before the slot manager, so that it stops after it, and tells of what ended in the drain.
    let make = move |_: &mut _, child| Watcher::new(child, watcher.clone());
    specs.insert(1, ChildSpec::new("watcher", ChildRef::default(), make).behind_gate());
    if let Some(keeper) = hold_keeper {
        // Before the slot manager and the workers, so that they begin with what is known.
        let make = move |_: &mut _, child| HoldKeeper::new(child, keeper.clone());
        specs.insert(2, ChildSpec::new("hold_keeper", ChildRef::default(), make).behind_gate());
    }
    if let Some((follow_up, retention)) = after {
        // Before the slot manager as well: what is told of what ended in the drain takes nothing from the workers.
        let make = move |_: &mut _, child| FollowUpActor::new(child, follow_up.clone());
        specs.insert(1, ChildSpec::new("follow_up", ChildRef::default(), make).grace(grace).behind_gate());
        let make = move |_: &mut _, child| Retention::new(child, retention.clone());
        specs.insert(1, ChildSpec::new("retention", ChildRef::default(), make).behind_gate());
    }
    if let Some(backfill) = backfill {
        // Before the slot manager, so that it stops after it: a long batch takes nothing from the workers' grace.
        let make = move |_: &mut _, child| BackfillActor::new(child, backfill.clone());
        specs.insert(1, ChildSpec::new("backfill", ChildRef::default(), make).grace(grace).behind_gate());
    }
    for (place, address) in (0_u16..).zip(&addresses.workers) {
        let worker = worker.clone();
        let spec = ChildSpec::new(WORKER_GROUP, address.clone(), move |_, child| {
            RecordingWorker::new(child, place, worker.clone())
        });
        specs.push(spec.numbered(place).grace(grace).leaving(after_workers).behind_gate());
    }
    specs.push(
        ChildSpec::new("listener", addresses.listener.clone(), move |_, child| {
            Listener::new(child, listener.clone())
        })
        .behind_gate(),
    );
    specs.push(
        ChildSpec::new("maintenance", addresses.maintenance.clone(), move |_, child| {
            Maintenance::new(child, maintenance.clone())
        })
        .behind_gate(),
    );
    if let Some(reconcile) = reconcile {
        let make = move |_: &mut _, child| Reconcile::new(child, reconcile.clone());
        specs.push(ChildSpec::new("reconcile", ChildRef::default(), make).behind_gate());
    }
    // Requests are short; downloads need the time more.
    specs.push(http.leaving(grace / 2));
    specs
}

/// A worker's death gives its leases back: as a failed attempt, or unburnt when the process is stopping. What a slot
/// manager held is found by the next one; the other children hold nothing.
pub fn reclaim(
    dispatch: Arc<dyn Dispatch>,
    instance: InstanceId,
    tally: DrainTally,
    observer: Arc<dyn Observer>,
) -> Reclaim {
    Arc::new(move |life, exit, stopping| {
        let (dispatch, tally, observer) = (Arc::clone(&dispatch), tally.clone(), Arc::clone(&observer));
        Box::pin(async move {
            let Some(life) = worker_life(&life) else { return };
            let failure = (!stopping).then(|| Failure::new(FailureCode::WorkerDied, describe(&exit)));
            match dispatch.reclaim(Holder { instance, life }, failure.as_ref()).await {
                Ok(reclaimed) => {
                    released(&reclaimed, if stopping { "drained" } else { "reaped" }, observer.as_ref());
                    if stopping {
                        for job in &reclaimed {
                            tally.count(&job.disposition);
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, worker = %life, "leases left to the reaper"),
            }
        })
    })
}

fn worker_life(life: &Life) -> Option<WorkerLife> {
    let worker = life.child.strip_prefix(WORKER_GROUP)?.strip_prefix('-')?.parse().ok()?;
    Some(WorkerLife { worker, generation: life.generation })
}

fn describe(exit: &Exit) -> String {
    format!("the worker ended while it had the job ({exit})")
}
