//! `callspool jobs list|show`.

use super::{
    exit::Exit,
    output::{self, Format, or_dash},
};
use crate::{
    app::Session,
    store::{AttemptView, BusinessId, CallSid, JobBook, JobFilter, JobId, JobState, JobView},
};
use clap::{Args, Subcommand};
use serde::Serialize;

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Newest first; the next page goes on with --after
    List(ListArgs),
    /// One job, whole, with the attempts that failed
    Show {
        id: i64,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// ready, scheduled, running, done, cancelled or dead
    #[arg(long)]
    state: Option<JobState>,
    #[arg(long)]
    business_id: Option<BusinessId>,
    #[arg(long)]
    call_sid: Option<String>,
    /// Only jobs with a smaller id
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// 1 to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    format: Format,
}

pub fn jobs(command: &JobsCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        JobsCommand::List(args) => list(args, session),
        JobsCommand::Show { id, format } => show(JobId(*id), *format, session),
    }
}

fn list(args: &ListArgs, session: &Session) -> anyhow::Result<Exit> {
    let form = session.settings.twilio.sid_form;
    let call_sid = match args.call_sid.as_deref().map(|sid| CallSid::parse(sid, form)).transpose() {
        Ok(call_sid) => call_sid,
        Err(error) => {
            output::complain(&error.to_string());
            return Ok(Exit::Usage);
        }
    };
    let filter = JobFilter {
        state: args.state,
        business_id: args.business_id,
        call_sid,
        after: args.after.map(JobId),
        limit: args.limit,
    };
    let jobs = session.io.block_on(session.store.jobs(&filter))?;
    if args.format.json {
        output::json(&jobs)?;
        return Ok(Exit::Done);
    }
    let mut table =
        output::table(&["ID", "STATE", "BUSINESS", "CALL", "TYPE", "ATTEMPT", "ENQUEUED", "LAST ERROR"]);
    for job in &jobs {
        table.add_row([
            job.id.to_string(),
            job.state.to_string(),
            job.business_id.to_string(),
            job.call_sid.to_string(),
            job.job_type.to_string(),
            format!("{}/{}", job.attempt, job.max_attempts),
            job.enqueued_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            or_dash(job.last_error.as_ref().map(|error| &error.code)),
        ]);
    }
    output::line(&table.trim_fmt())?;
    Ok(Exit::Done)
}

fn show(id: JobId, format: Format, session: &Session) -> anyhow::Result<Exit> {
    let Some(job) = session.io.block_on(session.store.job(id))? else {
        output::complain(&format!("there is no job {id}; finished jobs are kept for queue.history_keep"));
        return Ok(Exit::Failed);
    };
    let attempts = session.io.block_on(session.store.attempts(id))?;
    if format.json {
        output::json(&Shown { job, attempts })?;
    } else {
        print(&job, &attempts)?;
    }
    Ok(Exit::Done)
}

/// A job and how it came to be what it is.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    job: JobView,
    attempts: Vec<AttemptView>,
}

fn print(job: &JobView, attempts: &[AttemptView]) -> anyhow::Result<()> {
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| or_dash(at.map(|at| at.to_rfc3339()));
    let rows = [
        ("id", job.id.to_string()),
        ("state", job.state.to_string()),
        ("business_id", job.business_id.to_string()),
        ("call_sid", job.call_sid.to_string()),
        ("recording_sid", or_dash(job.recording_sid.as_ref())),
        ("job_type", job.job_type.to_string()),
        ("attempt", job.attempt.to_string()),
        ("max_attempts", job.max_attempts.to_string()),
        ("priority", job.priority.get().to_string()),
        ("run_at", time(job.run_at)),
        ("enqueued_at", time(Some(job.enqueued_at))),
        ("started_at", time(job.started_at)),
        ("finished_at", time(job.finished_at)),
        ("last_error", or_dash(job.last_error.as_ref().map(|error| format!("{}: {}", error.code, error.message)))),
        ("instance", or_dash(job.instance)),
    ];
    for (name, value) in rows {
        output::line(&format!("{name:<14} {value}"))?;
    }
    output::line(&format!("{:<14} {} failed", "attempts", attempts.len()))?;
    for AttemptView { attempt, started_at, ended_at, error, .. } in attempts {
        let took = (*ended_at - *started_at).num_milliseconds();
        let (code, message) = (&error.code, &error.message);
        output::line(&format!("{attempt:>14} {} after {took} ms: {code}: {message}", started_at.to_rfc3339()))?;
    }
    Ok(())
}
