//! The database when all is over.

use super::Wanted;
use sqlx::{PgConnection, Row};
use std::collections::HashMap;

/// What is left of work: none of it may be.
const LEFT: &str = "
    select 'job ' || job_id from job
    union all select 'ready ' || job_id from job_ready
    union all select 'scheduled ' || job_id from job_scheduled
    union all select 'lease of ' || job_id from job_lease";

/// What a business says of itself, where that is not so.
const COUNTERS: &str = "
    select format('business %s: %s running, %s ready, %s scheduled, %s done, %s dead; done were %s', b.business_id,
                  b.running, b.ready + d.ready, b.scheduled + d.scheduled, b.done, b.dead, h.n)
      from business b
     cross join lateral (select count(*) as n from job_history
                          where job_history.business_id = b.business_id and state = 'done') h
     cross join lateral (select coalesce(sum(ready_delta), 0) as ready, coalesce(sum(scheduled_delta), 0) as scheduled
                           from doorbell where doorbell.business_id = b.business_id) d
     where b.running <> 0 or b.ready + d.ready <> 0 or b.scheduled + d.scheduled <> 0 or b.done <> h.n or b.dead <> 0";

/// `undone`: recordings that were told of in transactions that were rolled back.
pub async fn check(
    connection: &mut PgConnection,
    wanted: &[Wanted],
    undone: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    let mut violations = Vec::new();
    let left: Vec<String> = sqlx::query_scalar(LEFT).fetch_all(&mut *connection).await?;
    violations.extend(left.into_iter().map(|what| format!("not over: {what}")));
    let wrong: Vec<String> = sqlx::query_scalar(COUNTERS).fetch_all(&mut *connection).await?;
    violations.extend(wrong.into_iter().map(|what| format!("counters: {what}")));

    let ends = "select coalesce(recording_sid, call_sid), state, count(*) from job_history group by 1, 2";
    let mut done = HashMap::new();
    for row in sqlx::query(ends).fetch_all(&mut *connection).await? {
        let (recording, state, times): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        if state != "done" {
            violations.push(format!("lost: {recording} is {state}"));
        } else if times != 1 {
            violations.push(format!("stored {times} times: {recording}"));
        }
        done.insert(recording, state);
    }
    let stored = "select recording_sid, storage_key, sha256 from recordings where recording_sid is not null";
    let mut kept: HashMap<String, (String, Vec<u8>)> = HashMap::new();
    for row in sqlx::query(stored).fetch_all(&mut *connection).await? {
        kept.insert(row.get(0), (row.get(1), row.get(2)));
    }
    for wanted in wanted {
        let recording = &wanted.recording_sid;
        let is_done = done.remove(recording).is_some();
        if wanted.accepted && !is_done {
            violations.push(format!("lost: {recording} was accepted and has no job"));
        }
        match kept.get(recording) {
            Some((key, sha256)) if *key == wanted.file() && sha256[..] == wanted.sha256 => {}
            Some((key, _)) => violations.push(format!("recordings: {recording} is not what stands at {key}")),
            None if is_done => violations.push(format!("recordings: {recording} is done and not there")),
            None => {}
        }
    }
    violations.extend(done.keys().map(|recording| format!("nobody asked for {recording}")));
    violations.extend(
        undone.iter().filter(|sid| kept.contains_key(*sid)).map(|sid| format!("undone, but stored: {sid}")),
    );
    Ok(violations)
}
