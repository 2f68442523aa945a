//! Telemetry, then the command line.

use callspool::{cli, telemetry};
use std::process::ExitCode;

fn main() -> ExitCode {
    telemetry::install_panic_hook();
    cli::main()
}
