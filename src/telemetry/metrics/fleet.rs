//! What the database says of the fleet. Made anew for each page, so that a business that is busy no more, or a database
//! that is away, leaves no series behind.

use super::{Labelled, family, gauge, label, register, seconds, table};
use crate::domain::{
    explain::Reason,
    hold::HoldKind,
    job::JobState,
    observation::{FleetGauges, FleetReading},
    ports::Backlog,
};
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

/// Series of businesses; whoever has more of them than this sees the busiest.
const BUSINESSES: usize = 20;
/// The reasons of `explain` for which nothing may be picked although jobs are ready.
const STALLS: [Reason; 5] = [
    Reason::NoLiveWorkers,
    Reason::StorageUnavailable,
    Reason::SlotsFull,
    Reason::BusinessPaused,
    Reason::Runnable,
];

type BusinessGauge = Family<[(&'static str, String); 1], Gauge>;

pub(super) fn registry(reading: &FleetReading) -> Registry {
    let mut registry = Registry::default();
    register(&mut registry, &table::DATABASE_UP, gauge(*reading != FleetReading::Away));
    let FleetReading::Fleet(fleet) = reading else { return registry };
    register(&mut registry, &table::JOBS, jobs(&fleet.backlog));
    register(&mut registry, &table::OLDEST_READY_JOB_AGE, seconds(fleet.oldest_ready.unwrap_or_default()));
    register(&mut registry, &table::QUEUE_WATCH_AGE, seconds(fleet.watch_age.unwrap_or_default()));
    register(&mut registry, &table::QUEUE_STALLED, stalled(&fleet.stalled));
    holds(&mut registry, &fleet.holds);
    slots(&mut registry, fleet);
    register(&mut registry, &table::INSTANCES, gauge(fleet.instances));
    register(&mut registry, &table::WORKING_INSTANCES, gauge(fleet.workers));
    register(&mut registry, &table::OLDEST_TRANSACTION_AGE, seconds(fleet.horizon.oldest_transaction));
    register(&mut registry, &table::OLDEST_XMIN_AGE, gauge(fleet.horizon.oldest_xmin));
    registry
}

fn jobs(backlog: &Backlog) -> Labelled<Gauge> {
    let jobs = family::<Gauge>();
    for state in JobState::ALL {
        let count = match state {
            JobState::Ready => backlog.ready,
            JobState::Scheduled => backlog.scheduled,
            JobState::Running => backlog.running,
            JobState::Done => backlog.done,
            JobState::Cancelled => backlog.cancelled,
            JobState::Dead => backlog.dead,
        };
        jobs.get_or_create(&label(&table::JOBS, state.as_str())).set(count);
    }
    jobs
}

/// 0 for what is not the reason: an alert sees then that a stall ended.
fn stalled(reasons: &[(Reason, i64)]) -> Labelled<Gauge> {
    let stalled = family::<Gauge>();
    for reason in STALLS {
        drop(stalled.get_or_create(&label(&table::QUEUE_STALLED, reason.as_str())));
    }
    for (reason, businesses) in reasons {
        stalled.get_or_create(&label(&table::QUEUE_STALLED, reason.as_str())).set(*businesses);
    }
    stalled
}

/// 0 for what does not stand, as with stalls.
fn holds(registry: &mut Registry, holds: &[(HoldKind, i64)]) {
    let (standing, held) = (family::<Gauge>(), family::<Gauge>());
    for kind in HoldKind::ALL {
        let of_kind = holds.iter().filter(|(other, _)| *other == kind);
        let label = label(&table::HOLDS, kind.as_str());
        standing.get_or_create(&label).set(i64::try_from(of_kind.clone().count()).unwrap_or(i64::MAX));
        held.get_or_create(&label).set(of_kind.map(|(_, waiting)| waiting).sum());
    }
    register(registry, &table::HOLDS, standing);
    register(registry, &table::JOBS_HELD, held);
}

fn slots(registry: &mut Registry, fleet: &FleetGauges) {
    let (in_use, limit) = (BusinessGauge::default(), BusinessGauge::default());
    for business in fleet.businesses.iter().take(BUSINESSES) {
        let label = [("business_id", business.business_id.to_string())];
        in_use.get_or_create(&label).set(business.in_use);
        limit.get_or_create(&label).set(business.limit);
    }
    register(registry, &table::BUSINESS_SLOTS_IN_USE, in_use);
    register(registry, &table::BUSINESS_SLOTS_LIMIT, limit);
}
