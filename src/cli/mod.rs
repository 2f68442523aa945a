//! The command line: one command, one file. Every command answers with an exit code of [`exit`].

mod audit;
mod backfill;
mod bulk;
mod businesses;
mod config;
mod demo;
mod enqueue;
mod exit;
mod explain;
mod holds;
mod input;
mod jobs;
mod manual;
mod migrate;
mod operator;
mod output;
mod run;
mod status;
mod table;
mod terminal;
mod times;
mod transcripts;

use crate::{
    app::{about_database, next_step, with_log, with_schema, with_store},
    settings::{Effective, Settings, SettingsError, Vars},
    store::{JobId, MigrationFailure, StoreError},
};
use clap::{Parser, Subcommand};
use exit::Exit;
use std::{path::PathBuf, process::ExitCode};

/// Moves call recordings from a telephony provider into your own storage.
#[derive(Debug, Parser)]
#[command(name = "callspool", version, max_term_width = 100)]
struct Cli {
    /// development, test, staging or production; chooses config/<ENV>.toml
    #[arg(long, global = true, display_order = 900, value_name = "NAME", env = "CALLSPOOL_ENV")]
    env: Option<String>,
    /// The folder of the configuration files [default: config, where there is one]
    #[arg(long, global = true, display_order = 900, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the supervised process
    Run,
    /// Move simulated recordings from a webhook to verified files, and show how
    Demo(demo::DemoArgs),
    /// Enqueue one recording, or JSON lines from a file or the standard input
    Enqueue(enqueue::EnqueueArgs),
    /// Enqueue what the provider has of a time and no webhook told of
    Backfill(backfill::BackfillArgs),
    /// Look at jobs, ask why one does not run, try them again, cancel them
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// What was said in recordings, found by its words
    #[command(subcommand)]
    Transcripts(transcripts::TranscriptsCommand),
    /// Slots, weight and pause of businesses, and what is done with their recordings
    #[command(subcommand)]
    Businesses(businesses::BusinessesCommand),
    /// What many jobs wait for together, and its end by hand
    #[command(subcommand)]
    Holds(holds::HoldsCommand),
    /// Who played, changed and deleted what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Bring the schema up to date, and look at it
    #[command(subcommand)]
    Migrate(migrate::MigrateCommand),
    /// Instances, actors, slots, backlog, schema
    Status(output::Format),
    /// The effective configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a script that completes commands and options in your shell
    ///
    /// For bash: source <(callspool completions bash)
    Completions(manual::CompletionsArgs),
    /// Print the man page of all commands
    ///
    /// To read it: callspool man | man -l -
    Man(manual::ManArgs),
}

/// Reads the command line and the configuration, and does what they say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        // It has a configuration of its own, so that it shows the same everywhere.
        Command::Demo(args) => return finished(demo::demo(args)).into(),
        Command::Completions(args) => return finished(manual::completions(args)).into(),
        Command::Man(args) => return finished(manual::man(args)).into(),
        _ => {}
    }
    // Only a folder that was asked for has to be there.
    let folder = cli.config.or_else(|| Some(PathBuf::from("config")).filter(|folder| folder.is_dir()));
    let loaded = Settings::load(cli.env.as_deref(), folder.as_deref(), &Vars::from_process());
    let exit = match loaded {
        Ok((settings, effective)) => finished(dispatch(cli.command, settings, &effective)),
        Err(error) => refused(&error),
    };
    exit.into()
}

fn dispatch(command: Command, settings: Settings, effective: &Effective) -> anyhow::Result<Exit> {
    match command {
        Command::Run => run::run(settings),
        Command::Demo(args) => demo::demo(&args),
        Command::Enqueue(args) => enqueue::enqueue(&args, settings),
        Command::Backfill(args) => backfill::backfill(&args, settings),
        // A schema that does not fit is an answer of its own there.
        Command::Jobs(jobs::JobsCommand::Explain { id, format }) => {
            with_store(settings, |session| explain::explain(JobId(id), format, session))
        }
        Command::Jobs(command) => with_schema(settings, |session| jobs::jobs(&command, session)),
        Command::Businesses(command) => with_schema(settings, |session| businesses::businesses(&command, session)),
        Command::Holds(command) => with_schema(settings, |session| holds::holds(&command, session)),
        Command::Transcripts(command) => {
            with_schema(settings, |session| transcripts::transcripts(&command, session))
        }
        Command::Audit(command) => with_schema(settings, |session| audit::audit(&command, session)),
        // The one that needs no database.
        Command::Migrate(migrate::MigrateCommand::New(args)) => migrate::new(&args, &settings),
        Command::Migrate(command) => with_log(settings, |session| migrate::migrate(&command, session)),
        Command::Status(format) => with_store(settings, |session| status::status(format, session)),
        Command::Config(command) => config::config(&command, effective),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}

fn finished(done: anyhow::Result<Exit>) -> Exit {
    done.unwrap_or_else(|error| {
        if output::reader_is_gone(&error) {
            return Exit::Done;
        }
        output::complain(&format!("{error:#}"));
        if let Some(next) = next_of(&error) {
            output::next(&next);
        }
        Exit::Failed
    })
}

/// What the error itself says to do, or what its cause asks for.
fn next_of(error: &anyhow::Error) -> Option<String> {
    let own = next_step(error).map(str::to_owned);
    let database = || error.chain().find_map(|cause| cause.downcast_ref::<StoreError>()).map(about_database);
    let migration = || error.chain().find_map(|cause| cause.downcast_ref::<MigrationFailure>());
    own.or_else(database).or_else(|| migration().map(migrate::next_after))
}

/// A configuration that cannot be used: every fault of it at once, on the standard error.
fn refused(error: &SettingsError) -> Exit {
    output::complain(&error.to_string());
    output::next("correct them where each comes from; `callspool config check` tells when all can be used");
    Exit::Configuration
}
