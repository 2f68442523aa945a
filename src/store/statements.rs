//! Every statement, with the schema's name put in once. A test prepares each of them against the real schema.

use crate::domain::sql_name::quoted;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

macro_rules! statements {
    ($($name:ident = $text:literal;)*) => {
        #[derive(Debug)]
        pub(super) struct Statements {
            $(pub(super) $name: SqlStr,)*
        }

        impl Statements {
            /// The schema's name is quoted, so that no name can become SQL.
            pub(super) fn new(schema: &str) -> Self {
                let quoted = quoted(schema);
                Self { $($name: AssertSqlSafe($text.replace("{s}", &quoted)).into_sql_str(),)* }
            }

            pub(super) fn all(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($name), self.$name.as_str().to_owned()),)*]
            }
        }
    };
}

statements! {
    enqueue = "select place, job_id, state, deduplicated from {s}.enqueue_many($1, $2, $3, $4, $5, $6, $7, $8, $9) order by place";
    job = "select * from {s}.job_view where job_id = $1";
    jobs = "select * from {s}.jobs_page($1, $2, $3, $4, $5)";
    attempts = "select attempt, started_at, ended_at, error_code, error_message, instance_id from {s}.job_attempt
                 where job_id = $1 order by ended_at, attempt";
    ring = "select pg_notify($1, $2)";
    claim = "select w.*, (extract(epoch from now() - w.not_ready_since) * 1000)::bigint as not_ready_ms
               from {s}.claim_work($1, $2, $3, $4, $5, $6, $7, $8, $9) w";
    settle = "select lease_id, outcome from {s}.settle_attempts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                                                               $13, $14, $15)";
    cancel_requests = "select lease_id from {s}.job_lease where instance_id = $1 and cancel_requested";
    recordings = "select business_id, call_sid, recording_sid, job_type, job_id, storage_key, bytes,
                         encode(sha256, 'hex') as sha256, content_type, stored_at, duration_ms, recording_key,
                         deleted_at, deleted_by, legal_hold, provider_deleted_at
                    from {s}.recordings
                   where call_sid = $1 and ($2::bigint is null or business_id = $2)
                     and ($3::text is null or recording_sid = $3)
                   order by stored_at desc, job_id desc limit 1000";
    transcript = "select business_id, call_sid, recording_sid, job_id, text, language, model, segments, made_at
                    from {s}.transcript
                   where business_id = $1 and recording_key = $2 and call_sid = $3";
    transcript_limit = "select set_config('statement_timeout', $1, true)";
    transcript_search = "select * from {s}.transcript_search($1, $2, $3, $4, $5)";
    held = "select l.job_id, l.lease_id, l.worker, l.generation, l.business_id, j.call_sid
              from {s}.job_lease l join {s}.job j using (job_id) where l.instance_id = $1";
    is_held = "select exists (select from {s}.job_lease where job_id = $1 and lease_id = $2)";
    held_by = "select l.job_id, l.lease_id, l.attempt, l.business_id, j.call_sid, j.job_type, j.max_attempts,
                      (extract(epoch from now() - j.not_ready_since) * 1000)::bigint as not_ready_ms
                 from {s}.job_lease l join {s}.job j using (job_id)
                where l.instance_id = $1 and l.worker = $2 and l.generation = $3";
    beat = "insert into {s}.instance (instance_id, host, pid, roles, version, workers, draining, actors)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
            on conflict (instance_id) do update
               set beat_at = now(), workers = excluded.workers, draining = excluded.draining, actors = excluded.actors";
    deregister = "delete from {s}.instance i where i.instance_id = $1
                     and not exists (select 1 from {s}.job_lease l where l.instance_id = i.instance_id)";
    reap = "select job_id, business_id, call_sid, job_type, attempt, outcome from {s}.reap_leases($1, $2, $3)";
    promote = "select promoted, next_due_ms from {s}.promote($1)";
    rotate_history = "select created, dropped from {s}.rotate_history($1 * interval '1 ms')";
    known_recordings = "select standing from {s}.known_recordings($1, $2) order by place";
    begin_round = "select * from {s}.begin_round($1, $2, $3, $4)";
    note_page = "select * from {s}.note_page($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    leave_round = "select {s}.leave_round($1, $2, $3, $4)";
    heal_stranded = "select healed, next_after from {s}.heal_next($1, $2)";
    cancel = "select job_id, outcome from {s}.cancel_jobs($1, $2, $3, $4) order by job_id";
    retry = "select job_id, outcome from {s}.retry_jobs($1, $2) order by job_id";
    expedite = "select {s}.expedite($1, $2, $3)";
    change_business = "select {s}.change_business($1, $2, $3, $4)";
    businesses = "select business_id, max_slots, weight, paused, paused_at, paused_by, running, ready, scheduled, done,
                         cancelled, dead, waiting_since, forms, retention_days, delete_at_provider, completion_url
                    from {s}.business where business_id > $1 order by business_id limit $2";
    businesses_by_id = "select business_id, max_slots, weight, paused, paused_at, paused_by, running, ready, scheduled,
                               done, cancelled, dead, waiting_since, forms, retention_days, delete_at_provider,
                               completion_url
                          from {s}.business where business_id = any ($1) order by array_position($1, business_id)";
    actions = "select at, operator, action, business_id, job_id, detail from {s}.operator_action
                where business_id = $1 and action <> 'play' order by action_id desc limit $2";
    explain = "select v.*, now() as now, s.retry_after_ms, l.worker, l.deadline_at, l.cancel_requested, i.host,
                      (extract(epoch from now() - i.beat_at) * 1000)::bigint as beat_age_ms,
                      (select coalesce(jsonb_agg(h order by h.since), '[]')
                         from (select o.job_id, j.call_sid, o.leased_at as since, o.instance_id as instance, oi.host,
                                      o.worker, (extract(epoch from now() - oi.beat_at) * 1000)::bigint as beat_age_ms
                                 from {s}.job_lease o join {s}.job j on j.job_id = o.job_id
                                 left join {s}.instance oi on oi.instance_id = o.instance_id
                                where v.state = 'ready' and o.business_id = v.business_id
                                order by o.leased_at limit 100) h) as holders,
                      (select count(*) from (select from {s}.job_ready q
                                              where v.state = 'ready' and q.business_id = v.business_id
                                                and (q.priority, q.job_id) < (v.priority, v.job_id)
                                              limit 1000) before) as ahead,
                      (select coalesce(jsonb_agg(jsonb_build_object(
                                  'instance', f.instance_id, 'host', f.host, 'roles', f.roles, 'workers', f.workers,
                                  'draining', f.draining) order by f.started_at), '[]')
                         from {s}.instance f where f.beat_at > now() - $2 * interval '1 ms') as live,
                      (select greatest(w.worker_seen_at, (select max(f.beat_at) from {s}.instance f
                                                           where f.workers > 0))
                         from {s}.queue_watch w) as worker_seen_at,
                      (select count(*) from {s}.job_lease) as in_use,
                      (select max(a.ended_at) from {s}.job_attempt a where a.job_id = v.job_id) as failed_at,
                      (select a.operator from {s}.operator_action a
                        where a.job_id = v.job_id and a.action = 'cancel' order by a.action_id desc limit 1)
                          as cancelled_by,
                      (select to_jsonb(h) from {s}.hold h
                        where h.hold_key = any (k.keys) and (h.until is null or h.until > now())
                        order by array_position(k.keys, h.hold_key) limit 1) as hold
                 from {s}.job_view v
                 left join {s}.job_scheduled s on s.job_id = v.job_id
                 left join {s}.job_lease l on l.job_id = v.job_id
                 left join {s}.instance i on i.instance_id = l.instance_id
                cross join lateral (
                    select case v.state when 'ready' then (select {s}.hold_keys(j.recording_url) from {s}.job j
                                                            where j.job_id = v.job_id)
                                        when 'scheduled' then array[s.hold_key] end as keys) k
                where v.job_id = $1";
    holds_standing = "select hold_key, since, until, probe_at, message, met, until is null or until > now() as stands,
                             coalesce(probe_at <= now(), false) or coalesce(until <= now(), false) as is_due
                        from {s}.hold";
    hold_blame = "select * from {s}.blame_hold($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    hold_credit = "select {s}.credit_hosts($1, $2, $3)";
    hold_tend = "select * from {s}.tend_holds($1, $2, $3)";
    hold_end = "select * from {s}.end_hold($1, $2)";
    hold_lift = "select {s}.lift_hold($1, $2)";
    holds = "select hold_key, since, until, probe_at, message, met, waiting from {s}.hold_now order by since, hold_key";
    configure = "update {s}.fleet_setting set announces = $1, delete_at_provider = $2
                  where (announces, delete_at_provider) is distinct from ($1, $2)";
    take_follow_ups = "select follow_up_id, event_id, kind, business_id, call_sid, recording_sid, facts, tries, age_ms,
                              completion_url
                         from {s}.take_follow_ups($1, $2, $3)";
    end_follow_up = "select {s}.end_follow_up($1, $2, $3, $4, $5, $6)";
    follow_ups = "select follow_up_id, kind, business_id, call_sid, recording_sid, facts ->> 'type' as event, made_at,
                         due_at, tries, last_error, died_at
                    from {s}.follow_up
                   where follow_up_id < $1 and ($2::boolean is null or (died_at is not null) = $2)
                   order by follow_up_id desc limit $3";
    revive_follow_up = "with revived as (
                            update {s}.follow_up set died_at = null, due_at = now(), made_at = now(), tries = 0
                             where follow_up_id = $1 and died_at is not null
                            returning business_id, call_sid, recording_sid, kind
                        )
                        insert into {s}.operator_action (operator, action, business_id, call_sid, recording_sid, detail)
                        select $2, 'retry_follow_up', business_id, call_sid, recording_sid, kind from revived";
    forget_follow_ups = "delete from {s}.follow_up
                          where follow_up_id = any (array(select follow_up_id from {s}.follow_up
                                                           where died_at < now() - $1 * interval '1 ms'
                                                           order by died_at limit $2))";
    delete_recording = "select {s}.delete_recording($1, $2, $3, $4)";
    hold_recording = "select {s}.hold_recording($1, $2, $3, $4)";
    expire = "select business_id, call_sid, recording_sid from {s}.expire_recordings($1, $2)";
    note_play = "select {s}.note_play($1, $2, $3, $4, $5, $6, $7)";
    note_link = "insert into {s}.operator_action (operator, action, business_id, call_sid, recording_sid, job_id, detail)
                 values ($1, 'link', $2, $3, $4, $5, $6)";
    audit = "select action_id, at, operator, action, business_id, call_sid, recording_sid, job_id, detail
               from {s}.audit_page($1, $2, $3, $4, $5, $6)";
    watch = "select change, reason, since, businesses, ready, business_id
               from {s}.watch_next($1, $2, $3, $4, 2000, $5, $6)";
    add_pulse = "select {s}.add_pulse($1, $2, $3, $4, $5)";
    overview = "select now() as now, w.watched_at, coalesce(w.swept_at, w.watched_at) as swept_at, w.ready, w.scheduled, w.running, w.done, w.cancelled, w.dead, w.oldest_ready,
                       w.live_instances, w.live_workers, w.busiest,
                       (select coalesce(jsonb_agg(s order by s.since), '[]') from {s}.queue_stall s) as stalls,
                       (select coalesce(jsonb_agg(h order by h.since), '[]') from {s}.hold_now h) as holds,
                       (select coalesce(jsonb_agg(f), '[]') from (
                           select code, count(*) filter (where retrying) as retrying,
                                  count(*) filter (where not retrying) as dead
                             from (select error_code as code, true as retrying
                                     from (select error_code from {s}.job_scheduled
                                            order by job_id desc limit 1000) newest
                                    union all
                                   select error_code, false
                                     from (select error_code, state, finished_at from {s}.job_history
                                            where state <> 'done' order by job_id desc limit 1000) newest
                                    where state = 'dead' and finished_at > now() - interval '1 hour') failed
                            where code is not null
                            group by code order by count(*) desc, code limit 5) f) as failing
                  from {s}.queue_watch w";
    pulse = "select at, ready, scheduled, running, done, failed, dead, bytes, latency from {s}.pulse
              where at >= now() - $1 * interval '1 minute' order by at";
    instances = "select instance_id, host, pid, roles, version, workers, draining, actors, started_at,
                        (extract(epoch from now() - beat_at) * 1000)::bigint as beat_age_ms,
                        beat_at > now() - $1 * interval '1 ms' as live
                   from {s}.instance order by started_at, instance_id";
    backlog = "select b.ready + d.ready as ready, b.scheduled + d.scheduled as scheduled, b.running, b.done, b.cancelled, b.dead
                 from (select coalesce(sum(ready), 0)::bigint as ready, coalesce(sum(scheduled), 0)::bigint as scheduled,
                              coalesce(sum(running), 0)::bigint as running, coalesce(sum(done), 0)::bigint as done,
                              coalesce(sum(cancelled), 0)::bigint as cancelled, coalesce(sum(dead), 0)::bigint as dead
                         from {s}.business) b,
                      (select coalesce(sum(ready_delta), 0)::bigint as ready,
                              coalesce(sum(scheduled_delta), 0)::bigint as scheduled
                         from {s}.doorbell) d";
    oldest_ready = "select coalesce(due_at, enqueued_at) from {s}.job
                     where job_id = (select job_id from {s}.job_ready order by job_id limit 1)";
    meter = "select w.ready, w.scheduled, w.running, w.done, w.cancelled, w.dead, w.live_instances, w.live_workers,
                    (extract(epoch from now() - w.oldest_ready) * 1000)::bigint as oldest_ready_ms,
                    (extract(epoch from now() - coalesce(w.swept_at, w.watched_at)) * 1000)::bigint as watch_age_ms,
                    array(select reason from {s}.queue_stall order by reason) as stall_reasons,
                    array(select businesses from {s}.queue_stall order by reason) as stall_businesses,
                    (select coalesce(jsonb_agg(jsonb_build_object('business_id', b.business_id, 'in_use', b.running,
                                                                  'limit', b.max_slots)), '[]')
                       from {s}.business b where b.business_id = any (w.busiest)) as slots,
                    array(select kind from {s}.hold_now order by since, hold_key) as hold_kinds,
                    array(select waiting from {s}.hold_now order by since, hold_key) as hold_waiting,
                    h.oldest_transaction_ms,
                    greatest(h.session_xmin,
                             (select max(greatest(age(xmin), age(catalog_xmin))) from pg_replication_slots),
                             (select max(age(transaction)) from pg_prepared_xacts where database = current_database())
                            ) as oldest_xmin
               from {s}.queue_watch w
              cross join (select (extract(epoch from clock_timestamp() - min(xact_start)) * 1000)::bigint
                                     as oldest_transaction_ms,
                                 max(age(backend_xmin)) as session_xmin
                            from pg_stat_activity
                           where (datname = current_database() and pid <> pg_backend_pid()
                                  and backend_type is distinct from 'autovacuum worker')
                              or backend_type = 'walsender') h";
    history_exists = "select to_regclass('{s}._sqlx_migrations') is not null
                         and to_regclass('{s}.application_migrations') is not null
                         and to_regclass('{s}.compatible_migrations') is not null
                         and to_regclass('{s}.failed_migrations') is not null";
    schema_exists = "select to_regnamespace('{s}') is not null";
    create_schema = "create schema if not exists {s}";
    our_history = "select m.*, c.version is not null as compatible
                     from {s}._sqlx_migrations m left join {s}.compatible_migrations c using (version) order by version";
    application_history = "select m.*, false as compatible from {s}.application_migrations m order by version";
    create_compatible = "create table if not exists {s}.compatible_migrations (version bigint primary key)";
    mark_compatible = "insert into {s}.compatible_migrations (version) values ($1) on conflict do nothing";
    create_failed = "create table if not exists {s}.failed_migrations (
                         migration_set text not null, version bigint not null, failed_at timestamptz not null default now(),
                         reason text not null, sqlstate text, primary key (migration_set, version))";
    remember_failure = "insert into {s}.failed_migrations (migration_set, version, reason, sqlstate) values ($1, $2, $3, $4)
                        on conflict (migration_set, version)
                            do update set failed_at = now(), reason = excluded.reason, sqlstate = excluded.sqlstate";
    forget_failure = "delete from {s}.failed_migrations where migration_set = $1 and version = $2";
    failed = "select migration_set, version, failed_at, reason, sqlstate from {s}.failed_migrations
               order by migration_set desc, version";
    schema_version = "select coalesce(max(version), 0) from {s}._sqlx_migrations where success";
    lock_holder = "select l.pid, coalesce(a.application_name, '') as app, host(a.client_addr) as client,
                          a.backend_start as since, a.state,
                          substring(a.query from '^[[:space:]]*([[:alpha:]]+)') as query
                     from pg_locks l left join pg_stat_activity a on a.pid = l.pid
                    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                      and l.database = (select oid from pg_database where datname = current_database())
                      and (l.classid::bigint << 32) | l.objid::bigint = $1";
    somebody_migrates = "select exists (select 1 from pg_stat_activity
                          where datname = current_database() and application_name like 'callspool-migrator%')";
    migration_progress = "select a.wait_event_type || ' ' || a.wait_event as waiting_for,
                                 (select p.phase || coalesce(', ' || (100 * p.blocks_done / nullif(p.blocks_total, 0)) || ' % of blocks', '')
                                    from pg_stat_progress_create_index p where p.pid = a.pid) as index_build
                            from pg_stat_activity a where a.pid = $1";
    migration_blockers = "select a.pid, coalesce(a.application_name, '') as app, host(a.client_addr) as client,
                                 coalesce(a.xact_start, a.backend_start) as since, a.state,
                                 substring(a.query from '^[[:space:]]*([[:alpha:]]+)') as query
                            from pg_stat_activity a where a.pid = any (pg_blocking_pids($1)) order by a.pid";
    try_lock = "select pg_try_advisory_lock($1)";
    holds_lock = "select exists (select 1 from pg_locks
                   where locktype = 'advisory' and granted and objsubid = 1 and pid = pg_backend_pid()
                     and database = (select oid from pg_database where datname = current_database())
                     and (classid::bigint << 32) | objid::bigint = $1)";
    unlock = "select pg_advisory_unlock($1)";
    backfill_announce = "insert into {s}.backfill (name, checksum, kind)
                         select * from unnest($1::text[], $2::text[], $3::text[]) on conflict do nothing";
    backfill_standing = "select b.state, b.checksum, b.batches, b.last_error,
                                coalesce(b.instance_id <> $2, false) and (
                                    b.updated_at > now() - $3 * interval '1 ms'
                                    or b.updated_at > now() - $4 * interval '1 ms'
                                   and exists (select 1 from {s}.instance i where i.instance_id = b.instance_id
                                                  and i.beat_at > now() - $3 * interval '1 ms')) as held
                           from {s}.backfill b where b.name = $1";
    backfill_lock = "select true from {s}.backfill where name = $1 for update skip locked";
    backfill_start = "update {s}.backfill
                         set state = 'running', checksum = $2, kind = $3, instance_id = $4, origin = $5, position = $5,
                             target = $6, attempts = 0, last_error = null, started_at = clock_timestamp(),
                             updated_at = clock_timestamp(), finished_at = null
                       where name = $1";
    backfill_resume = "update {s}.backfill
                          set state = 'running', instance_id = $2, attempts = 0, last_error = null,
                              updated_at = clock_timestamp(), finished_at = null
                        where name = $1";
    backfill_key = "select a.atttypid::regtype::text as key_type, coalesce(a.attnotnull, false) as is_not_null,
                           exists (select 1 from pg_index i where i.indrelid = t.id and i.indisvalid
                                      and i.indpred is null and i.indkey[0] = a.attnum) as is_indexed
                      from (select to_regclass($1) as id) t
                      left join pg_attribute a on a.attrelid = t.id and a.attname = $2 and a.attnum > 0
                                              and not a.attisdropped
                     where t.id is not null";
    backfill_held = "select origin, position, target from {s}.backfill
                      where name = $1 and checksum = $2 and instance_id = $3 and state = 'running'
                        for update skip locked";
    backfill_limits = "select set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),
                              set_config('idle_in_transaction_session_timeout', '60s', true),
                              set_config('client_connection_check_interval', '1s', true)";
    backfill_moved = "update {s}.backfill
                         set position = $2, rows = rows + $3, batches = batches + 1, attempts = 0, last_error = null,
                             updated_at = clock_timestamp(), state = case when $4 then 'done' else state end,
                             finished_at = case when $4 then clock_timestamp() end
                       where name = $1
                   returning rows, (extract(epoch from clock_timestamp() - started_at) * 1000)::bigint as took_ms";
    backfill_trouble = "update {s}.backfill
                           set attempts = attempts + 1, last_error = $3, updated_at = clock_timestamp()
                         where name = $1 and instance_id = $2 and state = 'running'";
    backfill_fail = "insert into {s}.backfill as b (name, checksum, state, last_error, finished_at)
                     values ($1, $2, 'failed', $3, clock_timestamp())
                     on conflict (name) do update
                        set checksum = excluded.checksum, state = 'failed', last_error = excluded.last_error,
                            updated_at = excluded.finished_at, finished_at = excluded.finished_at
                      where b.state <> 'done' and (b.checksum = excluded.checksum or b.batches = 0)
                        and (b.state <> 'running' or b.instance_id is null or b.instance_id = $4)";
    backfill_release = "update {s}.backfill set instance_id = null where instance_id = $1 and state = 'running'";
    backfills = "select name, state, origin, position, target, rows, batches, attempts, last_error, instance_id,
                        started_at, updated_at, finished_at
                   from {s}.backfill order by name collate \"C\"";
}
