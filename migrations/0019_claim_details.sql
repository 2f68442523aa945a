-- Claim: also what the provider said of the recording, what its business wants, and whether it is stored already.
-- callspool: compatible=true
--
-- `claim_jobs` stays for processes of the release before. What is said in 0006 of the lock order, the ring and the
-- statements holds here.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

create function claim_work(
    p_instance uuid, p_workers integer[], p_generations bigint[], p_cursor bigint, p_turn_left integer,
    p_quantum integer, p_lease_ms bigint, p_drain integer, p_default_slots integer
) returns table (
    bells integer, cursor_after bigint, turn_left integer, worker integer, generation bigint, job_id bigint,
    lease_id bigint, business_id bigint, call_sid text, recording_sid text, recording_url text, job_type text,
    attempt smallint, max_attempts smallint, running integer, max_slots integer, shares_call boolean,
    wanted_at timestamptz, trace_parent text, enqueued_at timestamptz, details jsonb, forms text[],
    not_ready_since timestamptz, stored_key text, stored_bytes bigint, stored_type text
)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
#variable_conflict use_column
declare
    wanted integer := cardinality(p_workers);
    given integer := 0;
    got integer;
    here bigint := p_cursor;
    rest integer := p_turn_left;
    ids bigint[];
    more_ids bigint[];
    takes integer[];
    turns integer;
    rows_taken tid[];
    gots integer[];
begin
    bells := drain(p_drain, p_default_slots);
    while given < wanted loop
        -- 1. The next businesses of the ring; those that another claimer has just now are passed over.
        select array_agg(id) into ids from (
            select b.business_id as id from business b
             where b.runnable and b.business_id > here - (rest > 0)::integer
             order by b.business_id limit wanted - given for no key update skip locked) after_cursor;
        if coalesce(cardinality(ids), 0) < wanted - given then
            select array_agg(id) into more_ids from (
                select b.business_id as id from business b
                 where b.runnable and b.business_id <= here - (rest > 0)::integer
                 order by b.business_id limit wanted - given - coalesce(cardinality(ids), 0)
                   for no key update skip locked) up_to_cursor;
            ids := coalesce(ids, '{}') || coalesce(more_ids, '{}');
        end if;
        exit when cardinality(ids) = 0;

        -- 2. How many of each: whole turns, up to its free slots, until the workers are used up. The next sweep goes on
        --    behind the last business that had its turn, or with what is left of that turn.
        select greatest(1, (wanted - given) / sum(p_quantum * b.weight))::integer into turns
          from unnest(ids) id cross join lateral (select * from business where business_id = id) b;
        with wishes as (
            select r.nr, r.id, w.turn, least(w.turn, w.free) as wish
              from unnest(ids) with ordinality r (id, nr)
              cross join lateral (
                  select b.max_slots - b.running as free,
                         case when r.id = here and rest > 0 then rest else p_quantum * b.weight * turns end as turn
                    from business b where b.business_id = r.id) w
        ), shares as (
            select nr, id, turn, wish,
                   greatest(0, least(wish, wanted - given - coalesce(sum(wish) over earlier, 0)))::integer as take
              from wishes window earlier as (order by nr rows between unbounded preceding and 1 preceding)
        ), last as (
            select id, case when take < wish then turn - take else 0 end as unfinished
              from shares where take > 0 order by nr desc limit 1
        )
        select (select array_agg(take order by nr) from shares), last.id, last.unfinished into takes, here, rest from last;

        -- 3. Their first jobs. Rows are named by ctid: joined back by key they would be hashed.
        with firsts as (
            select w.nr, j.row_id
              from unnest(ids, takes) with ordinality w (id, take, nr)
              left join lateral (
                  select q.ctid as row_id from job_ready q
                   where q.business_id = w.id
                   order by q.priority, q.job_id limit w.take for update skip locked) j on true
        )
        select array(select row_id from firsts where row_id is not null),
               array(select count(row_id) from firsts group by nr order by nr) into rows_taken, gots;

        -- 4. The businesses' counts. The mark is exact: one that is left on a business without jobs costs a visit, and
        --    100,000 of them in a row a claim of seconds that holds them all. (The rows taken are still there for this
        --    statement. What it does not see yet has a bell.)
        update business b
           set running = b.running + w.n, ready = b.ready - w.n,
               waiting_since = case when w.n > 0 then now() else b.waiting_since end,
               has_more = w.n = w.take and exists (
                   select from job_ready q where q.business_id = w.id
                    order by q.priority, q.job_id offset w.take limit 1)
          from unnest(ids, takes, gots) w (id, take, n)
         where b.business_id = w.id and w.take > 0;

        -- 5. From ready to leased.
        return query
        with moved as (
            delete from job_ready q where q.ctid = any (rows_taken)
            returning q.business_id, q.priority, q.job_id, q.attempt
        ), numbered as (
            select m.*, row_number() over (order by m.business_id, m.priority, m.job_id)::integer as nr from moved m
        ), leased as (
            insert into job_lease (job_id, attempt, business_id, priority, instance_id, worker, generation, deadline_at)
            select n.job_id, (n.attempt + 1)::smallint, n.business_id, n.priority, p_instance,
                   p_workers[given + n.nr], p_generations[given + n.nr], now() + p_lease_ms * interval '1 ms'
              from numbered n
            returning *
        )
        select bells, here, rest, l.worker, l.generation, l.job_id, l.lease_id, l.business_id, j.call_sid,
               j.recording_sid, j.recording_url, j.job_type, l.attempt, j.max_attempts,
               (b.running - count(*) over (partition by l.business_id)
                   + row_number() over (partition by l.business_id order by l.priority, l.job_id))::integer,
               b.max_slots,
               -- Another recording of the same call is or was here: the two must not get one file name. Both rows are
               -- seen here by whichever is claimed later, so the names never meet.
               exists (select from job o where o.call_sid = j.call_sid and o.business_id = j.business_id
                                           and o.recording_key <> j.recording_key)
                   or exists (select from recordings o where o.call_sid = j.call_sid
                                                         and o.business_id = j.business_id
                                                         and o.recording_key <> j.recording_key),
               coalesce(j.due_at, j.enqueued_at), j.trace_parent, j.enqueued_at, j.details, b.forms, j.not_ready_since,
               s.storage_key, s.bytes, s.content_type
          from leased l
          cross join lateral (select * from business where business.business_id = l.business_id) b
          cross join lateral (select * from job where job.job_id = l.job_id) j
          left join lateral (select * from recordings r
                              where r.business_id = j.business_id and r.recording_key = j.recording_key
                                and r.job_type = 'download_only') s on true;
        get diagnostics got = row_count;
        given := given + got;
    end loop;
    -- What was found out although nothing was claimed.
    if given = 0 then
        return query select bells, here, rest, null::integer, null::bigint, null::bigint, null::bigint, null::bigint,
                            null::text, null::text, null::text, null::text, null::smallint, null::smallint,
                            null::integer, null::integer, null::boolean, null::timestamptz, null::text,
                            null::timestamptz, null::jsonb, null::text[], null::timestamptz, null::text, null::bigint,
                            null::text;
    end if;
