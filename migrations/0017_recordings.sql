-- What a recording is beside its file, what many jobs wait for together, and transcripts.
-- callspool: compatible=true

-- `details`: what the provider said of the recording (see `domain/details`). `not_ready_since`: when it first answered
-- that it still works on it.
alter table job add column details jsonb, add column not_ready_since timestamptz;
alter table job_history add column details jsonb;

-- A hold stops work for all of the fleet: an account that is suspended, a host that fails, a storage that is full.
create table hold (
    hold_key text primary key,
    kind text not null check (kind in ('account', 'rate', 'host', 'storage')),
    since timestamptz not null default now(),
    -- Null: until a probe succeeds, or an operator lifts it.
    until timestamptz,
    -- When somebody next tries whether the cause is gone.
    probe_at timestamptz,
    probes integer not null default 0,
    message text not null,
    -- Attempts that met it.
    met bigint not null default 0
) with (fillfactor = 50);

-- The hold that a scheduled job is parked for; its run_at is far away then, and promotion looks at the hold.
alter table job_scheduled add column hold_key text;

-- Wanted forms in order; null: as configured for all.
alter table business add column forms text[];

alter table recordings
    add column duration_ms bigint,
    add column form text,
    add column details jsonb;

create table transcript (
    business_id bigint not null,
    recording_key text not null,
    job_id bigint not null,
    call_sid text not null,
    recording_sid text,
    text text not null,
    language text,
    model text not null,
    segments jsonb not null default '[]',
    made_at timestamptz not null default now(),
    -- No language's stems: words are found as they are spoken, in any language.
    words tsvector not null generated always as (to_tsvector('simple', text)) stored,
    primary key (business_id, recording_key)
);

create index transcript_call_sid on transcript (call_sid);
create index transcript_words on transcript using gin (words);
