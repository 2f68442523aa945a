//! One binary: what the tests share, then a file for each behaviour.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod support;

mod api;
mod api_outage;
mod architecture;
mod compose;
mod demo;
mod docs;
mod download;
mod download_files;
mod drain_forced;
mod drain_jobs;
mod migration_failures;
mod migration_lock;
mod migration_outage;
mod recording;
mod supervision_faults;
mod webhook;
mod webhook_limits;
