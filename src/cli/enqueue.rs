//! `callspool enqueue`: one recording by arguments, or JSON lines. Prints a line for each job: its id, its state, and
//! whether it was there already.

use super::{
    exit::Exit,
    input,
    output::{self, Format},
};
use crate::{
    app::{Session, about_database, advised, with_schema},
    settings::Settings,
    store::{EnqueueRequest, Enqueued, FieldFault, JobBook, NewJob, untranscribed},
};
use anyhow::{Context, anyhow};
use clap::Args;
use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
};

/// Jobs that one transaction takes.
const BATCH: usize = 1_000;
/// Faults of a file that are shown; a file of another kind has one in every line.
const FAULTS_SHOWN: usize = 50;

#[derive(Debug, Args)]
pub struct EnqueueArgs {
    /// Whose recording it is
    #[arg(long, value_name = "N", required_unless_present = "file")]
    business_id: Option<i64>,
    /// The call that was recorded: CA…, or a UUID for Telnyx
    #[arg(long, value_name = "SID", required_unless_present = "file")]
    call_sid: Option<String>,
    /// Absolute, or a path at the provider's base
    #[arg(long, value_name = "URL", required_unless_present = "file")]
    recording_url: Option<String>,
    /// RE… or a UUID, where the URL does not say it
    #[arg(long, value_name = "SID")]
    recording_sid: Option<String>,
    /// What is to be done with it: `download_only`, or `full` to have it transcribed too
    #[arg(long, value_name = "TYPE")]
    job_type: Option<String>,
    /// 0 (runs first) to 9
    #[arg(long, value_name = "N")]
    priority: Option<i16>,
    /// Not before this time, as RFC 3339
    #[arg(long, value_name = "TIME")]
    run_at: Option<chrono::DateTime<chrono::Utc>>,
    /// CA… of the call that this one is a leg of; its recording stands in where this one has none
    #[arg(long, value_name = "SID")]
    parent_call_sid: Option<String>,
    /// How long the recording is, in seconds, where it is known
    #[arg(long, value_name = "SECONDS")]
    duration_s: Option<u32>,
    /// JSON lines with the fields of POST /v1/jobs; - is the standard input
    ///
    /// All lines are checked first: when one is wrong, nothing is enqueued. They are committed 1,000 at a time; when
    /// the database fails in between, the message says how many are enqueued, and the same file may be given again:
    /// no recording is enqueued twice.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["business_id", "call_sid", "recording_url", "recording_sid", "job_type", "priority", "run_at", "parent_call_sid", "duration_s"]
    )]
    file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// The database is asked only when all of it can be enqueued.
pub fn enqueue(args: &EnqueueArgs, settings: Settings) -> anyhow::Result<Exit> {
    let jobs = match &args.file {
        Some(file) => read_lines(file, &settings)?,
        None => args.job(&settings),
    };
    match jobs {
        Ok(jobs) => with_schema(settings, |session| enqueue_all(&jobs, args.format, session)),
        Err(faults) => {
            for fault in faults.iter().take(FAULTS_SHOWN) {
                output::complain(fault);
            }
            if faults.len() > FAULTS_SHOWN {
                output::complain(&format!("… and {} more", faults.len() - FAULTS_SHOWN));
            }
            output::complain("nothing was enqueued");
            output::next("correct what is named above, and give all of it again");
            Ok(Exit::Usage)
        }
    }
}

fn enqueue_all(jobs: &[NewJob], format: Format, session: &Session) -> anyhow::Result<Exit> {
    let (mut enqueued, mut printed, mut failed) = (0, Ok(()), None);
    let bar = session.bars.count(jobs.len() as u64, "jobs enqueued");
    for batch in jobs.chunks(BATCH) {
        match session.io.block_on(session.store.enqueue(batch)) {
            Ok(answers) => {
                enqueued += answers.len();
                // A reader that has gone away ends the printing, not the enqueueing.
                let all = || answers.iter().try_for_each(|answer| print(answer, format));
                printed = printed.and_then(|()| session.bars.apart(all));
                bar.inc(answers.len() as u64);
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    bar.finish_and_clear();
    let rung = if enqueued > 0 { session.io.block_on(session.store.ring()) } else { Ok(()) };
    if let Some(error) = failed {
        let said = anyhow!("{enqueued} of {} jobs are enqueued, then: {error}", jobs.len());
        let next = format!("{}; give the same again then, nothing is enqueued twice", about_database(&error));
        return Err(advised(said, next));
    }
    rung.context("the jobs are enqueued, but the bell was not rung: they are found a little later")?;
    printed?;
    Ok(Exit::Done)
}

/// The jobs, or everything that is wrong with what was given.
type Checked = Result<Vec<NewJob>, Vec<String>>;

impl EnqueueArgs {
    fn job(&self, settings: &Settings) -> Checked {
        let request = EnqueueRequest {
            // Required by clap where there is no file; a missing one is refused by the check all the same.
            business_id: self.business_id.unwrap_or_default(),
            call_sid: self.call_sid.clone().unwrap_or_default(),
            recording_url: self.recording_url.clone().unwrap_or_default(),
            recording_sid: self.recording_sid.clone(),
            job_type: self.job_type.clone(),
            priority: self.priority,
            run_at: self.run_at,
            parent_call_sid: self.parent_call_sid.clone(),
            duration_s: self.duration_s,
        };
        let checked = request.check(&settings.provider_bases(), settings.twilio.sid_form);
        let checked = checked.and_then(|job| finished(job, settings));
        checked.map(|job| vec![job]).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }
}

/// A job of the type `full` is for those who have somebody to transcribe it.
fn finished(job: NewJob, settings: &Settings) -> Result<NewJob, Vec<FieldFault>> {
    untranscribed(&job, settings.transcription.base_url.is_some()).map_or(Ok(job), |fault| Err(vec![fault]))
}

/// Every line as a job, or every fault of every line, by its number.
fn read_lines(file: &Path, settings: &Settings) -> anyhow::Result<Checked> {
    let input = input::open(file, "JSON lines")?;
    let (bases, form) = (settings.provider_bases(), settings.twilio.sid_form);
    let (mut jobs, mut faults) = (Vec::new(), Vec::new());
    // As bytes: a line that is not UTF-8 is a fault of that line.
    for (number, line) in (1..).zip(input.split(b'\n')) {
        let line = line.with_context(|| format!("line {number} cannot be read"))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match EnqueueRequest::job_from_json(&line, &bases, form).and_then(|job| finished(job, settings)) {
            Ok(job) => jobs.push(job),
            Err(wrong) => faults.extend(wrong.iter().map(|fault| format!("line {number}: {fault}"))),
        }
    }
    Ok(if faults.is_empty() { Ok(jobs) } else { Err(faults) })
}

fn print(Enqueued { id, state, deduplicated }: &Enqueued, format: Format) -> io::Result<()> {
    if format.json {
        // One line a job, as it came in.
        let line = serde_json::json!({ "id": id, "state": state, "deduplicated": deduplicated });
        output::line(&line.to_string())
    } else {
        output::line(&format!("{id} {state}{}", if *deduplicated { " (was there already)" } else { "" }))
    }
}
