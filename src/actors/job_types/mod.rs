//! What is done for each job type. Another type is a variant of [`JobType`], a file here, and a line in
//! [`JobHandlers::get`].

mod download_only;
mod fence;
mod full;
mod guarded;

pub use download_only::{DownloadOnly, Wanted};
pub use fence::Fence;
pub use full::Full;
pub use guarded::{GuardDeps, Guarded, Strangers};

use crate::domain::{
    failure::Failure,
    hold::HoldKey,
    job::{Achieved, ClaimedJob, JobType},
    trace::Branch,
};
use async_trait::async_trait;
use std::sync::Arc;

/// One attempt at one job, on the I/O runtime. Dropping the future interrupts it: nothing half-done may be seen then.
/// What it does in steps worth seeing it puts into `spans`.
#[async_trait]
pub trait JobHandler: Send + Sync {
    async fn run(&self, job: &ClaimedJob, spans: &Branch) -> Result<Achieved, Failure>;
    /// What the attempt depends on; while a hold stands for one of them, it need not begin. Pure: nothing is asked.
    fn depends(&self, _: &ClaimedJob) -> Vec<HoldKey> {
        Vec::new()
    }
}

#[derive(Clone)]
pub struct JobHandlers {
    pub download_only: Arc<dyn JobHandler>,
    pub full: Arc<dyn JobHandler>,
}

impl JobHandlers {
    pub fn get(&self, job_type: JobType) -> Arc<dyn JobHandler> {
        match job_type {
            JobType::DownloadOnly => Arc::clone(&self.download_only),
            JobType::Full => Arc::clone(&self.full),
        }
    }
}
