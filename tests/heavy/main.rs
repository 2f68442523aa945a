//! What needs more than a PostgreSQL: a pooler, clusters that are restarted, the API's description as others read it, and the provider as its own library and description have it. Not part of `cargo test`;
//! `sh .ci/setup.sh heavy` gets what is needed, and `cargo test --features faults --test heavy` runs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[allow(dead_code, reason = "shared with the other tests")]
#[path = "../it/queue_law.rs"]
mod queue_law;
#[allow(dead_code, unused_imports, reason = "shared with the other tests")]
#[path = "../it/support/mod.rs"]
mod support;

mod cluster;
mod pgbouncer;
mod s3;
#[allow(dead_code, reason = "shared with the chaos command")]
mod standby;

mod api_fuzz;
mod bucket;
mod bucket_azure;
mod bucket_run;
mod bucket_zombies;
mod container_run;
mod failover;
mod gate_pooler;
mod gate_restart;
mod incidents;
mod pooled;
mod pooled_everything;
mod pooled_incidents;
mod previous;
mod provider_described;
mod slow;
mod upgrade;
mod webhook_signatures;
