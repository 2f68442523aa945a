-- Drain and claim.
--
-- Lock order, here and in what follows: rows of doorbell, job_ready, job_lease first (those who may meet there skip
-- locked rows), then businesses in id order. Who holds businesses waits for nothing any more: a claim takes further
-- businesses with SKIP LOCKED only. So there is no cycle.

-- Adds up to p_limit bells to their businesses; returns how many were read.
-- A business is locked also when it is marked already: a claimer may just be clearing the mark.
create function drain(p_limit integer, p_default_slots integer) returns integer
language plpgsql set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
    ids bigint[];
    ready_deltas bigint[];
    scheduled_deltas bigint[];
    bells integer;
begin
    with taken as (
        delete from doorbell
         where ctid = any (array(select ctid from doorbell limit p_limit for update skip locked))
        returning business_id, ready_delta, scheduled_delta
    ), summed as (
        select business_id, sum(ready_delta) as r, sum(scheduled_delta) as s, count(*) as n
          from taken group by business_id
    )
    select array_agg(business_id order by business_id), array_agg(r order by business_id),
           array_agg(s order by business_id), coalesce(sum(n), 0)
      into ids, ready_deltas, scheduled_deltas, bells from summed;
    if bells = 0 then return 0; end if;

    insert into business (business_id, max_slots)
    select id, p_default_slots from unnest(ids) id
     where not exists (select 1 from business b where b.business_id = id)
     order by id
    on conflict do nothing;
    perform 1 from business where business_id = any (ids) order by business_id for no key update;
    update business b
       set has_more = b.has_more or x.r > 0, ready = b.ready + x.r, scheduled = b.scheduled + x.s
      from unnest(ids, ready_deltas, scheduled_deltas) x (id, r, s)
     where b.business_id = x.id;
    return bells;
end $$;

-- Claims one job for each of the given workers, at most, and returns the jobs with their slots.
--
-- The ring: runnable businesses after p_cursor in id order, then the others. Each gets its turn (p_quantum x weight),
-- never more than its free slots; where all runnable businesses together are fewer than the workers, each gets as
-- many whole turns as fit. Costs O(workers), whatever the backlog: the plan is pinned, because a LIMIT that is a
-- variable is planned at a tenth of the table.
--
-- More than one statement on purpose: one statement's snapshot is older than its business locks, and loses wake-ups.
create function claim(
    p_instance uuid, p_workers integer[], p_generations bigint[], p_cursor bigint, p_quantum integer,
    p_lease_ms bigint, p_drain integer, p_default_slots integer
) returns table (
    bells integer, cursor_after bigint, worker integer, generation bigint, job_id bigint, lease_id bigint,
    business_id bigint, call_sid text, recording_sid text, recording_url text, job_type text, attempt smallint,
    max_attempts smallint, running integer, max_slots integer, shares_call boolean
)
language plpgsql set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
#variable_conflict use_column
declare
    wanted integer := cardinality(p_workers);
    given integer := 0;
    got integer;
    here bigint := p_cursor;
    ids bigint[];
    more_ids bigint[];
    takes integer[];
    turns integer;
    rows_taken tid[];
