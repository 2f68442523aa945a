//! What holds at every moment, whatever was killed just now. Each is one statement, so what it sees is one moment.

use sqlx::{PgConnection, Row};

const LAWS: [(&str, &str); 5] = [
    (
        "a job has not exactly one place",
        "select j.job_id::text || ': ' || coalesce(string_agg(p.place, ' '), 'none')
           from job j left join (select job_id, 'ready' as place from job_ready
                                 union all select job_id, 'scheduled' from job_scheduled
                                 union all select job_id, 'running' from job_lease) p using (job_id)
          group by j.job_id having count(p.place) <> 1",
    ),
    (
        "a place holds no job",
        "select p.job_id::text from (select job_id from job_ready union all select job_id from job_scheduled
                                      union all select job_id from job_lease) p
          where not exists (select from job j where j.job_id = p.job_id)",
    ),
    (
        "stranded: ready jobs, and neither a mark nor a bell",
        "select r.business_id::text from (select distinct business_id from job_ready) r
          where not exists (select from business b where b.business_id = r.business_id and b.has_more)
            and not exists (select from doorbell d where d.business_id = r.business_id)",
    ),
    (
        "slots are not what is running",
        "select format('business %s: %s counted, %s leased, %s allowed', b.business_id, b.running, l.n, b.max_slots)
           from business b
          cross join lateral (select count(*) as n from job_lease where job_lease.business_id = b.business_id) l
          where b.running <> l.n or b.running > b.max_slots",
    ),
    (
        "counters are not what is there",
        "select format('business %s: %s ready and %s scheduled, counted %s and %s', b.business_id, r.n, s.n,
                       b.ready + d.ready, b.scheduled + d.scheduled)
           from business b
          cross join lateral (select count(*) as n from job_ready where job_ready.business_id = b.business_id) r
          cross join lateral (select count(*) as n from job_scheduled where job_scheduled.business_id = b.business_id) s
          cross join lateral (select coalesce(sum(ready_delta), 0) as ready, coalesce(sum(scheduled_delta), 0) as scheduled
                                from doorbell where doorbell.business_id = b.business_id) d
          where b.ready + d.ready <> r.n or b.scheduled + d.scheduled <> s.n",
    ),
];

/// Whatever breaks a law just now. `search_path` finds the tables.
pub async fn check(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut violations = Vec::new();
    for (law, question) in LAWS {
        let broken = sqlx::query(question).fetch_all(&mut *connection).await?;
        violations.extend(broken.iter().map(|row| format!("{law}: {}", row.get::<String, _>(0))));
    }
    Ok(violations)
}
