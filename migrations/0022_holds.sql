-- Holds: how they begin, are probed and end, for all of the fleet.
-- callspool: compatible=true
--
-- Lock order: the key's row of `hold_memory`, then its tally, then its hold. Whoever begins or ends a hold has the first,
-- so each of both happens once. A probe is taken under the hold's own lock, and waits for nobody.

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- `wait_ms`: from one probe to the next. `ended_by`: the operator who lifted it; it is over then, and a keeper says so.
alter table hold add column wait_ms bigint not null default 0, add column ended_by text;

-- What is known of a key beyond its hold: one that comes back soon after its end comes back for longer.
create table hold_memory (
    hold_key text primary key,
    touched_at timestamptz not null default now(),
    ended_at timestamptz,
    -- Its first wait when it last began.
    wait_ms bigint not null default 0,
    -- The jobs whose failures began it lately. A probe that succeeds and a job that fails all the same may mean that the
    -- job is at fault: when it begins the same hold again, its attempt counts.
    openers bigint[] not null default '{}'
) with (fillfactor = 50);

-- What hosts answered and where they failed, by tenths of the window.
create table hold_tally (
    hold_key text not null,
    at timestamptz not null,
    ok bigint not null default 0,
    failed bigint not null default 0,
    primary key (hold_key, at)
) with (fillfactor = 50);

-- The holds that stand, with the jobs that are parked for each, counted up to a thousand.
create view hold_now as
select h.hold_key, h.kind, h.since, h.until, h.probe_at, h.message, h.met,
       (select count(*) from (select from job_scheduled s where s.hold_key = h.hold_key
                               order by s.hold_key, s.job_id limit 1000) w) as waiting
  from hold h where h.until is null or h.until > now();

-- What a job with this URL depends on.
create function hold_keys(p_recording_url text) returns text[]
language sql immutable as $$
    select array_remove(array['storage', 'account:' || account, 'host:' || host, 'rate:' || account], null)
      from (select substring(p_recording_url from '/Accounts/(AC[0-9A-Za-z]{1,32})/') as account,
                   lower(regexp_replace(regexp_replace(substring(p_recording_url from '^https?://[^/?#]+'),
                                                       '^(https://.*):443$|^(http://.*):80$', '\1\2'),
                                        '^https?://', '')) as host) p
$$;

-- Adds what hosts answered in one process.
create function credit_hosts(p_hold_key text[], p_ok bigint[], p_window_ms bigint) returns void
language sql set search_path from current set jit = off as $$
    insert into hold_tally as t (hold_key, at, ok)
    select k, date_bin($3 / 10.0 * interval '1 ms', clock_timestamp(), timestamptz '2000-01-01 00:00:00Z'), n
      from (select k, sum(n)::bigint as n from unnest($1, $2) x (k, n) group by k order by k) told
    on conflict (hold_key, at) do update set ok = t.ok + excluded.ok
$$;

