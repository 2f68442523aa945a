//! Logging: readable or JSON lines on stdout, JSON lines in rolling files, and the table of all events; metrics and traces,
//! which do not depend on it.
//!
//! Nothing here blocks an actor: lines go through bounded buffers that drop when they are full, and the drops are
//! counted. The buffers are written out when the [`TelemetryGuard`] is dropped, at the very end of the process.

pub mod events;
mod line;
mod memory;
pub mod metrics;
mod panic_hook;
pub mod traces;

pub use memory::keep_private as keep_memory_private;
pub use panic_hook::install as install_panic_hook;

use crate::domain::text::io_kind;
use line::Lines;
use std::{
    fs::DirBuilder,
    io::{self, IsTerminal, Write},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tracing_appender::{
    non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard},
    rolling::{RollingFileAppender, Rotation},
};
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Lines that one buffer holds before it drops.
const BUFFERED_LINES: usize = 65_536;

#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The files' folder; nothing else may be in it.
    pub dir: PathBuf,
    pub stdout: Stdout,
    /// Such as `info,callspool=debug`.
    pub level: String,
    /// A new file each hour instead of each day.
    pub hourly: bool,
    /// Files that are kept.
    pub keep_files: usize,
}

/// What goes to the standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    Pretty,
    Json,
    /// Nothing: somebody else writes there.
    Quiet,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log folder {dir} cannot be used: {kind}")]
    Folder { dir: String, kind: io::ErrorKind },
    #[error("log.level is not understood")]
    Level,
    #[error("logging was set up twice")]
    Twice,
}

/// Writes out what is buffered when it is dropped, which takes about a second at most.
#[must_use = "dropped at once it loses the log"]
pub struct TelemetryGuard {
    _workers: Vec<WorkerGuard>,
    lost: LostLines,
}

impl TelemetryGuard {
    /// Lines lost because a buffer or the disk was full.
    pub fn dropped_lines(&self) -> usize {
        self.lost.lines()
    }

    /// To ask for them from elsewhere.
    pub fn lost_lines(&self) -> LostLines {
        self.lost.clone()
    }
}

/// The lines that this process lost. Each clone counts the same.
#[derive(Clone, Default)]
pub struct LostLines(Vec<Lost>);

impl LostLines {
    pub fn lines(&self) -> usize {
        self.0.iter().map(Lost::lines).sum()
    }
}

/// For a process: stdout and files.
pub fn init(config: &LogConfig) -> Result<TelemetryGuard, TelemetryError> {
    let level = without_secrets(&config.level.parse().map_err(|_| TelemetryError::Level)?);
    // Made beforehand: the appender complains on the standard error about a folder that is missing.
    let unusable = |kind| TelemetryError::Folder { dir: config.dir.display().to_string(), kind };
    // Who called whom is nobody else's business: the folder is closed to users outside our group.
    let folder = DirBuilder::new().recursive(true).mode(0o750).create(&config.dir);
    folder.map_err(|error| unusable(error.kind()))?;
    let files = RollingFileAppender::builder()
        .rotation(if config.hourly { Rotation::HOURLY } else { Rotation::DAILY })
        .filename_prefix("callspool")
        .filename_suffix("jsonl")
        .max_log_files(config.keep_files)
        .build(&config.dir)
        .map_err(|error| unusable(io_kind(&error).unwrap_or(io::ErrorKind::Other)))?;
    let (file, file_worker, file_lost) = buffered(files);
    let (stdout, stdout_worker, stdout_lost) = buffered(io::stdout());
    let on_stdout = match config.stdout {
        Stdout::Pretty => Some(Lines::pretty(wants_colour())),
        Stdout::Json => Some(Lines::json()),
        Stdout::Quiet => None,
    };
    let on_stdout = on_stdout.map(|lines| fmt::layer().event_format(lines).with_writer(stdout));
    // One filter for all, not one a layer: those remember a thread's last decision, and drop the event that follows an
    // `enabled!` which was answered with no (tokio-rs/tracing#2519). The database driver asks so after each query.
    Registry::default()
        .with(level)
        .with(on_stdout)
        .with(fmt::layer().event_format(Lines::json()).with_writer(file))
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    Ok(TelemetryGuard { _workers: vec![file_worker, stdout_worker], lost: LostLines(vec![file_lost, stdout_lost]) })
}

