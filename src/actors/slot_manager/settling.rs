//! What is settled: the log's line, the counts, and the worker that is free.

use super::{Finished, SlotManager};
use crate::{
    actors::recording_worker::Settled,
    domain::{
        job::Disposition,
        lease::LeaseId,
        observation::{JobEnd, Observation},
    },
};
use chrono::{DateTime, Utc};
use std::{collections::HashMap, time::Duration};

impl SlotManager {
    /// `held`: the leases that were held, and whether an operator had ended their job.
    pub(super) fn settled(&mut self, sent: &[Finished], held: &HashMap<LeaseId, bool>) {
        self.deps.observer.observe(Observation::Settled { results: sent.len() });
        for Finished { worker, ended } in sent {
            let lease = ended.settlement.lease;
            if let Some(&cancelled) = held.get(&lease) {
                let disposition = if cancelled { &Disposition::Cancelled } else { &ended.settlement.disposition };
                let reason = self.release_reason(disposition);
                if self.child.shutting_down() {
                    self.deps.tally.count(disposition);
                }
                let latency = self.since(ended.wanted_at);
                self.deps.pulse.count(disposition, latency);
                if let Some(end) = JobEnd::of(disposition, latency) {
                    self.deps.observer.observe(Observation::JobEnded(end));
                }
                tracing::info!(
                    marker = "WORKER_RELEASE_SLOT",
                    call_sid = %ended.call_sid,
                    business_id = ended.business_id.get(),
                    reason,
                    "slot released"
                );
            } else {
                self.deps.observer.observe(Observation::ResultDropped);
                tracing::warn!(
                    marker = "RESULT_DROPPED",
                    call_sid = %ended.call_sid,
                    business_id = ended.business_id.get(),
                    "a result came after its lease had ended, and was dropped"
                );
            }
            self.busy.remove(&lease);
            if let Some(life) = worker {
                self.tell(*life, Settled(lease));
                self.set_free(*life);
            }
        }
    }

    fn since(&self, moment: Option<DateTime<Utc>>) -> Duration {
        // Another machine's clock may be ahead of ours.
        moment.and_then(|moment| (self.deps.clock.now() - moment).to_std().ok()).unwrap_or_default()
    }

    fn release_reason(&self, disposition: &Disposition) -> &'static str {
        match disposition {
            Disposition::Achieved(_) => "success",
            Disposition::Wait { .. } | Disposition::NotReady { .. } | Disposition::Retry { .. } => "retry",
            Disposition::Dead { .. } => "failed",
            Disposition::Cancelled => "cancelled",
            Disposition::HandBack if self.child.shutting_down() => "drained",
            Disposition::HandBack => "reaped",
        }
    }
}
