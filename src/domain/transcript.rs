//! Transcripts as those see them who read and search them.

use super::ids::{BusinessId, CallSid, JobId, RecordingSid};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// The longest question of a search, in characters.
pub const MAX_QUESTION: usize = 200;
/// Around each word that was found in a snippet; no snippet has them otherwise.
pub const MARKS: [char; 2] = ['«', '»'];

/// A part of a recording and what is said in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Segment {
    /// Of the recording, in seconds.
    pub start: f64,
    pub end: f64,
    pub text: String,
}

/// What is said in a recording.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TranscriptView {
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub recording_sid: Option<RecordingSid>,
    /// The job that transcribed it; its history may be gone.
    pub job_id: JobId,
    pub text: String,
    /// As the transcription service says it, where it does: a code such as `he`, or a name such as `hebrew`.
    pub language: Option<String>,
    pub model: String,
    /// In their order; empty where the service gives none.
    pub segments: Vec<Segment>,
    pub made_at: DateTime<Utc>,
}

/// That there is a transcript, without its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TranscriptNote {
    pub language: Option<String>,
    pub model: String,
    pub made_at: DateTime<Utc>,
}

impl From<TranscriptView> for TranscriptNote {
    fn from(TranscriptView { language, model, made_at, .. }: TranscriptView) -> Self {
        Self { language, model, made_at }
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscriptSearch {
    pub question: Question,
    pub business_id: Option<BusinessId>,
    /// Behind this one.
    pub after: Option<TranscriptPlace>,
    /// 1 to 100.
    pub limit: u16,
}

/// Words, as web searches take them: all of them, `"a phrase"`, `one or another`, `-without`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question(String);

impl Question {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("q must be words to look for, 1 to {MAX_QUESTION} characters")]
pub struct InvalidQuestion;

impl FromStr for Question {
    type Err = InvalidQuestion;

    fn from_str(text: &str) -> Result<Self, InvalidQuestion> {
        let text = text.trim();
        let has_words = text.contains(|c: char| c.is_alphanumeric() || c == '_') && !text.contains('\0');
        if has_words && text.chars().count() <= MAX_QUESTION {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidQuestion)
        }
    }
}

/// Where a page of a search ends: microseconds since 1970 and the job, as `1764090000000000-17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TranscriptPlace {
    pub made_at: DateTime<Utc>,
    pub job_id: JobId,
}

impl fmt::Display for TranscriptPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.made_at.timestamp_micros(), self.job_id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("after must be `next` of the page before")]
pub struct InvalidPlace;

impl FromStr for TranscriptPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (micros, job) = text.split_once('-').ok_or(InvalidPlace)?;
        // The database's calendar is shorter than ours; nothing was made outside of these.
        let micros: i64 = micros.parse().ok().filter(|micros| (0..1 << 57).contains(micros)).ok_or(InvalidPlace)?;
        let made_at = DateTime::from_timestamp_micros(micros).ok_or(InvalidPlace)?;
        Ok(Self { made_at, job_id: JobId(job.parse().map_err(|_| InvalidPlace)?) })
    }
}

/// A transcript that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TranscriptFound {
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub recording_sid: Option<RecordingSid>,
    pub job_id: JobId,
    pub language: Option<String>,
    pub made_at: DateTime<Utc>,
    /// Some words around those that were found, which stand in « and ». Plain text, not markup.
    pub snippet: String,
}

impl TranscriptFound {
    pub fn place(&self) -> TranscriptPlace {
        TranscriptPlace { made_at: self.made_at, job_id: self.job_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_words_and_an_end() {
        assert_eq!(
            "  refund \"last week\" ".parse::<Question>().map(|q| q.0),
            Ok("refund \"last week\"".to_owned())
        );
        assert!("שלום".parse::<Question>().is_ok());
        let long = "x".repeat(MAX_QUESTION + 1);
        for wrong in ["", "  ", "!!", "\"-\"", "a\0b", &long] {
            assert_eq!(wrong.parse::<Question>(), Err(InvalidQuestion), "{wrong:?}");
        }
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = TranscriptPlace {
            made_at: DateTime::from_timestamp_micros(1_764_090_000_000_123).unwrap(),
            job_id: JobId(17),
        };
        assert_eq!(place.to_string(), "1764090000000123-17");
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "1", "x-1", "1-x", "-5-1", "9223372036854775807-1"] {
            assert_eq!(wrong.parse::<TranscriptPlace>(), Err(InvalidPlace), "{wrong:?}");
        }
    }
}
