-- The watch says of ready jobs that are not picked because recordings cannot be stored, that this is why.
-- callspool: compatible=true
--
-- `watch_queue` stays for processes of the release before; both take turns.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- Looks at the queue, unless another process does so or has just done so; returns what has changed of the reasons for
-- which ready jobs are not picked: those that hold now (begun) and those that held before (over).
--
-- A business stalls when it has ready jobs and none was picked for p_stalled_ms. Its reason is the first that holds of:
-- no process works (then its scheduled jobs wait as well: nobody makes them ready); nothing can be stored; it is paused;
-- its slots are in use; none of these.
--
-- One pass over the businesses, never over jobs; where that takes long it is made more seldom, so that it hardly takes
-- more than a fiftieth of one connection, but every 30 s all the same.
create function watch_work(
    p_every_ms bigint, p_stalled_ms bigint, p_ttl_ms bigint, p_keep_ms bigint, p_drain integer, p_default_slots integer
) returns table (
    change text, reason text, since timestamptz, businesses bigint, ready bigint, business_id bigint
)
language plpgsql set search_path from current set jit = off as $$
#variable_conflict use_column
declare
    began timestamptz := clock_timestamp();
    workers integer;
    -- No job is claimed while recordings cannot be stored.
    is_full boolean := exists (select from hold h where h.kind = 'storage' and (h.until is null or h.until > now()));
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

    update queue_watch w
       set ready = b.ready, scheduled = b.scheduled, running = b.running, done = b.done, cancelled = b.cancelled,
           dead = b.dead, busiest = array(select business_id from business
                                           where running > 0 or ready > 0
                                           order by running desc, ready desc, business_id limit 20),
           oldest_ready = (select coalesce(j.due_at, j.enqueued_at) from job j
                            where j.job_id = (select q.job_id from job_ready q order by q.job_id limit 1))
      from (select coalesce(sum(ready), 0) as ready, coalesce(sum(scheduled), 0) as scheduled,
                   coalesce(sum(running), 0) as running, coalesce(sum(done), 0) as done,
                   coalesce(sum(cancelled), 0) as cancelled, coalesce(sum(dead), 0) as dead from business) b;

    return query
        with waiting as (
            select b.business_id, b.ready + case when workers = 0 then b.scheduled else 0 end as ready, b.waiting_since,
                   case when workers = 0 then 'no_live_workers' when is_full then 'storage_unavailable' when b.paused then 'business_paused'
                        when b.running >= b.max_slots then 'slots_full' else 'runnable' end as reason
              from business b
             where (b.ready > 0 or workers = 0 and b.scheduled > 0) and b.waiting_since < began - p_stalled_ms * interval '1 ms'
        ), stalls as (
            select reason, min(waiting_since) as since, count(*) as businesses, sum(ready)::bigint as ready,
                   (array_agg(business_id order by waiting_since, business_id))[1] as business_id
              from waiting group by reason
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
    delete from pulse where at < began - interval '25 hours';
    delete from operator_action where at < began - p_keep_ms * interval '1 ms';

    update queue_watch
       set watched_at = began, took_ms = extract(epoch from clock_timestamp() - began) * 1000;
    -- Where no process works nobody else reads the doorbell. Last, because it locks businesses, and may wait for them.
    perform drain(p_drain, p_default_slots);
end $$;
