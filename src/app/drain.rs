//! From a signal to the end of the process, also when something does not end.

use super::Running;
use std::{sync::mpsc, thread, time::Duration};
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Exit code of a drain that did not end (`EX_SOFTWARE`).
const GAVE_UP: i32 = 70;
/// Exit code after a second signal, as shells give it for SIGTERM.
const INTERRUPTED: i32 = 143;
/// Given to the drain beyond its grace before the process is ended from outside the actors.
const WATCHDOG_SLACK: Duration = Duration::from_secs(10);

/// Drains on the first SIGTERM or SIGINT; a second one ends the process at once.
pub fn stop_on_signals(io: &Handle, running: &Running) {
    let stop = running.stopper();
    io.spawn(async move {
        let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                return tracing::error!(%error, "no signal handler: SIGTERM ends the process without a drain");
            }
        };
        either(&mut terminate, &mut interrupt).await;
        stop();
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(INTERRUPTED);
    });
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Ends the process when a drain that began does not end in time: an actor that blocks its thread cannot be aborted.
/// Dropping the result calls it off.
pub(super) fn watchdog(io: &Handle, shutdown: CancellationToken, grace: Duration) -> mpsc::Sender<()> {
    let (called_off, wait) = mpsc::channel();
    io.spawn(async move {
        shutdown.cancelled().await;
        thread::spawn(move || {
            if wait.recv_timeout(grace + WATCHDOG_SLACK) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::error!("the drain does not end: the watchdog ends the process");
                std::process::exit(GAVE_UP);
            }
        });
    });
    called_off
}
