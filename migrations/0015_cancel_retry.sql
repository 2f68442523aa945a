-- What an operator does to jobs: cancel, try again, run sooner.
-- callspool: compatible=true

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- Locks these businesses in id order, and makes those that no bell has made yet. Who is about to take ready jobs away
-- needs the lock first: otherwise a claim passes their locked rows over and believes that nothing is there.
create function lock_businesses(p_ids bigint[], p_default_slots integer) returns void
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
begin
    insert into business (business_id, max_slots)
    select id, p_default_slots from unnest(p_ids) id
     where not exists (select 1 from business b where b.business_id = id)
     order by id
    on conflict do nothing;
    perform 1 from business where business_id = any (p_ids) order by business_id for no key update;
end $$;

-- Cancels jobs, and says for each what came of it:
--   cancelled  it is over
--   requested  it runs; its worker is told to stop, and it is over when that has happened
--   finished   it was over before
--   moving     it goes from one state to another at this very moment: ask again
--   elsewhere  it is in another state than p_only
--   unknown    there is no such job
--
-- p_only: a state; jobs that are in another one by now are left alone (`elsewhere`). Null: whatever their state.
--
-- Lock order: businesses, then their rows. Who has rows of job_scheduled or job_lease may wait for a business, or for
-- somebody's open transaction: rows of these that are locked are passed over (`moving`), so that nobody waits who has a
-- business. Rows of job_ready are taken by those only who have their business.
create function cancel_jobs(p_job_id bigint[], p_only text, p_default_slots integer, p_operator text)
returns table (job_id bigint, outcome text)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
#variable_conflict use_column
declare
    wanted bigint[] := array(select distinct id from unnest(p_job_id) id order by id);
    was_scheduled bigint[];
    was_ready bigint[];
    attempts smallint[];
    codes text[];
    messages text[];
    asked bigint[];
    ids bigint[];
    n_ready integer[];
    n_scheduled integer[];
begin
    ids := array(select distinct j.business_id from job j where j.job_id = any (wanted) order by 1);
    perform lock_businesses(ids, p_default_slots);

    -- 1. Those that wait.
    with free as (
        select s.job_id from job_scheduled s
         where s.job_id = any (wanted) and coalesce(p_only, 'scheduled') = 'scheduled'
         order by s.job_id for update skip locked
    ), gone as (
        delete from job_scheduled s using free where s.job_id = free.job_id
        returning s.job_id, s.attempt, s.error_code, s.error_message
    )
    select coalesce(array_agg(job_id order by job_id), '{}'), array_agg(attempt order by job_id),
           array_agg(error_code order by job_id), array_agg(error_message order by job_id)
      into was_scheduled, attempts, codes, messages from gone;
    with gone as (
        delete from job_ready q where q.job_id = any (wanted) and coalesce(p_only, 'ready') = 'ready'
        returning q.job_id, q.attempt
    )
    select coalesce(array_agg(job_id order by job_id), '{}'),
           attempts || array_agg(attempt order by job_id) into was_ready, attempts from gone;

    -- 2. Running ones are asked to stop.
    with asked_now as (
        update job_lease l set cancel_requested = true
         where l.ctid = any (array(select o.ctid from job_lease o
                                    where o.job_id = any (wanted) and coalesce(p_only, 'running') = 'running'
                                    order by o.job_id for update skip locked))
        returning l.job_id
    )
    select coalesce(array_agg(job_id), '{}') into asked from asked_now;

    -- 3. What is over goes to the history.
    with ended as (
        select id, attempts[nr] as attempt, codes[nr] as code, messages[nr] as message
          from unnest(was_scheduled || was_ready) with ordinality e (id, nr)
    ), gone as (
        delete from job j using ended e where j.job_id = e.id
        returning j.*, e.attempt, e.code, e.message
    ), history as (
        insert into job_history (job_id, business_id, call_sid, recording_sid, job_type, state, attempt, max_attempts,
                                 priority, enqueued_at, finished_at, error_code, error_message, recording_key,
                                 recording_url, trace_parent)
        select job_id, business_id, call_sid, recording_sid, job_type, 'cancelled', attempt, max_attempts,
               priority, enqueued_at, now(), code, message, recording_key, recording_url, trace_parent
          from gone
    ), said as (
        insert into operator_action (operator, action, business_id, job_id, detail)
        select p_operator, 'cancel', business_id, job_id, 'cancelled' from gone
        union all
        select p_operator, 'cancel', j.business_id, j.job_id, 'asked to stop' from job j where j.job_id = any (asked)
    )
    select array_agg(business_id order by business_id), array_agg(r order by business_id),
           array_agg(s order by business_id)
      into ids, n_ready, n_scheduled
      from (select business_id, count(*) filter (where job_id = any (was_ready)) as r,
                   count(*) filter (where job_id = any (was_scheduled)) as s
              from gone group by business_id) counted;
    -- The mark stays exact: see the claim.
    update business b
       set ready = b.ready - x.r, scheduled = b.scheduled - x.s, cancelled = b.cancelled + x.r + x.s,
           has_more = b.has_more and exists (select from job_ready q where q.business_id = x.id)
      from unnest(ids, n_ready, n_scheduled) x (id, r, s)
     where b.business_id = x.id;

    return query
        select id, case when id = any (was_scheduled) or id = any (was_ready) then 'cancelled'
                        when id = any (asked) then 'requested'
                        when (select true from job_scheduled q where q.job_id = id)
                            then case when coalesce(p_only, 'scheduled') = 'scheduled' then 'moving' else 'elsewhere' end
                        when (select true from job_lease l where l.job_id = id)
                            then case when coalesce(p_only, 'running') = 'running' then 'moving' else 'elsewhere' end
                        when (select true from job_ready q where q.job_id = id)
                            then case when coalesce(p_only, 'ready') = 'ready' then 'moving' else 'elsewhere' end
                        when (select true from job j where j.job_id = id) then 'moving'
                        when (select true from job_history h where h.job_id = id limit 1) then 'finished'
                        else 'unknown' end
          from unnest(wanted) id;
