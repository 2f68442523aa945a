//! A job as a caller asks for it, before it is checked: the body of `POST /v1/jobs` and a line of `enqueue --file`.

use super::{
    ids::{BusinessId, CallSid, InvalidId, RecordingSid, SidForm},
    job::{JobType, NewJob, Priority},
    recording_url::{self, ProviderBase},
    text::clean,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnqueueRequest {
    pub business_id: i64,
    pub call_sid: String,
    pub recording_url: String,
    pub recording_sid: Option<String>,
    pub job_type: Option<String>,
    pub priority: Option<i16>,
    pub run_at: Option<DateTime<Utc>>,
}

/// One thing that is wrong with a request. It may repeat a little of what came in, made clean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldFault {
    pub field: String,
    pub message: String,
}

impl FieldFault {
    pub fn new(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { field: field.into(), message: clean(&message.to_string()) }
    }
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Most messages begin with the field they speak of.
        if self.message.starts_with(&self.field) {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl From<InvalidId> for FieldFault {
    fn from(error: InvalidId) -> Self {
        Self::new(error.field, error)
    }
}

impl EnqueueRequest {
    /// Reads one JSON object. A value of the wrong kind is named by its field.
    pub fn from_json(text: &[u8]) -> Result<Self, FieldFault> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let request = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = error.path().to_string();
            FieldFault::new(if field == "." { "body".to_owned() } else { field }, error.inner())
        })?;
        json.end().map_err(|error| FieldFault::new("body", error))?;
        Ok(request)
    }

    /// Checks every field and puts the URL right; all faults come at once.
    pub fn check(self, base: &ProviderBase, form: SidForm) -> Result<NewJob, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let business_id = keep(BusinessId::try_from(self.business_id), &mut faults);
        let call_sid = keep(CallSid::parse(&self.call_sid, form), &mut faults);
        let named = self.recording_sid.map(|sid| RecordingSid::parse(&sid, form)).transpose();
        let named = keep(named, &mut faults);
        let url = base.recording_url(&self.recording_url);
        let url = keep(url.map_err(|error| FieldFault::new("recording_url", error)), &mut faults);
        let job_type = self.job_type.map_or(Ok(JobType::default()), |text| text.parse());
        let job_type = keep(job_type.map_err(|error| FieldFault::new("job_type", error)), &mut faults);
        let priority = self.priority.map_or(Ok(Priority::NORMAL), Priority::try_from);
        let priority = keep(priority.map_err(|error| FieldFault::new("priority", error)), &mut faults);
        match (business_id, call_sid, named, url, job_type, priority) {
            (Some(business_id), Some(call_sid), Some(named), Some(url), Some(job_type), Some(priority)) => {
                let recording_sid = named.or_else(|| recording_url::sids(&url, form).1);
                let (recording_url, run_at) = (url.into(), self.run_at);
                Ok(NewJob { business_id, call_sid, recording_sid, recording_url, job_type, priority, run_at })
            }
            _ => Err(faults),
        }
    }
}

fn keep<T, E: Into<FieldFault>>(checked: Result<T, E>, faults: &mut Vec<FieldFault>) -> Option<T> {
    checked.map_err(|error| faults.push(error.into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> ProviderBase {
        ProviderBase::new("https://api.twilio.com".parse().expect("a constant"))
    }

    #[test]
    fn a_request_becomes_a_job_with_its_url_put_right() {
        let json = br#"{"business_id":42,"call_sid":"CA1","recording_url":"/2010-04-01/Accounts/AC1/Recordings/RE1.json"}"#;
        let job = EnqueueRequest::from_json(json).unwrap().check(&base(), SidForm::Short).unwrap();
        assert_eq!(job.recording_url, "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1");
        assert_eq!(job.recording_sid.unwrap().as_str(), "RE1");
        assert_eq!((job.business_id.get(), job.priority, job.run_at), (42, Priority::NORMAL, None));
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let request = EnqueueRequest {
            business_id: 0,
            call_sid: "x".into(),
            recording_url: "https://evil.example/x".into(),
            recording_sid: Some("y".into()),
            job_type: Some("dance".into()),
            priority: Some(10),
            run_at: None,
        };
        let faults = request.check(&base(), SidForm::Strict).unwrap_err();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["business_id", "call_sid", "recording_sid", "recording_url", "job_type", "priority"]);
        for fault in &faults {
            assert!(fault.message.contains(" must be") || fault.message.contains("belong to"), "{fault}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_by_its_field() {
        let whole = r#"{"business_id":42,"call_sid":"CA1","recording_url":"/x"}"#;
        for (json, field, message) in [
            (whole.replace("42", "\"x\""), "business_id", "expected i64"),
            (whole.replace("\"CA1\"", "7"), "call_sid", "expected a string"),
            (whole.replace("42", "42,\"run_at\":\"tomorrow\""), "run_at", "invalid characters"),
            (whole.replace("42", "42,\"colour\":1"), "colour", "unknown field"),
            (whole.replace("\"business_id\":42,", ""), "body", "missing field `business_id`"),
            (format!("{whole} x"), "body", "trailing"),
            ("[".to_owned(), "body", "EOF"),
        ] {
            let fault = EnqueueRequest::from_json(json.as_bytes()).unwrap_err();
            assert_eq!(fault.field, field, "{fault}");
            assert!(fault.message.contains(message), "{fault}");
        }
    }
}
