-- Backfills: how far each of the application's batched changes of rows has come.
-- callspool: compatible=true
--
-- One row a file of MIGRATIONS_DIR/backfills. A batch changes the application's rows and moves `position` in one
-- transaction, in which it holds this row's lock: a kill -9 at any instant leaves both or neither, and two processes
-- never run one backfill at the same time. `instance_id` says who goes on with it between two batches, so that the
-- others leave it alone and its pauses are kept; it is a courtesy, the lock is the truth.

create table backfill (
    name text primary key check (name ~ '^[a-z0-9_-]{1,63}$'),
    -- Of what the file does: its statement, table and key. Batch size, pause and timeouts may be changed at any time.
    checksum text not null,
    -- Null for a file that was not understood.
    kind text check (kind in ('key_range', 'until_empty')),
    state text not null default 'pending' check (state in ('pending', 'running', 'done', 'failed')),
    -- A key range: the keys after `origin` up to `target`, the largest that was there at the start; those up to
    -- `position` are done. Null where there is no range, or the table was empty.
    origin bigint,
    position bigint,
    target bigint,
    -- Rows that the batches changed, and the batches that were committed.
    rows bigint not null default 0,
    batches bigint not null default 0,
    -- Tries of the present batch that failed, and why the last one did.
    attempts integer not null default 0,
    last_error text,
    instance_id uuid,
    started_at timestamptz,
    updated_at timestamptz not null default now(),
    finished_at timestamptz
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