begin
    bells := drain(p_drain, p_default_slots);
    while given < wanted loop
        -- 1. The next businesses of the ring; those that another claimer has just now are passed over.
        select array_agg(id) into ids from (
            select b.business_id as id from business b
             where b.runnable and b.business_id > here
             order by b.business_id limit wanted - given for no key update skip locked) after_cursor;
        if coalesce(cardinality(ids), 0) < wanted - given then
            select array_agg(id) into more_ids from (
                select b.business_id as id from business b
                 where b.runnable and b.business_id <= here
                 order by b.business_id limit wanted - given - coalesce(cardinality(ids), 0)
                   for no key update skip locked) up_to_cursor;
            ids := coalesce(ids, '{}') || coalesce(more_ids, '{}');
        end if;
        exit when cardinality(ids) = 0;

        -- 2. How many of each: whole turns, up to its free slots, until the workers are used up.
        select greatest(1, (wanted - given) / sum(p_quantum * b.weight))::integer into turns
          from unnest(ids) id cross join lateral (select * from business where business_id = id) b;
        select array_agg(greatest(0, least(t.take, wanted - given - t.before)) order by t.nr) into takes
          from (select nr, take, coalesce(sum(take) over (order by nr rows between unbounded preceding and 1 preceding), 0) as before
                  from unnest(ids) with ordinality r (id, nr)
                  cross join lateral (
                      select least(p_quantum * b.weight * turns, b.max_slots - b.running) as take
                        from business b where b.business_id = r.id) w) t;

        -- The next sweep goes on behind the last business that had its turn.
        here := ids[(select max(w.nr) from unnest(takes) with ordinality w (take, nr) where w.take > 0)];

        -- 3. Their first jobs. Rows are named by ctid: joined back by key they would be hashed.
        select array_agg(j.row_id) into rows_taken
          from unnest(ids, takes) w (id, take)
          cross join lateral (
              select q.ctid as row_id from job_ready q
               where q.business_id = w.id
               order by q.priority, q.job_id limit w.take for update skip locked) j;

        -- 4. From ready to leased, and the businesses' counts with them.
        return query
        with moved as (
            delete from job_ready q where q.ctid = any (rows_taken)
            returning q.business_id, q.priority, q.job_id, q.attempt
        ), numbered as (
            select m.*, row_number() over (order by m.business_id, m.priority, m.job_id)::integer as nr,
                   row_number() over (partition by m.business_id order by m.priority, m.job_id)::integer as nth
              from moved m
        ), leased as (
            insert into job_lease (job_id, attempt, business_id, priority, instance_id, worker, generation, deadline_at)
            select n.job_id, (n.attempt + 1)::smallint, n.business_id, n.priority, p_instance,
                   p_workers[given + n.nr], p_generations[given + n.nr], now() + p_lease_ms * interval '1 ms'
              from numbered n
            returning job_id, lease_id, attempt, business_id, worker, generation
        ), counted as (
            select w.id, w.take, count(l.job_id)::integer as n
              from unnest(ids, takes) w (id, take) left join leased l on l.business_id = w.id
             group by w.id, w.take
        ), updated as (
            update business b
               set running = b.running + c.n, ready = b.ready - c.n,
                   -- Fewer than wanted: there are no more. (Nothing was wanted of a business the workers did not reach.)
                   has_more = c.n = c.take
              from counted c where b.business_id = c.id and c.take > 0
            returning b.business_id, b.running - c.n as running_before, b.max_slots
        )
        select bells, here, l.worker, l.generation, l.job_id, l.lease_id, l.business_id, j.call_sid,
               j.recording_sid, j.recording_url, j.job_type, l.attempt, j.max_attempts, u.running_before + n.nth,
               u.max_slots,
               -- Another recording of the same call is or was here: the two must not get one file name. Both rows are
               -- seen here by whichever is claimed later, so the names never meet.
               exists (select 1 from job o where o.call_sid = j.call_sid and o.business_id = j.business_id
                                             and o.recording_key <> j.recording_key)
                   or exists (select 1 from recordings o where o.call_sid = j.call_sid
                                             and o.business_id = j.business_id and o.recording_key <> j.recording_key)
          from leased l
          join numbered n on n.job_id = l.job_id
          join updated u on u.business_id = l.business_id
          cross join lateral (select * from job where job.job_id = l.job_id) j;
        get diagnostics got = row_count;
        given := given + got;
    end loop;
    -- What was found out although nothing was claimed.
    if given = 0 then
        return query select bells, here, null::integer, null::bigint, null::bigint, null::bigint, null::bigint,
                            null::text, null::text, null::text, null::text, null::smallint, null::smallint,
                            null::integer, null::integer, null::boolean;
    end if;
end $$;
