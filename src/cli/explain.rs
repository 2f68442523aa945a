//! `callspool jobs explain`: why a job does not run now, and what to do about it.

use super::{
    exit::Exit,
    jobs::no_such_job,
    output::{self, Format, or_dash},
    table::{Column, Table},
    times::{age, at, beat},
};
use crate::{
    app::Session,
    store::{Detail, Explanation, JobId, LiveInstance, Operations, Reason, SchemaVersions, SlotHolder, span},
};
use chrono::TimeDelta;

/// Of the longest name.
const NAME_WIDTH: usize = 16;

pub fn explain(id: JobId, format: Format, session: &Session) -> anyhow::Result<Exit> {
    let Some(explanation) = session.io.block_on(session.store.explain(id))? else {
        return Ok(no_such_job(id));
    };
    if format.json {
        output::json(&explanation)?;
    } else {
        print(&explanation)?;
    }
    Ok(Exit::Done)
}

fn print(explanation: &Explanation) -> anyhow::Result<()> {
    let Explanation { job_id, state, reason, since, text, next, also, detail } = explanation;
    let mut lines = vec![
        ("job", job_id.to_string()),
        ("state", state.to_string()),
        ("reason", reason.to_string()),
        ("since", or_dash(since.map(at))),
        ("why", text.clone()),
        ("next", or_dash(next.as_ref())),
    ];
    if !also.is_empty() {
        lines.push(("also", also.iter().copied().map(Reason::as_str).collect::<Vec<_>>().join(", ")));
    }
    output::fields(NAME_WIDTH, lines)?;
    output::line("")?;
    output::fields(NAME_WIDTH, values(detail))?;
    match detail {
        Detail::SlotsFull { holders, .. } if !holders.is_empty() => print_holders(holders),
        Detail::NoLiveWorkers { instances, .. } if !instances.is_empty() => print_instances(instances),
        _ => Ok(()),
    }
}

/// What is not a list of its own.
fn values(detail: &Detail) -> Vec<(&'static str, String)> {
    match detail {
        Detail::SchemaBehind { versions: SchemaVersions { have, need, .. }, lock_holder } => vec![
            ("have", have.to_string()),
            ("need", need.to_string()),
            ("lock_holder", or_dash(lock_holder.as_ref())),
        ],
        Detail::NoLiveWorkers { last_seen, .. } => vec![("last_seen", or_dash(last_seen.map(at)))],
        Detail::Held { hold } => vec![
            ("hold", hold.key.to_string()),
            ("until", or_dash(hold.until.map(at))),
            ("next_probe", or_dash(hold.probe_at.map(at))),
            ("error", hold.message.clone()),
        ],
        Detail::BusinessPaused { paused_at, paused_by } => {
            vec![("paused_at", or_dash(paused_at.map(at))), ("paused_by", or_dash(paused_by.as_ref()))]
        }
        Detail::SlotsFull { max_slots, running, .. } => {
            vec![("max_slots", max_slots.to_string()), ("running", running.to_string())]
        }
        Detail::Runnable { ahead, live_workers, capacity, in_use, waiting_since } => vec![
            ("ahead", ahead.to_string()),
            ("live_workers", live_workers.to_string()),
            ("in_use", format!("{in_use} of {capacity}")),
            ("waiting_since", or_dash(waiting_since.map(at))),
        ],
        Detail::Scheduled { run_at, due_in_ms, attempt, max_attempts, error, retry_after_ms, .. } => {
            let due = TimeDelta::milliseconds(*due_in_ms);
            let due = if due > TimeDelta::zero() { format!("in {}", span(due)) } else { "due".to_owned() };
            let asked = retry_after_ms.map(|ms| span(TimeDelta::milliseconds(ms)));
            vec![
                ("run_at", format!("{} ({due})", run_at.to_rfc3339())),
                ("attempts", format!("{attempt} of {max_attempts} used")),
                ("error", or_dash(error.as_ref().map(|error| format!("{}: {}", error.code, error.message)))),
                ("retry_after", or_dash(asked)),
            ]
        }
        Detail::Running { instance, host, worker, started_at, deadline_at, beat_age_ms, cancel_requested } => vec![
            ("instance", instance.to_string()),
            ("host", or_dash(host.as_ref())),
            ("worker", worker.to_string()),
            ("started_at", at(*started_at)),
            ("deadline_at", deadline_at.to_rfc3339()),
            ("beat", or_dash(beat_age_ms.map(beat))),
            ("cancel_requested", if *cancel_requested { "yes" } else { "no" }.to_owned()),
        ],
        Detail::Finished { finished_at, error, .. } => vec![
            ("finished_at", or_dash(finished_at.map(at))),
            ("error", or_dash(error.as_ref().map(|error| format!("{}: {}", error.code, error.message)))),
        ],
    }
}

fn print_holders(holders: &[SlotHolder]) -> anyhow::Result<()> {
    let mut table = Table::new([
        Column::number("JOB"),
        Column::word("CALL"),
        Column::whole("FOR"),
        Column::word("HOST"),
        Column::number("WORKER"),
        Column::whole("BEAT"),
        Column::word("INSTANCE"),
    ]);
    for holder in holders {
        table.row([
            holder.job_id.to_string(),
            holder.call_sid.to_string(),
            age(holder.since),
            // Its slot comes back by itself.
            holder.host.clone().unwrap_or_else(|| "gone".to_owned()),
            holder.worker.to_string(),
            or_dash(holder.beat_age_ms.map(beat)),
            holder.instance.to_string(),
        ]);
    }
    output::line("")?;
    Ok(table.print()?)
}

fn print_instances(instances: &[LiveInstance]) -> anyhow::Result<()> {
    let mut table = Table::new([
        Column::word("INSTANCE"),
        Column::word("HOST"),
        Column::word("ROLES"),
        Column::number("WORKERS"),
        Column::state("STATE"),
    ]);
    for instance in instances {
        table.row([
            instance.instance.to_string(),
            instance.host.clone(),
            instance.roles.join(","),
            instance.workers.to_string(),
            if instance.draining { "draining" } else { "up" }.to_owned(),
        ]);
    }
    output::line("")?;
    Ok(table.print()?)
}
