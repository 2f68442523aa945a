//! A panic in the log: where, on which thread, and its message where that is a literal. A formatted message may carry
//! data and is withheld. The place is written as a module is, `actors::listener.rs`: no path goes into a log.

use crate::domain::panic_place;
use std::{io::Write, panic, thread};

/// Replaces the hook of the process.
pub fn install() {
    panic::set_hook(Box::new(|info| {
        if let Some(at) = info.location() {
            panic_place::note(at.file(), at.line());
        }
        let (file, line) =
            info.location().map_or_else(|| ("unknown".to_owned(), 0), |at| (place(at.file()), at.line()));
        let thread = thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)");
        tracing::error!(file, line, thread, reason = message, "panic");
        // For an abort that follows: the log's buffer may not be written any more.
        let _ = writeln!(std::io::stderr(), "callspool: panic at {file}:{line} on thread {thread}: {message}");
    }));
}

/// `…/src/actors/listener.rs` as `actors::listener.rs`, also below a folder of dependencies.
fn place(file: &str) -> String {
    let below_src = file.rsplit_once("src/").map_or(file, |(_, below)| below);
    below_src.replace(['/', '\\'], "::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_no_path() {
        assert_eq!(place("src/actors/listener.rs"), "actors::listener.rs");
        assert_eq!(place("/home/me/.cargo/registry/src/index/tokio-1.0/src/time.rs"), "time.rs");
        assert_eq!(place("main.rs"), "main.rs");
    }
}
