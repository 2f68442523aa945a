-- Jobs as an operator sees them: live ones with their state, and finished ones.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

create view job_live_view as
select j.job_id, j.business_id, j.call_sid, j.recording_sid, j.job_type,
       case when l.job_id is not null then 'running' when s.job_id is not null then 'scheduled' else 'ready' end as state,
       coalesce(l.attempt, s.attempt, q.attempt, 0::smallint) as attempt,
       j.max_attempts, j.priority, s.run_at, j.enqueued_at, l.leased_at as started_at, null::timestamptz as finished_at,
       coalesce(s.error_code, a.error_code) as error_code, coalesce(s.error_message, a.error_message) as error_message,
       l.instance_id
  from job j
  left join job_lease l on l.job_id = j.job_id
  left join job_scheduled s on s.job_id = j.job_id
  left join job_ready q on q.business_id = j.business_id and q.priority = j.priority and q.job_id = j.job_id
  left join lateral (select error_code, error_message from job_attempt
                      where job_attempt.job_id = j.job_id order by ended_at desc limit 1) a on true;

create view job_finished_view as
select job_id, business_id, call_sid, recording_sid, job_type, state, attempt, max_attempts, priority,
       null::timestamptz as run_at, enqueued_at, started_at, finished_at, error_code, error_message, instance_id
  from job_history;

create view job_view as
select * from job_live_view union all select * from job_finished_view;

-- One page of a list, newest first: up to p_limit jobs with a smaller id than p_before, and of one state, business or
-- call where they are given. Each part of it reads an index backwards and stops at p_limit rows, so a page costs the
-- same whatever the backlog and the history.
--
-- STABLE: all of it is answered from one snapshot, so a job that moves meanwhile is listed once.
create function jobs_page(p_before bigint, p_state text, p_business_id bigint, p_call_sid text, p_limit integer)
returns setof job_view
language plpgsql stable set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set enable_sort = off set jit = off as $$
declare
    live bigint[];
begin
    if p_call_sid is not null then
        return query
            select * from job_view v
             where v.call_sid = p_call_sid and v.job_id < p_before
               and (p_state is null or v.state = p_state)
               and (p_business_id is null or v.business_id = p_business_id)
             order by v.job_id desc limit p_limit;
        return;
    end if;

    -- 1. The live ones, from the three tables that say where a job is.
    live := array(
        (select l.job_id from job_lease l
          where coalesce(p_state, 'running') = 'running' and l.job_id < p_before
            and (p_business_id is null or l.business_id = p_business_id)
          order by l.job_id desc limit p_limit)
        union all
        (select s.job_id from job_scheduled s
          where coalesce(p_state, 'scheduled') = 'scheduled' and p_business_id is null and s.job_id < p_before
          order by s.job_id desc limit p_limit)
        union all
        (select s.job_id from job_scheduled s
          where coalesce(p_state, 'scheduled') = 'scheduled' and s.business_id = p_business_id and s.job_id < p_before
          order by s.job_id desc limit p_limit)
        union all
        (select q.job_id from job_ready q
          where coalesce(p_state, 'ready') = 'ready' and p_business_id is null and q.job_id < p_before
          order by q.job_id desc limit p_limit)
        union all
        -- The key of job_ready is (business, priority, job).
        (select q.job_id from generate_series(0, 9) priority
          cross join lateral (
              select r.job_id from job_ready r
               where r.business_id = p_business_id and r.priority = priority.priority and r.job_id < p_before
               order by r.job_id desc limit p_limit) q
          where coalesce(p_state, 'ready') = 'ready'));

    -- 2. With the finished ones.
    return query
        select * from (
            select * from job_live_view v
             where v.job_id = any (array(select id from unnest(live) id order by id desc limit p_limit))
            union all
            (select * from job_finished_view v
              where coalesce(p_state, 'done') = 'done' and p_business_id is null and v.job_id < p_before
                and (p_state is null or v.state = p_state)
              order by v.job_id desc limit p_limit)
            union all
            (select * from job_finished_view v
              where coalesce(p_state, 'done') = 'done' and v.business_id = p_business_id and v.job_id < p_before
                and (p_state is null or v.state = p_state)
              order by v.job_id desc limit p_limit)
            union all
            (select * from job_finished_view v
              where p_state in ('dead', 'cancelled') and v.state <> 'done' and p_business_id is null
                and v.job_id < p_before and v.state = p_state
              order by v.job_id desc limit p_limit)
            union all
            (select * from job_finished_view v
              where p_state in ('dead', 'cancelled') and v.state <> 'done' and v.business_id = p_business_id
                and v.job_id < p_before and v.state = p_state
              order by v.job_id desc limit p_limit)) page
         order by page.job_id desc limit p_limit;
end $$;
