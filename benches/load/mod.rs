//! What the load tests share: a cluster that flushes, real processes that are measured, a media server, senders, figures
//! and a verdict.

pub mod cluster;
pub mod figures;
pub mod media;
pub mod member;
pub mod peak;
pub mod probe;
pub mod report;
pub mod senders;

use std::{fmt::Debug, str::FromStr};

/// A number from the environment; what is there and is none is refused.
pub fn variable<T: FromStr<Err: Debug>>(name: &str, otherwise: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{name}: {error:?}")),
        Err(_) => otherwise,
    }
}

/// `cargo bench … -- --test`: a smoke test, small, and judged by what does not depend on the machine's speed.
pub fn is_smoke() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// One runtime for the harness, and the exit code that its verdict gives.
pub fn run(main: impl Future<Output = bool>) -> std::process::ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if runtime.block_on(main) { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
