-- Deleting recordings, and the trail of who played, changed and deleted what.
-- callspool: compatible=true

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- Of a recording, where it is one. Kept as long as `audit.keep` says.
alter table operator_action add column call_sid text, add column recording_sid text;
create index operator_action_call on operator_action (call_sid, action_id) where call_sid is not null;
create index operator_action_operator on operator_action (operator, action_id);
create index operator_action_action on operator_action (action, action_id);
-- What was changed of a business, among the many times that somebody played its recordings.
create index operator_action_changes on operator_action (business_id, action_id) where action <> 'play';

-- As before, and a job of the type `full` is not needed either where the recording was deleted.
create or replace function enqueue_many(
    p_business_id bigint[], p_call_sid text[], p_recording_url text[], p_job_type text[],
    p_recording_sid text[], p_priority smallint[], p_run_at timestamptz[], p_trace_parent text[],
    p_details jsonb[]
) returns table (place integer, job_id bigint, state text, deduplicated boolean)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    wrong text;
    n integer := coalesce(cardinality(p_business_id), 0);
    right_now timestamptz := clock_timestamp();
    keys text[];
    sids text[];
    urls text[];
    -- A number for each place, in order: jobs of one batch run in the order in which they stand there.
    ids bigint[];
    answer_id bigint[];
    answer_new boolean[];
    -- Places without an answer yet; of these, where a job was inserted; of those, where it was stored already.
    pending integer[];
    fresh bigint[];
    new_places integer[];
    stored_places integer[];
    old_places integer[];
    old_ids bigint[];
    i integer;
    next_fresh integer;
