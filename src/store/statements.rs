//! Every statement, with the schema's name put in once. A test prepares each of them against the real schema.

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
                let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
                Self { $($name: AssertSqlSafe($text.replace("{s}", &quoted)).into_sql_str(),)* }
            }

            pub(super) fn all(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($name), self.$name.as_str().to_owned()),)*]
            }
        }
    };
}

statements! {
    enqueue = "select place, job_id, state, deduplicated from {s}.enqueue_many($1, $2, $3, $4, $5, $6, $7) order by place";
    job = "select * from {s}.job_view where job_id = $1";
    jobs = "select * from {s}.jobs_page($1, $2, $3, $4, $5)";
    ring = "select pg_notify($1, '')";
    claim = "select * from {s}.claim($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    settle = "select * from {s}.settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    held = "select l.job_id, l.lease_id, l.worker, l.generation, l.business_id, j.call_sid
              from {s}.job_lease l join {s}.job j using (job_id) where l.instance_id = $1";
    held_by = "select l.job_id, l.lease_id, l.attempt, l.business_id, j.call_sid, j.max_attempts
                 from {s}.job_lease l join {s}.job j using (job_id)
                where l.instance_id = $1 and l.worker = $2 and l.generation = $3";
    beat = "insert into {s}.instance (instance_id, host, pid, roles, version, workers, draining, actors)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
            on conflict (instance_id) do update
               set beat_at = now(), workers = excluded.workers, draining = excluded.draining, actors = excluded.actors";
    deregister = "delete from {s}.instance i where i.instance_id = $1
                     and not exists (select 1 from {s}.job_lease l where l.instance_id = i.instance_id)";
    reap = "select job_id, business_id, call_sid, is_dead from {s}.reap($1, $2, $3)";
    promote = "select promoted, next_due_ms from {s}.promote($1)";
    rotate_history = "select created, dropped from {s}.rotate_history($1 * interval '1 ms')";
    heal_stranded = "select {s}.heal_stranded()";
    instances = "select instance_id, host, pid, roles, version, workers, draining, actors, started_at,
                        (extract(epoch from now() - beat_at) * 1000)::bigint as beat_age_ms
                   from {s}.instance order by started_at, instance_id";
    backlog = "select b.ready + d.ready, b.scheduled + d.scheduled, b.running, b.done, b.cancelled, b.dead
                 from (select coalesce(sum(ready), 0)::bigint as ready, coalesce(sum(scheduled), 0)::bigint as scheduled,
                              coalesce(sum(running), 0)::bigint as running, coalesce(sum(done), 0)::bigint as done,
                              coalesce(sum(cancelled), 0)::bigint as cancelled, coalesce(sum(dead), 0)::bigint as dead
                         from {s}.business) b,
                      (select coalesce(sum(ready_delta), 0)::bigint as ready,
                              coalesce(sum(scheduled_delta), 0)::bigint as scheduled
                         from {s}.doorbell) d";
    oldest_ready = "select enqueued_at from {s}.job
                     where job_id = (select job_id from {s}.job_ready order by job_id limit 1)";
    history_exists = "select to_regclass('{s}._sqlx_migrations') is not null
                         and to_regclass('{s}.application_migrations') is not null
                         and to_regclass('{s}.compatible_migrations') is not null";
    our_history = "select m.*, c.version is not null as compatible
                     from {s}._sqlx_migrations m left join {s}.compatible_migrations c using (version) order by version";
    application_history = "select m.*, false as compatible from {s}.application_migrations m order by version";
    create_compatible = "create table if not exists {s}.compatible_migrations (version bigint primary key)";
    mark_compatible = "insert into {s}.compatible_migrations (version) values ($1) on conflict do nothing";
    schema_version = "select coalesce(max(version), 0) from {s}._sqlx_migrations where success";
    lock_holder = "select l.pid, coalesce(a.application_name, '') as app, host(a.client_addr) as client,
                          coalesce(a.backend_start, now()) as since, a.state,
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
}
