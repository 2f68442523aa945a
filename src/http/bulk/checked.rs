//! From lines to jobs, or to everything that is wrong with them.

use super::{
    MOST_JOBS,
    lines::{Line, Lines},
};
use crate::{
    domain::{
        enqueue_request::{EnqueueRequest, FieldFault, untranscribed},
        ids::SidForm,
        job::NewJob,
        recording_url::ProviderBases,
    },
    http::problem::{LineFault, Problem},
};
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

/// Faults that are shown; a file of another kind has one in every line.
const FAULTS_SHOWN: usize = 50;
/// Lines after which the thread's other requests have their turn.
const TURN: u32 = 100;

#[derive(Default)]
pub(super) struct Checked {
    pub(super) jobs: Vec<NewJob>,
    /// The line of each.
    pub(super) places: Vec<u32>,
}

impl Checked {
    pub(super) async fn read<S>(
        mut lines: Lines<S>,
        bases: &ProviderBases,
        form: SidForm,
        transcribes: bool,
    ) -> Result<Self, Problem>
    where
        S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    {
        let (mut checked, mut faults) = (Self::default(), Faults::default());
        let mut place = 0;
        while let Some(line) = lines.next().await? {
            place += 1;
            if place % TURN == 0 {
                tokio::task::yield_now().await;
            }
            match line {
                Line::TooLong => faults.add(place, [too_long(lines.line_limit())]),
                Line::Whole(text) if text.trim_ascii().is_empty() => {}
                Line::Whole(text) => match job(&text, bases, form, transcribes) {
                    Err(wrong) => faults.add(place, wrong),
                    // Nothing will be enqueued: the rest is read for what is wrong with it.
                    Ok(_) if faults.count > 0 => {}
                    Ok(_) if checked.jobs.len() == MOST_JOBS => return Err(Problem::too_many_lines(MOST_JOBS)),
                    Ok(job) => checked.add(place, job),
                },
            }
            if faults.count > 0 {
                checked = Self::default();
            }
        }
        faults.into_result().map(|()| checked)
    }

    fn add(&mut self, place: u32, mut job: NewJob) {
        // It was made as long as its text could have become, and there are many of them.
        job.recording_url.shrink_to_fit();
        self.jobs.push(job);
        self.places.push(place);
    }
}

fn job(text: &[u8], bases: &ProviderBases, form: SidForm, transcribes: bool) -> Result<NewJob, Vec<FieldFault>> {
    let job = EnqueueRequest::job_from_json(text, bases, form)?;
    untranscribed(&job, transcribes).map_or(Ok(job), |fault| Err(vec![fault]))
}

fn too_long(limit: usize) -> FieldFault {
    FieldFault::new("line", format!("line must not be longer than {limit} bytes"))
}

#[derive(Default)]
struct Faults {
    shown: Vec<LineFault>,
    count: usize,
}

impl Faults {
    fn add(&mut self, line: u32, wrong: impl IntoIterator<Item = FieldFault>) {
        for fault in wrong {
            self.count += 1;
            if self.shown.len() < FAULTS_SHOWN {
                self.shown.push(LineFault::of_line(line, fault));
            }
        }
    }

    fn into_result(self) -> Result<(), Problem> {
        let more = self.count - self.shown.len();
        if self.count == 0 { Ok(()) } else { Err(Problem::invalid_lines(self.shown, more)) }
    }
}
