-- Jobs as an operator sees them: live ones with their state, and finished ones.
create view job_view as
select j.job_id, j.business_id, j.call_sid, j.recording_sid, j.job_type,
       case when l.job_id is not null then 'running' when s.job_id is not null then 'scheduled' else 'ready' end as state,
       coalesce(l.attempt, s.attempt, q.attempt, 0::smallint) as attempt,
       j.max_attempts, j.priority, s.run_at, j.enqueued_at, l.leased_at as started_at, null::timestamptz as finished_at,
       coalesce(s.error_code, a.error_code) as error_code, coalesce(s.error_message, a.error_message) as error_message,
       l.instance_id
  from job j
  left join job_lease l on l.job_id = j.job_id
  left join job_scheduled s on s.job_id = j.job_id
  left join job_ready q on q.business_id = j.business_id and q.priority = j.priority and q.job_id = j.job_id
  left join lateral (select error_code, error_message from job_attempt
                      where job_attempt.job_id = j.job_id order by ended_at desc limit 1) a on true
union all
select job_id, business_id, call_sid, recording_sid, job_type, state, attempt, max_attempts, priority,
       null::timestamptz, enqueued_at, started_at, finished_at, error_code, error_message, instance_id
  from job_history;
