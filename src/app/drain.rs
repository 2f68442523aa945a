//! From a signal to the end of the process, also when something does not end.

use super::{Parts, Running};
use anyhow::Context;
use std::{sync::mpsc, thread, time::Duration};
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
};

/// Exit code of a drain that did not end (`EX_SOFTWARE`).
const GAVE_UP: i32 = 70;
/// Exit code after a second signal, as shells give it: this and the signal's number.
const SIGNALLED: i32 = 128;
/// Given to the drain beyond its grace before the process is ended from outside the actors: longer than the supervisor
/// may need for what it aborted.
const WATCHDOG_SLACK: Duration = Duration::from_secs(10);

/// SIGTERM and SIGINT from now on: what comes before somebody waits for it is kept.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Before anything is started that somebody has to stop.
    pub fn catch(io: &Handle) -> anyhow::Result<Self> {
        let _on_io = io.enter();
        let caught = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self { terminate: caught(SignalKind::terminate())?, interrupt: caught(SignalKind::interrupt())? })
    }

    /// Drains on the first signal; a second one ends the process at once.
    pub fn stop(mut self, io: &Handle, running: &Running) {
        let (stop, ends) = (running.stopper(), running.ends.clone());
        io.spawn(async move {
            self.next().await;
            stop();
            let number = self.next().await.as_raw_value();
            tracing::warn!(signal = number, "a second signal: the process ends at once");
            ends.say(Ok(SIGNALLED + number));
        });
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

/// Ends the process when a drain that began does not end in time: an actor that blocks its thread cannot be aborted.
/// Dropping the result calls it off.
pub(super) fn watchdog(parts: &Parts) -> mpsc::Sender<()> {
    let (called_off, wait) = mpsc::channel();
    let (shutdown, ends) = (parts.shutdown.clone(), parts.ends.clone());
    let limit = parts.settings.shutdown.grace + WATCHDOG_SLACK;
    parts.io.spawn(async move {
        shutdown.cancelled().await;
        // A thread, because the I/O runtime may be what stands still.
        thread::spawn(move || {
            if wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::error!("the drain does not end: the watchdog ends the process");
                ends.say(Ok(GAVE_UP));
            }
        });
    });
    called_off
}
