//! How soon after the cause is gone all is well again.

use crate::{
    checker::{Moment, moment},
    recordings::Recording,
    support::PATIENCE,
    world::World,
};
use std::{path::Path, time::Duration};
use tokio::time::Instant;

/// In milliseconds after the cause was gone.
#[derive(Debug, Default, Clone, Copy)]
pub struct Recovery {
    /// Every process says that it is ready.
    ready: Option<u64>,
    /// What was told at each door afterwards is a file.
    canaries: Option<u64>,
    /// No lease is of a process that is gone.
    leases: Option<u64>,
    /// Every worker has begun a download.
    working: Option<u64>,
}

impl Recovery {
    pub fn total(&self) -> Option<u64> {
        Some(self.ready?.max(self.canaries?).max(self.leases?).max(self.working?))
    }

    pub fn parts(&self) -> String {
        let part = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| ms.to_string());
        let Self { ready, canaries, leases, working } = self;
        let [ready, canaries, leases, working] = [ready, canaries, leases, working].map(|ms| part(*ms));
        format!("ready {ready}, canaries {canaries}, leases {leases}, all work {working}")
    }
}

/// Waits until all is well, a minute at most.
pub async fn wait(world: &mut World) -> Recovery {
    let (began, since): (_, Moment) = (Instant::now(), moment());
    let now = || u64::try_from(began.elapsed().as_millis()).ok();
    let canaries: Vec<Recording> = (0..2).map(|_| world.canary()).collect();
    let told: Vec<_> = canaries.iter().cloned().zip(world.caller.doors.clone()).collect();
    let (caller, storage) = (world.caller.clone(), world.disk.folder.clone());
    let told = tokio::spawn(async move {
        let tell = async |(recording, door): (Recording, String)| {
            while !caller.call_once(&recording, &door).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            while !is_stored(&storage, &recording) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let mut told = told.into_iter();
        let (Some(one), Some(two)) = (told.next(), told.next()) else { unreachable!("two doors") };
        tokio::join!(tell(one), tell(two));
        began.elapsed()
    });
    let mut recovery = Recovery::default();
    while recovery.total().is_none() && began.elapsed() < PATIENCE {
        if recovery.leases.is_none() && world.old_leases().await.is_ok_and(|old| old == 0) {
            recovery.leases = now();
        }
        if recovery.working.is_none() && world.all_work(since) {
            recovery.working = now();
        }
        if recovery.ready.is_none() && world.are_ready().await {
            recovery.ready = now();
        }
        if recovery.canaries.is_none() && told.is_finished() {
            recovery.canaries = now();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    told.abort();
    recovery
}

fn is_stored(storage: &Path, recording: &Recording) -> bool {
    let file = format!("{}/{}.{}", recording.business_id, recording.call_sid(), recording.extension());
    std::fs::read(storage.join(file)).is_ok_and(|bytes| bytes == recording.media())
}
