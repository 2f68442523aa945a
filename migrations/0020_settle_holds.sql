-- Settle: waits that do not count as attempts, a step of a job that goes on, what is known of the audio, transcripts.
-- callspool: compatible=true
--
-- What follows from an end, such as its announcement, is written with it (0024), and a deleted recording is not stored
-- again (0026). `settle_leases` stays for processes of the release before.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- When a job is due that waits for a hold: far away, and still a time that every client can read.
create function held_until() returns timestamptz
language sql immutable as $$ select timestamptz '9999-01-01 00:00:00Z' $$;

-- Ends attempts and frees their slots; returns the leases that were still held, and what became of each. An attempt
-- whose lease is gone changes nothing: it was reaped meanwhile, and its job has another future.
--
-- p_outcome: done, advanced (stored, and ready again for its next step), retry, wait (parked for the hold p_hold_key),
-- not_ready, dead, hand_back or cancelled. Neither wait nor not_ready nor hand_back counts as an attempt. The arrays p_key
-- to p_form are of the stored file (done, advanced), p_transcript of its words (done); p_code, p_message and
-- p_retry_after_ms of the failure. A recording stands in `recordings` as download_only, whatever job stored it.
create function settle_attempts(
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

create or replace function settle_leases(
    p_job_id bigint[], p_lease_id bigint[], p_outcome text[], p_delay_ms bigint[], p_code text[], p_message text[],
    p_retry_after_ms bigint[], p_key text[], p_bytes bigint[], p_sha256 bytea[], p_content_type text[]
) returns table (lease_id bigint, outcome text)
language sql set search_path from current as $$
    select * from settle_attempts($1, $2, $3, $4, $5, $6, $7, '{}', $8, $9, $10, $11, '{}', '{}', '{}')
$$;

-- As before, and the history keeps the details; a job that died is announced.
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