begin
    if n = 0 then return; end if;

    -- 1. What can be checked here. (A URL's host is checked against the configured provider before a connection.)
    select format('job %s: %s', i, fault) into wrong
      from generate_subscripts(p_business_id, 1) i
      cross join lateral (select case
          when p_business_id[i] is null or p_business_id[i] <= 0 then 'business_id must be a positive whole number'
          when p_call_sid[i] is null or p_call_sid[i] !~ '^(CA[0-9A-Za-z]{1,32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$'
              then 'call_sid must be CA and 32 hexadecimal digits, or a UUID in lower case'
          when p_recording_sid[i] !~ '^(RE[0-9A-Za-z]{1,32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$'
              then 'recording_sid must be RE and 32 hexadecimal digits, or a UUID in lower case'
          when p_recording_url[i] is null or length(p_recording_url[i]) > 2048
                  or p_recording_url[i] !~ '^https?://[^[:space:][:cntrl:]@/?#]+/[^[:space:][:cntrl:]]*$'
              then 'recording_url must be an absolute http or https URL without user info, at most 2048 characters'
          when (p_job_type[i] in ('download_only', 'full')) is not true
              then 'job_type must be one of: download_only, full'
          when p_priority[i] is null or p_priority[i] not between 0 and 9
              then 'priority must be a whole number from 0 (runs first) to 9'
          end as fault) checked
     where fault is not null
     order by i limit 1;
    if wrong is not null then
        raise exception using errcode = 'invalid_parameter_value', message = wrong;
    end if;

    -- 2. The URL is put right and the key made, once.
    select array_agg(url order by i),
           array_agg(sid order by i),
           array_agg(coalesce(sid, p_call_sid[i]) order by i)
      into urls, sids, keys
      from generate_subscripts(p_business_id, 1) i
      cross join lateral (select regexp_replace(split_part(split_part(p_recording_url[i], '#', 1), '?', 1),
                                                '(\.json|\.mp3|\.wav)+$', '') as url) u
      cross join lateral (select coalesce(p_recording_sid[i],
                                          substring(url from '/Recordings/(RE[0-9A-Za-z]{1,32})$'),
                                          substring(url from '/v2/recordings/([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$')) as sid) s;

    ids := array(select nextval('job_id_seq') from generate_series(1, n));
    answer_id := array_fill(null::bigint, array[n]);
    answer_new := array_fill(false, array[n]);
    pending := array(select generate_series(1, n));
    while cardinality(pending) > 0 loop
        -- 3. The first of each key is inserted, in key order; a key that is live stays as it is.
        with firsts as (
            select distinct on (p_business_id[place], keys[place], p_job_type[place]) place
              from unnest(pending) place
             order by p_business_id[place], keys[place], p_job_type[place], place
        ), inserted as (
            insert into job (job_id, business_id, call_sid, recording_sid, recording_key, recording_url, job_type,
                             priority, trace_parent, due_at, details)
            select ids[place], p_business_id[place], p_call_sid[place], sids[place], keys[place], urls[place],
                   p_job_type[place], p_priority[place], p_trace_parent[place],
                   case when p_run_at[place] > right_now then p_run_at[place] end, p_details[place]
              from firsts order by p_business_id[place], keys[place], p_job_type[place]
            on conflict do nothing
            returning job_id
        )
        select array_agg(job_id order by job_id) into fresh from inserted;
        -- Both ascend: one walk finds the places.
        new_places := '{}';
        next_fresh := 1;
        foreach i in array pending loop
            if ids[i] = fresh[next_fresh] then
                new_places[next_fresh] := i;
                next_fresh := next_fresh + 1;
            end if;
        end loop;

        -- 4. A recording that is stored already needs no job. Looked for after the insert, in a snapshot of its own:
        --    whoever stored it in between has committed, or the insert would have met its live job.
        stored_places := array(
            select place from unnest(new_places) place
             where case p_job_type[place]
                   when 'full' then coalesce(
                       (select true from transcript t
                         where t.business_id = p_business_id[place] and t.recording_key = keys[place]),
                       -- Deleted: it stays so.
                       (select true from recordings r
                         where r.business_id = p_business_id[place] and r.recording_key = keys[place]
                           and r.job_type = 'download_only' and r.deleted_at is not null))
                   else (select true from recordings r
                          where r.business_id = p_business_id[place] and r.recording_key = keys[place]
                            and r.job_type = p_job_type[place]) end);
        if cardinality(stored_places) > 0 then
            delete from job where job.job_id = any (array(select ids[place] from unnest(stored_places) place));
            new_places := array(select unnest(new_places) except select unnest(stored_places));
        end if;

        -- 5. Answers: the new jobs, the live ones, the stored ones.
        foreach i in array new_places loop
            answer_id[i] := ids[i];
            answer_new[i] := true;
        end loop;
        -- Collected first: a cursor would carry the arrays flat, and walk along them too.
        select array_agg(place), array_agg(found) into old_places, old_ids from (
            select place, coalesce((select j.job_id from job j
                                     where j.business_id = p_business_id[place] and j.recording_key = keys[place]
                                       and j.job_type = p_job_type[place]),
                                   case p_job_type[place]
                                   when 'full' then coalesce(
                                       (select t.job_id from transcript t
                                         where t.business_id = p_business_id[place]
                                           and t.recording_key = keys[place]),
                                       (select r.job_id from recordings r
                                         where r.business_id = p_business_id[place] and r.recording_key = keys[place]
                                           and r.job_type = 'download_only' and r.deleted_at is not null))
                                   else (select r.job_id from recordings r
                                          where r.business_id = p_business_id[place] and r.recording_key = keys[place]
                                            and r.job_type = p_job_type[place]) end) as found
              from unnest(pending) place where not answer_new[place]) old;
        for i in 1 .. coalesce(cardinality(old_places), 0) loop
            answer_id[old_places[i]] := old_ids[i];
        end loop;

        -- 6. New jobs become ready, or scheduled; one bell a business.
        with later as (
            insert into job_scheduled (job_id, run_at, business_id, priority)
            select ids[place], p_run_at[place], p_business_id[place], p_priority[place]
              from unnest(new_places) place where p_run_at[place] > right_now
            returning business_id
        ), now_ready as (
            insert into job_ready (business_id, priority, job_id)
            select p_business_id[place], p_priority[place], ids[place]
              from unnest(new_places) place where (p_run_at[place] > right_now) is not true
            returning business_id
        )
        insert into doorbell (business_id, ready_delta, scheduled_delta)
        select business_id, sum(r), sum(s)
          from (select business_id, 1 as r, 0 as s from now_ready
                union all select business_id, 0, 1 from later) moved
         group by business_id;

        -- 7. A job that ended between two of these statements, and stored nothing, answers no question: once more.
        pending := array(select place from unnest(pending) place where answer_id[place] is null);
    end loop;

    -- Scalar subqueries, not EXISTS: those may be answered by hashing the whole table.
    return query
        select place, answer_id[place],
               case when answer_new[place] then case when p_run_at[place] > right_now then 'scheduled' else 'ready' end
                    when (select true from job_lease l where l.job_id = answer_id[place]) then 'running'
                    when (select true from job_scheduled s where s.job_id = answer_id[place]) then 'scheduled'
                    when (select true from job j where j.job_id = answer_id[place]) then 'ready'
                    else 'done' end,
               not answer_new[place]
          from generate_series(1, n) place;
end $$;

-- As before, and a job whose recording was deleted is not tried again.
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

-- Deletes recordings that are neither deleted nor under a legal hold, and says which: their rows stay, their
-- transcripts go, and follow-ups remove the files and tell the businesses. p_who: a token's name, or `retention`.
--
-- Lock order: recordings, as in settle_attempts; the businesses' rows are only read.
create function bury(p_business_id bigint[], p_recording_key text[], p_who text, p_detail text)
returns table (business_id bigint, call_sid text, recording_sid text)
language sql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
    with wanted as (
        select distinct b, k from unnest(p_business_id, p_recording_key) x (b, k) order by b, k
    ), found as (
        select r.business_id, r.recording_key, r.job_type from wanted w
         cross join lateral (select * from recordings o
                              where o.business_id = w.b and o.recording_key = w.k) r
         where r.deleted_at is null and not r.legal_hold
    ), gone as (
        update recordings r set deleted_at = now(), deleted_by = p_who
          from found l
         where r.business_id = l.business_id and r.recording_key = l.recording_key and r.job_type = l.job_type
           and r.deleted_at is null and not r.legal_hold
        returning r.*
    ), words as (
        delete from transcript t using gone g
         where t.business_id = g.business_id and t.recording_key = g.recording_key
    ), announced as (
        select g.business_id, g.recording_key, g.call_sid, g.recording_sid,
               jsonb_build_object(
                   'type', 'recording.deleted', 'timestamp', now(), 'business_id', g.business_id,
                   'call_sid', g.call_sid, 'recording_sid', g.recording_sid, 'job_id', g.job_id,
                   'deleted_by', p_who, 'stored_at', g.stored_at) as facts
          from gone g
         cross join lateral (select b.completion_url from business b where b.business_id = g.business_id) b
         cross join fleet_setting f
         where b.completion_url is not null or f.announces
    ), follow_ups as (
        insert into follow_up (kind, business_id, recording_key, call_sid, recording_sid, facts)
        select 'delete_file', business_id, recording_key, call_sid, recording_sid,
               jsonb_build_object('storage_key', storage_key)
          from gone
        union all
        select 'announce', business_id, recording_key, call_sid, recording_sid, facts from announced
    ), said as (
        insert into operator_action (operator, action, business_id, job_id, call_sid, recording_sid, detail)
        select p_who, 'delete', business_id, job_id, call_sid, recording_sid, p_detail from gone
    )
    select business_id, call_sid, recording_sid from gone
$$;

-- Deletes one recording: deleted, held (by a legal hold), gone (it was deleted before) or unknown. Whatever job still
-- works on it is cancelled: afterwards, since who settles has recordings before businesses.
create function delete_recording(
    p_business_id bigint, p_recording_key text, p_operator text, p_default_slots integer
) returns text
language plpgsql set search_path from current set jit = off as $$
declare
    was recordings;
    live bigint[];
begin
    select * into was from recordings r
     where r.business_id = p_business_id and r.recording_key = p_recording_key
     order by r.deleted_at nulls first limit 1 for update;
    if not found then return 'unknown'; end if;
    if was.legal_hold then return 'held'; end if;
    if was.deleted_at is not null then return 'gone'; end if;
    perform bury(array[p_business_id], array[p_recording_key], p_operator, 'by an operator');
    live := array(select j.job_id from job j
                   where j.business_id = p_business_id and j.recording_key = p_recording_key);
    if cardinality(live) > 0 then
        perform cancel_jobs(live, null, p_default_slots, p_operator);
    end if;
    return 'deleted';
end $$;

-- Deletes what has been kept as long as it was to be, up to p_limit recordings; p_days: for businesses
-- that say nothing, 0 is for ever. One that a job still works on waits for the next time. One process at a time.
create function expire_recordings(p_days integer, p_limit integer)
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
              from business b
             cross join lateral (
                 select o.recording_key from recordings o
                  where o.business_id = b.business_id and o.deleted_at is null and not o.legal_hold
                    and o.stored_at < now() - coalesce(b.retention_days, p_days) * interval '1 day'
                    and not exists (select from job j where j.business_id = o.business_id
                                                        and j.recording_key = o.recording_key)
                  order by o.stored_at limit p_limit) r
             where coalesce(b.retention_days, p_days) > 0
             limit p_limit) r;
    if ids is null then return; end if;
    return query select * from bury(ids, keys, 'retention', 'kept as long as it was to be');
