//! What services answer: a transcript is kept without what no database or terminal takes, an odd word in it costs that word;
//! a complaint repeats no key; a lookup names a business or nobody; an S3 list is read or refused.

use callspool::{
    adapters::{
        transcription::{Transcription, TranscriptionConfig},
        tried::{business, uploads},
    },
    domain::text::MAX_CHARS,
};
use serde_json::{Value, json};
use std::{sync::LazyLock, time::Duration};

const KEY: &str = "sk-canary-0123456789";

static SERVICE: LazyLock<Transcription> = LazyLock::new(|| {
    let config = TranscriptionConfig {
        base_url: "https://api.openai.com/v1".parse().expect("a constant"),
        api_key: Some(KEY.into()),
        model: "whisper-1".to_owned(),
        language: None,
        timeout: Duration::from_secs(1),
        max_bytes: 1,
    };
    Transcription::new(config).expect("a client")
});

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || c == '\n')
}

pub fn run(data: &[u8]) {
    let transcript = SERVICE.answered(data);
    let said: Value = serde_json::from_slice(data).unwrap_or_default();
    // Whatever else it says, or says oddly, what was said in the call is there.
    assert!(transcript.is_ok() || !said["text"].is_string(), "{transcript:?}");
    if let Ok(transcript) = transcript {
        assert!(is_plain(&transcript.text) && transcript.text.len() <= data.len());
        assert!(transcript.language.is_none_or(|language| is_plain(&language) && language.len() <= 100));
        for segment in transcript.segments.as_array().expect("a list") {
            assert!(segment["start"].is_number() && segment["end"].is_number(), "{segment}");
            assert!(segment["text"].as_str().is_some_and(is_plain), "{segment}");
        }
    }
    let text = String::from_utf8_lossy(data);
    for body in [data.to_vec(), json!({"error": {"message": format!("{text} {KEY} {text}")}}).to_string().into()] {
        let complaint = SERVICE.complained(&body).message;
        assert!(!complaint.contains(KEY), "{complaint}");
        assert!(!complaint.contains(char::is_control) && complaint.chars().count() <= MAX_CHARS, "{complaint:?}");
    }
    if let Ok(business) = business(data) {
        assert!(business.get() > 0 && (said["business_id"] == business.get() || said.is_array()), "{business}");
    }
    if let Ok((uploads, _)) = uploads(data) {
        let length: usize = uploads.iter().map(|(key, id)| key.len() + id.len()).sum();
        assert!(length <= data.len() && uploads.len() <= data.len());
    }
}
