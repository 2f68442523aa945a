-- The watch and the check for stranded businesses read a bounded number of businesses at a time, and retention where the
-- fleet has none.
-- callspool: compatible=true
--
-- `watch_work` and `heal_stranded` read every business at each call, and stay for processes of the release before. With a
-- million businesses that was a second of reading at a time, by a fleet that had nothing to do.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- When the figures were complete; `watched_at` says when somebody last looked, which may have been at a part of them.
alter table queue_watch add column swept_at timestamptz;

-- The sweep under way: what was added up behind us, of businesses up to and including this one.
create table queue_sweep (
    only_row boolean primary key default true check (only_row),
    looked_at timestamptz,
    up_to bigint not null default 0,
    ready bigint not null default 0,
    scheduled bigint not null default 0,
    running bigint not null default 0,
    done bigint not null default 0,
    cancelled bigint not null default 0,
    dead bigint not null default 0,
    -- The busiest so far, at most 20.
    busiest bigint[] not null default '{}',
    -- The stalls so far: [{"reason", "since", "businesses", "ready", "business_id"}], one for each reason.
    stalls jsonb not null default '[]'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

insert into queue_sweep default values;

-- Looks at the next p_businesses businesses, unless another process does so or has just done so; at the end of the
-- ring the figures are complete, and are written down. Returns what has changed of the reasons for which ready jobs are
-- not picked: those that hold now (begun) and those that held before (over). Where there are fewer than p_businesses,
-- each look is complete.
--
-- A business stalls when it has ready jobs and none was picked for p_stalled_ms. Its reason is the first that holds of:
-- no process works (then its scheduled jobs wait as well: nobody makes them ready); nothing can be stored; it is paused;
-- its slots are in use; none of these.
--
-- A look that takes long is made more seldom, so that it hardly takes more than a fiftieth of one connection, but every
-- 30 s all the same.
create function watch_next(
    p_every_ms bigint, p_stalled_ms bigint, p_ttl_ms bigint, p_keep_ms bigint, p_drain integer, p_default_slots integer,
    p_businesses integer
) returns table (
    change text, reason text, since timestamptz, businesses bigint, ready bigint, business_id bigint
)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off as $$
#variable_conflict use_column
declare
    began timestamptz := clock_timestamp();
    workers integer;
    -- No job is claimed while recordings cannot be stored.
    is_full boolean := exists (select from hold h where h.kind = 'storage' and (h.until is null or h.until > now()));
    sweep queue_sweep;
begin
    if not pg_try_advisory_xact_lock(hashtext('callspool watch_queue'), hashtext(current_schema()))
       or (select watched_at > began - greatest(p_every_ms, least(50 * took_ms, 30000)) * interval '1 ms' from queue_watch) then
        return;
    end if;

    update queue_watch w
       set live_instances = i.live, live_workers = i.working, worker_seen_at = greatest(w.worker_seen_at, i.worker_seen_at)
      from (select count(*) filter (where is_live) as live,
                   count(*) filter (where is_live and workers > 0 and not draining) as working,
                   max(beat_at) filter (where workers > 0) as worker_seen_at
              from (select *, beat_at > began - p_ttl_ms * interval '1 ms' as is_live from instance) seen) i
    returning w.live_workers into workers;

    -- A sweep that everybody has left is of another time.
    if (select looked_at < began - greatest(60000, 3 * p_every_ms) * interval '1 ms' from queue_sweep) then
        update queue_sweep
           set up_to = 0, ready = 0, scheduled = 0, running = 0, done = 0, cancelled = 0, dead = 0, busiest = '{}',
               stalls = '[]';
    end if;
    select * into sweep from queue_sweep;

    -- 1. What this part adds. Its rows are read once.
    with part as materialized (
        select b.business_id, b.ready, b.scheduled, b.running, b.done, b.cancelled, b.dead,
               case when (b.ready > 0 or workers = 0 and b.scheduled > 0)
                         and b.waiting_since < began - p_stalled_ms * interval '1 ms'
                    then case when workers = 0 then 'no_live_workers' when is_full then 'storage_unavailable'
                              when b.paused then 'business_paused'
                              when b.running >= b.max_slots then 'slots_full' else 'runnable' end end as reason,
               b.waiting_since
          from business b
         where b.business_id > sweep.up_to order by b.business_id limit p_businesses
    ), sums as (
        select coalesce(sum(ready), 0) as ready, coalesce(sum(scheduled), 0) as scheduled,
               coalesce(sum(running), 0) as running, coalesce(sum(done), 0) as done,
               coalesce(sum(cancelled), 0) as cancelled, coalesce(sum(dead), 0) as dead, count(*) as seen,
               max(business_id) as last from part
    ), busy as (
        (select p.business_id, p.running, p.ready from part p where p.running > 0 or p.ready > 0
          order by p.running desc, p.ready desc, p.business_id limit 20)
        union all
        select b.business_id, b.running, b.ready from business b
         where b.business_id = any (sweep.busiest) and (b.running > 0 or b.ready > 0)
    ), waiting as (
        select p.reason, min(p.waiting_since) as since, count(*) as businesses,
               sum(p.ready + case when workers = 0 then p.scheduled else 0 end)::bigint as ready,
               (array_agg(p.business_id order by p.waiting_since, p.business_id))[1] as business_id
          from part p where p.reason is not null group by p.reason
        union all
        select s.* from jsonb_to_recordset(sweep.stalls)
                   s (reason text, since timestamptz, businesses bigint, ready bigint, business_id bigint)
    ), stalls as (
        select w.reason, min(w.since) as since, sum(w.businesses) as businesses, sum(w.ready) as ready,
               (array_agg(w.business_id order by w.since, w.business_id))[1] as business_id
          from waiting w group by w.reason
    )
    update queue_sweep q
       set up_to = case when s.seen = p_businesses then s.last else 0 end, ready = q.ready + s.ready, scheduled = q.scheduled + s.scheduled,
           running = q.running + s.running, done = q.done + s.done, cancelled = q.cancelled + s.cancelled,
           dead = q.dead + s.dead,
           busiest = array(select b.business_id from busy b order by b.running desc, b.ready desc, b.business_id limit 20),
           stalls = (select coalesce(jsonb_agg(to_jsonb(a)), '[]') from stalls a)
      from sums s
    returning q.* into sweep;

    update queue_watch w
       set oldest_ready = (select coalesce(j.due_at, j.enqueued_at) from job j
                            where j.job_id = (select q.job_id from job_ready q order by q.job_id limit 1));

    -- 2. At the end of the ring.
    if sweep.up_to = 0 then
        update queue_watch
           set ready = sweep.ready, scheduled = sweep.scheduled, running = sweep.running, done = sweep.done,
               cancelled = sweep.cancelled, dead = sweep.dead, busiest = sweep.busiest, swept_at = began;
        update queue_sweep
           set ready = 0, scheduled = 0, running = 0, done = 0, cancelled = 0, dead = 0, busiest = '{}', stalls = '[]';

        return query
            -- What concerns the whole fleet is told as it is now, not as it was at some part.
            with told as (
                select case when workers = 0 then 'no_live_workers' when is_full then 'storage_unavailable'
                            else s.reason end as reason, s.since, s.businesses, s.ready, s.business_id
                  from jsonb_to_recordset(sweep.stalls)
                           s (reason text, since timestamptz, businesses bigint, ready bigint, business_id bigint)
                 where workers = 0 or is_full or s.reason not in ('no_live_workers', 'storage_unavailable')
            ), stalls as (
                select t.reason, min(t.since) as since, sum(t.businesses)::bigint as businesses,
                       sum(t.ready)::bigint as ready,
                       (array_agg(t.business_id order by t.since, t.business_id))[1] as business_id
                  from told t group by t.reason
            ), over as (
                delete from queue_stall s where not exists (select from stalls n where n.reason = s.reason) returning s.*
            ), held as (
                insert into queue_stall as s (reason, since, businesses, ready, business_id)
                select reason, since, businesses, ready, business_id from stalls
                on conflict (reason) do update
                   set since = least(s.since, excluded.since), businesses = excluded.businesses, ready = excluded.ready,
                       business_id = excluded.business_id
                returning s.*, s.xmax = 0 as is_new
            )
            select 'over', reason, since, businesses, ready, business_id from over
            union all
            select 'begun', reason, since, businesses, ready, business_id from held where is_new;

        insert into pulse (at, ready, scheduled, running)
        select pulse_at(), ready, scheduled, running from queue_watch
        on conflict (at) do update
           set ready = excluded.ready, scheduled = excluded.scheduled, running = excluded.running;
    end if;
    delete from pulse where at < began - interval '25 hours';
    delete from operator_action where at < began - p_keep_ms * interval '1 ms';

    update queue_watch
       set watched_at = began, took_ms = extract(epoch from clock_timestamp() - began) * 1000;
    update queue_sweep set looked_at = began;
    -- Where no process works nobody else reads the doorbell. Last, because it locks businesses, and may wait for them.
    perform drain(p_drain, p_default_slots);
end $$;

-- A business with ready jobs that is neither marked nor has a bell would wait for ever: there must be none. Looks at the
-- next p_limit businesses behind p_after, marks those that there are, and says how many. `next_after`: where to go on;
-- null at the end of the ring.
create function heal_next(p_after bigint, p_limit integer, out healed bigint, out next_after bigint)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
declare
    stranded bigint[];
begin
    healed := 0;
    select b.business_id into next_after from business b
     where b.business_id > p_after order by b.business_id offset p_limit - 1 limit 1;
    -- A bell is looked for among the few that were found: the doorbell has no index.
    stranded := array(
        select b.business_id from business b
         where b.business_id > p_after and b.business_id <= coalesce(next_after, 9223372036854775807)
           and not b.has_more
           and (select true from job_ready q where q.business_id = b.business_id limit 1));
    if cardinality(stranded) = 0 then return; end if;
    stranded := array(select unnest(stranded) except select d.business_id from doorbell d);
    if cardinality(stranded) = 0 then return; end if;
    -- Looked at again under the lock: a claim or a bell may have been on its way.
    perform 1 from business where business_id = any (stranded) order by business_id for no key update;
    update business b set has_more = true
     where b.business_id = any (stranded) and not b.has_more
       and exists (select 1 from job_ready q where q.business_id = b.business_id)
       and not exists (select 1 from doorbell d where d.business_id = b.business_id);
    get diagnostics healed = row_count;
end $$;

-- Those that have a retention of their own, where the fleet has none.
create index business_retention on business (business_id) where retention_days > 0;

-- As in 0026; where the fleet has no retention only those businesses are looked at that have one of their own.
create or replace function expire_recordings(p_days integer, p_limit integer)
returns table (business_id bigint, call_sid text, recording_sid text)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
#variable_conflict use_column
declare
    ids bigint[];
    keys text[];
begin
    if not pg_try_advisory_xact_lock(hashtext('callspool expire_recordings'), hashtext(current_schema())) then
        return;
    end if;
    select array_agg(r.business_id), array_agg(r.recording_key) into ids, keys
      from (select b.business_id, r.recording_key
              from (select o.business_id, o.retention_days as days from business o where o.retention_days > 0
                    union all
                    select o.business_id, p_days from business o where p_days > 0 and o.retention_days is null) b
             cross join lateral (
                 select o.recording_key from recordings o
                  where o.business_id = b.business_id and o.deleted_at is null and not o.legal_hold
                    and o.stored_at < now() - b.days * interval '1 day'
                    and not exists (select from job j where j.business_id = o.business_id
                                                        and j.recording_key = o.recording_key)
                  order by o.stored_at limit p_limit) r
             limit p_limit) r;
    if ids is null then return; end if;
    return query select * from bury(ids, keys, 'retention', 'kept as long as it was to be');
end $$;

-- As in 0009, but in an order that only the index of a business's jobs has. In that of the ids alone the index of all jobs
-- seemed as good where one business has most of them, and the newest jobs of all others were read: millions for a page.
create or replace function jobs_page(p_before bigint, p_state text, p_business_id bigint, p_call_sid text, p_limit integer)
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
          where coalesce(p_state, 'scheduled') = 'scheduled'
            and (s.business_id, s.job_id) < (p_business_id, p_before) and s.business_id >= p_business_id
          order by s.business_id desc, s.job_id desc limit p_limit)
        union all
        (select q.job_id from job_ready q
          where coalesce(p_state, 'ready') = 'ready' and p_business_id is null and q.job_id < p_before
          order by q.job_id desc limit p_limit)
        union all
        -- The key of job_ready is (business, priority, job).
        (select q.job_id from (select n::smallint as priority from generate_series(0, 9) n) priority
          cross join lateral (
              select r.job_id from job_ready r
               where r.business_id = p_business_id and (r.priority, r.job_id) < (priority.priority, p_before)
                 and r.priority >= priority.priority
               order by r.priority desc, r.job_id desc limit p_limit) q
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
              where coalesce(p_state, 'done') = 'done' and (p_state is null or v.state = p_state)
                and (v.business_id, v.job_id) < (p_business_id, p_before) and v.business_id >= p_business_id
              order by v.business_id desc, v.job_id desc limit p_limit)
            union all
            (select * from job_finished_view v
              where p_state in ('dead', 'cancelled') and v.state <> 'done' and p_business_id is null
                and v.job_id < p_before and v.state = p_state
              order by v.job_id desc limit p_limit)
            union all
            (select * from job_finished_view v
              where p_state in ('dead', 'cancelled') and v.state <> 'done' and v.state = p_state
                and (v.business_id, v.job_id) < (p_business_id, p_before) and v.business_id >= p_business_id
              order by v.business_id desc, v.job_id desc limit p_limit)) page
         order by page.job_id desc limit p_limit;
end $$;
