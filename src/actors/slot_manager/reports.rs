//! What the workers say.

use super::{Finished, Phase, SlotManager};
use crate::{
    actors::recording_worker::{Doing, Ended, WorkerReport},
    domain::{job::Disposition, lease::WorkerLife},
};
use actix::{Context, Handler};

impl Handler<WorkerReport> for SlotManager {
    type Result = ();

    fn handle(&mut self, report: WorkerReport, ctx: &mut Context<Self>) {
        // While recovering the workers' news would be overwritten; they are asked at its end.
        if self.child.survives("handler", ctx) && self.phase != Phase::Recovering {
            self.hear(report);
            self.step(ctx);
        }
    }
}

impl SlotManager {
    fn hear(&mut self, WorkerReport { life, answering, doing }: WorkerReport) {
        self.forget_older_lives(life);
        let its_own = match &doing {
            Doing::Busy(lease) => Some(*lease),
            Doing::Finished(ended) => Some(ended.settlement.lease),
            Doing::Idle | Doing::Leaving | Doing::Refused(_) => None,
        };
        if let Some(lease) = its_own {
            self.unclaimed.remove(&lease);
        }
        self.hand_back_unclaimed(life, answering);
        match doing {
            Doing::Idle => {
                self.set_free(life);
            }
            Doing::Leaving => {
                self.free.remove(&life);
            }
            Doing::Busy(_) => {}
            Doing::Finished(ended) => self.finish(Some(life), ended),
            Doing::Refused(job) => self.finish(None, Ended::new(&job, Disposition::HandBack)),
        }
    }

    /// Unless it has another job already: a report that was repeated is settled twice, and the second time its worker is
    /// long at the next one.
    pub(super) fn set_free(&mut self, life: WorkerLife) {
        if !self.busy.values().any(|busy| *busy == life) {
            self.free.insert(life);
        }
    }

    pub(super) fn finish(&mut self, worker: Option<WorkerLife>, ended: Ended) {
        let lease = ended.settlement.lease;
        self.unclaimed.remove(&lease);
        // A report that answers a question may say again what is already on its way.
        if !self.finished.iter().any(|finished| finished.ended.settlement.lease == lease) {
            self.finished.push(Finished { worker, ended });
        }
    }
}
