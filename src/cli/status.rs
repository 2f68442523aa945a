//! `callspool status`: the fleet at a glance.

use super::{
    exit::Exit,
    holds,
    output::{self, Format, or_dash},
    table::{Column, Table},
    times::{age, at, beat},
};
use crate::{
    app::Session,
    store::{BackfillStatus, Backlog, Failing, FleetStatus, FleetView, Stall},
};

pub fn status(format: Format, session: &Session) -> anyhow::Result<Exit> {
    let status = session.io.block_on(session.store.fleet_status())?;
    if format.json {
        output::json(&status)?;
    } else {
        print_stalls(&status.stalls)?;
        if !status.holds.is_empty() {
            holds::print(&status.holds)?;
            output::line("")?;
        }
        print(&status)?;
    }
    Ok(Exit::Done)
}

/// First of all: what is wrong with the queue, and how to find out more.
fn print_stalls(stalls: &[Stall]) -> anyhow::Result<()> {
    for Stall { reason, since, business_id, text, .. } in stalls {
        let more =
            format!("`callspool jobs list --state ready --business-id {business_id}`, then `jobs explain ID`");
        output::fields(
            NAME_WIDTH,
            [("stalled", reason.to_string()), ("since", at(*since)), ("why", text.clone()), ("next", more)],
        )?;
        output::line("")?;
    }
    Ok(())
}

/// Of the names of the lines above the tables.
const NAME_WIDTH: usize = 10;

fn print(status: &FleetStatus) -> anyhow::Result<()> {
    let FleetStatus {
        stalls: _,
        holds: _,
        failing,
        instances,
        slots_in_use,
        backlog,
        oldest_ready,
        schema,
        lock_holder,
        failed_migrations,
        backfills,
    } = status;
    let mut lines = vec![
        ("schema", format!("{} (this binary needs {})", schema.have, schema.need)),
        ("lock", or_dash(lock_holder.as_ref())),
    ];
    let failed = failed_migrations.iter();
    lines.extend(failed.map(|failed| ("migration", format!("{} {}: {failed}", failed.set, failed.version))));
    let Backlog { ready, scheduled, running, done, cancelled, dead } = backlog;
    let counts = format!(
        "{ready} ready, {scheduled} scheduled, {running} running, {done} done, {cancelled} cancelled, {dead} dead"
    );
    lines.extend([
        ("backlog", counts),
        ("slots", format!("{slots_in_use} in use")),
        ("oldest", or_dash(oldest_ready.map(at))),
    ]);
    for Failing { code, retrying, dead } in failing {
        lines.push(("failing", format!("{code}: {retrying} to be tried again, {dead} dead within the hour")));
    }
    output::fields(NAME_WIDTH, lines)?;
    let mut table = Table::new([
        Column::word("INSTANCE"),
        Column::word("HOST"),
        Column::number("PID"),
        Column::word("ROLES"),
        Column::word("VERSION"),
        Column::number("WORKERS"),
        Column::whole("BEAT"),
        Column::text("ACTORS"),
    ]);
    for instance in instances {
        let info = &instance.info;
        let (up, not_up): (Vec<_>, Vec<_>) = info.actors.iter().partition(|actor| actor.state == "up");
        let restarts: u64 = info.actors.iter().map(|actor| actor.generation.saturating_sub(1)).sum();
        // What a dead one said of its actors last is no longer so.
        let mut actors = if instance.live {
            vec![format!("{} up", up.len()), format!("{restarts} restarts")]
        } else {
            vec!["no beat: it is gone, and others take its jobs".to_owned()]
        };
        actors.extend(not_up.iter().map(|actor| format!("{} {}", actor.actor, actor.state)));
        let panicked = info.actors.iter().filter_map(|actor| Some((&actor.actor, actor.last_panic.as_ref()?)));
        actors.extend(panicked.map(|(actor, place)| format!("{actor} last panicked at {place}")));
        let state = match (instance.live, info.draining) {
            (false, _) => ", dead",
            (true, true) => ", draining",
            (true, false) => "",
        };
        table.row([
            info.instance.to_string(),
            info.host.clone(),
            info.pid.to_string(),
            info.roles.join(","),
            info.version.clone(),
            info.workers.to_string(),
            format!("{}{state}", beat(instance.beat_age_ms)),
            actors.join(", "),
        ]);
    }
    table.print()?;
    if !backfills.is_empty() {
        output::line("")?;
        print_backfills(backfills)?;
    }
    Ok(())
}

fn print_backfills(backfills: &[BackfillStatus]) -> anyhow::Result<()> {
    let mut table = Table::new([
        Column::word("BACKFILL"),
        Column::state("STATE"),
        Column::number("PERCENT"),
        Column::number("ROWS"),
        Column::number("ROWS/S"),
        Column::whole("SINCE"),
        Column::number("ATTEMPTS"),
        Column::text("LAST ERROR"),
    ]);
    for backfill in backfills {
        table.row([
            backfill.name.clone(),
            backfill.state.as_str().to_owned(),
            or_dash(backfill.percent),
            backfill.rows.to_string(),
            or_dash(backfill.rows_per_s),
            or_dash(backfill.started_at.map(age)),
            backfill.attempts.to_string(),
            or_dash(backfill.last_error.as_ref()),
        ]);
    }
    table.print()?;
    Ok(())
}
