//! Stored recordings, and what is known about one that is not stored (yet).
//!
//! A call may have several recordings, and two businesses may by accident have the same call. The newest recording
//! stands for a call; a business is never guessed.

use super::{
    ids::{BusinessId, CallSid, JobId, RecordingSid},
    job::{JobState, JobType, JobView},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Which recording is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFilter {
    pub call_sid: CallSid,
    pub business_id: Option<BusinessId>,
    pub recording_sid: Option<RecordingSid>,
}

/// A stored recording, as whoever plays it sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RecordingView {
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    /// `None`: whoever enqueued it did not know.
    pub recording_sid: Option<RecordingSid>,
    pub job_type: JobType,
    /// The job that stored it; its history may be gone.
    pub job_id: JobId,
    pub bytes: u64,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    pub content_type: String,
    /// `None`: not known.
    pub duration_ms: Option<u64>,
    pub stored_at: DateTime<Utc>,
    /// It is deleted by nobody, and not by the retention either.
    pub legal_hold: bool,
    /// When the provider's copy was deleted; null: it was not, by us.
    pub provider_deleted_at: Option<DateTime<Utc>>,
    /// The file's name, without its folder.
    pub file: String,
    /// Where the storage has it.
    #[serde(skip)]
    pub storage_key: String,
    /// What "the same recording" means: its SID where it is known, else the call's.
    #[serde(skip)]
    pub recording_key: String,
    #[serde(skip)]
    pub deleted: Option<Deleted>,
}

/// When a recording was deleted, and by whom or what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    pub at: DateTime<Utc>,
    /// A token's name, `cli USER@HOST` or `retention`.
    pub by: String,
}

/// What a question for a recording comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    Stored {
        recording: Box<RecordingView>,
        /// The call's other recordings, the newest first, as far as they have names.
        others: Vec<RecordingSid>,
    },
    /// It was stored, and deleted; the newest of those that fit.
    Deleted(Box<RecordingView>),
    /// Live jobs, the one that is furthest first: it is on its way.
    Coming(Vec<JobView>),
    /// The newest job, which is over: nothing will come of it.
    Ended(Box<JobView>),
    /// Known for more than one business, and the question did not say which.
    Ambiguous(Vec<BusinessId>),
    Unknown,
}

impl Lookup {
    /// Of all stored recordings that fit, the newest first; `None`: there is none.
    pub fn stored(recordings: Vec<RecordingView>) -> Option<Self> {
        if let Some(ambiguous) = ambiguous(recordings.iter().map(|recording| recording.business_id)) {
            return Some(ambiguous);
        }
        let (deleted, kept): (Vec<_>, Vec<_>) = recordings.into_iter().partition(|one| one.deleted.is_some());
        let mut recordings = kept.into_iter();
        let Some(recording) = recordings.next() else {
            return deleted.into_iter().next().map(|newest| Self::Deleted(Box::new(newest)));
        };
        let mut others = Vec::new();
        for other in recordings.filter_map(|other| other.recording_sid) {
            // One recording may be stored by jobs of more than one type.
            if recording.recording_sid.as_ref() != Some(&other) && !others.contains(&other) {
                others.push(other);
            }
        }
        Some(Self::Stored { recording: Box::new(recording), others })
    }

    /// Where nothing is stored: of the jobs of the call, the newest first.
    pub fn on_its_way(filter: &RecordingFilter, jobs: Vec<JobView>) -> Self {
        let wanted = |job: &JobView| filter.recording_sid.is_none() || job.recording_sid == filter.recording_sid;
        let (mut live, ended): (Vec<_>, Vec<_>) = jobs.into_iter().filter(wanted).partition(is_live);
        if live.is_empty() {
            let ambiguous = ambiguous(ended.iter().map(|job| job.business_id));
            let newest = ended.into_iter().next().map(|job| Self::Ended(Box::new(job)));
            return ambiguous.or(newest).unwrap_or(Self::Unknown);
        }
        live.sort_by_key(|job| match job.state {
            JobState::Running => 0,
            JobState::Ready => 1,
            _ => 2,
        });
        ambiguous(live.iter().map(|job| job.business_id)).unwrap_or(Self::Coming(live))
    }
}

fn is_live(job: &JobView) -> bool {
    matches!(job.state, JobState::Ready | JobState::Scheduled | JobState::Running)
}

