//! An attempt as a span: what is known of it, by OpenTelemetry's conventions for messaging, and how it ended.

use crate::domain::{
    job::{ClaimedJob, Disposition},
    trace::{NewSpan, SpanKind},
};

/// Every attempt of a job hangs below the request that enqueued it, so a retry shows beside the attempt that failed.
pub fn new(job: &ClaimedJob) -> NewSpan {
    NewSpan::new(format!("process {}", job.job_type), SpanKind::Consumer, job.trace_parent)
        .with("messaging.system", "callspool")
        .with("messaging.operation.name", "process")
        .with("messaging.operation.type", "process")
        .with("messaging.destination.name", job.job_type.as_str())
        .with("messaging.message.id", job.id.to_string())
        .with("callspool.job_id", job.id.0)
        .with("callspool.business_id", job.business_id.get())
        .with("callspool.call_sid", job.call_sid.to_string())
        .with("callspool.attempt", job.attempt)
}

/// The code of what went wrong; an attempt that was taken from its worker did not succeed either.
pub fn outcome(disposition: &Disposition) -> Result<(), &'static str> {
    match disposition {
        Disposition::Achieved(_) => Ok(()),
        Disposition::Wait { failure, .. }
        | Disposition::NotReady { failure, .. }
        | Disposition::Retry { failure, .. }
        | Disposition::Dead { failure } => Err(failure.code.as_str()),
        Disposition::HandBack => Err("handed_back"),
        Disposition::Cancelled => Err("cancelled"),
    }
}
