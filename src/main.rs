//! Telemetry, then the command line.

use callspool::{cli, telemetry};
use std::process::ExitCode;

fn main() -> ExitCode {
    telemetry::keep_memory_private();
    telemetry::install_panic_hook();
    cli::main()
}
