//! `POST /v1/jobs/bulk`: many recordings as JSON lines. All of them are checked before any is enqueued, all are enqueued
//! in one transaction, and each line has its answer.
//!
//! | file | what it holds |
//! |---|---|
//! | `lines` | the body, line by line as it comes |
//! | `checked` | from lines to jobs, or to what is wrong with them |
//!
//! The text is never in memory as a whole; the jobs are, since nothing may wait in an open transaction for a slow caller
//! (whoever enqueues one of these recordings meanwhile would wait too). So few of these requests run at a time.

mod checked;
mod lines;

use super::{
    HttpDeps,
    arrival::{self, Arrival},
    body, note_enqueued,
    operation::JSON_LINES,
    params,
    problem::Problem,
};
use crate::{
    actors::listener::JobsCameIn,
    domain::{access::Scope, job::Enqueued},
};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use checked::Checked;
use futures_util::{Stream, stream};
use lines::{Line, Lines};
use serde::Serialize;
use std::{convert::Infallible, io::Write, sync::Arc, time::Duration};
use utoipa::ToSchema;

/// Jobs of one request.
pub(super) const MOST_JOBS: usize = 100_000;
/// Longest time of its transaction, which takes some seconds where nothing else is going on.
const COMMIT_WITHIN: Duration = Duration::from_mins(2);
/// Answers that are written into one piece of the body.
const PIECE: usize = 1_000;

/// The answer to one line.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer {
    /// Counts from 1; blank lines count too, and have no answer.
    line: u32,
    #[serde(flatten)]
    enqueued: Enqueued,
}

/// A body in lines, `None` for each that is too long: for those who try what becomes of any bytes (`fuzz/`).
#[doc(hidden)]
pub async fn split_lines(
    chunks: Vec<Bytes>,
    limit: usize,
    line_limit: usize,
) -> Result<Vec<Option<Vec<u8>>>, String> {
    let mut lines = Lines::new(stream::iter(chunks.into_iter().map(Ok)), limit, line_limit);
    let mut split = Vec::new();
    while let Some(line) = lines.next().await.map_err(|refused| refused.to_string())? {
        split.push(match line {
            Line::Whole(text) => Some(text.to_vec()),
            Line::TooLong => None,
        });
    }
    Ok(split)
}

pub async fn enqueue(
    deps: web::Data<HttpDeps>,
    arrival: Arrival,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = deps.authorize(&request, Scope::Enqueue)?;
    params::none(&request)?;
    body::check_head(&request, &JSON_LINES, deps.bulk_limit)?;
    let permit = deps.limits.bulk()?;
    let lines = Lines::new(payload, deps.bulk_limit, deps.body_limit);
    let Checked { mut jobs, places } =
        Checked::read(lines, &deps.provider_bases, deps.sid_form, deps.transcribes).await?;
    let span = arrival.begin_bulk(&deps);
    let trace_parent = span.trace_parent();
    for job in &mut jobs {
        job.trace_parent = trace_parent;
    }
    let (book, jobs_came_in) = (Arc::clone(&deps.jobs), deps.jobs_came_in.clone());
    let observer = Arc::clone(&deps.observer);
    let committed = deps.change_within(COMMIT_WITHIN, async move {
        // As long as the jobs are in memory, also when the caller has gone.
        let _permit = permit;
        let enqueued = if jobs.is_empty() { Vec::new() } else { book.enqueue(&jobs).await? };
        let new = enqueued.iter().filter(|job| !job.deduplicated).count();
        if new > 0 {
            jobs_came_in.send(JobsCameIn);
        }
        tracing::info!(client = caller.name, jobs = jobs.len(), new, "bulk enqueued");
        for (place, (job, enqueued)) in jobs.iter().zip(&enqueued).enumerate() {
            note_enqueued(&*observer, job, enqueued, None);
            if place % PIECE == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(enqueued)
    });
    let committed = committed.await;
    arrival::end_bulk(span, &committed);
    let answers = Answers { places, enqueued: committed?, told: 0 };
    Ok(HttpResponse::Accepted().content_type(JSON_LINES[0]).streaming(answers.into_stream()))
}

struct Answers {
    /// The line of each job.
    places: Vec<u32>,
    enqueued: Vec<Enqueued>,
    told: usize,
}

impl Answers {
    /// Written as the caller takes them.
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut answers| async move {
            let end = (answers.told + PIECE).min(answers.enqueued.len());
            let rows = answers.told..end;
            if rows.is_empty() {
                return None;
            }
            let mut piece = Vec::with_capacity(rows.len() * 80);
            for row in rows {
                let answer = Answer { line: answers.places[row], enqueued: answers.enqueued[row] };
                // Writing to memory does not fail.
                let _ = serde_json::to_writer(&mut piece, &answer);
                let _ = piece.write_all(b"\n");
            }
            answers.told = end;
            Some((Ok(Bytes::from(piece)), answers))
        })
    }
}