end $$;

-- Sets or lifts a legal hold: held, lifted, same (as it was), gone or unknown.
create function hold_recording(p_business_id bigint, p_recording_key text, p_hold boolean, p_operator text) returns text
language plpgsql set search_path from current set jit = off as $$
declare
    was recordings;
begin
    select * into was from recordings r
     where r.business_id = p_business_id and r.recording_key = p_recording_key
     order by r.deleted_at nulls first limit 1 for update;
    if not found then return 'unknown'; end if;
    if was.deleted_at is not null then return 'gone'; end if;
    if was.legal_hold = p_hold then return 'same'; end if;
    update recordings r set legal_hold = p_hold
     where r.business_id = p_business_id and r.recording_key = p_recording_key;
    insert into operator_action (operator, action, business_id, job_id, call_sid, recording_sid, detail)
    values (p_operator, case when p_hold then 'hold' else 'release' end, p_business_id, was.job_id, was.call_sid,
            was.recording_sid, case when p_hold then 'legal hold set' else 'legal hold lifted' end);
    return case when p_hold then 'held' else 'lifted' end;
end $$;

-- Somebody plays a recording. Once in p_every_ms for each who does: a player asks for a file in many parts.
create function note_play(
    p_operator text, p_business_id bigint, p_call_sid text, p_recording_sid text, p_job_id bigint, p_detail text,
    p_every_ms bigint
) returns boolean
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    if exists (select from operator_action a
                where a.call_sid = p_call_sid and a.business_id = p_business_id and a.action = 'play'
                  and a.operator = p_operator and a.recording_sid is not distinct from p_recording_sid
                  and a.at > now() - p_every_ms * interval '1 ms') then
        return false;
    end if;
    insert into operator_action (operator, action, business_id, job_id, call_sid, recording_sid, detail)
    values (p_operator, 'play', p_business_id, p_job_id, p_call_sid, p_recording_sid, p_detail);
    return true;
