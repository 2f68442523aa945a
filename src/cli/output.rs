//! What commands print: tables for people, JSON for scripts, and on the standard error what went wrong and what to do.

use super::{table::field, terminal::Screen};
use clap::Args;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

#[derive(Debug, Clone, Copy, Args)]
pub struct Format {
    /// JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// One line on the standard error.
pub fn complain(text: &str) {
    // Where even that fails there is nobody left to tell.
    let _ = writeln!(io::stderr(), "callspool: {text}");
}

/// Below a complaint: what to do about it, in one line.
pub fn next(text: &str) {
    let _ = writeln!(io::stderr(), "  next: {text}");
}

/// For a person only: a line on the standard error where the standard output is a terminal.
pub fn hint(text: &str) {
    if io::stdout().is_terminal() {
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Whoever read the output has seen enough, as `head` does: that is no failure.
pub fn reader_is_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// A line for each value, beside its name; what is said of `width` holds for [`field`].
pub fn fields<'a>(name_width: usize, fields: impl IntoIterator<Item = (&'a str, String)>) -> io::Result<()> {
    let screen = Screen::of_stdout();
    let mut lines = fields.into_iter().flat_map(|(name, value)| field(name, &value, name_width, screen));
    lines.try_for_each(|text| line(&text))
}

/// A value, or a dash for none.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