fn ambiguous(businesses: impl Iterator<Item = BusinessId>) -> Option<Lookup> {
    let businesses: BTreeSet<BusinessId> = businesses.collect();
    (businesses.len() > 1).then(|| Lookup::Ambiguous(businesses.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ids::SidForm, job::Priority};

    fn business(id: i64) -> BusinessId {
        id.try_into().unwrap()
    }

    fn sid(number: u32) -> RecordingSid {
        RecordingSid::parse(&format!("RE{number}"), SidForm::Short).unwrap()
    }

    fn call() -> CallSid {
        CallSid::parse("CA1", SidForm::Short).unwrap()
    }

    fn recording(business_id: i64, number: u32) -> RecordingView {
        RecordingView {
            business_id: business(business_id),
            call_sid: call(),
            recording_sid: Some(sid(number)),
            job_type: JobType::DownloadOnly,
            job_id: JobId(i64::from(number)),
            bytes: 1,
            sha256: "00".repeat(32),
            content_type: "audio/mpeg".to_owned(),
            duration_ms: None,
            stored_at: DateTime::UNIX_EPOCH,
            legal_hold: false,
            provider_deleted_at: None,
            deleted: None,
            recording_key: sid(number).to_string(),
            file: "CA1.mp3".to_owned(),
            storage_key: "1/CA1.mp3".to_owned(),
        }
    }

    fn job(id: i64, business_id: i64, state: JobState) -> JobView {
        JobView {
            id: JobId(id),
            business_id: business(business_id),
            call_sid: call(),
            recording_sid: Some(sid(u32::try_from(id).unwrap())),
            job_type: JobType::DownloadOnly,
            state,
            attempt: 0,
            max_attempts: 8,
            priority: Priority::NORMAL,
            run_at: None,
            enqueued_at: DateTime::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
            last_error: None,
            instance: None,
        }
    }

    fn asked(recording_sid: Option<RecordingSid>) -> RecordingFilter {
        RecordingFilter { call_sid: call(), business_id: None, recording_sid }
    }

    /// The ids of the jobs that a question comes to.
    fn found(recording_sid: Option<RecordingSid>, jobs: &[JobView]) -> Vec<i64> {
        match Lookup::on_its_way(&asked(recording_sid), jobs.to_vec()) {
            Lookup::Coming(jobs) => jobs.iter().map(|job| job.id.0).collect(),
            Lookup::Ended(job) => vec![-job.id.0],
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_newest_recording_stands_for_a_call_and_names_the_others() {
        let again = RecordingView { job_id: JobId(9), ..recording(1, 2) };
        let lookup = Lookup::stored(vec![recording(1, 2), again, recording(1, 1), recording(1, 3)]);
        let Some(Lookup::Stored { recording, others }) = lookup else { panic!("{lookup:?}") };
        assert_eq!(recording.recording_sid, Some(sid(2)));
        assert_eq!(others, [sid(1), sid(3)]);
        assert_eq!(Lookup::stored(Vec::new()), None);
    }

    #[test]
    fn a_deleted_recording_is_spoken_of_only_where_no_other_is_kept() {
        let deleted = Some(Deleted { at: DateTime::UNIX_EPOCH, by: "retention".to_owned() });
        let gone = RecordingView { deleted, ..recording(1, 2) };
        let lookup = Lookup::stored(vec![gone.clone(), recording(1, 1)]);
        let Some(Lookup::Stored { recording, others }) = lookup else { panic!("{lookup:?}") };
        assert_eq!((recording.recording_sid, others), (Some(sid(1)), Vec::new()));
        assert_eq!(Lookup::stored(vec![gone.clone()]), Some(Lookup::Deleted(Box::new(gone))));
    }

    /// Incident 23: a call was attributed to the wrong business.
    #[test]
    fn a_business_is_never_guessed() {
        let both = Lookup::Ambiguous(vec![business(1), business(2)]);
        assert_eq!(Lookup::stored(vec![recording(2, 1), recording(1, 1)]), Some(both.clone()));
        for state in [JobState::Ready, JobState::Dead] {
            assert_eq!(Lookup::on_its_way(&asked(None), vec![job(2, 2, state), job(1, 1, state)]), both);
        }
    }

    #[test]
    fn a_live_job_counts_before_those_that_are_over_and_the_furthest_first() {
        let jobs = [
            job(5, 1, JobState::Dead),
            job(4, 1, JobState::Scheduled),
            job(3, 1, JobState::Ready),
            job(2, 1, JobState::Running),
        ];
        assert_eq!(found(None, &jobs), [2, 3, 4]);
        assert_eq!(found(Some(sid(4)), &jobs), [4]);
        assert_eq!(found(Some(sid(5)), &jobs), [-5]);
        assert_eq!(found(None, &[job(5, 1, JobState::Dead), job(4, 1, JobState::Done)]), [-5]);
    }

    #[test]
    fn what_was_never_asked_for_is_unknown() {
        assert_eq!(Lookup::on_its_way(&asked(None), Vec::new()), Lookup::Unknown);
        assert_eq!(Lookup::on_its_way(&asked(Some(sid(7))), vec![job(1, 1, JobState::Ready)]), Lookup::Unknown);
    }
}
