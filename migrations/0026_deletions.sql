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
