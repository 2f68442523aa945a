//! What a callback says: its fields, from a form or from a JSON object.

use crate::{
    domain::{
        details::{Details, told_at},
        enqueue_request::EnqueueRequest,
        ids::{CallSid, SidForm},
        text::clean,
    },
    http::operation::JSON,
};
use actix_web::{HttpMessage, HttpRequest};
use chrono::DateTime;
use serde_json::{Map, Value};
use url::form_urlencoded;

/// The longest `I-Twilio-Idempotency-Token` that is kept, in characters.
const MAX_TOKEN: usize = 64;

/// The fields that are looked at; Twilio sends more, and may send them as a JSON object.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "PascalCase")]
#[expect(dead_code, reason = "stands for its schema")]
pub(in crate::http) struct Callback {
    account_sid: String,
    call_sid: String,
    recording_sid: Option<String>,
    recording_url: String,
    /// A recording that is `completed` is fetched; so is one without a status.
    recording_status: Option<String>,
    /// In seconds; -1 where it is not known.
    recording_duration: Option<String>,
    recording_channels: Option<String>,
    /// RFC 2822.
    recording_start_time: Option<String>,
    parent_call_sid: Option<String>,
    /// For the lookup service.
    from: Option<String>,
    to: Option<String>,
}

/// In the order in which they came; a name may come more than once.
pub(super) struct Fields {
    pairs: Vec<(String, String)>,
    is_form: bool,
}

impl Fields {
    /// What cannot be read has no fields, and is refused for want of them.
    pub(super) fn read(request: &HttpRequest, body: &[u8]) -> Self {
        if !request.content_type().eq_ignore_ascii_case(JSON) {
            return Self::of_form(body);
        }
        let object: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let text = |value| match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(is) => Some(is.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let pairs = object.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect();
        Self { pairs, is_form: false }
    }

    pub(super) fn of_form(body: &[u8]) -> Self {
        Self { pairs: form_urlencoded::parse(body).into_owned().collect(), is_form: true }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Those that the signature covers one by one; a JSON body is covered by its checksum.
    pub(super) fn signed(&self) -> Option<&[(String, String)]> {
        self.is_form.then_some(&*self.pairs)
    }

    pub(super) fn call_sid(&self, form: SidForm) -> Option<CallSid> {
        self.get("CallSid").and_then(|sid| CallSid::parse(sid, form).ok())
    }

    /// A job without its business. What is said about the recording beside its URL is taken where it is right: nobody is
    /// to lose a recording for its length.
    pub(super) fn wanted(&self, form: SidForm) -> EnqueueRequest {
        let text = |name| self.get(name).unwrap_or_default().to_owned();
        let parent = self.get("ParentCallSid").filter(|sid| CallSid::parse(sid, form).is_ok());
        EnqueueRequest {
            call_sid: text("CallSid"),
            recording_url: text("RecordingUrl"),
            recording_sid: self.get("RecordingSid").filter(|sid| !sid.is_empty()).map(ToOwned::to_owned),
            parent_call_sid: parent.map(ToOwned::to_owned),
            // -1 where it is not known.
            duration_s: self.get("RecordingDuration").and_then(|seconds| seconds.parse().ok()),
            ..EnqueueRequest::default()
        }
    }

    /// `known`, and what only a callback says.
    pub(super) fn details(&self, known: Details) -> Details {
        let started_at = self.get("RecordingStartTime").and_then(|at| DateTime::parse_from_rfc2822(at).ok());
        Details {
            channels: self.get("RecordingChannels").and_then(|channels| channels.parse().ok()),
            started_at: started_at.and_then(told_at),
            ..known
        }
    }
}

/// What became of the recording.
pub(super) enum Standing {
    /// There is something to fetch.
    Completed,
    /// There never will be.
    Lost(&'static str),
    /// In progress, processing, paused, or whatever Twilio says next year.
    Other,
}

impl Standing {
    pub(super) fn of(fields: &Fields) -> Self {
        match fields.get("RecordingStatus") {
            // A TwiML <Record action> sends none.
            None | Some("completed") => Self::Completed,
            Some("absent") => Self::Lost("absent"),
            Some("failed") => Self::Lost("failed"),
            Some(_) => Self::Other,
        }
    }
}

/// The same for every try of Twilio's to send one callback: two log lines with it are of one event.
pub(super) fn idempotency_token(request: &HttpRequest) -> Option<String> {
    let given = request.headers().get("I-Twilio-Idempotency-Token")?.to_str().ok()?;
    Some(clean(given).chars().take(MAX_TOKEN).collect()).filter(|token: &String| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn read(content_type: &str, body: &str) -> Fields {
        let request = TestRequest::post().insert_header(("Content-Type", content_type)).to_http_request();
        Fields::read(&request, body.as_bytes())
    }

    #[test]
    fn a_json_object_has_the_same_fields_as_a_form() {
        let form = read("application/x-www-form-urlencoded", "CallSid=CA1&RecordingDuration=7&CallSid=CA2&x");
        let json =
            read("application/json", r#"{"CallSid":"CA1","RecordingDuration":7,"a":[1],"b":{"c":1},"d":null}"#);
        for fields in [&form, &json] {
            assert_eq!((fields.get("CallSid"), fields.get("RecordingDuration")), (Some("CA1"), Some("7")));
            assert_eq!(fields.wanted(SidForm::Short).duration_s, Some(7));
        }
        assert_eq!((json.get("a"), json.get("b"), json.get("d")), (None, None, None));
        assert_eq!((form.signed().map(<[_]>::len), json.signed().is_none()), (Some(4), true));
        for junk in ["", "{", "[]", "7", "\"CallSid\""] {
            assert!(read("application/json", junk).pairs.is_empty(), "{junk}");
        }
    }

    #[test]
    fn what_is_said_beside_the_url_is_taken_where_it_is_right() {
        let right = read(
            "application/json",
            r#"{"RecordingDuration":"12","RecordingChannels":"2","ParentCallSid":"CA9",
                "RecordingStartTime":"Wed, 25 Feb 2026 12:00:01 +0000"}"#,
        );
        let wanted = right.wanted(SidForm::Short);
        assert_eq!((wanted.duration_s, wanted.parent_call_sid.as_deref()), (Some(12), Some("CA9")));
        let details = right.details(Details::default());
        let started_at = details.started_at.map(|at| at.to_rfc3339());
        assert_eq!((details.channels, started_at.as_deref()), (Some(2), Some("2026-02-25T12:00:01+00:00")));
        let wrong = read(
            "application/json",
            r#"{"RecordingDuration":"-1","RecordingChannels":"stereo","ParentCallSid":"x","RecordingStartTime":"noon"}"#,
        );
        assert_eq!(wrong.wanted(SidForm::Short), EnqueueRequest::default());
        assert_eq!(wrong.details(Details::default()), Details::default());
    }

    #[test]
    fn an_idempotency_token_is_clean_and_short() {
        let token = |text: &str| {
            let header = ("I-Twilio-Idempotency-Token", text.to_owned());
            idempotency_token(&TestRequest::post().insert_header(header).to_http_request())
        };
        assert_eq!(token("97c15c05-1d46").as_deref(), Some("97c15c05-1d46"));
        assert_eq!(token("a\tb").as_deref(), Some("a b"));
        assert_eq!(token(&"x".repeat(500)).map(|token| token.len()), Some(MAX_TOKEN));
        assert_eq!((token(""), token(" ")), (None, None));
    }
}
