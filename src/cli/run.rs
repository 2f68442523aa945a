//! `callspool run`: the supervised process.

use super::{exit::Exit, session::embedded_database};
use crate::{app, settings::Settings, telemetry};
use anyhow::Context;

pub fn run(mut settings: Settings) -> anyhow::Result<Exit> {
    // Kept to the very end: its drop writes out what is still buffered.
    let telemetry = telemetry::init(&settings.log).context("logging cannot be set up")?;
    let io = app::io_runtime()?;
    let embedded = embedded_database(&mut settings, &io)?;
    let running = app::start(settings, io.clone())?;
    app::stop_on_signals(&io, &running);
    let code = running.join()?;
    if let Some(embedded) = embedded {
        io.block_on(embedded.stop());
    }
    let dropped_log_lines = telemetry.dropped_lines();
    tracing::info!(code, dropped_log_lines, "callspool has ended");
    Ok(Exit::Process(u8::try_from(code).unwrap_or(1)))
}
