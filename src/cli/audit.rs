//! `callspool audit`: who played, changed and deleted what.

use super::{
    exit::Exit,
    output::{self, Format, or_dash},
    table::{Column, Table},
    times::at,
};
use crate::{
    app::Session,
    store::{AUDIT_ACTIONS, AuditFilter, BusinessId, CallSid, Custody},
};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// The newest first; the next page goes on with --after
    List(ListArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only what concerns this business
    #[arg(long, value_name = "ID")]
    business_id: Option<BusinessId>,
    /// Only what concerns this call
    #[arg(long, value_name = "SID")]
    call_sid: Option<String>,
    /// Only what this one did: a token's name, link, retention, or "cli USER@HOST"
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// Only this, as play, link, delete, hold, release, cancel, retry or pause; docs/after.md has all of them
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(AUDIT_ACTIONS), hide_possible_values = true)]
    action: Option<String>,
    /// Only what was done before this entry
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    format: Format,
}

pub fn audit(command: &AuditCommand, session: &Session) -> anyhow::Result<Exit> {
    let AuditCommand::List(args) = command;
    let form = session.settings.twilio.sid_form;
    let call_sid = args.call_sid.as_deref().map(|sid| CallSid::parse(sid, form)).transpose();
    let call_sid = match call_sid {
        Ok(call_sid) => call_sid,
        Err(error) => {
            output::complain(&format!("--call-sid: {error}"));
            return Ok(Exit::Usage);
        }
    };
    let filter = AuditFilter {
        business_id: args.business_id,
        call_sid,
        operator: args.operator.clone(),
        action: args.action.clone(),
        after: args.after,
        limit: args.limit,
    };
    let entries = session.io.block_on(session.store.audit(&filter))?;
    if args.format.json {
        output::json(&entries)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        Column::whole("AT"),
        Column::text("OPERATOR"),
        Column::whole("ACTION"),
        Column::number("BUSINESS"),
        Column::whole("CALL"),
        Column::whole("RECORDING"),
        Column::number("JOB"),
        Column::text("DETAIL"),
    ]);
    for entry in &entries {
        table.row([
            at(entry.at),
            entry.operator.clone(),
            entry.action.clone(),
            or_dash(entry.business_id),
            or_dash(entry.call_sid.as_ref()),
            or_dash(entry.recording_sid.as_ref()),
            or_dash(entry.job_id),
            entry.detail.clone(),
        ]);
    }
    table.print()?;
    if let (Some(last), true) = (entries.last(), entries.len() == usize::from(args.limit)) {
        output::hint(&format!("more: the same with --after {}", last.id));
    }
    Ok(Exit::Done)
}
