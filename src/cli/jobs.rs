//! `callspool jobs`: its commands, and those that list and show.

use super::{
    bulk::{self, Action, BulkArgs},
    exit::Exit,
    explain,
    output::{self, Format, or_dash},
    table::{Column, Table},
    times::{age, until},
};
use crate::{
    app::Session,
    store::{AttemptView, BusinessId, CallSid, JobBook, JobFilter, JobId, JobState, JobView},
};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Newest first; the next page goes on with --after
    List(ListArgs),
    /// One job, whole, with the attempts that failed
    Show {
        /// As `jobs list` and `enqueue` print it
        id: i64,
        #[command(flatten)]
        format: Format,
    },
    /// Why a job does not run now, since when, and what to do about it
    Explain {
        /// As `jobs list` and `enqueue` print it
        id: i64,
        #[command(flatten)]
        format: Format,
    },
    /// Try jobs again: those that failed for good or were cancelled, and scheduled ones at once
    ///
    /// Exit 1 when one of them could not be: each is named with the reason.
    Retry(BulkArgs),
    /// Cancel jobs; the worker of one that runs stops its download
    ///
    /// Exit 1 when one of them could not be: each is named with the reason.
    Cancel(BulkArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// ready, scheduled, running, done, cancelled or dead
    #[arg(long)]
    state: Option<JobState>,
    /// Those of one business
    #[arg(long, value_name = "N")]
    business_id: Option<BusinessId>,
    /// Those of one call
    #[arg(long, value_name = "SID")]
    call_sid: Option<String>,
    /// Only jobs with a smaller id
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    format: Format,
}

pub fn jobs(command: &JobsCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        JobsCommand::List(args) => list(args, session),
        JobsCommand::Show { id, format } => show(JobId(*id), *format, session),
        JobsCommand::Explain { id, format } => explain::explain(JobId(*id), *format, session),
        JobsCommand::Retry(args) => bulk::bulk(Action::Retry, args, session),
        JobsCommand::Cancel(args) => bulk::bulk(Action::Cancel, args, session),
    }
}

fn list(args: &ListArgs, session: &Session) -> anyhow::Result<Exit> {
    let call_sid = match checked_call_sid(args.call_sid.as_deref(), session) {
        Ok(call_sid) => call_sid,
        Err(exit) => return Ok(exit),
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
    let mut table = Table::new([
        Column::number("ID"),
        Column::state("STATE"),
        Column::number("BUSINESS"),
        Column::word("CALL"),
        Column::whole("ATTEMPT"),
        Column::whole("AGE"),
        Column::whole("WHEN"),
        Column::text("LAST ERROR"),
    ]);
    for job in &jobs {
        table.row([
            job.id.to_string(),
            job.state.to_string(),
            job.business_id.to_string(),
            job.call_sid.to_string(),
            format!("{}/{}", job.attempt, job.max_attempts),
            age(job.enqueued_at),
            when(job),
            or_dash(job.last_error.as_ref().map(|error| format!("{}: {}", error.code, error.message))),
        ]);
    }
    table.print()?;
    if let (Some(last), true) = (jobs.last(), jobs.len() == usize::from(args.limit)) {
        output::hint(&format!("older jobs: the same with --after {}", last.id));
    }
    Ok(Exit::Done)
}

/// The exit is for one that cannot be: it was said why.
pub fn checked_call_sid(given: Option<&str>, session: &Session) -> Result<Option<CallSid>, Exit> {
    let form = session.settings.twilio.sid_form;
    given.map(|sid| CallSid::parse(sid, form)).transpose().map_err(|error| {
        output::complain(&error.to_string());
        output::next("take it as the provider or `callspool jobs list` shows it");
        Exit::Usage
    })
}

/// What the state's own time says.
fn when(job: &JobView) -> String {
    match job.state {
        // Since when an attempt after the first is due again is not kept.
        JobState::Ready if job.attempt > 0 => "due".to_owned(),
        JobState::Ready => format!("waits {}", age(job.enqueued_at)),
        JobState::Scheduled => or_dash(job.run_at.map(until)),
        JobState::Running => or_dash(job.started_at.map(|at| format!("runs {}", age(at)))),
        JobState::Done | JobState::Cancelled | JobState::Dead => {
            or_dash(job.finished_at.map(|at| format!("{} ago", age(at))))
        }
    }
}

fn show(id: JobId, format: Format, session: &Session) -> anyhow::Result<Exit> {
    let Some(job) = session.io.block_on(session.store.job(id))? else {
        return Ok(no_such_job(id));
    };
    let attempts = session.io.block_on(session.store.attempts(id))?;
    if format.json {
        output::json(&Shown { job, attempts })?;
    } else {
        print(&job, &attempts)?;
    }
    Ok(Exit::Done)
}

pub fn no_such_job(id: JobId) -> Exit {
    output::complain(&format!("there is no job {id}; finished jobs are kept for queue.history_keep"));
    output::next("`callspool jobs list --call-sid CA…` finds the jobs of a call");
    Exit::Failed
}

/// A job and how it came to be what it is.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    job: JobView,
    attempts: Vec<AttemptView>,
}

/// Of the longest name.
const NAME_WIDTH: usize = 14;

fn print(job: &JobView, attempts: &[AttemptView]) -> anyhow::Result<()> {
    let time = |at: Option<DateTime<Utc>>| or_dash(at.map(|at| at.to_rfc3339()));
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
    output::fields(NAME_WIDTH, rows)?;
    output::fields(NAME_WIDTH, [("attempts", format!("{} failed", attempts.len()))])?;
    for AttemptView { attempt, started_at, ended_at, error, .. } in attempts {
        let took = (*ended_at - *started_at).num_milliseconds();
        let (code, message) = (&error.code, &error.message);
        let text = format!("{} after {took} ms: {code}: {message}", started_at.to_rfc3339());
        output::fields(NAME_WIDTH, [(format!("{attempt:>NAME_WIDTH$}").as_str(), text)])?;
    }
    Ok(())
}
