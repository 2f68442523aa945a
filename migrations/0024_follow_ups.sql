-- Follow-ups: what is still to be done after a job has ended or a recording was deleted.
-- callspool: compatible=true
--
-- A follow-up is written in the transaction that causes it: no end of a job without its announcement, whatever dies
-- then. Whether one is due is read where the business's row is changed anyhow (its own columns) and from the one row of
-- `fleet_setting`; who uses none of it pays for that row, and for nothing else.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- What SQL has to know of the fleet's configuration. Each process that works on follow-ups writes it at its start.
create table fleet_setting (
    only_row boolean primary key default true check (only_row),
    -- `completion.url` is set.
    announces boolean not null default false,
    -- `retention.delete_at_provider`, for businesses that say nothing.
    delete_at_provider boolean not null default false
);
insert into fleet_setting default values;

-- Null: as configured for all.
alter table business
    add column retention_days integer check (retention_days between 0 and 36500),
    add column delete_at_provider boolean,
    add column completion_url text;

-- The row of a deleted recording stays, so that nothing fetches it again: enqueueing looks at it.
alter table recordings
    add column deleted_at timestamptz,
    add column deleted_by text,
    add column legal_hold boolean not null default false,
    add column provider_deleted_at timestamptz;

create table follow_up (
    follow_up_id bigint generated always as identity primary key,
    -- The same for each try, so that a receiver can tell that it has it.
    event_id uuid not null default gen_random_uuid(),
    kind text not null check (kind in ('announce', 'delete_at_provider', 'delete_file')),
    business_id bigint not null,
    recording_key text not null,
    call_sid text not null,
    recording_sid text,
    -- announce: what is told. delete_at_provider: recording_url, storage_key, bytes. delete_file: storage_key.
    facts jsonb not null,
    made_at timestamptz not null default now(),
    -- When it is tried (again); while it is tried, when that counts as lost.
    due_at timestamptz not null default now(),
    tries integer not null default 0,
    last_error text,
    -- It was given up.
    died_at timestamptz
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

create index follow_up_due on follow_up (due_at) where died_at is null;
create index follow_up_business on follow_up (business_id, due_at) where died_at is null;
create index follow_up_died on follow_up (died_at) where died_at is not null;

-- Writes what follows from ended attempts. The arrays are those of settle_attempts; p_outcome: what became of each, null
-- where its lease was gone. p_announcing, p_deleting: businesses whose ends are announced, and whose stored recordings
-- are deleted at the provider.
create function follow_up_settled(
    p_job_id bigint[], p_outcome text[], p_code text[], p_message text[], p_key text[], p_bytes bigint[],
    p_sha256 bytea[], p_content_type text[], p_duration_ms bigint[], p_form text[], p_transcript jsonb[],
    p_announcing bigint[], p_deleting bigint[]
) returns void
language sql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
    with ended as (
        select e.i, e.outcome, j.*
          from (select i, p_job_id[i] as id, p_outcome[i] as outcome from generate_subscripts(p_job_id, 1) i) e
          cross join lateral (
              -- Written just now, by this transaction.
              select h.job_id, h.business_id, h.recording_key, h.call_sid, h.recording_sid, h.recording_url, h.attempt
                from job_history h
               where h.job_id = e.id and h.finished_at = now() and e.outcome in ('done', 'dead', 'cancelled')
              union all
              select l.job_id, l.business_id, l.recording_key, l.call_sid, l.recording_sid, l.recording_url, null
                from job l where l.job_id = e.id and e.outcome = 'advanced') j
    ), standing as (
        select e.*, (select r.deleted_at is not null from recordings r
                      where r.business_id = e.business_id and r.recording_key = e.recording_key
                        and r.job_type = 'download_only') as deleted
          from ended e
    ), announced as (
        select i, business_id, recording_key, call_sid, recording_sid,
               jsonb_build_object(
                   'type', 'recording.stored', 'timestamp', now(), 'business_id', business_id, 'call_sid', call_sid,
                   'recording_sid', recording_sid, 'job_id', job_id, 'bytes', p_bytes[i],
                   'sha256', encode(p_sha256[i], 'hex'), 'content_type', p_content_type[i], 'form', p_form[i],
                   'duration_ms', p_duration_ms[i], 'stored_at', now()) as facts
          from standing
         where outcome in ('done', 'advanced', 'cancelled') and p_key[i] is not null and deleted is not true
           and business_id = any (p_announcing)
        union all
        select i, business_id, recording_key, call_sid, recording_sid,
               jsonb_build_object(
                   'type', 'transcript.ready', 'timestamp', now(), 'business_id', business_id, 'call_sid', call_sid,
                   'recording_sid', recording_sid, 'job_id', job_id, 'language', p_transcript[i] -> 'language',
                   'model', p_transcript[i] -> 'model', 'characters', length(p_transcript[i] ->> 'text'))
          from standing
         where outcome = 'done' and p_transcript[i] is not null and deleted is not true
           and business_id = any (p_announcing)
        union all
        select i, business_id, recording_key, call_sid, recording_sid,
               jsonb_build_object(
                   'type', 'recording.failed', 'timestamp', now(), 'business_id', business_id, 'call_sid', call_sid,
                   'recording_sid', recording_sid, 'job_id', job_id, 'attempt', attempt,
                   'error', jsonb_build_object('code', p_code[i], 'message', p_message[i]))
          from standing where outcome = 'dead' and business_id = any (p_announcing)
    )
    insert into follow_up (kind, business_id, recording_key, call_sid, recording_sid, facts)
    select 'announce', business_id, recording_key, call_sid, recording_sid, facts from announced
    union all
    select 'delete_at_provider', business_id, recording_key, call_sid, recording_sid,
           jsonb_build_object('recording_url', recording_url, 'storage_key', p_key[i], 'bytes', p_bytes[i])
      from standing
     where outcome in ('done', 'advanced', 'cancelled') and p_key[i] is not null and business_id = any (p_deleting)
       and deleted is not true
    union all
    -- It was deleted while somebody fetched it: this file is nobody's.
    select 'delete_file', business_id, recording_key, call_sid, recording_sid,
           jsonb_build_object('storage_key', p_key[i])
      from standing where outcome in ('done', 'advanced', 'cancelled') and p_key[i] is not null and deleted
$$;

-- Takes up to p_limit due follow-ups for p_lease_ms, of one business at most p_each: one that answers slowly keeps
-- nobody else's waiting for long.
create function take_follow_ups(p_limit integer, p_each integer, p_lease_ms bigint)
returns table (
    follow_up_id bigint, event_id uuid, kind text, business_id bigint, call_sid text, recording_sid text, facts jsonb,
    tries integer, age_ms bigint, completion_url text
)
language sql set search_path from current set jit = off as $$
    -- Business by business along the index, so that a long row of one hides nobody else's.
    with recursive here as (
        (select f.business_id from follow_up f where f.died_at is null order by f.business_id limit 1)
        union all
        select (select f.business_id from follow_up f
                 where f.died_at is null and f.business_id > h.business_id order by f.business_id limit 1)
          from here h where h.business_id is not null
    ), due as (
        select d.follow_up_id, d.due_at from here h
         cross join lateral (
             select f.follow_up_id, f.due_at from follow_up f
              where f.died_at is null and f.business_id = h.business_id and f.due_at <= now()
              order by f.due_at limit p_each) d
         where h.business_id is not null
         order by d.due_at, d.follow_up_id limit 2 * p_limit
    ), chosen as (
        select f.follow_up_id from follow_up f
         where f.follow_up_id = any (array(select follow_up_id from due)) and f.died_at is null and f.due_at <= now()
         order by f.due_at, f.follow_up_id limit p_limit for update skip locked
    )
    update follow_up f set due_at = now() + p_lease_ms * interval '1 ms', tries = f.tries + 1
      from chosen c
     where f.follow_up_id = c.follow_up_id
    returning f.follow_up_id, f.event_id, f.kind, f.business_id, f.call_sid, f.recording_sid, f.facts, f.tries,
              (extract(epoch from now() - f.made_at) * 1000)::bigint,
              (select b.completion_url from business b where b.business_id = f.business_id)
$$;

-- Ends one try: done (also where nothing was left to do), retry or dead. False: another try has begun meanwhile, and this
-- one counts no more. Where the other end was out of reach (p_all), the other announcements of its business wait as
-- long: they would learn the same.
create function end_follow_up(
    p_id bigint, p_tries integer, p_outcome text, p_delay_ms bigint, p_error text, p_all boolean
) returns boolean
language plpgsql set search_path from current set jit = off as $$
declare
    was follow_up;
begin
    select * into was from follow_up f where f.follow_up_id = p_id and f.tries = p_tries and f.died_at is null for update;
    if not found then return false; end if;
    if p_outcome = 'done' then
        delete from follow_up f where f.follow_up_id = p_id;
        if was.kind = 'delete_at_provider' then
            update recordings r set provider_deleted_at = now()
             where r.business_id = was.business_id and r.recording_key = was.recording_key
               and r.job_type = 'download_only';
        end if;
        return true;
    end if;
    update follow_up f
       set due_at = now() + p_delay_ms * interval '1 ms', last_error = p_error,
           died_at = case when p_outcome = 'dead' then now() end
     where f.follow_up_id = p_id;
    if p_all then
        update follow_up f set due_at = now() + p_delay_ms * interval '1 ms'
         where f.follow_up_id = any (array(
             select o.follow_up_id from follow_up o
              where o.business_id = was.business_id and o.died_at is null and o.kind = 'announce' and o.due_at <= now()
              order by o.follow_up_id limit 1000 for update skip locked));
    end if;
    return true;
end $$;
