//! Progress bars of commands: on the standard error, where that is a terminal, and nowhere else.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{self, Write};

/// Cheap to clone; all clones share one part of the screen.
#[derive(Debug, Clone)]
pub struct Bars(MultiProgress);

impl Bars {
    pub(super) fn new() -> Self {
        Self(MultiProgress::new())
    }

    /// Somebody looks: else there is nothing to find out for a bar.
    pub fn are_seen(&self) -> bool {
        !self.0.is_hidden()
    }

    /// One that counts to `total`. `what` follows the count, such as `jobs enqueued`.
    pub fn count(&self, total: u64, what: &str) -> ProgressBar {
        let bar = self.0.add(ProgressBar::new(total));
        bar.set_style(style(&format!("{{bar:30}} {{pos}} of {{len}} {what}  {{msg}} {{elapsed}}")));
        bar
    }

    /// One that counts what nobody knows the end of.
    pub fn count_up(&self, what: &str) -> ProgressBar {
        let bar = self.0.add(ProgressBar::no_length());
        bar.set_style(style(&format!("{{spinner}} {{pos}} {what} {{elapsed}}")));
        bar
    }

    /// Takes the bars away while `write` writes, and puts them below it.
    pub fn apart<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// The standard error, for lines that must not stand in a bar.
    pub(super) fn writer(self) -> impl Fn() -> Between + Send + Sync + 'static {
        move || Between(self.clone())
    }
}

/// Only a template that is wrong in itself is refused, and then the usual one will do.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

pub(super) struct Between(Bars);

impl Write for Between {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.apart(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
