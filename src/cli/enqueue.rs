//! `callspool enqueue`: one recording by arguments, or JSON lines. Prints a line for each job: its id, its state, and
//! whether it was there already.

use super::{
    exit::Exit,
    output::{self, Format},
};
use crate::{
    app::Session,
    store::{EnqueueRequest, Enqueued, JobBook, NewJob, ProviderBase},
};
use anyhow::Context;
use clap::Args;
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
};

/// Jobs that one transaction takes.
const BATCH: usize = 1_000;

#[derive(Debug, Args)]
pub struct EnqueueArgs {
    #[arg(long, required_unless_present = "file")]
    business_id: Option<i64>,
    #[arg(long, required_unless_present = "file")]
    call_sid: Option<String>,
    #[arg(long, required_unless_present = "file")]
    recording_url: Option<String>,
    #[arg(long)]
    recording_sid: Option<String>,
    #[arg(long, value_name = "TYPE")]
    job_type: Option<String>,
    /// 0 (runs first) to 9
    #[arg(long)]
    priority: Option<i16>,
    /// Not before this time, as RFC 3339
    #[arg(long, value_name = "TIME")]
    run_at: Option<chrono::DateTime<chrono::Utc>>,
    /// JSON lines with the fields of POST /v1/jobs; - is the standard input. Nothing is enqueued when a line is wrong
    #[arg(long, value_name = "FILE", conflicts_with_all = ["business_id", "call_sid", "recording_url"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub fn enqueue(args: &EnqueueArgs, session: &Session) -> anyhow::Result<Exit> {
    let requests = match &args.file {
        Some(file) => read_lines(file)?,
        None => Ok(vec![args.request()]),
    };
    let jobs = match requests.and_then(|requests| check(requests, session)) {
        Ok(jobs) => jobs,
        Err(faults) => {
            for fault in faults {
                output::complain(&fault);
            }
            return Ok(Exit::Usage);
        }
    };
    for batch in jobs.chunks(BATCH) {
        let answers = session.io.block_on(session.store.enqueue(batch))?;
        for answer in &answers {
            print(answer, args.format)?;
        }
    }
    session.io.block_on(session.store.ring()).context("the jobs are enqueued, but the bell was not rung")?;
    Ok(Exit::Done)
}

impl EnqueueArgs {
    fn request(&self) -> EnqueueRequest {
        EnqueueRequest {
            // Required by clap where there is no file; a missing one is refused by the check all the same.
            business_id: self.business_id.unwrap_or_default(),
            call_sid: self.call_sid.clone().unwrap_or_default(),
            recording_url: self.recording_url.clone().unwrap_or_default(),
            recording_sid: self.recording_sid.clone(),
            job_type: self.job_type.clone(),
            priority: self.priority,
            run_at: self.run_at,
        }
    }
}

/// Every line as a request, or what is wrong with each line that is none.
fn read_lines(file: &PathBuf) -> anyhow::Result<Result<Vec<EnqueueRequest>, Vec<String>>> {
    let input: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Box::new(BufReader::new(file))
    };
    let (mut requests, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.with_context(|| format!("line {number} cannot be read"))?;
        if line.trim().is_empty() {
            continue;
        }
        match EnqueueRequest::from_json(line.as_bytes()) {
            Ok(request) => requests.push(request),
            Err(error) => faults.push(format!("line {number}: {error}")),
        }
    }
    Ok(if faults.is_empty() { Ok(requests) } else { Err(faults) })
}

/// Every request as a job, or every fault of every request.
fn check(requests: Vec<EnqueueRequest>, session: &Session) -> Result<Vec<NewJob>, Vec<String>> {
    let twilio = &session.settings.twilio;
    let base = ProviderBase::new(twilio.api_base.clone());
    let (mut jobs, mut faults) = (Vec::with_capacity(requests.len()), Vec::new());
    for (number, request) in (1..).zip(requests) {
        match request.check(&base, twilio.sid_form) {
            Ok(job) => jobs.push(job),
            Err(errors) => faults.extend(errors.iter().map(|error| format!("job {number}: {error}"))),
        }
    }
    if faults.is_empty() { Ok(jobs) } else { Err(faults) }
}

fn print(Enqueued { id, state, deduplicated }: &Enqueued, format: Format) -> anyhow::Result<()> {
    if format.json {
        // One line a job, as it came in.
        let line = serde_json::json!({ "id": id, "state": state, "deduplicated": deduplicated });
        output::line(&line.to_string())?;
    } else {
        output::line(&format!("{id} {state}{}", if *deduplicated { " (was there already)" } else { "" }))?;
    }
    Ok(())
}
