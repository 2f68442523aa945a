-- Enqueue: also inside an application's own transaction, in any language.
--
-- It waits for nobody but a transaction that enqueues the same recording and has not ended. Keys are inserted in
-- order, so two bulk enqueues in opposite order do not deadlock. It locks no row of `business`.

-- The bulk form. One answer a row, in order. State is that of the job that is there now.
create function enqueue_many(
    p_business_id bigint[], p_call_sid text[], p_recording_url text[], p_job_type text[],
    p_recording_sid text[], p_priority smallint[], p_run_at timestamptz[]
) returns table (place integer, job_id bigint, state text, deduplicated boolean)
language plpgsql set search_path from current as $$
#variable_conflict use_column
declare
    wrong text;
    fresh bigint[];
    pending integer[];
    answer_id bigint[];
    answer_new boolean[];
    keys text[];
    sids text[];
    urls text[];
    n integer := coalesce(cardinality(p_business_id), 0);
    found_place integer;
    found_id bigint;
begin
    if n = 0 then return; end if;

    -- 1. What can be checked here. (A URL's host is checked against the configured provider before a connection.)
    select format('job %s: %s', i, fault) into wrong
      from generate_subscripts(p_business_id, 1) i
      cross join lateral (select case
          when p_business_id[i] is null or p_business_id[i] <= 0 then 'business_id must be a positive whole number'
          when p_call_sid[i] is null or p_call_sid[i] !~ '^CA[0-9A-Za-z]{1,32}$'
              then 'call_sid must be CA and 32 hexadecimal digits'
          when p_recording_sid[i] !~ '^RE[0-9A-Za-z]{1,32}$'
              then 'recording_sid must be RE and 32 hexadecimal digits'
          when p_recording_url[i] is null or length(p_recording_url[i]) > 2048
                  or p_recording_url[i] !~ '^https?://[^[:space:][:cntrl:]@/?#]+/[^[:space:][:cntrl:]]*$'
              then 'recording_url must be an absolute http or https URL without user info, at most 2048 characters'
          when p_job_type[i] is distinct from 'download_only' then 'job_type must be one of: download_only'
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
                                          substring(url from '/Recordings/(RE[0-9A-Za-z]{1,32})$')) as sid) s;

    answer_id := array_fill(null::bigint, array[n]);
    answer_new := array_fill(false, array[n]);
    pending := array(select generate_series(1, n));
    while cardinality(pending) > 0 loop
        -- 3. The first of each key is inserted, in key order; a key that is live stays as it is.
        with firsts as (
            select distinct on (p_business_id[i], keys[i], p_job_type[i]) i
              from unnest(pending) i
             order by p_business_id[i], keys[i], p_job_type[i], i
        ), inserted as (
            insert into job (business_id, call_sid, recording_sid, recording_key, recording_url, job_type, priority)
            select p_business_id[i], p_call_sid[i], sids[i], keys[i], urls[i], p_job_type[i], p_priority[i]
              from firsts order by p_business_id[i], keys[i], p_job_type[i]
            on conflict do nothing
            returning job_id
        )
        select array_agg(job_id) into fresh from inserted;

        -- 4. A recording that is stored already needs no job. Looked for after the insert, in a snapshot of its own:
        --    whoever stored it in between has committed, or the insert would have met its live job.
        with stored as (
            select j.job_id from unnest(fresh) f(id)
              cross join lateral (select * from job where job.job_id = f.id) j
              cross join lateral (select 1 from recordings r
                                   where r.business_id = j.business_id and r.recording_key = j.recording_key
                                     and r.job_type = j.job_type) r
        ), undone as (
            delete from job where job.job_id = any (array(select stored.job_id from stored)) returning job.job_id
        )
        select array(select unnest(fresh) except select undone.job_id from undone) into fresh;

        -- 5. Answers: fresh jobs, live ones, stored ones.
        for found_place, found_id in
            select i, coalesce(j.job_id, r.job_id)
              from unnest(pending) i
              left join lateral (select job.job_id from job
                                  where job.business_id = p_business_id[i] and job.recording_key = keys[i]
                                    and job.job_type = p_job_type[i]) j on true
              left join lateral (select recordings.job_id from recordings
                                  where recordings.business_id = p_business_id[i]
                                    and recordings.recording_key = keys[i]
                                    and recordings.job_type = p_job_type[i]) r on j.job_id is null
        loop
            answer_id[found_place] := found_id;
        end loop;

        -- 6. Fresh jobs become ready, or scheduled; one bell a business.
        with place as (
            select distinct on (answer_id[i]) answer_id[i] as id, i
              from unnest(pending) i where answer_id[i] = any (fresh) order by answer_id[i], i
        ), later as (
            insert into job_scheduled (job_id, run_at, business_id, priority)
            select id, p_run_at[i], p_business_id[i], p_priority[i]
              from place where p_run_at[i] > clock_timestamp()
            returning job_id, business_id
        ), now_ready as (
            insert into job_ready (business_id, priority, job_id)
            select p_business_id[i], p_priority[i], id
              from place where p_run_at[i] is null or p_run_at[i] <= clock_timestamp()
            returning job_id, business_id
        ), bells as (
            insert into doorbell (business_id, ready_delta, scheduled_delta)
            select business_id, sum(r), sum(s)
              from (select business_id, 1 as r, 0 as s from now_ready
                    union all select business_id, 0, 1 from later) moved
             group by business_id
        )
        select array_agg(i) into pending from place;
        for found_place in select unnest(pending) loop answer_new[found_place] := true; end loop;

        -- 7. A job that ended between two of these statements, and stored nothing, answers no question: once more.
        pending := array(select i from generate_series(1, n) i where answer_id[i] is null);
    end loop;

    return query
        select i, answer_id[i],
               case when exists (select 1 from job_lease l where l.job_id = answer_id[i]) then 'running'
                    when exists (select 1 from job_scheduled s where s.job_id = answer_id[i]) then 'scheduled'
                    when exists (select 1 from job j where j.job_id = answer_id[i]) then 'ready'
                    else 'done' end,
               not answer_new[i]
          from generate_series(1, n) i;
end $$;

-- The public form: SELECT callspool.enqueue(business_id => 42, call_sid => 'CA…', recording_url => 'https://…')
create function enqueue(
    business_id bigint, call_sid text, recording_url text, job_type text default 'download_only',
    recording_sid text default null, priority integer default 5, run_at timestamptz default null,
    out job_id bigint, out deduplicated boolean
) language sql set search_path from current as $$
    select job_id, deduplicated
      from enqueue_many(array[$1], array[$2], array[$3], array[$4], array[$5],
                        -- Out of range stays out of range.
                        array[least(greatest($6, -1), 10)::smallint], array[$7])
$$;
