-- Running processes. A beat is an update of one row; whose beats stop is dead to the others.

create table instance (
    instance_id uuid primary key,
    host text not null,
    pid integer not null,
    roles text[] not null,
    version text not null,
    workers integer not null,
    draining boolean not null,
    -- What `status` shows of the tree: [{"actor", "generation", "state"}].
    actors jsonb not null,
    started_at timestamptz not null default now(),
    beat_at timestamptz not null default now()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
