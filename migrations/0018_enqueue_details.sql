-- Enqueue: the job type `full`, what the provider says of a recording, and identifiers of other providers.
-- callspool: compatible=true
--
-- A `full` job is not needed where the transcript is there, or where the recording was deleted. The form with 8 arguments stays, for processes of the release
-- before. What is said in 0012 of plans holds here.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

create function enqueue_many(
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

create or replace function enqueue_many(
    p_business_id bigint[], p_call_sid text[], p_recording_url text[], p_job_type text[],
    p_recording_sid text[], p_priority smallint[], p_run_at timestamptz[], p_trace_parent text[]
) returns table (place integer, job_id bigint, state text, deduplicated boolean)
language sql set search_path from current as $$
    select * from enqueue_many($1, $2, $3, $4, $5, $6, $7, $8, '{}')
$$;
