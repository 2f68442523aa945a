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

-- As before, and: what follows from an end is written with it; a deleted recording is not stored again.
create or replace function settle_attempts(
    p_job_id bigint[], p_lease_id bigint[], p_outcome text[], p_delay_ms bigint[], p_code text[], p_message text[],
    p_retry_after_ms bigint[], p_hold_key text[], p_key text[], p_bytes bigint[], p_sha256 bytea[], p_content_type text[],
    p_duration_ms bigint[], p_form text[], p_transcript jsonb[]
) returns table (lease_id bigint, outcome text)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
#variable_conflict use_column
declare
    held bigint[];
    outcomes text[];
    ids bigint[];
    n_all integer[];
    n_back integer[];
    n_retry integer[];
    n_done integer[];
    n_dead integer[];
    n_cancelled integer[];
    lost integer;
    announcing bigint[];
    deleting bigint[];
begin
    -- Before the statement that looks whether they are deleted: a recording that is deleted just now gets no words, or
    -- whoever deletes it sees them. All of the batch, in the order in which they are stored.
    if exists (select from unnest(p_transcript) t where t is not null) then
        perform 1
           from (select j.business_id, j.recording_key from generate_subscripts(p_job_id, 1) i
                  cross join lateral (select * from job where job.job_id = p_job_id[i]) j
                  where p_transcript[i] is not null or p_key[i] is not null
                  order by j.business_id, j.recording_key) w
          cross join lateral (select from recordings r
                               where r.business_id = w.business_id and r.recording_key = w.recording_key
                                 for no key update) r;
    end if;

    with reported as (
        select i, p_job_id[i] as job_id, p_lease_id[i] as lease_id, p_outcome[i] as outcome
          from generate_subscripts(p_job_id, 1) i
         -- Leases are locked in one order, so that two who settle the same ones do not deadlock.
         order by p_job_id[i]
    ), ended as (
        delete from job_lease l using reported r
         where l.job_id = r.job_id and l.lease_id = r.lease_id
        returning l.*, r.i,
                  case when l.cancel_requested
                            and r.outcome in ('retry', 'wait', 'not_ready', 'hand_back', 'advanced') then 'cancelled'
                       else r.outcome end as outcome
    ), gone as (
        delete from job j using ended e
         where j.job_id = e.job_id and e.outcome in ('done', 'dead', 'cancelled')
        returning j.*, e.i, e.outcome, e.attempt, e.leased_at, e.instance_id
    ), history as (
        insert into job_history (job_id, business_id, call_sid, recording_sid, job_type, state, attempt, max_attempts,
                                 priority, enqueued_at, started_at, finished_at, error_code, error_message, instance_id,
                                 recording_key, recording_url, trace_parent, details)
        select job_id, business_id, call_sid, recording_sid, job_type, outcome, attempt, max_attempts,
               priority, enqueued_at, leased_at, now(), p_code[i], p_message[i], instance_id,
               recording_key, recording_url, trace_parent, details
          from gone
    ), goes_on as (
        select j.*, e.i, e.outcome from ended e cross join lateral (select * from job where job.job_id = e.job_id) j
         where e.outcome = 'advanced'
    ), stored as (
        insert into recordings (business_id, recording_key, job_type, job_id, call_sid, recording_sid, storage_key,
                                bytes, sha256, content_type, duration_ms, form, details)
        select distinct on (business_id, recording_key)
               business_id, recording_key, 'download_only', job_id, call_sid, recording_sid, p_key[i],
               p_bytes[i], p_sha256[i], p_content_type[i], p_duration_ms[i], p_form[i], details
          from (select business_id, recording_key, job_id, call_sid, recording_sid, details, i from gone
                 -- Cancelled after its first step: what that has stored stays.
                 where outcome in ('done', 'cancelled')
                union all
                select business_id, recording_key, job_id, call_sid, recording_sid, details, i from goes_on) s
         where p_key[i] is not null
         order by business_id, recording_key
        on conflict (business_id, recording_key, job_type) do update
           set job_id = excluded.job_id, storage_key = excluded.storage_key, bytes = excluded.bytes,
               sha256 = excluded.sha256, content_type = excluded.content_type, stored_at = excluded.stored_at,
               duration_ms = excluded.duration_ms, form = excluded.form, details = excluded.details
         -- A deleted recording stays deleted, whoever has stored it again meanwhile.
         where recordings.deleted_at is null
        returning 1
    ), transcribed as (
        insert into transcript (business_id, recording_key, job_id, call_sid, recording_sid, text, language, model,
                                segments)
        select business_id, recording_key, job_id, call_sid, recording_sid, p_transcript[i] ->> 'text',
               p_transcript[i] ->> 'language', p_transcript[i] ->> 'model', p_transcript[i] -> 'segments'
          from gone where outcome = 'done' and p_transcript[i] is not null
           and not exists (select from recordings r where r.business_id = gone.business_id
                              and r.recording_key = gone.recording_key and r.deleted_at is not null)
         order by business_id, recording_key
        on conflict (business_id, recording_key) do update
           set job_id = excluded.job_id, text = excluded.text, language = excluded.language, model = excluded.model,
               segments = excluded.segments, made_at = now()
    ), retried as (
        insert into job_scheduled (job_id, run_at, business_id, priority, attempt, error_code, error_message,
                                   retry_after_ms, hold_key)
        select job_id, case when p_hold_key[i] is null then now() + p_delay_ms[i] * interval '1 ms' else held_until() end,
               business_id, priority, case when outcome = 'retry' then attempt else attempt - 1 end, p_code[i],
               p_message[i], p_retry_after_ms[i], p_hold_key[i]
          from ended where outcome in ('retry', 'wait', 'not_ready')
    ), not_ready as (
        update job j set not_ready_since = now()
          from ended e
         where j.job_id = e.job_id and e.outcome = 'not_ready' and j.not_ready_since is null
    ), handed_back as (
        insert into job_ready (business_id, priority, job_id, attempt)
        select business_id, priority, job_id, case when outcome = 'advanced' then 0 else attempt - 1 end
          from ended where outcome in ('hand_back', 'advanced')
    ), attempts as (
        insert into job_attempt (job_id, attempt, business_id, instance_id, started_at, ended_at, error_code,
                                 error_message)
        select job_id, attempt, business_id, instance_id, leased_at, now(), coalesce(p_code[i], 'cancelled'),
               coalesce(p_message[i], 'an operator cancelled the job')
          from ended where outcome in ('retry', 'not_ready', 'dead', 'cancelled')
    ), counted as (
        select business_id, count(*) as n, count(*) filter (where outcome in ('hand_back', 'advanced')) as back,
               count(*) filter (where outcome in ('retry', 'wait', 'not_ready')) as retry, count(*) filter (where outcome = 'done') as done,
               count(*) filter (where outcome = 'dead') as dead,
               count(*) filter (where outcome = 'cancelled') as cancelled
          from ended group by business_id
    )
    select (select array_agg(lease_id order by lease_id) from ended),
           (select array_agg(outcome order by lease_id) from ended),
           array_agg(business_id order by business_id),
           array_agg(n order by business_id), array_agg(back order by business_id),
           array_agg(retry order by business_id), array_agg(done order by business_id),
           array_agg(dead order by business_id), array_agg(cancelled order by business_id),
           (select count(*) from ended where outcome in ('done', 'advanced', 'cancelled') and p_key[i] is not null)
               - (select count(*) from stored)
      into held, outcomes, ids, n_all, n_back, n_retry, n_done, n_dead, n_cancelled, lost from counted;
    if held is null then return; end if;

    perform 1 from business where business_id = any (ids) order by business_id for no key update;
    with changed as (
        update business b
           set running = b.running - x.n, ready = b.ready + x.back, scheduled = b.scheduled + x.retry,
               done = b.done + x.done, dead = b.dead + x.dead, cancelled = b.cancelled + x.cancelled,
               has_more = b.has_more or x.back > 0,
               waiting_since = case when b.ready <= 0 and x.back > 0 then now() else b.waiting_since end
          from unnest(ids, n_all, n_back, n_retry, n_done, n_dead, n_cancelled)
               x (id, n, back, retry, done, dead, cancelled)
         where b.business_id = x.id
        returning b.business_id, b.completion_url, b.delete_at_provider
    )
    select array_agg(c.business_id) filter (where c.completion_url is not null or f.announces),
           array_agg(c.business_id) filter (where coalesce(c.delete_at_provider, f.delete_at_provider))
      into announcing, deleting from changed c cross join fleet_setting f;
    if announcing is not null or deleting is not null or lost > 0 then
        perform follow_up_settled(
            p_job_id, array(select (select o from unnest(held, outcomes) h (l, o) where l = p_lease_id[i])
                              from generate_subscripts(p_job_id, 1) i order by i),
            p_code, p_message, p_key, p_bytes, p_sha256, p_content_type, p_duration_ms, p_form, p_transcript,
            announcing, deleting);
    end if;
    return query select * from unnest(held, outcomes);
