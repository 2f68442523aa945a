//! `callspool businesses`: slots, weight, pause and what is done with recordings, and who changed them.

use super::{
    exit::Exit,
    operator::operator,
    output::{self, Format, or_dash},
    table::{Column, Table},
    times::{age, at},
};
use crate::{
    app::Session,
    store::{BusinessChange, BusinessFilter, BusinessId, BusinessView, Forms, Operations, OperatorAction},
};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde::Serialize;
use std::str::FromStr;

/// Actions that `show` shows.
const ACTIONS: u16 = 20;
/// Of the longest name.
const NAME_WIDTH: usize = 13;
const LONG_NAME_WIDTH: usize = 18;

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
    /// Print the secret that a business's own receiver checks signatures with
    ///
    /// It is made from the fleet's secret and the business's number: whoever has it can check and sign for this
    /// business only. While secrets are rotated there are several, the newest first.
    CompletionSecret {
        /// The business's number
        id: BusinessId,
    },
}

/// A value, or `default`: as configured for all.
#[derive(Debug, Clone)]
struct OrDefault<T>(Option<T>);

impl<T: FromStr> FromStr for OrDefault<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "default" { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

fn forms(text: &str) -> Result<OrDefault<Forms>, String> {
    if text == "default" {
        return Ok(OrDefault(None));
    }
    let names: Vec<&str> = text.split(',').collect();
    Forms::parse(&names).map(|forms| OrDefault(Some(forms))).map_err(|error| error.to_string())
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

#[derive(Debug, Clone, Args)]
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
    /// Wanted forms in order, separated by commas: mp3, wav, mp3-dual, wav-dual, original; or default
    #[arg(long, value_name = "FORMS", value_parser = forms)]
    forms: Option<OrDefault<Forms>>,
    /// Days that its recordings are kept: 0, for ever, to 36500; or default
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<OrDefault<i32>>,
    /// Whether a recording is deleted at the provider once it is stored: true, false or default
    #[arg(long, value_name = "YES")]
    delete_at_provider: Option<OrDefault<bool>>,
    /// Where it is told of its recordings, an https URL; or default
    #[arg(long, value_name = "URL")]
    completion_url: Option<OrDefault<String>>,
    #[command(flatten)]
    format: Format,
}

pub fn businesses(command: &BusinessesCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        BusinessesCommand::List(args) => list(args, session),
        BusinessesCommand::Show { id, format } => show(*id, *format, session),
        BusinessesCommand::Set(args) => set(args, session),
        BusinessesCommand::CompletionSecret { id } => completion_secret(*id, session),
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
    // Where it says nothing, it is as configured for all.
    let own = [
        ("forms", business.forms.as_ref().map(|forms| forms.names().join(","))),
        ("retention_days", business.retention_days.map(|days| days.to_string())),
        ("delete_at_provider", business.delete_at_provider.map(|yes| yes.to_string())),
        ("completion_url", business.completion_url.clone()),
    ];
    let own: Vec<_> = own.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let width = if own.is_empty() { NAME_WIDTH } else { LONG_NAME_WIDTH };
    Ok(output::fields(width, rows.into_iter().chain(own))?)
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
    let SetArgs { id, format, .. } = args;
    let args = args.clone();
    let change = BusinessChange {
        max_slots: args.max_slots,
        weight: args.weight,
        paused: (args.pause || args.resume).then_some(args.pause),
        forms: args.forms.map(|value| value.0),
        retention_days: args.retention_days.map(|value| value.0),
        delete_at_provider: args.delete_at_provider.map(|value| value.0),
        completion_url: args.completion_url.map(|value| value.0),
    };
    let change = match change.check(&session.settings.completion.rules()) {
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

fn completion_secret(id: BusinessId, session: &Session) -> anyhow::Result<Exit> {
    let secrets = &session.settings.completion.secrets;
    if secrets.are_none() {
        output::complain("CALLSPOOL_COMPLETION_SECRET is not set here");
        output::next("set it as the fleet has it");
        return Ok(Exit::Failed);
    }
    for secret in secrets.of_business(id).shown() {
        output::line(secret.expose_secret())?;
    }
    Ok(Exit::Done)
}
