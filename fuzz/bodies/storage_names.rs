//! Where recordings go: a template is written as it was read, and whatever job fills it, the name stays in the storage, fits
//! a bucket, and is another one for another recording; a storage's URL says neither a secret nor a way out.

use callspool::domain::{
    details::{Details, told_at},
    ids::{CallSid, JobId, RecordingSid, SidForm},
    job::{ClaimedJob, JobType},
    layout::Layout,
    lease::LeaseId,
    storage_url::StorageUrl,
};
use std::path::{Component, Path};

/// A line with a template or a storage's URL, then lines of a job: call, recording, time, business.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default();
    storage_url(first);
    let Ok(layout) = first.parse::<Layout>() else { return };
    assert_eq!(layout.to_string(), first, "it is written as it was read");
    let Some(job) = job(lines) else { return };
    let key = layout.key(&job, "mp3");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.".contains(c);
    assert!(key.len() <= 1_024 && key.chars().all(plain), "{key}");
    assert!(key.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "{key}");
    let way: Vec<Component> = Path::new(&key).components().collect();
    assert!(way.iter().all(|part| matches!(part, Component::Normal(_))), "{key}");
    let another = ClaimedJob { recording_sid: sid("RE0another"), shares_call: true, ..job.clone() };
    if job.shares_call && job.recording_sid.is_some() && job.recording_sid != another.recording_sid {
        assert_ne!(layout.key(&another, "mp3"), key, "two recordings of a call");
    }
    let of_another = ClaimedJob { business_id: 7.try_into().expect("a constant"), ..job.clone() };
    if first.starts_with("{business_id}/") && job.business_id != of_another.business_id {
        assert_ne!(layout.key(&of_another, "mp3"), key, "two businesses");
    }
}

fn sid(text: &str) -> Option<RecordingSid> {
    RecordingSid::parse(text, SidForm::Short).ok()
}

fn job<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<ClaimedJob> {
    let call_sid = CallSid::parse(lines.next()?, SidForm::Short).ok()?;
    let recording_sid = lines.next().and_then(sid);
    let started_at = lines.next().and_then(|text| text.parse().ok()).and_then(told_at);
    let business_id = lines.next().and_then(|text| text.parse().ok());
    let enqueued_at = "2026-01-31T23:59:59Z".parse().expect("a constant");
    Some(ClaimedJob {
        id: JobId(1),
        lease: LeaseId(1),
        business_id: business_id.or(42.try_into().ok())?,
        call_sid,
        shares_call: recording_sid.is_some(),
        recording_sid,
        recording_url: String::new(),
        job_type: JobType::DownloadOnly,
        attempt: 1,
        max_attempts: 8,
        running: 1,
        max_slots: 5,
        wanted_at: enqueued_at,
        trace_parent: None,
        enqueued_at,
        details: Details { started_at, ..Details::default() },
        forms: None,
        not_ready_for: None,
        stored: None,
    })
}

fn storage_url(text: &str) {
    match StorageUrl::parse(text) {
        Some(StorageUrl::Folder(path)) => {
            assert!(!path.as_os_str().is_empty());
            assert!(!path.to_string_lossy().contains(char::is_control));
        }
        Some(StorageUrl::Bucket { bucket, prefix, .. }) => {
            let key = format!("{bucket}/{prefix}");
            assert!(!key.contains(|c: char| c.is_control() || "@:?#%\\ ".contains(c)), "{key:?}");
            assert!(prefix.is_empty() || prefix.split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
        }
        None => {}
    }
}
