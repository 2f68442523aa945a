//! The pure parts that every recording passes: none of them may ever matter beside a round trip.

use callspool::domain::{
    audio::AudioKind,
    enqueue_request::EnqueueRequest,
    failure::{Failure, FailureCode},
    ids::SidForm,
    recording_url::ProviderBase,
    retry::RetryPolicy,
    text::clean,
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{hint::black_box, time::Duration};

fn request(c: &mut Criterion) {
    let base = ProviderBase::new("https://api.twilio.com".parse().expect("a constant"));
    let json = br#"{"business_id":42,"call_sid":"CA00000000000000000000000000000001",
        "recording_url":"/2010-04-01/Accounts/AC00000000000000000000000000000001/Recordings/RE00000000000000000000000000000001.json"}"#;
    c.bench_function("a request is read and checked", |b| {
        b.iter(|| EnqueueRequest::job_from_json(black_box(json), &base, SidForm::Strict).expect("it is right"));
    });
}

fn decisions(c: &mut Criterion) {
    let policy = RetryPolicy {
        base: Duration::from_secs(2),
        max: Duration::from_hours(1),
        factor: 2.0,
        jitter: 0.5,
        not_ready_base: Duration::from_secs(2),
        not_ready_max: Duration::from_mins(10),
        not_ready_for: Duration::from_hours(1),
        max_attempts: 8,
    };
    let failure = Failure::new(FailureCode::HttpStatus, "503").retry_after(Some(Duration::from_secs(7)));
    c.bench_function("a retry's delay", |b| b.iter(|| policy.delay(black_box(3), &failure, 0.5)));
    c.bench_function("content is recognised", |b| {
        b.iter(|| AudioKind::sniff(black_box(b"RIFF\x24\x00\x00\x00WAVEfmt ")));
    });
    c.bench_function("an error text is made clean", |b| {
        let text = "error sending request for url (https://user:pw@api.twilio.com/x?token=y)\r\n\tcaused by: reset";
        b.iter(|| clean(black_box(text)));
    });
}

criterion_group!(benches, request, decisions);
criterion_main!(benches);
