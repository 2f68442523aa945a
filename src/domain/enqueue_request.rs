//! A job as a caller asks for it, before it is checked: the body of `POST /v1/jobs` and a line of `enqueue --file`.

use super::{
    details::Details,
    ids::{BusinessId, CallSid, InvalidId, RecordingSid, SidForm},
    job::{JobType, NewJob, Priority},
    json_fields::JsonFields,
    recording_url::ProviderBases,
    text::clean,
};
use chrono::{DateTime, Datelike, Utc};
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// Years in which `run_at` may lie: what every clock, the database's included, can say.
const RUN_AT_YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
pub struct EnqueueRequest {
    #[schema(value_type = BusinessId)]
    pub business_id: i64,
    #[schema(value_type = CallSid)]
    pub call_sid: String,
    /// A URL at the provider's base, or a path there.
    pub recording_url: String,
    #[schema(value_type = Option<RecordingSid>)]
    pub recording_sid: Option<String>,
    #[schema(value_type = Option<JobType>)]
    pub job_type: Option<String>,
    #[schema(value_type = Option<Priority>)]
    pub priority: Option<i16>,
    /// Not before this time, of the years 1970 to 9999.
    pub run_at: Option<DateTime<Utc>>,
    /// The call that this one is a leg of; its recording stands in where this one has none.
    #[schema(value_type = Option<CallSid>)]
    pub parent_call_sid: Option<String>,
    /// Of the recording, in seconds, where it is known.
    pub duration_s: Option<u32>,
}

/// One thing that is wrong with a request. It may repeat a little of what came in, made clean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldFault {
    pub field: String,
    pub message: String,
}

impl FieldFault {
    pub fn new(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { field: clean(&field.into()), message: clean(&message.to_string()) }
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
    /// Reads one JSON object and checks it: a job, or all that is wrong with it, each with the name of its field.
    pub fn job_from_json(text: &[u8], bases: &ProviderBases, form: SidForm) -> Result<NewJob, Vec<FieldFault>> {
        let (request, mut faults) = Self::from_fields(JsonFields::parse(text).map_err(|fault| vec![fault])?);
        match request.check(bases, form) {
            Ok(job) if faults.is_empty() => Ok(job),
            Ok(_) => Err(faults),
            Err(checked) => {
                // A field of the wrong kind has its fault already; what stands in for it is not the caller's.
                let named: Vec<String> = faults.iter().map(|fault| fault.field.clone()).collect();
                faults.extend(checked.into_iter().filter(|fault| !named.contains(&fault.field)));
                Err(faults)
            }
        }
    }

    fn from_fields(mut fields: JsonFields) -> (Self, Vec<FieldFault>) {
        let request = Self {
            business_id: fields.required("business_id"),
            call_sid: fields.required("call_sid"),
            recording_url: fields.required("recording_url"),
            recording_sid: fields.optional("recording_sid"),
            job_type: fields.optional("job_type"),
            priority: fields.optional("priority"),
            run_at: fields.optional("run_at"),
            parent_call_sid: fields.optional("parent_call_sid"),
            duration_s: fields.optional("duration_s"),
        };
        (request, fields.into_faults())
    }

    /// Checks every field and puts the URL right; all faults come at once.
    pub fn check(self, bases: &ProviderBases, form: SidForm) -> Result<NewJob, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let business_id = keep(BusinessId::try_from(self.business_id), &mut faults);
        let place = bases.place(&self.recording_url, form);
        let provider = place.as_ref().ok().map(|place| place.provider);
        let call_sid = CallSid::parse(&self.call_sid, form).and_then(|sid| sid.fits(provider));
        let call_sid = keep(call_sid, &mut faults);
        let named =
            self.recording_sid.map(|sid| RecordingSid::parse(&sid, form).and_then(|sid| sid.fits(provider)));
        let named = keep(named.transpose(), &mut faults);
        let place = keep(place.map_err(|error| FieldFault::new("recording_url", error)), &mut faults);
        let job_type = self.job_type.map_or(Ok(JobType::default()), |text| text.parse());
        let job_type = keep(job_type.map_err(|error| FieldFault::new("job_type", error)), &mut faults);
        let priority = self.priority.map_or(Ok(Priority::NORMAL), Priority::try_from);
        let priority = keep(priority.map_err(|error| FieldFault::new("priority", error)), &mut faults);
        let run_at = keep(self.run_at.map(checked_time).transpose(), &mut faults);
        let parent = self.parent_call_sid.map(|sid| CallSid::parse(&sid, form).and_then(|sid| sid.fits(provider)));
        let parent = parent.transpose();
        let parent = keep(
            parent.map_err(|InvalidId { allowed, .. }| {
                FieldFault::new("parent_call_sid", format!("parent_call_sid must be {allowed}"))
            }),
            &mut faults,
        );
        match (business_id, call_sid, named, place, job_type, priority, run_at, parent) {
            (
                Some(business_id),
                Some(call_sid),
                Some(named),
                Some(place),
                Some(job_type),
                Some(priority),
                Some(run_at),
                Some(parent_call_sid),
            ) => {
                let recording_sid = named.or(place.recording_sid);
                let recording_url = place.url.into();
                Ok(NewJob {
                    business_id,
                    call_sid,
                    recording_sid,
                    recording_url,
                    job_type,
                    priority,
                    run_at,
                    details: Details { parent_call_sid, duration_s: self.duration_s, ..Details::default() },
                    trace_parent: None,
                })
            }
            _ => Err(faults),
        }
    }
}

