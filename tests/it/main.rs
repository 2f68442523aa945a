//! One binary: what the tests share, then a file for each behaviour.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod support;

mod api;
mod api_outage;
mod architecture;
mod backfill_faults;
mod backfill_killed;
mod backfill_order;
mod backfill_store;
mod backfill_trouble;
mod cli;
mod cli_enqueue;
mod compose;
mod demo;
mod docs;
mod download;
mod download_files;
mod drain_forced;
mod drain_jobs;
mod embedded_postgres;
mod embedded_postgres_run;
mod gate_apply;
mod gate_commands;
mod gate_drift;
mod gate_indexes;
mod gate_lock;
mod gate_protected;
mod gate_schema;
mod gate_trouble;
mod log;
mod log_markers;
mod migration_failures;
mod migration_lock;
mod migration_outage;
mod pool;
mod queue_claim;
mod queue_cost;
mod queue_enqueue;
mod queue_incidents;
mod queue_jobs;
mod queue_law;
mod queue_model;
mod queue_operate;
mod queue_processes;
mod queue_race;
mod queue_settle;
mod queue_statements;
mod queue_upkeep;
mod recording;
mod supervision_faults;
mod webhook;
mod webhook_limits;
