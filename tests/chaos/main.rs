//! Attacks on a fleet of real processes, by a plan that follows from a seed, and an independent check of what came of it.
//! `make chaos`; or `cargo test --features faults --test chaos -- --seed N --seconds N [--only ATTACK,…] [--record FILE]`.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan`, `attack` | which attacks come when: a pure function of the seed |
//! | `world` | all that a run is made of: `fleet`, `provider`, `disk`, `clock`, a primary and its standby, the callers of `load` |
//! | `attacks` | how each is begun and ended; a new kind is a line in `attack`, in `record` and a function here |
//! | `recovery` | how soon all is well again |
//! | `watch`, `checker` | whether the promises were kept |
//! | `run`, `report`, `record` | one run, its lines and closing table, and what was survived so far |
//! | `seeds` | runs that once found something |

#![allow(clippy::unwrap_used, reason = "a run that cannot go on ends there")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its lines are what it is for")]

mod attack;
mod attacks;
mod checker;
mod clock;
mod disk;
mod fleet;
mod load;
mod plan;
mod provider;
#[allow(dead_code, reason = "shared with the test of the page")]
mod record;
mod recordings;
mod recovery;
mod report;
mod run;
mod seeds;
#[allow(dead_code, reason = "shared with the other tests")]
#[path = "../heavy/standby.rs"]
mod standby;
#[allow(dead_code, unused_imports, reason = "shared with the other tests")]
#[path = "../it/support/mod.rs"]
mod support;
mod watch;
mod world;

use attack::Attack;
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};

/// Attacks a fleet of callspool's for a while, and checks that it kept its promises.
#[derive(Debug, Clone, Parser)]
#[command(name = "chaos")]
pub struct Arguments {
    /// What the plan follows from; drawn and printed where it is missing.
    #[arg(long)]
    seed: Option<u64>,
    /// About how long to attack. The check comes after that.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// These attacks only.
    #[arg(long, value_delimiter = ',', value_parser = Attack::parse)]
    only: Vec<Attack>,
    /// Adds what was survived to this file, and shows it in the page of promises.
    #[arg(long)]
    record: Option<PathBuf>,
    /// The runs that once found something, one after the other.
    #[arg(long, conflicts_with_all = ["seed", "only", "record"])]
    known: bool,
    /// Prints the plan and does nothing.
    #[arg(long)]
    plan: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let runs = if arguments.known { seeds::runs(&arguments) } else { vec![arguments] };
    let all_kept = runs.into_iter().all(|arguments| runtime.block_on(run::run(&arguments)));
    if all_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
