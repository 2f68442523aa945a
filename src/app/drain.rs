//! From a signal to the end of the process, also when something does not end.

use super::{Parts, Running};
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

/// Drains on the first SIGTERM or SIGINT; a second one ends the process at once.
pub fn stop_on_signals(io: &Handle, running: &Running) {
    let (stop, ends) = (running.stopper(), running.ends.clone());
    io.spawn(async move {
        let (mut terminate, mut interrupt) =
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
                (Err(error), _) | (_, Err(error)) => {
                    return tracing::error!(%error, "no signal handler: SIGTERM ends the process without a drain");
                }
            };
        either(&mut terminate, &mut interrupt).await;
        stop();
        let number = either(&mut terminate, &mut interrupt).await.as_raw_value();
        tracing::warn!(signal = number, "a second signal: the process ends at once");
        ends.say(Ok(SIGNALLED + number));
    });
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
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
