//! `callspool holds`: what many jobs wait for together, and its end by hand.

use super::{
    exit::Exit,
    operator::operator,
    output::{self, Format, or_dash},
    table::{Column, Table},
    times::{age, at},
};
use crate::{
    app::Session,
    store::{HoldKey, HoldView, Holds},
};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum HoldsCommand {
    /// Those that stand, the oldest first
    List(Format),
    /// End one now: its jobs try again
    Lift {
        /// As the list has it, such as account:AC…
        key: HoldKey,
    },
}

pub fn holds(command: &HoldsCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        HoldsCommand::List(format) => list(*format, session),
        HoldsCommand::Lift { key } => lift(key, session),
    }
}

fn list(format: Format, session: &Session) -> anyhow::Result<Exit> {
    let holds = session.io.block_on(session.store.holds())?;
    if format.json {
        output::json(&holds)?;
    } else {
        print(&holds)?;
    }
    Ok(Exit::Done)
}

pub(super) fn print(holds: &[HoldView]) -> anyhow::Result<()> {
    let mut table = Table::new([
        Column::word("HOLD"),
        Column::word("REASON"),
        Column::whole("AGE"),
        Column::whole("UNTIL"),
        Column::whole("PROBE"),
        Column::number("WAITING"),
        Column::number("MET"),
        Column::text("WHY"),
    ]);
    for HoldView { hold, reason, waiting } in holds {
        table.row([
            hold.key.to_string(),
            reason.to_string(),
            age(hold.since),
            or_dash(hold.until.map(at)),
            or_dash(hold.probe_at.map(at)),
            waiting.to_string(),
            hold.met.to_string(),
            hold.message.clone(),
        ]);
    }
    Ok(table.print()?)
}

fn lift(key: &HoldKey, session: &Session) -> anyhow::Result<Exit> {
    if session.io.block_on(session.store.lift(key, &operator()))? {
        output::line(&format!("lifted {key}: its jobs try again"))?;
        return Ok(Exit::Done);
    }
    output::complain(&format!("there is no hold {key}"));
    output::next("`callspool holds list` shows those that stand");
    Ok(Exit::Failed)
}
