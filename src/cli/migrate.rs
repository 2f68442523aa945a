//! `callspool migrate run|status|plan|wait|baseline|new`.

use super::{
    exit::Exit,
    output::{self, Format, or_dash},
    table::{Column, Table},
};
use crate::{
    app::{self, OrNext, Session, about_database, advised},
    settings::Settings,
    store::{
        FleetView, Gate, MigrationFailure, MigrationOutcome, MigrationRecord, MigrationSet, MigrationState,
        SchemaVersions, StoreError, Version, application_search_path, lint,
    },
};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::{fs::File, io::Write, time::Duration};

#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Apply what is pending: exit 0 applied or up to date, 75 skipped (the lock was busy), 1 failed
    Run(Format),
    /// Applied, pending and drifted migrations, and who has the lock
    Status(Format),
    /// The SQL that `run` would run, with remarks on what locks hard or rewrites a table
    Plan(Format),
    /// Wait until the schema fits this binary; exit 75 when it does not within --timeout
    Wait {
        /// In seconds; without it, as long as it takes
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Mark migrations as applied without running them: for a schema that is there already
    Baseline(BaselineArgs),
    /// Make a file for a migration of the application's in `MIGRATIONS_DIR`
    New(NewArgs),
}

#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// Up to and with this version
    version: Version,
    #[arg(long, default_value = "application")]
    set: SetName,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SetName {
    Application,
    Callspool,
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// Letters, digits and underscores: what it does, such as `add_lead_phone`
    name: String,
    /// For CREATE INDEX CONCURRENTLY and whatever else may not run in a transaction
    #[arg(long)]
    no_transaction: bool,
}

pub fn migrate(command: &MigrateCommand, session: &Session) -> anyhow::Result<Exit> {
    match command {
        MigrateCommand::Run(format) => run(*format, session),
        MigrateCommand::Status(format) => status(*format, session),
        MigrateCommand::Plan(format) => plan(*format, session),
        MigrateCommand::Wait { timeout } => wait(timeout.map(Duration::from_secs), session),
        MigrateCommand::Baseline(args) => baseline(args, session),
        MigrateCommand::New(args) => new(args, &session.settings),
    }
}

fn run(Format { json: as_json }: Format, session: &Session) -> anyhow::Result<Exit> {
    let outcome = app::migrate(session)?;
    // What went wrong stands in the log's last line.
    match &outcome {
        MigrationOutcome::Skipped(_) => output::next(LOCK_IS_BUSY),
        MigrationOutcome::Failed(failure) => output::next(&next_after(failure)),
        MigrationOutcome::Applied { .. } | MigrationOutcome::UpToDate { .. } => {}
    }
    let (exit, outcome) = match outcome {
        MigrationOutcome::Applied { count, version } => {
            (Exit::Done, json!({ "outcome": "applied", "applied": count, "version": version }))
        }
        MigrationOutcome::UpToDate { version } => {
            (Exit::Done, json!({ "outcome": "up_to_date", "applied": 0, "version": version }))
        }
        MigrationOutcome::Skipped(reason) => (Exit::TryAgain, json!({ "outcome": "skipped", "reason": reason })),
        MigrationOutcome::Failed(failure) => (
            Exit::Failed,
            json!({
                "outcome": "failed",
                "set": failure.migration.map(|(set, _)| set),
                "version": failure.version(),
                "reason": failure.reason,
                "sqlstate": failure.sqlstate,
            }),
        ),
    };
    if as_json {
        output::json(&outcome)?;
    }
    Ok(exit)
}

const LOCK_IS_BUSY: &str =
    "try again when the other has migrated; `callspool migrate status` names who has the lock";

/// What to do after a failure, by SQLSTATE (PostgreSQL documentation, Appendix A). The README's table says more.
pub fn next_after(failure: &MigrationFailure) -> String {
    let state = failure.sqlstate.as_deref();
    let next = match (state, failure.migration) {
        (Some("55P03"), _) => "end the sessions that are in the way, then `callspool migrate run` goes on",
        (Some("57014"), _) => "give the file a longer statement_timeout, then `callspool migrate run` goes on",
        (Some("42P07" | "42701" | "42710" | "42723"), Some(_)) => {
            "where it was made by hand or another tool, `callspool migrate baseline VERSION` marks it as applied"
        }
        (_, Some((MigrationSet::Application, _))) => "correct the migration, then `callspool migrate run` goes on",
        (_, Some((MigrationSet::Callspool, _))) => "`callspool migrate status` shows every migration and its state",
        (state, None) => {
            return about_database(&StoreError::new(state.map(Into::into), &failure.reason));
        }
    };
    next.to_owned()
}

fn status(Format { json: as_json }: Format, session: &Session) -> anyhow::Result<Exit> {
    let (records, fleet) = session.io.block_on(async {
        let records = records(session).await?;
        anyhow::Ok((records, session.store.fleet_status().await?))
    })?;
    if as_json {
        output::json(&json!({
            "schema": fleet.schema,
            "fits": fleet.schema.fits(),
            "lock_holder": fleet.lock_holder,
            "migrations": records,
        }))?;
        return Ok(Exit::Done);
    }
    let fits = if fleet.schema.fits() { "fits".to_owned() } else { fleet.schema.to_string() };
    output::fields(7, [("schema", fits), ("lock", or_dash(fleet.lock_holder))])?;
    let mut table = Table::new([
        Column::whole("SET"),
        Column::number("VERSION"),
        Column::state("STATE"),
        Column::whole("APPLIED"),
        Column::number("MS"),
        Column::text("MIGRATION"),
    ]);
    for record in &records {
        table.row([
            record.set.to_string(),
            record.version.to_string(),
            record.state.as_str().to_owned(),
            or_dash(record.applied_at.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string())),
            or_dash(record.ms),
            record.description.clone(),
        ]);
    }
    table.print()?;
    for record in records.iter().filter(|record| record.detail.is_some()) {
        output::line(&format!("{} {}: {}", record.set, record.version, or_dash(record.detail.as_ref())))?;
    }
    Ok(Exit::Done)
}

