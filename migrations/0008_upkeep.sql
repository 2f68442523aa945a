-- What time brings back: due jobs, the days of the history, and a check of the invariants.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- Makes up to p_limit due jobs ready. It rings the bell for them rather than lock businesses: the next claim reads it.
create function promote(p_limit integer, out promoted integer, out next_due_ms bigint)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
begin
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

create function day_begins(p_day date) returns timestamptz
language sql stable as $$ select p_day::timestamp at time zone 'UTC' $$;

-- Makes the partitions of today and the next days, and drops those whose day ended p_keep ago. One process at a time;
-- the others find it done.
--
-- To drop a partition locks its parent, and everybody who settles queues up behind that. So it does not wait long; what
-- somebody reads just now is dropped by a later call, and no such wait undoes the partitions that were made.
create function rotate_history(p_keep interval, out created integer, out dropped integer)
language plpgsql set search_path from current set lock_timeout = '200ms' as $$
declare
    parent text;
    moment text;
    child text;
    day date;
    old record;
begin
    created := 0;
    dropped := 0;
    if not pg_try_advisory_xact_lock(hashtext('callspool rotate_history'), hashtext(current_schema())) then
        return;
    end if;
    foreach parent in array array['job_history', 'job_attempt'] loop
        moment := case parent when 'job_history' then 'finished_at' else 'ended_at' end;
        for day in select (now() at time zone 'UTC')::date + d from generate_series(0, 2) d loop
            child := parent || '_p' || to_char(day, 'YYYYMMDD');
            continue when to_regclass(quote_ident(child)) is not null;
            -- Rows of a day that had no partition yet lie in the default one, and move along.
            execute format('create table %I (like %I including all)', child, parent);
            execute format('lock table %I in access exclusive mode', parent || '_default');
            execute format('with late as (delete from %I where %I >= %L and %I < %L returning *)
                            insert into %I select * from late',
                           parent || '_default', moment, day_begins(day), moment, day_begins(day + 1), child);
            execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                           parent, child, day_begins(day), day_begins(day + 1));
            created := created + 1;
        end loop;
        for old in
            select c.oid::regclass as partition
              from pg_inherits i join pg_class c on c.oid = i.inhrelid
             where i.inhparent = parent::regclass and c.relname ~ '_p[0-9]{8}$'
               and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (now() at time zone 'UTC') - p_keep
        loop
            begin
                execute format('drop table %s', old.partition);
                dropped := dropped + 1;
            exception when lock_not_available then
                raise log 'partition % is in use; dropped later', old.partition;
            end;
        end loop;
    end loop;
end $$;

-- A business with ready jobs that is neither marked nor has a bell would wait for ever: there must be none. Marks
-- those that there are, and says how many.
create function heal_stranded() returns bigint
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
declare
    stranded bigint[];
    healed bigint;
begin
    stranded := array(
        select b.business_id from business b
         where not b.has_more
           and exists (select 1 from job_ready q where q.business_id = b.business_id)
           and not exists (select 1 from doorbell d where d.business_id = b.business_id));
    if cardinality(stranded) = 0 then return 0; end if;
    -- Looked at again under the lock: a claim or a bell may have been on its way.
    perform 1 from business where business_id = any (stranded) order by business_id for no key update;
    update business b set has_more = true
     where b.business_id = any (stranded) and not b.has_more
       and exists (select 1 from job_ready q where q.business_id = b.business_id)
       and not exists (select 1 from doorbell d where d.business_id = b.business_id);
    get diagnostics healed = row_count;
    return healed;
end $$;

select rotate_history('36500 days');
