//! Which attempts counted. Each has a row that says how it ended; one that a drain handed back has none.

use super::{Drain, LostLease, Moment, Visit};
use sqlx::{PgConnection, Row};
use std::collections::HashMap;

/// An attempt that ended otherwise than well.
#[derive(Debug, Clone)]
pub struct Ended {
    pub recording_sid: String,
    pub instance: String,
    pub code: String,
    pub from: Moment,
    pub until: Moment,
}

impl Ended {
    fn is_lost(&self) -> bool {
        self.code == "lease_expired"
    }
}

pub async fn read(connection: &mut PgConnection) -> Result<Vec<Ended>, sqlx::Error> {
    let question = "select coalesce(j.recording_sid, h.recording_sid, ''), a.instance_id::text, a.error_code,
                           (extract(epoch from a.started_at) * 1000000)::bigint,
                           (extract(epoch from a.ended_at) * 1000000)::bigint
                      from job_attempt a left join job j using (job_id) left join job_history h using (job_id)";
    let rows = sqlx::query(question).fetch_all(connection).await?;
    let ended = |row: &sqlx::postgres::PgRow| Ended {
        recording_sid: row.get(0),
        instance: row.get(1),
        code: row.get(2),
        from: row.get(3),
        until: row.get(4),
    };
    Ok(rows.iter().map(ended).collect())
}

/// `members`: whose life each instance was.
pub fn lost_leases(ended: &[Ended], members: &HashMap<String, String>) -> Vec<LostLease> {
    let lost = |ended: &Ended| LostLease {
        member: members.get(&ended.instance).cloned().unwrap_or_default(),
        recording_sid: ended.recording_sid.clone(),
        leased_at: ended.from,
        lost_at: ended.until,
    };
    ended.iter().filter(|ended| ended.is_lost()).map(lost).collect()
}

/// What a process that drains cannot finish goes back as it came. So of its attempts none is lost, and none fails but by
/// an answer of the provider's that the provider knows of.
pub fn check_drains(ended: &[Ended], drains: &[Drain], visits: &[Visit]) -> Vec<String> {
    let mut violations = Vec::new();
    for drain in drains {
        let burnt = ended.iter().filter(|ended| ended.instance == drain.instance && ended.until >= drain.from);
        for ended in burnt {
            let has_cause = visits.iter().any(|visit| {
                visit.recording_sid == ended.recording_sid
                    && visit.member == drain.member
                    && !visit.whole
                    // Before the drain nobody but the provider ends a download.
                    && visit.until.is_some_and(|until| until >= ended.from && until <= ended.until)
                    && visit.until.is_some_and(|until| until < drain.from)
            });
            let refused = ["http_status", "not_ready", "rate_limited", "truncated"].contains(&ended.code.as_str());
            if ended.is_lost() || !(has_cause || refused) {
                violations
                    .push(format!("burnt by a drain: {} of {}, {}", ended.recording_sid, drain.member, ended.code));
            }
        }
    }
    violations
}

/// The storage fails nobody but while its disk is full. `full`: from, until.
pub fn check_storage(ended: &[Ended], full: &[(Moment, Moment)]) -> Vec<String> {
    let failed = ended.iter().filter(|ended| ended.code == "storage_error");
    let has_cause = |ended: &&Ended| full.iter().any(|(from, until)| (*from..=*until).contains(&ended.until));
    let without = failed.filter(|ended| !has_cause(ended));
    without.map(|ended| format!("failed with room on the disk: {}", ended.recording_sid)).collect()
}

/// A job's attempt is one more than those of its attempts that counted.
pub async fn check_numbers(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let question =
        "select format('attempt %s of %s, but %s of its attempts counted', h.attempt, h.recording_sid, a.n)
                      from job_history h
                     cross join lateral (select count(*) as n from job_attempt a
                                          where a.job_id = h.job_id and a.error_code <> 'not_ready') a
                     where h.state = 'done' and h.attempt <> a.n + 1";
    sqlx::query_scalar(question).fetch_all(connection).await
}
