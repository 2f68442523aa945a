//! The pure parts that every recording passes: none of them may ever matter beside a round trip.

use callspool::adapters::audio::AudioWalker;
use callspool::domain::{
    audio::AudioKind,
    enqueue_request::EnqueueRequest,
    failure::{Failure, FailureCode},
    ids::SidForm,
    recording_url::ProviderBases,
    retry::RetryPolicy,
    text::clean,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};
use std::{hint::black_box, time::Duration};

fn request(c: &mut Criterion) {
    let base = ProviderBases::new("https://api.twilio.com".parse().expect("a constant"));
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

/// What the check of the audio costs beside the checksum of the same bytes, a megabyte of each kind.
fn audio(c: &mut Criterion) {
    const MEGABYTE: usize = 1 << 20;
    let mut frame = [0; 104];
    frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x10, 0xC4]);
    let mp3 = frame.repeat(MEGABYTE / frame.len());
    let mut wav =
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0"
            .to_vec();
    wav.resize(MEGABYTE, 1);
    let mut group = c.benchmark_group("a megabyte");
    group.throughput(Throughput::Bytes(MEGABYTE as u64));
    group.bench_function("of MP3 is walked", |b| {
        b.iter(|| AudioWalker.walk(AudioKind::Mp3, black_box(&mp3)).expect("frames"));
    });
    group.bench_function("of WAV is walked", |b| {
        b.iter(|| AudioWalker.walk(AudioKind::Wav, black_box(&wav)).expect("samples"));
    });
    group.bench_function("is hashed", |b| b.iter(|| Sha256::digest(black_box(&mp3))));
    group.finish();
}

criterion_group!(benches, request, decisions, audio);
criterion_main!(benches);
