//! `callspool run`: the supervised process.

use super::exit::Exit;
use crate::{app, settings::Settings};

pub fn run(mut settings: Settings) -> anyhow::Result<Exit> {
    // Kept to the very end: its drop writes out what is still buffered.
    let log = app::log(&settings.log)?;
    let io = app::io_runtime()?;
    let embedded = app::embedded_database(&mut settings, &io)?;
    let running = app::start(settings, &io)?;
    app::stop_on_signals(&io, &running);
    let code = running.join()?;
    if let Some(embedded) = embedded {
        io.block_on(embedded.stop());
    }
    tracing::info!(code, dropped_log_lines = log.dropped_lines(), "callspool has ended");
    Ok(Exit::Process(u8::try_from(code).unwrap_or(1)))
}
