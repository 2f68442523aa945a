//! One binary: what the tests share, then a file for each behaviour.

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
mod recording;
mod supervision_faults;
mod webhook;
mod webhook_limits;
