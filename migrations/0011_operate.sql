-- What an operator needs: who paused, what is asked to stop, since when a business waits, and how the fleet has fared.
-- callspool: compatible=true

-- Since when the ready jobs of a business have waited without one being picked. Written by the updates that the claim
-- and the doorbell make anyhow, and indexed nowhere, so that those stay HOT.
alter table business
    add column waiting_since timestamptz not null default now(),
    add column paused_at timestamptz,
    add column paused_by text;

-- W3C trace context of whoever enqueued, so that one trace leads from the webhook to the file. `due_at`: since when the
-- job is wanted, where that is not since it was enqueued: its run_at, or when an operator tried it again.
alter table job add column trace_parent text, add column due_at timestamptz;

-- The provider's wish, where the wait is its doing.
alter table job_scheduled add column retry_after_ms bigint;

-- Its worker is asked to stop. A flag and not a DELETE: the slot is in use until the download has really ended.
alter table job_lease add column cancel_requested boolean not null default false;
create index job_lease_cancel on job_lease (instance_id) where cancel_requested;

-- So that a job that is over can be tried again. Null where it ended under a release that did not keep them.
alter table job_history
    add column recording_key text,
    add column recording_url text,
    add column trace_parent text;

-- Who did what, for as long as the history is kept.
create table operator_action (
    action_id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    operator text not null,
    action text not null,
    business_id bigint,
    job_id bigint,
    detail text not null
);

create index operator_action_business on operator_action (business_id, action_id);
create index operator_action_job on operator_action (job_id) where job_id is not null;
create index operator_action_at on operator_action (at);

-- The fleet's pulse: a row for each 10 seconds in which something was there to be said. What ended is added by each
-- process, the state of the queue by whoever watches it.
create table pulse (
    at timestamptz primary key,
    ready bigint,
    scheduled bigint,
    running bigint,
    done bigint not null default 0,
    failed bigint not null default 0,
    dead bigint not null default 0,
    bytes bigint not null default 0,
    -- Jobs by time from enqueue to file; the bounds are the program's.
    latency bigint[] not null default '{}'
) with (fillfactor = 70);

-- The queue as it was last looked at: one process at a time counts, all of them read.
create table queue_watch (
    only_row boolean primary key default true check (only_row),
    watched_at timestamptz,
    took_ms integer not null default 0,
    ready bigint not null default 0,
    scheduled bigint not null default 0,
    running bigint not null default 0,
    done bigint not null default 0,
    cancelled bigint not null default 0,
    dead bigint not null default 0,
    oldest_ready timestamptz,
    live_instances integer not null default 0,
    live_workers integer not null default 0,
    -- When a process with the role worker last beat.
    worker_seen_at timestamptz,
    -- The 20 busiest businesses.
    busiest bigint[] not null default '{}'
) with (fillfactor = 50);

insert into queue_watch default values;

-- Why ready jobs are not picked: a row for each reason that holds now.
create table queue_stall (
    reason text primary key,
    since timestamptz not null,
    businesses bigint not null,
    ready bigint not null,
    -- The one that has waited longest.
    business_id bigint not null
);
