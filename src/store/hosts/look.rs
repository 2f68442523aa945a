//! One look at all hosts. They are asked at the same time, so that one that swallows every packet costs the others
//! nothing but [`OTHERS_LIMIT`].

use super::{
    Candidate, HOST_LIMIT,
    errors::{NoPrimary, is_down},
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use sqlx::{ConnectOptions as _, Connection, Error, Executor, PgConnection, Row};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Once one takes writes, how long the others may still say that they do, on a newer timeline.
const OTHERS_LIMIT: Duration = Duration::from_millis(500);

/// Also a primary that an operator has closed to writes is none.
pub(in crate::store) const IS_READ_ONLY: &str =
    "select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Primary {
        place: usize,
        timeline: u32,
    },
    None(NoPrimary),
    /// None was found, and the present primary could not be asked: it may be busy.
    Unsure,
}

enum Answer {
    Writes { timeline: u32 },
    Standby,
    Error(Error),
}

/// `newest`: no primary on an older timeline is one any more. `current`: the present primary's place.
pub(super) async fn look(candidates: &[Candidate], newest: u32, current: Option<usize>) -> Outcome {
    let ask = |(place, candidate)| ask(candidate).map(move |answer| (place, answer));
    let mut answers: FuturesUnordered<_> = candidates.iter().enumerate().map(ask).collect();
    let mut until = Instant::now() + HOST_LIMIT * 2;
    let mut found: Option<(u32, usize)> = None;
    let (mut standbys, mut left_behind, mut error, mut unsure) = (0, 0, None, false);
    while let Ok(Some((place, answer))) = timeout_at(until, answers.next()).await {
        match answer {
            Answer::Writes { timeline } if timeline < newest => left_behind += 1,
            Answer::Writes { timeline } => {
                // The first in order, where they say the same.
                if found.is_none_or(|(best, at)| timeline > best || (timeline == best && place < at)) {
                    found = Some((timeline, place));
                }
                until = until.min(Instant::now() + OTHERS_LIMIT);
            }
            Answer::Standby => standbys += 1,
            Answer::Error(refused) => {
                unsure |= current == Some(place) && !is_down(&refused);
                error = Some(refused).filter(|refused| refused.as_database_error().is_some()).or(error);
            }
        }
    }
    if let Some((timeline, place)) = found {
        if left_behind > 0 {
            tracing::warn!(
                left_behind,
                timeline,
                "hosts that a promotion left behind take writes; they are not used"
            );
        }
        return Outcome::Primary { place, timeline };
    }
    if unsure {
        return Outcome::Unsure;
    }
    Outcome::None(none(candidates.len(), standbys, left_behind, error.as_ref()))
}

/// What the hosts themselves say is more use than that none answered.
fn none(hosts: usize, standbys: usize, left_behind: usize, error: Option<&Error>) -> NoPrimary {
    let answer = error.and_then(Error::as_database_error);
    match answer {
        _ if standbys + left_behind > 0 => NoPrimary::standbys(hosts, standbys, left_behind),
        Some(answer) => {
            NoPrimary { sqlstate: answer.code().map(Into::into), message: answer.message().to_owned(), standbys: 0 }
        }
        None => {
            NoPrimary { message: format!("not reached: none of {hosts} hosts answers"), ..NoPrimary::default() }
        }
    }
}

async fn ask(candidate: &Candidate) -> Answer {
    let asked = async {
        let mut connection = in_time(candidate.options.connect()).await?;
        let answer = in_time(async {
            if is_read_only(&mut connection).await? {
                return Ok(Answer::Standby);
            }
            timeline(&mut connection).await.map(|timeline| Answer::Writes { timeline })
        });
        let answer = answer.await?;
        // It was asked; how the connection ends does not matter.
        let _ = in_time(connection.close()).await;
        Ok(answer)
    };
    asked.await.unwrap_or_else(Answer::Error)
}

pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Err(Error::Io(std::io::ErrorKind::TimedOut.into()));
    timeout(HOST_LIMIT, answer).await.unwrap_or_else(late)
}

/// A simple query: a pooler may stand between.
pub(super) async fn is_read_only(connection: &mut PgConnection) -> Result<bool, Error> {
    connection.fetch_one(sqlx::raw_sql(IS_READ_ONLY)).await?.try_get(0)
}

/// The first 8 hexadecimal digits of a WAL file's name are its timeline (PostgreSQL documentation, "WAL Internals").
async fn timeline(connection: &mut PgConnection) -> Result<u32, Error> {
    let asked = "select left(pg_walfile_name(pg_current_wal_lsn()), 8)";
    match connection.fetch_one(sqlx::raw_sql(asked)).await {
        Ok(row) => Ok(u32::from_str_radix(&row.try_get::<String, _>(0)?, 16).unwrap_or(0)),
        // Not every service that speaks this protocol has a WAL of this form.
        Err(Error::Database(_)) => Ok(0),
        Err(error) => Err(error),
    }
}
