//! The rules, without any I/O: no tokio, no actix, no sqlx.
//!
//! Read in this order: [`ids`] (what things are called), [`job`] (what is moved, and its states), [`failure`] and
//! [`retry`] (what happens when it does not work), [`hold`] (what many jobs wait for together), [`slots`] (how businesses take turns), then the checks
//! ([`audio`], [`recording_url`], [`url_policy`], [`mapping`]), where files go ([`storage_url`], [`layout`]), what
//! operators see and do ([`explain`], [`overview`], [`business`], [`operate`]), and
//! [`ports`], the traits that the edges implement.

pub mod access;
pub mod account;
pub mod audio;
pub mod audit;
pub mod backfill;
pub mod business;
pub mod completion;
pub mod database_url;
pub mod details;
pub mod duration;
pub mod enqueue_request;
pub mod explain;
pub mod failure;
pub mod faults;
pub mod follow_up;
pub mod hold;
pub mod ids;
pub mod job;
pub mod json_fields;
pub mod layout;
pub mod lease;
pub mod locks;
pub mod mapping;
pub mod media;
pub mod migration;
pub mod migration_header;
pub mod migration_lint;
pub mod migration_script;
pub mod observation;
pub mod operate;
pub mod overview;
pub mod panic_place;
pub mod ports;
pub mod provider;
pub mod reconcile;
pub mod recording;
pub mod recording_url;
pub mod retry;
pub mod slots;
pub mod sql_name;
pub mod sql_script;
pub mod storage_url;
pub mod text;
pub mod trace;
pub mod transcript;
pub mod url_policy;
