//! `callspool run`: the supervised process.

use super::exit::Exit;
use crate::{app, settings::Settings};
use tokio::runtime::Handle;

pub fn run(mut settings: Settings) -> anyhow::Result<Exit> {
    // Kept to the very end: its drop writes out what is still buffered.
    let log = app::log(&settings.log)?;
    let io = app::io_runtime()?;
    let signals = app::Signals::catch(&io)?;
    let embedded = app::embedded_database(&mut settings, &io)?;
    let ended = app::start(settings, &io, log.lost_lines()).and_then(|running| supervised(running, signals, &io));
    // Also when it did not start: nobody else would stop it.
    if let Some(embedded) = embedded {
        io.block_on(embedded.stop());
    }
    let code = ended?;
    tracing::info!(code, dropped_log_lines = log.dropped_lines(), "callspool has ended");
    Ok(Exit::Process(u8::try_from(code).unwrap_or(1)))
}

/// Waits for the end of the process's tree.
fn supervised(running: app::Running, signals: app::Signals, io: &Handle) -> anyhow::Result<i32> {
    signals.stop(io, &running);
    running.join()
}
