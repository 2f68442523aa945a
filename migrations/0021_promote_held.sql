-- Promotion frees the jobs whose hold is over; a cancelled job and one that is tried again keep their details, and one
-- whose recording was deleted is not tried again.
-- callspool: compatible=true

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- A job that waits for a hold has no time of its own.
create or replace view job_live_view as
select j.job_id, j.business_id, j.call_sid, j.recording_sid, j.job_type,
       case when l.job_id is not null then 'running' when s.job_id is not null then 'scheduled' else 'ready' end as state,
       coalesce(l.attempt, s.attempt, q.attempt, 0::smallint) as attempt,
       j.max_attempts, j.priority, case when s.hold_key is null then s.run_at end as run_at, j.enqueued_at, l.leased_at as started_at, null::timestamptz as finished_at,
       coalesce(s.error_code, a.error_code) as error_code, coalesce(s.error_message, a.error_message) as error_message,
       l.instance_id
  from job j
  left join job_lease l on l.job_id = j.job_id
  left join job_scheduled s on s.job_id = j.job_id
  left join job_ready q on q.business_id = j.business_id and q.priority = j.priority and q.job_id = j.job_id
  left join lateral (select error_code, error_message from job_attempt
                      where job_attempt.job_id = j.job_id order by ended_at desc limit 1) a on true;

create or replace function promote(p_limit integer, out promoted integer, out next_due_ms bigint)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
declare
    over text[];
begin
    -- 1. Jobs whose hold is over are due. Looked at from the jobs' side, key by key along the index, so that one that was
    --    parked just when its hold ended is found as well.
    with recursive waited as (
        (select hold_key from job_scheduled where hold_key is not null order by hold_key limit 1)
        union all
        select (select s.hold_key from job_scheduled s where s.hold_key > w.hold_key order by s.hold_key limit 1)
          from waited w where w.hold_key is not null
    )
    select array_agg(hold_key) into over from waited
     where hold_key is not null and (select true from hold h
                                      where h.hold_key = waited.hold_key and (h.until is null or h.until > now())) is null;
    if over is not null then
        with freed as (
            select s.job_id from job_scheduled s
             where s.hold_key = any (over) order by s.hold_key, s.job_id limit p_limit for update skip locked
        )
        update job_scheduled s set run_at = now(), hold_key = null from freed where s.job_id = freed.job_id;
    end if;

    -- 2. Jobs that are due are ready.
    with due as (
        select job_id from job_scheduled where run_at <= now() order by run_at limit p_limit for update skip locked
    ), moved as (
        delete from job_scheduled s using due where s.job_id = due.job_id
        returning s.business_id, s.priority, s.job_id, s.attempt
    ), now_ready as (
        insert into job_ready (business_id, priority, job_id, attempt)
        select business_id, priority, job_id, attempt from moved
        returning business_id
    ), bells as (
        insert into doorbell (business_id, ready_delta, scheduled_delta)
        select business_id, count(*), -count(*) from now_ready group by business_id
    )
    select count(*) into promoted from now_ready;
    -- Null when nothing is scheduled; greatest() alone would make that a zero, and callers come back at once.
    select greatest(0, extract(epoch from run_at - clock_timestamp()) * 1000)::bigint into next_due_ms
      from job_scheduled order by run_at limit 1;
end $$;

create or replace function cancel_jobs(p_job_id bigint[], p_only text, p_default_slots integer, p_operator text)
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
                                 recording_url, trace_parent, details)
        select job_id, business_id, call_sid, recording_sid, job_type, 'cancelled', attempt, max_attempts,
               priority, enqueued_at, now(), code, message, recording_key, recording_url, trace_parent,
               details
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

create or replace function retry_jobs(p_job_id bigint[], p_operator text)
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
                         max_attempts, enqueued_at, trace_parent, due_at, details)
        select h.job_id, h.business_id, h.call_sid, h.recording_sid, h.recording_key, h.recording_url, h.job_type,
               h.priority, h.max_attempts, h.enqueued_at, h.trace_parent, now(), h.details
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
                   and r.recording_key = j.recording_key
                   and (r.job_type = j.job_type or r.deleted_at is not null) limit 1));
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
