//! How a recording's file is called: the template `storage.layout`.
//!
//! A name is the same for every attempt at a job, so that the last one replaces what an earlier one has left.

use super::job::ClaimedJob;
use chrono::{DateTime, Utc};
use std::{fmt, str::FromStr};

/// A template that was checked, such as `{business_id}/{yyyy}/{mm}/{call_sid}.{ext}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    BusinessId,
    Year,
    Month,
    Day,
    CallSid,
    RecordingSid,
}

const FIELDS: [(&str, Field); 6] = [
    ("business_id", Field::BusinessId),
    ("yyyy", Field::Year),
    ("mm", Field::Month),
    ("dd", Field::Day),
    ("call_sid", Field::CallSid),
    ("recording_sid", Field::RecordingSid),
];
/// With which every template ends; what it stands for is told by the content.
const END: &str = ".{ext}";
/// Of a name with every placeholder filled there is room for 1,024 bytes in a bucket.
const MAX_LEN: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Layout::ALLOWED)]
pub struct InvalidLayout;

impl Layout {
    pub const ALLOWED: &str = "a relative path of letters, digits, - _ = and placeholders that has {business_id} and \
        {call_sid} or {recording_sid} and ends in .{ext}; placeholders: business_id, yyyy, mm, dd, call_sid, recording_sid";

    /// The key of a job's recording. The date is that of the recording's begin where the provider said it, else that
    /// of the enqueueing, in UTC. Where the call has several recordings and the template does not tell them apart, their
    /// SIDs do, so that none replaces another.
    pub fn key(&self, job: &ClaimedJob, extension: &str) -> String {
        let at = job.details.started_at.unwrap_or(job.enqueued_at);
        let mut key: String = self.0.iter().map(|piece| filled(piece, job, at)).collect();
        if let Some(recording) = job.recording_sid.as_ref().filter(|_| job.shares_call && !self.tells_recordings())
        {
            key.push('-');
            key.push_str(recording.as_str());
        }
        format!("{key}.{extension}")
    }

    fn has(&self, field: Field) -> bool {
        self.0.contains(&Piece::Field(field))
    }

    fn tells_recordings(&self) -> bool {
        self.has(Field::RecordingSid)
    }
}

fn filled(piece: &Piece, job: &ClaimedJob, at: DateTime<Utc>) -> String {
    match piece {
        Piece::Text(text) => text.clone(),
        Piece::Field(Field::BusinessId) => job.business_id.to_string(),
        Piece::Field(Field::Year) => at.format("%Y").to_string(),
        Piece::Field(Field::Month) => at.format("%m").to_string(),
        Piece::Field(Field::Day) => at.format("%d").to_string(),
        Piece::Field(Field::CallSid) => job.call_sid.to_string(),
        // A job that names only its call stands for the one recording of that call.
        Piece::Field(Field::RecordingSid) => {
            job.recording_sid.as_ref().map_or_else(|| job.call_sid.to_string(), ToString::to_string)
        }
    }
}

impl FromStr for Layout {
    type Err = InvalidLayout;

    fn from_str(text: &str) -> Result<Self, InvalidLayout> {
        let stem = text.strip_suffix(END).filter(|_| text.len() <= MAX_LEN).ok_or(InvalidLayout)?;
        let (mut pieces, mut rest) = (Vec::new(), stem);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(InvalidLayout)?;
            let (_, field) = FIELDS.iter().find(|(known, _)| *known == name).ok_or(InvalidLayout)?;
            pieces.extend([Piece::Text(before.to_owned()), Piece::Field(*field)]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.".contains(c);
        let is_plain = pieces.iter().all(|piece| match piece {
            Piece::Text(text) => text.chars().all(plain),
            Piece::Field(_) => true,
        });
        // A dot begins no part: such names are reserved. Elsewhere it is let be.
        let has_parts = stem.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
        let layout = Self(pieces);
        let tells_jobs =
            layout.has(Field::BusinessId) && (layout.has(Field::CallSid) || layout.has(Field::RecordingSid));
        if is_plain && has_parts && tells_jobs { Ok(layout) } else { Err(InvalidLayout) }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Field(field) => {
                    let name = FIELDS.iter().find(|(_, known)| known == field).map_or("", |(name, _)| name);
                    write!(f, "{{{name}}}")?;
                }
            }
        }
        f.write_str(END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        details::Details,
        ids::{CallSid, JobId, RecordingSid, SidForm},
        job::JobType,
        lease::LeaseId,
    };

