//! callspool moves call recordings from a telephony provider into your own storage, reliably and fairly, for many
//! businesses at once.
//!
//! The map, from the rules outwards:
//!
//! | module | what it holds | imports of ours |
//! |---|---|---|
//! | [`domain`] | the rules, without I/O, and the traits that the edges implement | |
//! | [`settings`] | raw configuration → checked settings | domain |
//! | [`telemetry`] | logging, metrics and traces; the tables of all events and metrics | domain |
//! | [`store`] | all SQL | domain |
//! | [`adapters`] | Twilio, Telnyx, object storage, the clock, the embedded PostgreSQL | domain |
//! | [`actors`] | the control plane: supervision, migration, slots, workers | domain |
//! | [`http`] | routes, webhooks, health | domain, actors |
//! | [`demo`] | the simulated provider and the demo | domain, adapters, settings |
//! | [`app`] | puts all of these together | all of these |
//! | [`cli`] | one command, one file | app, settings, store |
//!
//! **A recording.** `http/webhooks` checks the signature and commits the job before it answers 2xx →
//! `store::JobBook::enqueue` → doorbell → `actors/slot_manager` claims jobs with their slots, in batches, for the
//! workers that are free → `actors/recording_worker` drives one download → `adapters/twilio` streams,
//! `adapters/storage` writes aside and renames → `domain::audio` checks the content → `settle` in batches → the slot is
//! free. What stalls, dies or fails comes back by `actors/maintenance`.
//!
//! **A start-up.** `main` → `settings` → `app` builds the runtimes → `actors/supervision` starts `actors/migration`:
//! disabled → skip at once; else try the lock by timed messages until it has it or its time is up → `store/gate`
//! migrates on one dedicated connection → release → the schema gate: workers start only on a schema that fits.
//! Behind it `actors/backfill` runs the application's backfills, in batches, where this process migrates.

#[cfg(not(panic = "unwind"))]
compile_error!("callspool supervises actors that panic: build it with panic = \"unwind\"");

pub mod actors;
pub mod adapters;
pub mod app;
pub mod cli;
pub mod demo;
pub mod domain;
pub mod http;
pub mod settings;
pub mod store;
pub mod telemetry;
