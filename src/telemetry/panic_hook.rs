//! A panic in the log: where, on which thread, and its message where that is a literal. A formatted message may carry
//! data and is withheld.

use std::{io::Write, panic, thread};

/// Replaces the hook of the process.
pub fn install() {
    panic::set_hook(Box::new(|info| {
        let (file, line) = info.location().map_or(("unknown", 0), |at| (at.file(), at.line()));
        let thread = thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)");
        tracing::error!(file, line, thread, reason = message, "panic");
        // For an abort that follows: the log's buffer may not be written any more.
        let _ = writeln!(std::io::stderr(), "callspool: panic at {file}:{line} on thread {thread}: {message}");
    }));
}
