//! `callspool jobs retry|cancel`: jobs by their ids, or all that a filter finds; a thousand in one transaction.

use super::{
    exit::Exit,
    input,
    jobs::checked_call_sid,
    operator::operator,
    output::{self, Format},
    terminal::Screen,
};
use crate::{
    app::{Session, about_database, advised},
    store::{BATCH, BusinessId, JobBook, JobFilter, JobId, JobOutcome, JobState, Operations, Outcome, StoreError},
};
use anyhow::anyhow;
use clap::Args;
use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
};

#[derive(Debug, Args)]
pub struct BulkArgs {
    /// As `jobs list` and `enqueue` print them
    #[arg(value_name = "ID", required_unless_present_any = ["file", "state", "business_id", "call_sid"])]
    ids: Vec<i64>,
    /// Ids from a file, one a line or JSON with "id"; - is the standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// All jobs of this state, instead of ids [default with another filter: those that it can be done to]
    #[arg(long, conflicts_with_all = ["ids", "file"])]
    state: Option<JobState>,
    /// Of the jobs that the filter finds, those of one business
    #[arg(long, value_name = "N", conflicts_with_all = ["ids", "file"])]
    business_id: Option<BusinessId>,
    /// Of the jobs that the filter finds, those of one call
    #[arg(long, value_name = "SID", conflicts_with_all = ["ids", "file"])]
    call_sid: Option<String>,
    /// Do not ask; needed with a filter where nobody could answer
    #[arg(long, short)]
    yes: bool,
    /// JSON lines of id and outcome
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Retry,
    Cancel,
}

impl Action {
    fn verb(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }

    /// States that it can be done to; the first ones are meant where a filter names none.
    fn states(self) -> (&'static [JobState], &'static [JobState]) {
        match self {
            Self::Retry => (&[JobState::Dead], &[JobState::Cancelled, JobState::Scheduled]),
            Self::Cancel => (&[JobState::Ready, JobState::Scheduled, JobState::Running], &[]),
        }
    }
}

pub fn bulk(action: Action, args: &BulkArgs, session: &Session) -> anyhow::Result<Exit> {
    let by_filter = args.ids.is_empty() && args.file.is_none();
    let somebody_there = io::stdin().is_terminal() && io::stderr().is_terminal();
    if by_filter && !args.yes && !somebody_there {
        let verb = action.verb();
        output::complain(&format!(
            "`jobs {verb}` by a filter may change many jobs, and nobody is there to be asked"
        ));
        output::next("look at them with `callspool jobs list` and the same filter, then give --yes as well");
        return Ok(Exit::Usage);
    }
    let ids = if by_filter {
        match found(action, args, session)? {
            Ok(ids) => ids,
            Err(exit) => return Ok(exit),
        }
    } else {
        given(args)?
    };
    if ids.is_empty() {
        output::complain(&format!("there is no job to {}", action.verb()));
        output::next("`callspool jobs list` with the same filter shows what it finds");
        return Ok(Exit::Done);
    }
    if ids.len() > 1 && !args.yes && somebody_there && !agreed(action, ids.len())? {
        output::complain("nothing was changed");
        return Ok(Exit::Failed);
    }
    change(action, &ids, args.state, Format { json: args.json }, session)
}