/// What is wrong with a job that nobody would finish. (In SQL it is taken, and ends behind its download.)
pub fn untranscribed(job: &NewJob, transcribes: bool) -> Option<FieldFault> {
    let refused = job.job_type == JobType::Full && !transcribes;
    refused.then(|| {
        FieldFault::new("job_type", "job_type full needs a transcription service: set transcription.base_url")
    })
}

fn checked_time(time: DateTime<Utc>) -> Result<DateTime<Utc>, FieldFault> {
    if RUN_AT_YEARS.contains(&time.year()) {
        return Ok(time);
    }
    let (first, last) = (RUN_AT_YEARS.start(), RUN_AT_YEARS.end());
    Err(FieldFault::new("run_at", format!("run_at must be a time of the years {first} to {last}")))
}

fn keep<T, E: Into<FieldFault>>(checked: Result<T, E>, faults: &mut Vec<FieldFault>) -> Option<T> {
    checked.map_err(|error| faults.push(error.into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases() -> ProviderBases {
        let url = |text: &str| text.parse().expect("a constant");
        ProviderBases::new(url("https://api.twilio.com")).with_telnyx(url("https://api.telnyx.com"))
    }

    fn read(json: &[u8]) -> Result<NewJob, Vec<FieldFault>> {
        EnqueueRequest::job_from_json(json, &bases(), SidForm::Short)
    }

    #[test]
    fn a_request_becomes_a_job_with_its_url_put_right() {
        let json = br#"{"business_id":42,"call_sid":"CA1","recording_url":"/2010-04-01/Accounts/AC1/Recordings/RE1.json"}"#;
        let job = read(json).unwrap();
        assert_eq!(job.recording_url, "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1");
        assert_eq!(job.recording_sid.unwrap().as_str(), "RE1");
        assert_eq!((job.business_id.get(), job.priority, job.run_at), (42, Priority::NORMAL, None));
    }

    #[test]
    fn ids_are_spelled_as_the_urls_provider_spells_them() {
        let uuid = "10cd86ac-fef8-4765-b203-0f7511f9fc75";
        let request = |call_sid: &str, url: &str| EnqueueRequest {
            business_id: 42,
            call_sid: call_sid.to_owned(),
            recording_url: url.to_owned(),
            ..EnqueueRequest::default()
        };
        let telnyx = format!("https://api.telnyx.com/v2/recordings/{uuid}");
        let job = request(uuid, &telnyx).check(&bases(), SidForm::Strict).unwrap();
        assert_eq!(job.recording_sid.unwrap().as_str(), uuid);
        let (sid, twilio) = (format!("CA{}", "0".repeat(32)), "/2010-04-01/Accounts/AC1/Recordings/RE1");
        for (call_sid, url) in [(sid.as_str(), telnyx.as_str()), (uuid, twilio)] {
            let faults = request(call_sid, url).check(&bases(), SidForm::Strict).unwrap_err();
            assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), ["call_sid"], "{url}");
        }
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
            parent_call_sid: Some("z".into()),
            duration_s: None,
        };
        let faults = request.check(&bases(), SidForm::Strict).unwrap_err();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        let wrong = [
            "business_id",
            "call_sid",
            "recording_sid",
            "recording_url",
            "job_type",
            "priority",
            "parent_call_sid",
        ];
        assert_eq!(fields, wrong);
        for fault in &faults {
            assert!(fault.message.contains(" must be") || fault.message.contains("belong to"), "{fault}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_by_its_field() {
        let whole = r#"{"business_id":42,"call_sid":"CA1","recording_url":"/x"}"#;
        assert!(read(whole.as_bytes()).is_ok());
        for (json, field, message) in [
            (whole.replace("42", "\"x\""), "business_id", "expected i64"),
            (whole.replace("42", "4.5"), "business_id", "expected i64"),
            (whole.replace("42", "99999999999999999999"), "business_id", "expected i64"),
            (whole.replace("\"CA1\"", "7"), "call_sid", "expected a string"),
            (whole.replace("42", "42,\"run_at\":\"tomorrow\""), "run_at", "invalid characters"),
            (
                whole.replace("42", "42,\"run_at\":\"+12000-01-01T00:00:00Z\""),
                "run_at",
                "of the years 1970 to 9999",
            ),
            (whole.replace("42", "42,\"priority\":70000"), "priority", "expected i16"),
            (whole.replace("42", "42,\"colour\":1"), "colour", "no such field"),
            (whole.replace("42", "42,\"business_id\":43"), "business_id", "twice"),
            (whole.replace("\"business_id\":42,", ""), "business_id", "is missing"),
            (whole.replace("42", "null"), "business_id", "expected i64"),
            (format!("{whole} x"), "body", "trailing"),
            ("[".to_owned(), "body", "expected a JSON object"),
            ("{".to_owned(), "body", "EOF"),
            ("[".repeat(100_000), "body", "expected a JSON object"),
            (format!("{{\"x\":{}", "[".repeat(100_000)), "body", "recursion"),
        ] {
            let faults = read(json.as_bytes()).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].field, field, "{faults:?}");
            assert!(faults[0].message.contains(message), "{faults:?}");
        }
    }

    #[test]
    fn wrong_kinds_wrong_values_and_unknown_names_come_at_once() {
        let json = br#"{"business_id":"x","call_sid":"nonsense","recording_url":7,"a\u001b[31m\nb":1}"#;
        let fields: Vec<String> = read(json).unwrap_err().into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["business_id", "recording_url", "a [31m b", "call_sid"]);
    }

    #[test]
    fn of_many_unknown_names_some_are_told_and_the_others_counted() {
        let whole = r#"{"business_id":42,"call_sid":"CA1","recording_url":"/x""#;
        let faults = read(format!("{whole}{}}}", ",\"a\":0".repeat(300)).as_bytes()).unwrap_err();
        assert_eq!(faults.len(), 21);
        assert!(faults[20].message.starts_with("280 more fields"), "{}", faults[20]);
    }

    #[test]
    fn what_is_known_of_the_recording_comes_along() {
        let json =
            br#"{"business_id":1,"call_sid":"CA1","recording_url":"/x","parent_call_sid":"CA2","duration_s":7}"#;
        let details = read(json).unwrap().details;
        let parent = details.parent_call_sid.as_ref().map(CallSid::as_str);
        assert_eq!((parent, details.duration_s, details.channels), (Some("CA2"), Some(7), None));
        let faults =
            read(br#"{"business_id":1,"call_sid":"CA1","recording_url":"/x","duration_s":-1}"#).unwrap_err();
        assert_eq!(faults[0].field, "duration_s");
    }

    #[test]
    fn null_is_as_good_as_nothing_for_a_field_that_may_be_missing() {
        let json = br#"{"business_id":1,"call_sid":"CA1","recording_url":"/x","priority":null,"run_at":null}"#;
        assert_eq!(read(json).unwrap().priority, Priority::NORMAL);
    }
}
