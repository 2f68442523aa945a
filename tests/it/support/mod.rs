//! What the tests share: a real PostgreSQL, real processes, and a provider that does as it is told.

pub mod backfills;
pub mod collector;
pub mod command;
pub mod gate;
pub mod http;
pub mod listing;
pub mod lookup;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod receiver;
pub mod telnyx;
pub mod terminal;
pub mod transcriber;
pub mod twilio;
pub mod way;

pub use postgres::Database;
pub use process::Process;
pub use provider::{Answer, Provider};
pub use telnyx::Telnyx;

use callspool::domain::{
    details::Details,
    ids::{BusinessId, CallSid, RecordingSid, SidForm},
    job::{JobType, NewJob, Priority},
};
use std::{future::Future, time::Duration};

/// Longest wait for anything that is meant to happen. Nothing is timed by it: it only ends a test that hangs.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for `event`; panics with `what` where it does not come.
pub async fn within_patience<T>(what: &str, event: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, event).await;
    waited.unwrap_or_else(|_| panic!("not within {} s: {what}", PATIENCE.as_secs()))
}

/// Asks again and again until `answer` is something: for states of the database, which announces nothing.
pub async fn eventually<T>(what: &str, mut answer: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        loop {
            pace.tick().await;
            if let Some(found) = answer().await {
                return found;
            }
        }
    };
    within_patience(what, asking).await
}

pub fn business(id: i64) -> BusinessId {
    id.try_into().unwrap()
}

/// A job of one recording: `number` makes its SIDs, `CA1` and `RE1` say.
pub fn new_job(business_id: i64, number: u32) -> NewJob {
    NewJob {
        business_id: business(business_id),
        call_sid: CallSid::parse(&format!("CA{number}"), SidForm::Short).unwrap(),
        recording_sid: Some(RecordingSid::parse(&format!("RE{number}"), SidForm::Short).unwrap()),
        recording_url: format!("http://127.0.0.1:1/2010-04-01/Accounts/AC1/Recordings/RE{number}"),
        job_type: JobType::DownloadOnly,
        priority: Priority::NORMAL,
        run_at: None,
        details: Details::default(),
        trace_parent: None,
    }
}