/// For a command: `level` and above, on the standard error, which `writer` leads to.
pub fn init_for_command<W: for<'w> MakeWriter<'w> + Send + Sync + 'static>(level: tracing::Level, writer: W) {
    let level = without_secrets(&Targets::new().with_default(tracing::Level::WARN).with_target("callspool", level));
    let layer = fmt::layer().event_format(Lines::pretty(false)).with_writer(writer);
    // Set up already is as good.
    let _ = Registry::default().with(level).with(layer).try_init();
}

/// Silences the libraries where they write what may be secret: the database driver an unknown parameter of its address
/// with its value, the HTTP libraries whole requests with their headers at the finest levels.
fn without_secrets(level: &Targets) -> Targets {
    let asked = |target: &str| {
        let own = level.iter().find(|(other, _)| *other == target).map(|(_, level)| level);
        own.or(level.default_level()).unwrap_or(LevelFilter::OFF)
    };
    let capped = ["actix_http", "h2", "hyper", "hyper_util", "object_store", "reqwest"]
        .map(|target| (target, asked(target).min(LevelFilter::INFO)));
    level.clone().with_targets(capped).with_target("sqlx_postgres::options", LevelFilter::OFF)
}

/// Lossy: a reader that does not read must not stop the process.
fn buffered<W: Write + Send + 'static>(writer: W) -> (NonBlocking, WorkerGuard, Lost) {
    let failed = Arc::default();
    let writer = Counting { writer, failed: Arc::clone(&failed) };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(BUFFERED_LINES);
    let (buffer, worker) = builder.finish(writer);
    let lost = Lost { dropped: buffer.error_counter(), failed };
    (buffer, worker, lost)
}

/// Lines that one buffer took and that nobody will read.
#[derive(Clone)]
struct Lost {
    /// It was full.
    dropped: ErrorCounter,
    /// They could not be written.
    failed: Arc<AtomicUsize>,
}

impl Lost {
    fn lines(&self) -> usize {
        self.dropped.dropped_lines() + self.failed.load(Ordering::Relaxed)
    }
}

/// The buffer's thread passes over what cannot be written, as on a full disk, without a word.
struct Counting<W> {
    writer: W,
    failed: Arc<AtomicUsize>,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes);
        // The rest of a line is given up after its first error, but for one that only asks to try again.
        if let Err(error) = &written
            && error.kind() != io::ErrorKind::Interrupted
            && self.failed.fetch_add(1, Ordering::Relaxed) == 0
        {
            let _ = writeln!(io::stderr(), "callspool: log lines are lost: {}", error.kind());
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing::Level;

    /// Writes when it is let, and then fails.
    struct Full(Arc<Mutex<()>>);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _let = self.0.lock().unwrap();
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_lost_is_counted_whether_the_buffer_was_full_or_the_disk() {
        let gate = Arc::new(Mutex::new(()));
        let (mut buffer, worker, lost) = buffered(Full(Arc::clone(&gate)));
        let closed = gate.lock().unwrap();
        let lines = BUFFERED_LINES + 10;
        for _ in 0..lines {
            buffer.write_all(b"line\n").unwrap();
        }
        // The one that is being written has left the buffer.
        assert!((9..=10).contains(&lost.lines()), "{}", lost.lines());
        drop(closed);
        drop(worker);
        assert_eq!(lost.lines(), lines);
    }

    #[test]
    fn libraries_that_write_whole_requests_are_kept_short_and_never_made_louder() {
        let trace = without_secrets(&"trace".parse().unwrap());
        assert!(trace.would_enable("callspool::http", &Level::TRACE));
        assert!(!trace.would_enable("actix_http::h1::dispatcher", &Level::DEBUG));
        assert!(!trace.would_enable("sqlx_postgres::options::parse", &Level::ERROR));
        let quiet = without_secrets(&"warn,hyper=off".parse().unwrap());
        assert!(!quiet.would_enable("actix_http", &Level::INFO) && quiet.would_enable("actix_http", &Level::WARN));
        assert!(!quiet.would_enable("hyper::client", &Level::ERROR));
    }
}