fn given(args: &BulkArgs) -> anyhow::Result<Vec<JobId>> {
    let mut ids: Vec<JobId> = args.ids.iter().copied().map(JobId).collect();
    if let Some(file) = &args.file {
        ids.extend(input::ids(file)?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// All jobs that the filter finds now. They are changed by their ids: one that changes meanwhile says so then.
fn found(action: Action, args: &BulkArgs, session: &Session) -> anyhow::Result<Result<Vec<JobId>, Exit>> {
    let call_sid = match checked_call_sid(args.call_sid.as_deref(), session) {
        Ok(call_sid) => call_sid,
        Err(exit) => return Ok(Err(exit)),
    };
    let (usual, more) = action.states();
    let states: Vec<JobState> = args.state.map_or_else(|| usual.to_vec(), |state| vec![state]);
    if let Some(state) = states.iter().find(|state| !usual.contains(state) && !more.contains(state)) {
        let allowed: Vec<&str> = usual.iter().chain(more).map(|state| state.as_str()).collect();
        output::complain(&format!("`jobs {}` does nothing to a job that is {state}", action.verb()));
        output::next(&format!("allowed for --state: {}", allowed.join(", ")));
        return Ok(Err(Exit::Usage));
    }
    let bar = session.bars.count_up("jobs found");
    let mut ids = Vec::new();
    for state in states {
        let mut after = None;
        loop {
            let limit = u16::try_from(BATCH).unwrap_or(u16::MAX);
            let (state, business_id) = (Some(state), args.business_id);
            let filter = JobFilter { state, business_id, call_sid: call_sid.clone(), after, limit };
            let page = session.io.block_on(session.store.jobs(&filter))?;
            bar.inc(page.len() as u64);
            ids.extend(page.iter().map(|job| job.id));
            after = page.last().map(|job| job.id);
            if page.len() < BATCH {
                break;
            }
        }
    }
    bar.finish_and_clear();
    ids.sort_unstable();
    ids.dedup();
    Ok(Ok(ids))
}

/// Asked on the standard error: the standard output is for what becomes of them.
fn agreed(action: Action, count: usize) -> io::Result<bool> {
    write!(io::stderr(), "{} {count} jobs? [y/N] ", action.verb())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn change(
    action: Action,
    ids: &[JobId],
    only: Option<JobState>,
    format: Format,
    session: &Session,
) -> anyhow::Result<Exit> {
    let (operator, screen) = (operator(), Screen::of_stdout());
    let (mut counts, mut done, mut printed) = (BTreeMap::new(), 0, Ok(()));
    let bar = session.bars.count(ids.len() as u64, "jobs");
    let mut failed = None;
    for batch in ids.chunks(BATCH) {
        let changed = session.io.block_on(async {
            match action {
                Action::Retry => session.store.retry(batch, &operator).await,
                Action::Cancel => session.store.cancel(batch, only, &operator).await,
            }
        });
        match changed {
            Ok(outcomes) => {
                for job in &outcomes {
                    *counts.entry(job.outcome.as_str()).or_insert(0) += 1;
                    done += usize::from(job.outcome.is_success());
                }
                // A reader that has gone away ends the printing, not the changing.
                let all = || outcomes.iter().try_for_each(|job| print(job, format, screen));
                printed = printed.and_then(|()| session.bars.apart(all));
                bar.inc(batch.len() as u64);
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    bar.finish_and_clear();
    if let Some(error) = failed {
        return Err(cut_short(action, counts.values().sum(), ids.len(), &error));
    }
    if !format.json {
        let counts: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        printed = printed.and_then(|()| output::line(&format!("{} jobs: {}", ids.len(), counts.join(", "))));
    }
    printed?;
    if done == ids.len() {
        return Ok(Exit::Done);
    }
    output::complain(&format!("{} of {} jobs were left as they are", ids.len() - done, ids.len()));
    output::next("`callspool jobs explain ID` says what each of them is doing");
    Ok(Exit::Failed)
}

fn cut_short(action: Action, before: usize, total: usize, error: &StoreError) -> anyhow::Error {
    let said = anyhow!("`jobs {}` came to {before} of {total} jobs, then: {error}", action.verb());
    advised(said, format!("{}; give the same again then: what is done stays done", about_database(error)))
}

fn print(JobOutcome { id, outcome }: &JobOutcome, format: Format, screen: Screen) -> io::Result<()> {
    if format.json {
        let line = serde_json::json!({ "id": id, "outcome": outcome });
        return output::line(&line.to_string());
    }
    let why = why(*outcome).map(|why| format!(" ({why})")).unwrap_or_default();
    output::line(&format!("{id} {}{why}", screen.paint(outcome.as_str())))
}

/// What the word alone does not say.
fn why(outcome: Outcome) -> Option<&'static str> {
    Some(match outcome {
        Outcome::Cancelled | Outcome::Ready => return None,
        Outcome::Requested => "it runs; its worker is told to stop",
        Outcome::Finished => "it was over before",
        Outcome::Moving => "it goes from one state to another just now: ask again",
        Outcome::Elsewhere => "it is in another state by now",
        Outcome::Running => "it runs now",
        Outcome::Done => "its recording is stored",
        Outcome::Duplicate => "another job that lives fetches its recording",
        Outcome::NotKept => "it ended under an older release: enqueue it anew",
        Outcome::Unknown => "there is no such job, or it is no longer kept",
    })
}
