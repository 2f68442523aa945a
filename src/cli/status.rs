//! `callspool status`: the fleet at a glance.

use super::{
    exit::Exit,
    output::{self, Format, or_dash},
};
use crate::{
    app::Session,
    store::{ActorInfo, BackfillStatus, FleetStatus, FleetView},
};

pub fn status(format: Format, session: &Session) -> anyhow::Result<Exit> {
    let status = session.io.block_on(session.store.fleet_status())?;
    if format.json {
        output::json(&status)?;
    } else {
        print(&status)?;
    }
    Ok(Exit::Done)
}

fn print(status: &FleetStatus) -> anyhow::Result<()> {
    let FleetStatus {
        instances,
        slots_in_use,
        backlog,
        oldest_ready,
        schema,
        lock_holder,
        failed_migrations,
        backfills,
    } = status;
    output::line(&format!("schema     {} (this binary needs {})", schema.have, schema.need))?;
    output::line(&format!("lock       {}", or_dash(lock_holder.as_ref())))?;
    for failed in failed_migrations {
        output::line(&format!("migration  {} {}: {failed}", failed.set, failed.version))?;
    }
    output::line(&format!(
        "backlog    {} ready, {} scheduled, {} running, {} done, {} cancelled, {} dead",
        backlog.ready, backlog.scheduled, backlog.running, backlog.done, backlog.cancelled, backlog.dead
    ))?;
    output::line(&format!("slots      {slots_in_use} in use"))?;
    output::line(&format!("oldest     {}", or_dash(oldest_ready.map(|at| at.to_rfc3339()))))?;
    let mut table = output::table(&["INSTANCE", "HOST", "PID", "ROLES", "VERSION", "WORKERS", "BEAT", "ACTORS"]);
    for instance in instances {
        let info = &instance.info;
        let (up, not_up): (Vec<_>, Vec<_>) = info.actors.iter().partition(|actor| actor.state == "up");
        let restarts: u64 = info.actors.iter().map(|actor| actor.generation.saturating_sub(1)).sum();
        let mut actors = vec![format!("{} up", up.len()), format!("{restarts} restarts")];
        actors.extend(not_up.iter().map(|actor| format!("{} {}", actor.actor, actor.state)));
        let panicked =
            |actor: &ActorInfo| Some(format!("{} panicked at {}", actor.actor, actor.last_panic.as_ref()?));
        actors.extend(info.actors.iter().filter_map(panicked));
        table.add_row([
            info.instance.to_string(),
            info.host.clone(),
            info.pid.to_string(),
            info.roles.join(","),
            info.version.clone(),
            info.workers.to_string(),
            format!("{} ago{}", age(instance.beat_age_ms), if info.draining { ", draining" } else { "" }),
            actors.join(", "),
        ]);
    }
    output::line(&table.trim_fmt())?;
    if !backfills.is_empty() {
        output::line("")?;
        print_backfills(backfills)?;
    }
    Ok(())
}

fn print_backfills(backfills: &[BackfillStatus]) -> anyhow::Result<()> {
    let mut table =
        output::table(&["BACKFILL", "STATE", "PERCENT", "ROWS", "ROWS/S", "SINCE", "ATTEMPTS", "LAST ERROR"]);
    for backfill in backfills {
        table.add_row([
            backfill.name.clone(),
            backfill.state.as_str().to_owned(),
            or_dash(backfill.percent),
            backfill.rows.to_string(),
            or_dash(backfill.rows_per_s),
            or_dash(backfill.started_at.map(|at| at.to_rfc3339())),
            backfill.attempts.to_string(),
            or_dash(backfill.last_error.as_ref()),
        ]);
    }
    output::line(&table.trim_fmt())?;
    Ok(())
}

/// Milliseconds while they matter; the row of a process that was killed stays for an hour.
fn age(ms: i64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) }
}
