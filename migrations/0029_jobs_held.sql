-- no-transaction
-- callspool: lock_timeout=0 statement_timeout=0 compatible=true
--
-- The promotion's way to the jobs that wait for a hold, built while everybody works.

create index concurrently if not exists job_scheduled_held on job_scheduled (hold_key, job_id)
    where hold_key is not null;