end $$;

-- Changes a business, or makes it before its first job. p_change: what is to be changed, by the names of the columns;
-- null is as configured for all, where that is allowed. What was checked is not checked again. `set_business` stays for
-- processes of the release before.
create function change_business(p_business_id bigint, p_change jsonb, p_default_slots integer, p_operator text)
returns void
language plpgsql set search_path from current set jit = off as $$
declare
    was business;
    will business;
begin
    perform lock_businesses(array[p_business_id], p_default_slots);
    select * into was from business b where b.business_id = p_business_id;
    will := was;
    if p_change ? 'max_slots' then will.max_slots := (p_change ->> 'max_slots')::integer; end if;
    if p_change ? 'weight' then will.weight := (p_change ->> 'weight')::smallint; end if;
    if p_change ? 'paused' then will.paused := (p_change ->> 'paused')::boolean; end if;
    if p_change ? 'forms' then
        will.forms := case when jsonb_typeof(p_change -> 'forms') = 'array'
                          then array(select jsonb_array_elements_text(p_change -> 'forms')) end;
    end if;
    if p_change ? 'retention_days' then will.retention_days := (p_change ->> 'retention_days')::integer; end if;
    if p_change ? 'delete_at_provider' then
        will.delete_at_provider := (p_change ->> 'delete_at_provider')::boolean;
    end if;
    if p_change ? 'completion_url' then will.completion_url := p_change ->> 'completion_url'; end if;
    update business b
       set max_slots = will.max_slots, weight = will.weight, paused = will.paused, forms = will.forms,
           retention_days = will.retention_days, delete_at_provider = will.delete_at_provider,
           completion_url = will.completion_url,
           paused_at = case when not will.paused then null when b.paused then b.paused_at else now() end,
           paused_by = case when not will.paused then null when b.paused then b.paused_by else p_operator end,
           -- What it waited for while it was paused is over.
           waiting_since = case when b.paused and not will.paused then now() else b.waiting_since end
     where b.business_id = p_business_id;
    insert into operator_action (operator, action, business_id, detail)
    select p_operator, action, p_business_id,
           format('%s %s -> %s', field, coalesce(old_value, 'default'), coalesce(new_value, 'default'))
      from (values ('max_slots', 'max_slots', was.max_slots::text, will.max_slots::text,
                    will.max_slots is distinct from was.max_slots),
                   ('weight', 'weight', was.weight::text, will.weight::text, will.weight is distinct from was.weight),
                   ('forms', 'forms', array_to_string(was.forms, ','), array_to_string(will.forms, ','),
                    will.forms is distinct from was.forms),
                   ('retention', 'retention_days', was.retention_days::text, will.retention_days::text,
                    will.retention_days is distinct from was.retention_days),
                   ('delete_at_provider', 'delete_at_provider', was.delete_at_provider::text,
                    will.delete_at_provider::text, will.delete_at_provider is distinct from was.delete_at_provider),
                   -- Not with its query, which may hold a secret.
                   ('completion_url', 'completion_url', split_part(was.completion_url, '?', 1),
                    split_part(will.completion_url, '?', 1), will.completion_url is distinct from was.completion_url))
           changed (action, field, old_value, new_value, is_change)
     where is_change;
    if will.paused <> was.paused then
        insert into operator_action (operator, action, business_id, detail)
        values (p_operator, case when will.paused then 'pause' else 'resume' end, p_business_id,
                case when will.paused then 'paused' else 'resumed' end);
    end if;
end $$;

-- A page of the trail, the newest first, with any of these filters. Planned for each: which index helps depends on them.
create function audit_page(
    p_before bigint, p_business_id bigint, p_call_sid text, p_operator text, p_action text, p_limit integer
) returns table (
    action_id bigint, at timestamptz, operator text, action text, business_id bigint, call_sid text, recording_sid text,
    job_id bigint, detail text
)
language plpgsql stable set search_path from current set plan_cache_mode = force_custom_plan set jit = off as $$
#variable_conflict use_column
begin
    return query
        select action_id, at, operator, action, business_id, call_sid, recording_sid, job_id, detail
          from operator_action
         where action_id < p_before
           and (p_business_id is null or business_id = p_business_id)
           and (p_call_sid is null or call_sid = p_call_sid)
           and (p_operator is null or operator = p_operator)
           and (p_action is null or action = p_action)
         order by action_id desc limit p_limit;
end $$;
