//! A body of JSON lines: split the same however it comes, and each line is a job that keeps the rules, or is told what is
//! wrong with it.

use bytes::Bytes;
use callspool::{
    domain::{enqueue_request::EnqueueRequest, ids::SidForm, recording_url::ProviderBases},
    http::split_lines,
};

const LINE_LIMIT: usize = 512;

/// The first byte says in which pieces the rest comes.
pub fn run(data: &[u8]) {
    let Some((pieces, body)) = data.split_first() else { return };
    let base = ProviderBases::new("https://api.twilio.com".parse().expect("a constant"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a timer");
    let whole = vec![Bytes::copy_from_slice(body)];
    let in_pieces = body.chunks(usize::from(*pieces) + 1).map(Bytes::copy_from_slice).collect();
    let split = |chunks| runtime.block_on(split_lines(chunks, body.len(), LINE_LIMIT)).expect("within its limit");
    let lines: Vec<Option<Vec<u8>>> = split(whole);
    assert_eq!(lines, split(in_pieces));
    let wanted: Vec<&[u8]> = body.strip_suffix(b"\n").unwrap_or(body).split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), if body.is_empty() { 0 } else { wanted.len() });
    for (line, wanted) in lines.iter().zip(wanted) {
        assert_eq!(line.as_deref(), (wanted.len() <= LINE_LIMIT).then_some(wanted));
        job(wanted, &base);
    }
}

fn job(line: &[u8], base: &ProviderBases) {
    for form in [SidForm::Strict, SidForm::Short] {
        match EnqueueRequest::job_from_json(line, base, form) {
            Ok(job) => {
                assert!(base.owner(&job.recording_url.parse().expect("a checked URL")).is_some());
                assert!(job.business_id.get() > 0 && (0..=9).contains(&job.priority.get()));
                assert!(job.call_sid.as_str().chars().all(|c| c.is_ascii_alphanumeric()));
            }
            Err(faults) => {
                assert!(!faults.is_empty());
                for fault in faults {
                    assert!(!fault.to_string().contains(char::is_control), "{fault}");
                }
            }
        }
    }
}
