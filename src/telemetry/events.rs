//! The table of all events that others rely on: marker, fields, and when each is written.
//!
//! An event is written anywhere by tracing's macros with a field `marker`; its line begins with the icon, the marker
//! and these fields in this order, and ends with whatever other fields it has.

use std::fmt::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub marker: &'static str,
    /// Empty for none.
    pub icon: &'static str,
    pub fields: &'static [&'static str],
    pub when: &'static str,
    /// Its text stands at the end of the line: it says something that the fields do not.
    pub speaks: bool,
}

const fn event(
    icon: &'static str,
    marker: &'static str,
    fields: &'static [&'static str],
    when: &'static str,
) -> Event {
    Event { marker, icon, fields, when, speaks: false }
}

pub const ALL: &[Event] = &[
    event(
        "📥",
        "ENQUEUE",
        &["job_type", "call_sid", "business_id", "deduplicated"],
        "a route committed a job, or it was there already",
    ),
    event(
        "⚠️",
        "RECORDING_ABSENT",
        &["status", "call_sid", "recording_sid"],
        "the provider said that a recording is absent or has failed: nothing is fetched, nobody need wait for it",
    ),
    event(
        "🎯",
        "WORKER_PICKED",
        &["job_type", "call_sid", "business_id", "recording_sid", "attempt"],
        "a worker begins an attempt",
    ),
    event(
        "✅",
        "WORKER_SLOT_ACQUIRED",
        &["call_sid", "business_id", "running", "max_slots"],
        "a claim gave the job a slot",
    ),
    event(
        "✅",
        "WORKER_DOWNLOAD_DONE",
        &["call_sid", "file", "bytes", "duration_ms"],
        "the recording is whole in the storage",
    ),
    event(
        "📝",
        "WORKER_TRANSCRIBED",
        &["call_sid", "model", "language", "chars", "duration_ms"],
        "the recording's words are there",
    ),
    Event {
        speaks: true,
        ..event(
            "",
            "TRANSCRIPTION_OFF",
            &["call_sid", "business_id"],
            "a job of the type full ended behind its download: transcription.base_url is not set",
        )
    },
    event(
        "🔓",
        "WORKER_RELEASE_SLOT",
        &["call_sid", "business_id", "reason"],
        "the slot is free: reason is success, retry, failed, cancelled, drained or reaped",
    ),
    event(
        "❌",
        "WORKER_JOB_FAILED",
        &["call_sid", "reason", "type", "retry_in"],
        "an attempt failed; retry_in=never when it was the last",
    ),
    event(
        "",
        "RESULT_DROPPED",
        &["call_sid", "business_id"],
        "an attempt's result came after its lease had ended, and changed nothing: another attempt has the job, or had it",
    ),
    event(
        "📤",
        "COMPLETION_SENT",
        &["type", "call_sid", "business_id", "tries", "http_status"],
        "a business's system took what it was told",
    ),
    event(
        "❌",
        "COMPLETION_FAILED",
        &["type", "call_sid", "business_id", "reason", "retry_in"],
        "it did not; retry_in=never when it is given up",
    ),
    event(
        "🗑",
        "RECORDING_DELETED",
        &["call_sid", "business_id", "by"],
        "a recording was deleted for good: by a token's name or retention; its file follows at once",
    ),
    event(
        "🗑",
        "RECORDING_FILE_REMOVED",
        &["call_sid", "business_id", "file"],
        "the file of a deleted recording is gone",
    ),
    event(
        "🗑",
        "PROVIDER_DELETED",
        &["call_sid", "business_id", "recording_sid"],
        "the provider's copy of a stored recording was deleted",
    ),
    event(
        "❌",
        "DELETION_FAILED",
        &["kind", "call_sid", "business_id", "reason", "retry_in"],
        "a file or the provider's copy could not be deleted; retry_in=never when it is given up",
    ),
    event(
        "🔒",
        "MIGRATION_LOCK_WAITING",
        &[
            "attempt",
            "waited_ms",
            "holder_pid",
            "holder_app",
            "holder_since",
            "holder_client",
            "holder_state",
            "holder_query",
        ],
        "another session has the migration lock",
    ),
    event("", "MIGRATION_LOCK_ACQUIRED", &["attempt"], "this process migrates"),
    event(
        "",
        "MIGRATION_RUNNING",
        &["version", "ms", "waiting_for", "blocked_by", "index_build"],
        "a migration takes long: what it waits for, who is in its way, how far an index is built",
    ),
    event("", "MIGRATION_APPLIED", &["version", "ms"], "one migration is applied"),
    event("", "MIGRATION_DONE", &["applied", "version"], "nothing is left to apply"),
    Event {
        speaks: true,
        ..event(
            "✅",
            "MIGRATION_SKIPPED",
            &["reason"],
            "this process does not migrate, which is safe, as the line says: reason is disabled or lock_timeout",
        )
    },
    event(
        "❌",
        "MIGRATION_FAILED",
        &["version", "reason", "sqlstate", "set"],
        "a migration failed; the process goes on",
    ),
    event(
        "",
        "DATABASE_PRIMARY",
        &["host", "place", "timeline", "url"],
        "of several hosts in url, the one at this place is the primary and is used from now on",
    ),
    event(
        "❌",
        "DATABASE_NO_PRIMARY",
        &["hosts", "standbys", "reason", "url"],
        "no host in url takes writes: nothing is claimed until one does",
    ),
    event("", "SCHEMA_WAITING", &["have", "need"], "workers wait for a schema that fits"),
    event("", "SCHEMA_READY", &["have", "need"], "the schema fits: workers start"),
    event(
        "",
        "BACKFILL_STARTED",
        &["name"],
        "this process runs that backfill, from its start or from where it stands",
    ),
    event(
        "",
        "BACKFILL_PROGRESS",
        &["name", "rows", "percent", "rows_per_s"],
        "after its first batch, then every 10 s and ever more seldom; percent is of a key range's keys",
    ),
    event("✅", "BACKFILL_DONE", &["name", "rows", "ms"], "nothing of that backfill is left"),
    event(
        "❌",
        "BACKFILL_FAILED",
        &["name", "reason"],
        "somebody has to mend something; backfills after it do not begin",
    ),
    event(
        "",
        "RECONCILE_DONE",
        &["account_sid", "seen", "had", "dead", "enqueued", "gone", "unmapped", "since", "ms"],
        "what the provider has of an account was looked through once; dead: those of had whose last job is dead or \
         cancelled, which are not enqueued again",
    ),
    event(
        "❌",
        "RECONCILE_FAILED",
        &["account_sid", "reason", "seen"],
        "it could not be looked through; it goes on where it stands, after reconcile.interval",
    ),
    event("", "STORAGE_SWEPT", &["files"], "files that dead processes had left written aside are removed"),
    event("", "ACTOR_STARTED", &["actor", "generation"], "an actor started for the first time"),
    event(
        "",
        "ACTOR_DOWN",
        &["actor", "generation", "reason", "restart_in"],
        "an actor ended; restart_in where it is restarted",
    ),
    event("", "ACTOR_RESTARTED", &["actor", "generation"], "an actor was made anew"),
    Event {
        speaks: true,
        ..event(
            "⏳",
            "QUEUE_STALLED",
            &["reason", "ready", "businesses", "business_id", "since"],
            "jobs are ready and none was picked for queue.stalled_after: the reason is the one that explain gives; once in \
             the fleet for each change",
        )
    },
    event("", "QUEUE_MOVES", &["reason", "since"], "ready jobs wait for this reason no more"),
    event(
        "✋",
        "HOLD_STARTED",
        &["kind", "key", "reason", "until", "probe_at", "detail"],
        "many jobs wait for one thing from now on: kind is account, rate, host or storage, reason the one that explain \
         gives, until where it ends by time, probe_at where it is tried; once in the fleet",
    ),
    event(
        "",
        "HOLD_ENDED",
        &["kind", "key", "reason", "by", "lasted_ms", "waiting"],
        "they go on: by is probe, time or operator NAME; once in the fleet",
    ),
    event("", "DRAIN_STARTED", &[], "the process stops: nothing new is taken in"),
    event(
        "",
        "DRAIN_DONE",
        &["finished", "handed_back"],
        "every actor has ended: jobs that ended during the drain, and jobs given back unburnt",
    ),
];

pub fn find(marker: &str) -> Option<&'static Event> {
    ALL.iter().find(|event| event.marker == marker)
}

/// The README's table.
pub fn markdown_table() -> String {
    let mut table = String::from("| marker | fields | written when |\n|---|---|---|\n");
    for Event { marker, icon, fields, when, .. } in ALL {
        let icon = if icon.is_empty() { String::new() } else { format!("{icon} ") };
        // Writing to a String does not fail.
        let _ = writeln!(table, "| {icon}`{marker}` | {} | {when} |", fields.join(" "));
    }
    table
}