end $$;

-- As before, and a job that died is announced.
create or replace function reap_leases(p_ttl_ms bigint, p_limit integer, p_max_attempts smallint)
returns table (job_id bigint, business_id bigint, call_sid text, job_type text, attempt smallint, outcome text)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
#variable_conflict use_column
declare
    reaped bigint[];
    reaped_business bigint[];
    reaped_call text[];
    reaped_type text[];
    reaped_attempt smallint[];
    reaped_outcome text[];
    ids bigint[];
    n_all integer[];
    n_back integer[];
    n_dead integer[];
    n_cancelled integer[];
    announcing bigint[];
begin
    with lost as (
        select l.job_id, l.deadline_at <= now() as overdue
          from job_lease l left join instance i using (instance_id)
         where l.deadline_at <= now() or i.beat_at is null or i.beat_at <= now() - p_ttl_ms * interval '1 ms'
         order by l.job_id limit p_limit for update of l skip locked
    ), ended as (
        delete from job_lease l using lost where l.job_id = lost.job_id
        returning l.*, case when lost.overdue then 'the attempt exceeded its lease'
                            else 'the instance stopped beating' end as why
    ), judged as (
        select e.*, j.call_sid, j.job_type,
               case when e.cancel_requested then 'cancelled'
                    when e.attempt >= coalesce(j.max_attempts, p_max_attempts) then 'dead'
                    else 'ready' end as outcome
          from ended e cross join lateral (select * from job where job.job_id = e.job_id) j
    ), gone as (
        delete from job j using judged e where j.job_id = e.job_id and e.outcome <> 'ready'
        returning j.*, e.attempt, e.leased_at, e.instance_id, e.why, e.outcome
    ), history as (
        insert into job_history (job_id, business_id, call_sid, recording_sid, job_type, state, attempt, max_attempts,
                                 priority, enqueued_at, started_at, finished_at, error_code, error_message, instance_id,
                                 recording_key, recording_url, trace_parent, details)
        select job_id, business_id, call_sid, recording_sid, job_type, outcome, attempt, max_attempts,
               priority, enqueued_at, leased_at, now(), 'lease_expired', why, instance_id, recording_key, recording_url,
               trace_parent, details
          from gone
    ), back as (
        insert into job_ready (business_id, priority, job_id, attempt)
        select business_id, priority, job_id, attempt from judged where outcome = 'ready'
    ), attempts as (
        insert into job_attempt (job_id, attempt, business_id, instance_id, started_at, ended_at, error_code,
                                 error_message)
        select job_id, attempt, business_id, instance_id, leased_at, now(), 'lease_expired', why from judged
    )
    select array_agg(job_id order by job_id), array_agg(business_id order by job_id),
           array_agg(call_sid order by job_id), array_agg(job_type order by job_id),
           array_agg(attempt order by job_id), array_agg(outcome order by job_id)
      into reaped, reaped_business, reaped_call, reaped_type, reaped_attempt, reaped_outcome from judged;

    -- Processes that are long gone and hold nothing need no row.
    delete from instance i
     where i.beat_at < now() - greatest(interval '1 hour', 10 * p_ttl_ms * interval '1 ms')
       and not exists (select 1 from job_lease l where l.instance_id = i.instance_id);
    if reaped is null then return; end if;

    select array_agg(id order by id), array_agg(n order by id), array_agg(back order by id),
           array_agg(dead order by id), array_agg(cancelled order by id)
      into ids, n_all, n_back, n_dead, n_cancelled
      from (select id, count(*) as n, count(*) filter (where outcome = 'ready') as back,
                   count(*) filter (where outcome = 'dead') as dead,
                   count(*) filter (where outcome = 'cancelled') as cancelled
              from unnest(reaped_business, reaped_outcome) r (id, outcome) group by id) counted;
    perform 1 from business where business_id = any (ids) order by business_id for no key update;
    with changed as (
        update business b
           set running = b.running - x.n, ready = b.ready + x.back, dead = b.dead + x.dead,
               cancelled = b.cancelled + x.cancelled, has_more = b.has_more or x.back > 0,
               waiting_since = case when b.ready <= 0 and x.back > 0 then now() else b.waiting_since end
          from unnest(ids, n_all, n_back, n_dead, n_cancelled) x (id, n, back, dead, cancelled)
         where b.business_id = x.id
        returning b.business_id, b.completion_url, x.dead
    )
    select array_agg(c.business_id) filter (where c.dead > 0 and (c.completion_url is not null or f.announces))
      into announcing from changed c cross join fleet_setting f;
    if announcing is not null then
        perform follow_up_settled(
            reaped, reaped_outcome, array_fill('lease_expired'::text, array[cardinality(reaped)]),
            array_fill('the lease ended without a report'::text, array[cardinality(reaped)]),
            '{}', '{}', '{}', '{}', '{}', '{}', '{}', announcing, '{}');
    end if;
    return query
        select * from unnest(reaped, reaped_business, reaped_call, reaped_type, reaped_attempt, reaped_outcome);
end $$;

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