end $$;

-- Tries jobs again, from their first attempt on, and says for each what came of it:
--   ready        it is ready (again)
--   running      it runs now
--   moving       it goes from one state to another at this very moment: ask again
--   done         its recording is stored
--   duplicate    another live job fetches the recording already
--   not_kept     it ended under a release that did not keep what this needs: enqueue it anew
--   unknown      there is no such job
-- A scheduled job keeps the attempts that it has used; it only runs now.
create function retry_jobs(p_job_id bigint[], p_operator text)
returns table (job_id bigint, outcome text)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
#variable_conflict use_column
declare
    wanted bigint[] := array(select distinct id from unnest(p_job_id) id order by id);
    fresh bigint[];
    stored bigint[];
    not_kept bigint[];
    ids bigint[];
    n_dead integer[];
    n_cancelled integer[];
begin
    -- 1. Dead and cancelled ones are jobs again, unless their recording has another live job: as enqueueing does it. It
    --    may wait for an application's transaction, and has no row then that others need.
    not_kept := array(select h.job_id from job_history h
                       where h.job_id = any (wanted) and h.state <> 'done' and h.recording_url is null);
    with again as (
        insert into job (job_id, business_id, call_sid, recording_sid, recording_key, recording_url, job_type, priority,
                         max_attempts, enqueued_at, trace_parent, due_at)
        select h.job_id, h.business_id, h.call_sid, h.recording_sid, h.recording_key, h.recording_url, h.job_type,
               h.priority, h.max_attempts, h.enqueued_at, h.trace_parent, now()
          from job_history h
         where h.job_id = any (wanted) and h.state <> 'done' and h.recording_url is not null
         order by h.business_id, h.recording_key, h.job_type
        on conflict do nothing
        returning job_id
    )
    select coalesce(array_agg(job_id), '{}') into fresh from again;
    stored := array(
        select j.job_id from unnest(fresh) id
         cross join lateral (select * from job where job.job_id = id) j
         where (select true from recordings r where r.business_id = j.business_id
                   and r.recording_key = j.recording_key and r.job_type = j.job_type));
    if cardinality(stored) > 0 then
        delete from job j where j.job_id = any (stored);
        fresh := array(select unnest(fresh) except select unnest(stored));
    end if;

    -- 2. They are ready, and no history.
    with was as (
        delete from job_history h where h.job_id = any (fresh) and h.state <> 'done'
        returning h.business_id, h.state
    )
    select array_agg(business_id order by business_id), array_agg(dead order by business_id),
           array_agg(cancelled order by business_id)
      into ids, n_dead, n_cancelled
      from (select business_id, count(*) filter (where state = 'dead') as dead,
                   count(*) filter (where state = 'cancelled') as cancelled
              from was group by business_id) counted;
    with now_ready as (
        insert into job_ready (business_id, priority, job_id)
        select j.business_id, j.priority, j.job_id
          from unnest(fresh) id cross join lateral (select * from job where job.job_id = id) j
        returning business_id, job_id
    ), said as (
        insert into operator_action (operator, action, business_id, job_id, detail)
        select p_operator, 'retry', business_id, job_id, 'ready again' from now_ready
    )
    insert into doorbell (business_id, ready_delta, scheduled_delta)
    select business_id, count(*), 0 from now_ready group by business_id;

    -- 3. Scheduled ones become ready, as promotion does it.
    with due as (
        select s.job_id from job_scheduled s where s.job_id = any (wanted) order by s.job_id for update skip locked
    ), moved as (
        delete from job_scheduled s using due where s.job_id = due.job_id
        returning s.business_id, s.priority, s.job_id, s.attempt
    ), now_ready as (
        insert into job_ready (business_id, priority, job_id, attempt)
        select business_id, priority, job_id, attempt from moved
    ), bells as (
        insert into doorbell (business_id, ready_delta, scheduled_delta)
        select business_id, count(*), -count(*) from moved group by business_id
    )
    insert into operator_action (operator, action, business_id, job_id, detail)
    select p_operator, 'retry', business_id, job_id, 'runs now' from moved;

    perform 1 from business where business_id = any (ids) order by business_id for no key update;
    update business b set dead = b.dead - x.dead, cancelled = b.cancelled - x.cancelled
      from unnest(ids, n_dead, n_cancelled) x (id, dead, cancelled)
     where b.business_id = x.id;

    return query
        select id, case when (select true from job_lease l where l.job_id = id) then 'running'
                        when (select true from job_scheduled q where q.job_id = id) then 'moving'
                        when (select true from job j where j.job_id = id) then 'ready'
                        when id = any (stored)
                             or (select true from job_history h where h.job_id = id and h.state = 'done' limit 1)
                            then 'done'
                        when id = any (not_kept) then 'not_kept'
                        when (select true from job_history h where h.job_id = id limit 1) then 'duplicate'
                        else 'unknown' end
          from unnest(wanted) id;
