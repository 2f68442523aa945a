//! Telemetry, then the command line.

use callspool::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
