//! Names that come from outside, hold keys, wanted forms and SIDs: what is accepted is written as it was read, and is fit
//! for a log.

use callspool::domain::{
    hold::HoldKey,
    ids::{AccountSid, CallSid, RecordingSid, SidForm},
    media::Forms,
};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<HoldKey>() {
        let written = key.to_string();
        assert!(!written.contains(char::is_control), "{written:?}");
        assert_eq!(written.parse(), Ok(key));
    }
    if let Ok(forms) = Forms::parse(&text.split(',').collect::<Vec<_>>()) {
        assert!(forms.iter().len() > 0);
        assert_eq!(Forms::parse(&forms.names()), Ok(forms));
    }
    for form in [SidForm::Strict, SidForm::Short] {
        let sids = [
            CallSid::parse(text, form).map(|sid| sid.to_string()),
            RecordingSid::parse(text, form).map(|sid| sid.to_string()),
            AccountSid::parse(text, form).map(|sid| sid.to_string()),
        ];
        for sid in sids.into_iter().flatten() {
            assert_eq!(sid, text);
            // Telnyx' are UUIDs.
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{text:?}");
        }
    }
}