end $$;

-- Somebody waits for this call: its live jobs run before others of their business. Returns how many were moved. Asked
-- again, it only reads.
create function expedite(p_business_id bigint, p_call_sid text, p_priority smallint) returns integer
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
declare
    late bigint[];
    moved integer;
begin
    late := array(select job_id from job
                   where call_sid = p_call_sid and business_id = p_business_id and priority > p_priority
                   order by job_id);
    if cardinality(late) = 0 then return 0; end if;
    perform 1 from business where business_id = p_business_id for no key update;
    -- One that is moving at this very moment is left to the next time: its rows must agree.
    with gone as (
        delete from job_ready q where q.job_id = any (late) and q.business_id = p_business_id
        returning q.job_id, q.attempt
    ), back as (
        insert into job_ready (business_id, priority, job_id, attempt)
        select p_business_id, p_priority, job_id, attempt from gone
        returning job_id
    ), later as (
        update job_scheduled s set priority = p_priority
         where s.job_id = any (array(select o.job_id from job_scheduled o where o.job_id = any (late)
                                      order by o.job_id for update skip locked))
        returning s.job_id
    ), at_work as (
        update job_lease l set priority = p_priority
         where l.ctid = any (array(select o.ctid from job_lease o where o.job_id = any (late)
                                    order by o.job_id for update skip locked))
        returning l.job_id
    )
    update job j set priority = p_priority
     where j.job_id = any (array(select job_id from back union all select job_id from later
                                 union all select job_id from at_work));
    get diagnostics moved = row_count;
    return moved;
end $$;

-- Changes a business, or makes it before its first job; null leaves a value as it is.
create function set_business(
    p_business_id bigint, p_max_slots integer, p_weight smallint, p_paused boolean, p_default_slots integer,
    p_operator text
) returns void
language plpgsql set search_path from current set jit = off as $$
declare
    was business;
begin
    perform lock_businesses(array[p_business_id], p_default_slots);
    select * into was from business b where b.business_id = p_business_id;
    update business b
       set max_slots = coalesce(p_max_slots, b.max_slots), weight = coalesce(p_weight, b.weight),
           paused = coalesce(p_paused, b.paused),
           paused_at = case when not coalesce(p_paused, b.paused) then null
                            when b.paused then b.paused_at else now() end,
           paused_by = case when not coalesce(p_paused, b.paused) then null
                            when b.paused then b.paused_by else p_operator end,
           -- What it waited for while it was paused is over.
           waiting_since = case when b.paused and p_paused is false then now() else b.waiting_since end
     where b.business_id = p_business_id;
    insert into operator_action (operator, action, business_id, detail)
    select p_operator, action, p_business_id, detail
      from (values ('max_slots', format('max_slots %s -> %s', was.max_slots, p_max_slots), p_max_slots <> was.max_slots),
                   ('weight', format('weight %s -> %s', was.weight, p_weight), p_weight <> was.weight),
                   (case when p_paused then 'pause' else 'resume' end,
                    case when p_paused then 'paused' else 'resumed' end, p_paused <> was.paused))
           changed (action, detail, is_change)
     where is_change;
end $$;