end $$;

-- A process of the release before knows one job type and one provider: at another job its whole claim would fail, and all
-- jobs of it would go back. Such a job is put aside for a moment, for a process that can do it.
create or replace function claim_jobs(
    p_instance uuid, p_workers integer[], p_generations bigint[], p_cursor bigint, p_turn_left integer,
    p_quantum integer, p_lease_ms bigint, p_drain integer, p_default_slots integer
) returns table (
    bells integer, cursor_after bigint, turn_left integer, worker integer, generation bigint, job_id bigint,
    lease_id bigint, business_id bigint, call_sid text, recording_sid text, recording_url text, job_type text,
    attempt smallint, max_attempts smallint, running integer, max_slots integer, shares_call boolean,
    wanted_at timestamptz, trace_parent text
)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
#variable_conflict use_column
declare
    c record;
    given integer := 0;
    strange bigint[] := '{}';
begin
    for c in select * from claim_work(p_instance, p_workers, p_generations, p_cursor, p_turn_left, p_quantum, p_lease_ms,
                                      p_drain, p_default_slots) loop
        if c.job_type <> 'download_only' or c.call_sid !~ '^CA' then
            strange := strange || c.job_id;
            continue;
        end if;
        given := given + 1;
        return query
            select c.bells, c.cursor_after, c.turn_left, c.worker, c.generation, c.job_id, c.lease_id, c.business_id,
                   c.call_sid, c.recording_sid, c.recording_url, c.job_type, c.attempt, c.max_attempts, c.running,
                   c.max_slots, c.shares_call, c.wanted_at, c.trace_parent;
    end loop;
    if cardinality(strange) = 0 then return; end if;

    -- The claim has the locks of their businesses.
    with aside as (
        delete from job_lease l where l.job_id = any (strange)
        returning l.job_id, l.business_id, l.priority, l.attempt
    ), later as (
        insert into job_scheduled (job_id, run_at, business_id, priority, attempt)
        select job_id, now() + interval '5 s', business_id, priority, attempt - 1 from aside
    )
    update business b set running = b.running - w.n, scheduled = b.scheduled + w.n
      from (select business_id, count(*) as n from aside group by business_id) w
     where b.business_id = w.business_id;
    if given = 0 then
        return query select c.bells, c.cursor_after, c.turn_left, null::integer, null::bigint, null::bigint, null::bigint,
                            null::bigint, null::text, null::text, null::text, null::text, null::smallint,
                            null::smallint, null::integer, null::integer, null::boolean, null::timestamptz, null::text;
    end if;
end $$;
