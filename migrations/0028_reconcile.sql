-- Reconciling: what is known of a provider's recordings, and how far each account was looked through.
-- callspool: compatible=true

select set_config('search_path', current_setting('search_path') || ', pg_temp', true);

create table reconcile (
    account_sid text primary key,
    -- No round begins before it.
    due_at timestamptz not null default now(),
    -- What was created before it was listed at least once; null: nothing was.
    reached timestamptz,
    -- The round under way, or the last one; a round is under way while it has begun and not finished.
    since timestamptz,
    until timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    -- The page that comes next, in the provider's terms; null: the first.
    page text,
    seen bigint not null default 0,
    had bigint not null default 0,
    dead bigint not null default 0,
    enqueued bigint not null default 0,
    gone bigint not null default 0,
    unmapped bigint not null default 0,
    -- Who goes through it; null: nobody.
    instance_id uuid
);

-- What is known of these recordings: live, stored (also where the file was removed since), or how the last job of it
-- ended. By their calls: whose they are is not known here. A job that names only its call stands for each recording of it.
create function known_recordings(p_call_sid text[], p_recording_sid text[])
returns table (place bigint, standing text)
language sql stable set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_material = off set jit = off as $$
    select place, coalesce(
               (select 'live' from job j
                 where j.call_sid = asked.call_sid
                   and (j.recording_sid = asked.recording_sid or j.recording_sid is null) limit 1),
               (select 'stored' from recordings r
                 where r.call_sid = asked.call_sid
                   and (r.recording_sid = asked.recording_sid or r.recording_sid is null) limit 1),
               (select h.state from job_history h
                 where h.call_sid = asked.call_sid
                   and (h.recording_sid = asked.recording_sid or h.recording_sid is null)
                 order by h.finished_at desc limit 1))
      from unnest(p_call_sid, p_recording_sid) with ordinality asked (call_sid, recording_sid, place)
     order by place
$$;

-- Takes an account in hand: a round that nobody goes on with, or a new one, where it is due. No row: it is not due, or in
-- the hands of an instance that lives. An instance that has not beaten takes nothing: others would take it for dead.
create function begin_round(
    p_account_sid text, p_instance uuid, p_look_back_ms bigint, p_ttl_ms bigint
) returns table (
    since timestamptz, until timestamptz, page text, seen bigint, had bigint, dead bigint, enqueued bigint, gone bigint,
    unmapped bigint, took_ms bigint
)
language plpgsql set search_path from current set jit = off as $$
#variable_conflict use_column
declare
    right_now timestamptz := clock_timestamp();
    taken reconcile;
    goes_on boolean;
begin
    insert into reconcile (account_sid) values (p_account_sid) on conflict do nothing;
    select * into taken from reconcile r
     where r.account_sid = p_account_sid and r.due_at <= clock_timestamp()
       and exists (select from instance i where i.instance_id = p_instance)
       and (r.instance_id is null or r.instance_id = p_instance
            or not exists (select from instance i
                            where i.instance_id = r.instance_id
                              and i.beat_at > right_now - p_ttl_ms * interval '1 ms'))
       for update skip locked;
    if not found then return; end if;

    goes_on := taken.started_at is not null and taken.finished_at is null;
    if goes_on then
        update reconcile r set instance_id = p_instance where r.account_sid = p_account_sid;
    else
        update reconcile r
           set instance_id = p_instance, started_at = right_now, finished_at = null, until = right_now, page = null,
               since = least(coalesce(r.reached, right_now), right_now) - p_look_back_ms * interval '1 ms',
               seen = 0, had = 0, dead = 0, enqueued = 0, gone = 0, unmapped = 0
         where r.account_sid = p_account_sid;
    end if;
    return query
        select r.since, r.until, r.page, r.seen, r.had, r.dead, r.enqueued, r.gone, r.unmapped,
               (extract(epoch from right_now - r.started_at) * 1000)::bigint
          from reconcile r where r.account_sid = p_account_sid;
end $$;

-- One page more; without a next one the round is over. No row: the account is in other hands by now.
create function note_page(
    p_account_sid text, p_instance uuid, p_next text, p_interval_ms bigint, p_seen bigint, p_had bigint, p_dead bigint,
    p_enqueued bigint, p_gone bigint, p_unmapped bigint
) returns table (
    since timestamptz, until timestamptz, page text, seen bigint, had bigint, dead bigint, enqueued bigint, gone bigint,
    unmapped bigint, took_ms bigint
)
language sql set search_path from current set jit = off as $$
    update reconcile r
       set page = p_next, seen = r.seen + p_seen, had = r.had + p_had, dead = r.dead + p_dead,
           enqueued = r.enqueued + p_enqueued, gone = r.gone + p_gone, unmapped = r.unmapped + p_unmapped,
           finished_at = case when p_next is null then clock_timestamp() end,
           reached = case when p_next is null then greatest(r.reached, r.until) else r.reached end,
           due_at = case when p_next is null then clock_timestamp() + p_interval_ms * interval '1 ms' else r.due_at end,
           instance_id = case when p_next is null then null else r.instance_id end
     where r.account_sid = p_account_sid and r.instance_id = p_instance
    returning r.since, r.until, r.page, r.seen, r.had, r.dead, r.enqueued, r.gone, r.unmapped,
              (extract(epoch from clock_timestamp() - r.started_at) * 1000)::bigint
$$;

-- Gives an account out of hand, for this long at least. p_anew: its round begins with the first page again.
create function leave_round(p_account_sid text, p_instance uuid, p_wait_ms bigint, p_anew boolean) returns void
language sql set search_path from current set jit = off as $$
    update reconcile r
       set instance_id = null, due_at = clock_timestamp() + p_wait_ms * interval '1 ms',
           page = case when p_anew then null else r.page end,
           seen = case when p_anew then 0 else r.seen end, had = case when p_anew then 0 else r.had end,
           dead = case when p_anew then 0 else r.dead end, enqueued = case when p_anew then 0 else r.enqueued end,
           gone = case when p_anew then 0 else r.gone end, unmapped = case when p_anew then 0 else r.unmapped end
     where r.account_sid = p_account_sid and r.instance_id = p_instance
$$;
