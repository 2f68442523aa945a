-- What is over: finished jobs, attempts that did not end in success, and the recordings themselves.
--
-- History is partitioned by day and dropped by the day: no DELETE, no bloat. The default partitions catch rows when
-- nobody made the day's partition. A unique index cannot span partitions, which is why live jobs are not here.

create table job_history (
    job_id bigint not null,
    business_id bigint not null,
    call_sid text not null,
    recording_sid text,
    job_type text not null,
    state text not null check (state in ('done', 'dead', 'cancelled')),
    attempt smallint not null,
    max_attempts smallint,
    priority smallint not null,
    enqueued_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz not null,
    error_code text,
    error_message text,
    instance_id uuid
) partition by range (finished_at);

create table job_history_default partition of job_history default;
create index job_history_job_id on job_history (job_id);
create index job_history_call_sid on job_history (call_sid);
create index job_history_business on job_history (business_id, job_id);
-- The few that did not end well, among the very many that did.
create index job_history_lost on job_history (job_id) where state <> 'done';
create index job_history_business_lost on job_history (business_id, job_id) where state <> 'done';

-- A success needs no row here: it is the job's row in the history.
create table job_attempt (
    job_id bigint not null,
    attempt smallint not null,
    business_id bigint not null,
    instance_id uuid not null,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    error_code text not null,
    error_message text not null
) partition by range (ended_at);

create table job_attempt_default partition of job_attempt default;
create index job_attempt_job_id on job_attempt (job_id);

create table recordings (
    business_id bigint not null,
    recording_key text not null,
    job_type text not null,
    job_id bigint not null,
    call_sid text not null,
    recording_sid text,
    storage_key text not null,
    bytes bigint not null check (bytes > 0),
    sha256 bytea not null check (length(sha256) = 32),
    content_type text not null,
    stored_at timestamptz not null default now(),
    primary key (business_id, recording_key, job_type)
);

create index recordings_call_sid on recordings (call_sid);
