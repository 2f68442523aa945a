-- Live jobs, and the three places where one can be.
--
-- `job` is wide and written twice: at enqueue and at the end. The state is where the narrow row is: job_ready,
-- job_scheduled or job_lease, always exactly one of them. The claim path touches narrow rows only.
--
-- No foreign keys between these tables: they would lock shared rows on the hot paths. The conservation law is kept by
-- the functions that follow, each of which moves a row within one transaction, and is tested.

create sequence job_id_seq;

create table job (
    job_id bigint primary key default nextval('job_id_seq'),
    business_id bigint not null,
    call_sid text not null,
    recording_sid text,
    -- The recording where it is known, else the call: what "the same recording" means.
    recording_key text not null,
    recording_url text not null,
    job_type text not null,
    priority smallint not null,
    -- Null: as configured.
    max_attempts smallint,
    enqueued_at timestamptz not null default clock_timestamp()
);

-- One live job for each recording and type: the whole of deduplication (incidents 6 and 7).
create unique index job_live on job (business_id, recording_key, job_type);
create index job_call_sid on job (call_sid);

-- Inserted and deleted, never updated. The key is the order of the claim within one business.
create table job_ready (
    business_id bigint not null,
    priority smallint not null,
    job_id bigint not null,
    -- Attempts used so far.
    attempt smallint not null default 0,
    primary key (business_id, priority, job_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);

-- The oldest ready job of all businesses, and the newest ones for a list, without a walk over the backlog.
create index job_ready_job_id on job_ready (job_id);

create table job_scheduled (
    job_id bigint primary key,
    run_at timestamptz not null,
    business_id bigint not null,
    priority smallint not null,
    attempt smallint not null default 0,
    -- Of the attempt that failed; null for a job that was enqueued for later.
    error_code text,
    error_message text
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

create index job_scheduled_due on job_scheduled (run_at);
create index job_scheduled_business on job_scheduled (business_id, job_id);

-- The fence is `lease_id`, drawn anew by every claim. The attempt's number would not do: a job that was handed back
-- keeps its number, and a frozen worker could end the next holder's lease.
create sequence lease_id_seq cache 100;

create table job_lease (
    job_id bigint primary key,
    lease_id bigint not null default nextval('lease_id_seq'),
    attempt smallint not null,
    business_id bigint not null,
    priority smallint not null,
    instance_id uuid not null,
    worker integer not null,
    generation bigint not null,
    leased_at timestamptz not null default now(),
    deadline_at timestamptz not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index job_lease_holder on job_lease (instance_id, worker);

-- Append-only; the truth of which a NOTIFY is a hint. Enqueue touches no shared row: it writes here what changed, and
-- the claim adds it to the business. A conditional update of the business instead stranded jobs.
create table doorbell (
    business_id bigint not null,
    ready_delta integer not null,
    scheduled_delta integer not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