-- A job failed, and this key is to blame. Whether its hold stands now; no row: it does not, and the failure is the job's.
-- `began`: by this failure. `counts`: the attempt counts all the same.
--
-- An account, a rate and the storage are held at once. A host is, when within the window p_min_failures or more of what
-- was asked of it failed, and that share of all; soon after an end, or where it is the job's last attempt, one failure is
-- enough of a number. p_ok: successes of this process that were not told yet. p_lasts_ms: how long a rate's hold was asked
-- to last. p_first_ms, p_max_ms: until its first probe (a rate's: its end) where this failure begins it, and at most.
create function blame_hold(
    p_hold_key text, p_kind text, p_message text, p_job_id bigint, p_is_last boolean, p_lasts_ms bigint,
    p_first_ms bigint, p_max_ms bigint, p_window_ms bigint, p_min_failures integer, p_failure_share double precision,
    p_ok bigint
) returns table (
    began boolean, counts boolean, hold_key text, kind text, since timestamptz, until timestamptz, probe_at timestamptz,
    message text, met bigint
)
language plpgsql set search_path from current set jit = off as $$
#variable_conflict use_column
declare
    right_now timestamptz;
    known hold_memory;
    was_until timestamptz;
    is_soon boolean;
    n_ok bigint;
    n_failed bigint;
    wait bigint;
begin
    insert into hold_memory (hold_key) values (p_hold_key) on conflict do nothing;
    select * into known from hold_memory m where m.hold_key = p_hold_key for update;
    right_now := clock_timestamp();

    return query
        update hold h
           set met = h.met + 1,
               until = case when h.kind = 'rate'
                            then greatest(h.until, right_now + coalesce(p_lasts_ms, 0) * interval '1 ms') end
         where h.hold_key = p_hold_key and (h.until is null or h.until > right_now)
        returning false, false, h.hold_key, h.kind, h.since, h.until, h.probe_at, h.message, h.met;
    if found then return; end if;

    -- One that is over, and that nobody has taken away yet, is as ended as one that is gone.
    select h.until into was_until from hold h where h.hold_key = p_hold_key;
    is_soon := coalesce(greatest(known.ended_at, was_until)
                        > right_now - greatest(p_window_ms, 2 * known.wait_ms) * interval '1 ms', false);

    if p_kind = 'host' then
        insert into hold_tally as t (hold_key, at, ok, failed)
        values (p_hold_key,
                date_bin(p_window_ms / 10.0 * interval '1 ms', right_now, timestamptz '2000-01-01 00:00:00Z'), p_ok, 1)
        on conflict (hold_key, at) do update set ok = t.ok + excluded.ok, failed = t.failed + 1;
        select coalesce(sum(t.ok), 0), coalesce(sum(t.failed), 0) into n_ok, n_failed from hold_tally t
         where t.hold_key = p_hold_key and t.at > right_now - p_window_ms * interval '1 ms';
        if n_failed < (case when p_is_last or is_soon then 1 else p_min_failures end)
           or n_failed < p_failure_share * (n_ok + n_failed) then
            return;
        end if;
    end if;

    wait := case when is_soon then greatest(least(2 * known.wait_ms, p_max_ms), p_first_ms) else p_first_ms end;
    if p_kind = 'rate' then
        wait := coalesce(p_lasts_ms, wait);
    end if;
    update hold_memory m
       set touched_at = right_now, ended_at = null, wait_ms = wait,
           openers = (m.openers || p_job_id)[greatest(1, cardinality(m.openers) - 98):]
     where m.hold_key = p_hold_key;
    return query
        insert into hold as h (hold_key, kind, since, until, probe_at, message, met, wait_ms)
        values (p_hold_key, p_kind, right_now,
                case when p_kind = 'rate' then right_now + wait * interval '1 ms' end,
                case when p_kind <> 'rate' then right_now + wait * interval '1 ms' end, p_message, 1, wait)
        on conflict (hold_key) do update
           set since = excluded.since, until = excluded.until, probe_at = excluded.probe_at, probes = 0,
               message = excluded.message, met = 1, wait_ms = excluded.wait_ms, ended_by = null
        returning true, p_kind <> 'rate' and p_job_id = any (known.openers), h.hold_key, h.kind, h.since, h.until,
                  h.probe_at, h.message, h.met;
end $$;

-- Forgets the failures of a key whose hold ends now; the caller has its memory's lock.
create function forget_tally(p_hold_key text) returns void
language sql set search_path from current set jit = off as $$
    update hold_memory set ended_at = clock_timestamp(), touched_at = clock_timestamp() where hold_key = $1;
    delete from hold_tally where hold_key = $1;
$$;

-- A probe succeeded: the hold that began at p_since is over. No row: it was over before, or is another one by now.
create function end_hold(p_hold_key text, p_since timestamptz) returns table (
    ended_by text, lasted_ms bigint, waiting bigint, hold_key text, kind text, since timestamptz, until timestamptz,
    probe_at timestamptz, message text, met bigint
)
language plpgsql set search_path from current set jit = off as $$
#variable_conflict use_column
declare
    jobs bigint;
begin
    perform 1 from hold_memory m where m.hold_key = p_hold_key for update;
    select waiting into jobs from hold_now n where n.hold_key = p_hold_key and n.since = p_since;
    if jobs is null then return; end if;
    perform forget_tally(p_hold_key);
    return query
        delete from hold h where h.hold_key = p_hold_key
        returning null::text, (extract(epoch from clock_timestamp() - h.since) * 1000)::bigint, jobs, h.hold_key, h.kind,
                  h.since, h.until, h.probe_at, h.message, h.met;
end $$;

-- An operator lifts a hold: it is over, and is taken away by whoever tends the holds next.
create function lift_hold(p_hold_key text, p_operator text) returns boolean
language plpgsql set search_path from current set jit = off as $$
begin
    perform 1 from hold_memory m where m.hold_key = p_hold_key for update;
    update hold h set until = clock_timestamp(), ended_by = p_operator
     where h.hold_key = p_hold_key and (h.until is null or h.until > clock_timestamp());
    if not found then return false; end if;
    perform forget_tally(p_hold_key);
    insert into operator_action (operator, action, detail) values (p_operator, 'lift_hold', p_hold_key);
    return true;
end $$;

-- Takes away the holds that are over (`over`), and takes the probes that are due (`probe`): the next one of the same hold
-- is due later, so one process of the fleet probes, and another one where that one dies. p_max_ms: the longest wait between
-- two probes, by p_kind.
create function tend_holds(p_kind text[], p_max_ms bigint[], p_window_ms bigint) returns table (
    what text, ended_by text, lasted_ms bigint, waiting bigint, hold_key text, kind text, since timestamptz,
    until timestamptz, probe_at timestamptz, message text, met bigint
)
language plpgsql set search_path from current set jit = off as $$
#variable_conflict use_column
declare
    key text;
begin
    for key in select h.hold_key from hold h where h.until <= now() order by h.hold_key loop
        -- Somebody else ends it, or begins it anew.
        perform 1 from hold_memory m where m.hold_key = key for update skip locked;
        continue when not found;
        update hold_memory m
           set touched_at = clock_timestamp(),
               ended_at = greatest(m.ended_at, (select h.until from hold h where h.hold_key = key))
         where m.hold_key = key;
        return query
            delete from hold h where h.hold_key = key and h.until <= now()
            returning 'over', h.ended_by, (extract(epoch from h.until - h.since) * 1000)::bigint,
                      (select count(*) from (select from job_scheduled s where s.hold_key = key
                                              order by s.hold_key, s.job_id limit 1000) w),
                      h.hold_key, h.kind, h.since, h.until, h.probe_at, h.message, h.met;
    end loop;

    return query
        with due as (
            select h.hold_key, least(2 * h.wait_ms, p_max_ms[array_position(p_kind, h.kind)]) as wait
              from hold h
             where h.probe_at <= now() and (h.until is null or h.until > now()) and h.kind = any (p_kind)
             -- The ones that wait longest first, and few at a time: accounts that are none may be enqueued by the thousand,
             -- and each probe is a refusal that the provider counts.
             order by h.probe_at limit 4 for update skip locked
        )
        update hold h
           set probes = h.probes + 1, wait_ms = due.wait, probe_at = clock_timestamp() + due.wait * interval '1 ms'
          from due where h.hold_key = due.hold_key
        returning 'probe', null::text, 0::bigint, 0::bigint, h.hold_key, h.kind, h.since, h.until, h.probe_at, h.message,
                  h.met;

    delete from hold_tally t using (select o.hold_key, o.at from hold_tally o
                                     where o.at < now() - 2 * p_window_ms * interval '1 ms'
                                       for update skip locked) old
     where t.hold_key = old.hold_key and t.at = old.at;
    delete from hold_memory m using (select o.hold_key from hold_memory o
                                      where o.touched_at < now() - interval '1 hour'
                                        and not exists (select from hold h where h.hold_key = o.hold_key)
                                        for update skip locked) old
     where m.hold_key = old.hold_key;
end $$;
