//! `callspool businesses`: slots, weight and pause, and who changed them.

use super::{
    exit::Exit,
    operator::operator,
    output::{self, Format, or_dash},
    table::{Column, Table},
    times::{age, at},
};
use crate::{
    app::Session,
    store::{BusinessChange, BusinessFilter, BusinessId, BusinessView, Operations, OperatorAction},
};
use clap::{Args, Subcommand};
use serde::Serialize;

/// Actions that `show` shows.
const ACTIONS: u16 = 20;
/// Of the longest name.
const NAME_WIDTH: usize = 13;

#[derive(Debug, Subcommand)]
pub enum BusinessesCommand {
    /// By their numbers; the next page goes on with --after
    List(ListArgs),
    /// One business, with what operators did last to it and its jobs
    Show {
        /// The business's number
        id: BusinessId,
        #[command(flatten)]
        format: Format,
    },
    /// Change a business, also before its first job; prints what it is then
    Set(SetArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only businesses with a larger number
    #[arg(long, value_name = "ID")]
    after: Option<BusinessId>,
    /// 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["max_slots", "weight", "pause", "resume"])]
pub struct SetArgs {
    /// The business's number
    id: BusinessId,
    /// Recordings of it that are processed at a time, over the whole fleet: 0 to 10000
    #[arg(long, value_name = "N")]
    max_slots: Option<i32>,
    /// Its share among businesses that wait: 1 to 100
    #[arg(long, value_name = "N")]
    weight: Option<i16>,
    /// None of its jobs is begun; those that run go on
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Its jobs are begun again
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    format: Format,
}

pub fn businesses(command: &BusinessesCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        BusinessesCommand::List(args) => list(args, session),
        BusinessesCommand::Show { id, format } => show(*id, *format, session),
        BusinessesCommand::Set(args) => set(args, session),
    }
}

fn list(ListArgs { after, limit, format }: &ListArgs, session: &Session) -> anyhow::Result<Exit> {
    let filter = BusinessFilter { after: *after, limit: *limit };
    let businesses = session.io.block_on(session.store.businesses(filter))?;
    if format.json {
        output::json(&businesses)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        Column::number("BUSINESS"),
        Column::state("STATE"),
        Column::number("SLOTS"),
        Column::number("WEIGHT"),
        Column::number("READY"),
        Column::number("SCHEDULED"),
        Column::number("DONE"),
        Column::number("DEAD"),
        Column::whole("WAITS"),
    ]);
    for business in &businesses {
        table.row([
            business.business_id.to_string(),
            if business.paused { "paused" } else { "-" }.to_owned(),
            format!("{}/{}", business.running, business.max_slots),
            business.weight.to_string(),
            business.ready.to_string(),
            business.scheduled.to_string(),
            business.done.to_string(),
            business.dead.to_string(),
            or_dash((business.ready > 0).then(|| age(business.waiting_since))),
        ]);
    }
    table.print()?;
    if let (Some(last), true) = (businesses.last(), businesses.len() == usize::from(*limit)) {
        output::hint(&format!("more: the same with --after {}", last.business_id));
    }
    Ok(Exit::Done)
}

/// A business and what was done to it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    business: BusinessView,
    actions: Vec<OperatorAction>,
}

fn show(id: BusinessId, format: Format, session: &Session) -> anyhow::Result<Exit> {
    let Some(business) = session.io.block_on(session.store.business(id))? else {
        output::complain(&format!("there is no business {id}"));
        output::next(&format!(
            "one begins with its first job, or by `callspool businesses set {id} --max-slots N`"
        ));
        return Ok(Exit::Failed);
    };
    let actions = session.io.block_on(session.store.actions(id, ACTIONS))?;
    if format.json {
        output::json(&Shown { business, actions })?;
        return Ok(Exit::Done);
    }
    print(&business)?;
    if !actions.is_empty() {
        output::line("")?;
        print_actions(&actions)?;
    }
    Ok(Exit::Done)
}

fn print(business: &BusinessView) -> anyhow::Result<()> {
    let paused = match (business.paused, business.paused_at, &business.paused_by) {
        (false, ..) => "no".to_owned(),
        (true, None, None) => "yes".to_owned(),
        (true, since, by) => {
            let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let since = since.map(|since| format!(" {}", at(since))).unwrap_or_default();
            format!("yes:{by}{since}")
        }
    };
    let rows = [
        ("business_id", business.business_id.to_string()),
        ("max_slots", business.max_slots.to_string()),
        ("weight", business.weight.to_string()),
        ("paused", paused),
        ("running", business.running.to_string()),
        ("ready", business.ready.to_string()),
        ("scheduled", business.scheduled.to_string()),
        ("done", business.done.to_string()),
        ("cancelled", business.cancelled.to_string()),
        ("dead", business.dead.to_string()),
        ("waiting_since", or_dash((business.ready > 0).then(|| at(business.waiting_since)))),
    ];
    Ok(output::fields(NAME_WIDTH, rows)?)
}

fn print_actions(actions: &[OperatorAction]) -> anyhow::Result<()> {
    let mut table = Table::new([
        Column::whole("AGE"),
        Column::whole("ACTION"),
        Column::number("JOB"),
        Column::text("DETAIL"),
        Column::text("OPERATOR"),
    ]);
    for action in actions {
        table.row([
            age(action.at),
            action.action.clone(),
            or_dash(action.job_id),
            action.detail.clone(),
            action.operator.clone(),
        ]);
    }
    Ok(table.print()?)
}

fn set(args: &SetArgs, session: &Session) -> anyhow::Result<Exit> {
    let SetArgs { id, max_slots, weight, pause, resume, format } = args;
    let change =
        BusinessChange { max_slots: *max_slots, weight: *weight, paused: (*pause || *resume).then_some(*pause) };
    let change = match change.check() {
        Ok(change) => change,
        Err(faults) => {
            for fault in faults {
                output::complain(&fault.to_string());
            }
            output::next("nothing was changed; give values that are allowed");
            return Ok(Exit::Usage);
        }
    };
    let business = session.io.block_on(session.store.set_business(*id, change, &operator()))?;
    if format.json {
        output::json(&business)?;
    } else {
        print(&business)?;
    }
    Ok(Exit::Done)
}