async fn records(session: &Session) -> anyhow::Result<Vec<MigrationRecord>> {
    // Nothing was migrated: only the reason is worth telling.
    session.store.records().await.map_err(|failure| {
        let next = next_after(&failure);
        let error = match failure.migration {
            Some(_) => failure.into(),
            None => anyhow!("the migrations cannot be read: {}", failure.reason),
        };
        advised(error, next)
    })
}

fn plan(Format { json: as_json }: Format, session: &Session) -> anyhow::Result<Exit> {
    let records = session.io.block_on(records(session))?;
    let pending = records.iter().filter(|record| record.state == MigrationState::Pending);
    if as_json {
        let plans = pending.map(|record| {
            json!({
                "set": record.set,
                "version": record.version,
                "description": record.description,
                "no_transaction": record.no_transaction,
                "sql": record.sql,
                "remarks": remarks(record),
            })
        });
        output::json(&plans.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut nothing = true;
    for record in pending {
        nothing = false;
        let MigrationRecord { set, version, description, .. } = record;
        output::line(&format!("-- {set} {version}: {description}"))?;
        for remark in remarks(record) {
            output::line(&format!("-- REMARK {remark}"))?;
        }
        output::line(&script(record, &session.settings.database.schema))?;
    }
    if nothing {
        output::line("-- nothing is pending")?;
    }
    Ok(Exit::Done)
}

/// What psql runs as the gate does: where ours look for their tables, and one transaction where it is one.
fn script(record: &MigrationRecord, schema: &str) -> String {
    let MigrationRecord { set, no_transaction, sql, .. } = record;
    let (begin, commit) = if *no_transaction { ("", "") } else { ("begin;\n", "commit;\n") };
    let names = match set {
        MigrationSet::Callspool => {
            format!("create schema if not exists \"{schema}\";\nset search_path to \"{schema}\";\n")
        }
        MigrationSet::Application => format!("reset search_path;\n{};\n", application_search_path(schema)),
    };
    // The last statement may have no semicolon, or a comment behind it.
    format!("{names}{begin}{}\n;\n{commit}", sql.as_deref().unwrap_or_default().trim_end())
}

/// Ours were looked at when they were written.
fn remarks(record: &MigrationRecord) -> Vec<lint::Finding> {
    match (record.set, &record.sql) {
        (MigrationSet::Application, Some(sql)) => lint::lint(sql, record.no_transaction),
        _ => Vec::new(),
    }
}

fn wait(limit: Option<Duration>, session: &Session) -> anyhow::Result<Exit> {
    let fits = session.io.block_on(app::wait_for_schema(&session.store, limit, output::complain));
    let Some(SchemaVersions { have, need, .. }) = fits else {
        output::complain("the schema does not fit yet");
        output::next("start one process with RUN_MIGRATIONS=1, or `callspool migrate run`");
        return Ok(Exit::TryAgain);
    };
    output::line(&format!("the schema fits: it is at {have}, this binary needs {need}"))?;
    Ok(Exit::Done)
}

fn baseline(args: &BaselineArgs, session: &Session) -> anyhow::Result<Exit> {
    let set = match args.set {
        SetName::Application => MigrationSet::Application,
        SetName::Callspool => MigrationSet::Callspool,
    };
    let lock_wait = session.settings.migrations.lock_wait;
    let marked = session.io.block_on(app::baseline(&session.store, set, args.version, lock_wait))?;
    let Some(marked) = marked else {
        output::complain("the migration lock is busy; nothing was marked");
        output::next(LOCK_IS_BUSY);
        return Ok(Exit::TryAgain);
    };
    output::line(&format!("{marked} migrations up to {} are marked as applied", args.version))?;
    Ok(Exit::Done)
}

const HEADER: &str = "\
-- Why:
--
-- What this migration wants to be different (take the line out for the defaults):
-- callspool: lock_timeout=5s statement_timeout=120s retries=5
";

/// Needs no database.
pub fn new(args: &NewArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let dir = settings.migrations.dir.as_deref().context("MIGRATIONS_DIR is not set");
    let dir = dir.or_next(|| "set it to the folder of your application's migrations".to_owned())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if args.name.is_empty() || args.name.len() > 100 || !args.name.chars().all(plain) {
        output::complain("NAME must be 1 to 100 letters, digits and underscores");
        output::next("say what it does, such as add_lead_phone");
        return Ok(Exit::Usage);
    }
    let name = format!("{}_{}.sql", chrono::Utc::now().format("%Y%m%d%H%M%S"), args.name);
    let path = dir.join(&name);
    let file = File::create_new(&path).with_context(|| format!("{} cannot be made", path.display()));
    let mut file =
        file.or_next(|| "see that the folder may be written to, and that it is not there yet".to_owned())?;
    let first = if args.no_transaction { "-- no-transaction\n" } else { "" };
    file.write_all(format!("{first}{HEADER}\n").as_bytes())?;
    output::line(&path.display().to_string())?;
    Ok(Exit::Done)
}