    fn job(recording: Option<&str>, shares_call: bool) -> ClaimedJob {
        let enqueued_at = "2026-01-31T23:59:59Z".parse().unwrap();
        ClaimedJob {
            id: JobId(1),
            lease: LeaseId(1),
            business_id: 42.try_into().unwrap(),
            call_sid: CallSid::parse("CA1", SidForm::Short).unwrap(),
            recording_sid: recording.map(|sid| RecordingSid::parse(sid, SidForm::Short).unwrap()),
            recording_url: "https://api.twilio.com/x".to_owned(),
            job_type: JobType::DownloadOnly,
            attempt: 1,
            max_attempts: 8,
            running: 1,
            max_slots: 5,
            shares_call,
            wanted_at: enqueued_at,
            trace_parent: None,
            enqueued_at,
            details: Details::default(),
            forms: None,
            not_ready_for: None,
            stored: None,
        }
    }

    const DEFAULT: &str = "{business_id}/{yyyy}/{mm}/{call_sid}.{ext}";

    fn key(template: &str, job: &ClaimedJob) -> String {
        template.parse::<Layout>().unwrap().key(job, "mp3")
    }

    #[test]
    fn a_name_is_made_of_the_job_and_the_day_it_was_enqueued() {
        assert_eq!(key(DEFAULT, &job(None, false)), "42/2026/01/CA1.mp3");
        let all = "calls/{yyyy}-{mm}-{dd}/b={business_id}/{recording_sid}_{call_sid}.{ext}";
        assert_eq!(key(all, &job(Some("RE7"), false)), "calls/2026-01-31/b=42/RE7_CA1.mp3");
    }

    #[test]
    fn the_recordings_own_day_counts_where_the_provider_said_it() {
        let mut job = job(None, false);
        // One hour before midnight in UTC, whatever the provider's own zone is.
        job.details.started_at = Some("2026-02-01T01:30:00+02:30".parse().unwrap());
        assert_eq!(key(DEFAULT, &job), "42/2026/01/CA1.mp3");
        job.details.started_at = Some("2025-12-31T23:00:00-02:00".parse().unwrap());
        assert_eq!(key(DEFAULT, &job), "42/2026/01/CA1.mp3");
    }

    #[test]
    fn several_recordings_of_one_call_have_names_of_their_own() {
        assert_eq!(key(DEFAULT, &job(Some("RE7"), true)), "42/2026/01/CA1-RE7.mp3");
        assert_eq!(key(DEFAULT, &job(Some("RE7"), false)), "42/2026/01/CA1.mp3");
        let by_recording = "{business_id}/{recording_sid}.{ext}";
        assert_eq!(key(by_recording, &job(Some("RE7"), true)), "42/RE7.mp3");
        assert_eq!(key(by_recording, &job(None, false)), "42/CA1.mp3");
    }

    #[test]
    fn a_template_is_shown_as_it_was_written() {
        let template = "a.b/{business_id}/x-{call_sid}_{recording_sid}.{ext}";
        assert_eq!(template.parse::<Layout>().unwrap().to_string(), template);
    }

    #[test]
    fn what_would_mix_recordings_up_or_leave_the_storage_is_refused() {
        for wrong in [
            "",
            "{business_id}/{call_sid}",
            "{business_id}/{call_sid}.mp3",
            "{business_id}/{yyyy}.{ext}",
            "{call_sid}.{ext}",
            "{business_id}/{callsid}.{ext}",
            "{business_id}/{call_sid}{.{ext}",
            "{business_id}/{call_sid}}.{ext}",
            "{business_id}/{call_sid.{ext}",
            "{business_id}/{ext}/{call_sid}.{ext}",
            "/{business_id}/{call_sid}.{ext}",
            "../{business_id}/{call_sid}.{ext}",
            "./{business_id}/{call_sid}.{ext}",
            "{business_id}/../{call_sid}.{ext}",
            "{business_id}/.x/{call_sid}.{ext}",
            "{business_id}//{call_sid}.{ext}",
            "{business_id}/{call_sid}/.{ext}",
            "{business_id}/{call_sid}#1.{ext}",
            "{business_id}\\{call_sid}.{ext}",
            "{business_id}/{call_sid} x.{ext}",
            "é/{business_id}/{call_sid}.{ext}",
        ] {
            assert_eq!(wrong.parse::<Layout>(), Err(InvalidLayout), "{wrong:?}");
        }
        let long = format!("{}{DEFAULT}", "x".repeat(300));
        assert_eq!(long.parse::<Layout>(), Err(InvalidLayout));
    }
}
