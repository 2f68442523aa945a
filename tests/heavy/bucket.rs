//! The promises of the storage, kept by a bucket: the same as those of a disk.

use super::s3::{S3, SECRET, open};
use bytes::Bytes;
use callspool::domain::{
    failure::{Failure, FailureCode},
    hold::HoldKey,
    ports::{Storage, Upload},
    storage_url::UploadChecksum,
};
use futures_util::TryStreamExt;
use std::time::Duration;

const KEY: &str = "42/2026/01/CA1.mp3";
const PART: usize = 8 << 20;

/// Of a length that no part divides, and nowhere alike.
fn content(seed: u8, length: usize) -> Bytes {
    let mut state = u32::from(seed) + 1;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    bytes.take(length).collect::<Vec<_>>().into()
}

async fn begin(storage: &dyn Storage, content: &Bytes) -> Box<dyn Upload> {
    let mut upload = storage.begin(KEY).await.unwrap();
    for chunk in content.chunks(100_003) {
        upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    upload
}

async fn store(storage: &dyn Storage, content: &Bytes) -> Result<(), Failure> {
    begin(storage, content).await.commit().await
}

async fn read(storage: &dyn Storage, part: std::ops::Range<u64>) -> Vec<u8> {
    let file = storage.read(KEY, part).await.unwrap().unwrap();
    file.stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

fn is_storages_fault(failure: &Failure) -> bool {
    failure.blame.as_ref().is_some_and(|blame| blame.key == HoldKey::storage())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_stored_whole_and_read_in_parts_whatever_its_size() {
    let s3 = S3::start().await;
    for checksum in [UploadChecksum::Sha256, UploadChecksum::Crc64Nvme, UploadChecksum::None] {
        let storage = s3.open(&callspool::adapters::storage::BucketOptions { checksum, ..s3.options() });
        storage.check().await.unwrap();
        for (seed, length) in [(1, 1), (2, 70_000), (3, PART), (4, PART + 1), (5, 2 * PART + 12_345)] {
            let (whole, size) = (content(seed, length), length as u64);
            store(storage.as_ref(), &whole).await.unwrap();
            assert_eq!(storage.size(KEY).await, Ok(Some(size)), "{checksum:?}, {length}");
            assert!(read(storage.as_ref(), 0..size).await == whole, "{checksum:?}, {length}");
            for part in [0..1, size - 1..size, size / 2..size + 9, size..size + 1] {
                let [start, end] = [part.start, part.end].map(|at| usize::try_from(at.min(size)).unwrap());
                assert!(read(storage.as_ref(), part.clone()).await == whole[start..end], "{length}: {part:?}");
            }
        }
    }
    assert_eq!(s3.objects().await, [format!("eu/recordings/{KEY}")]);
    assert_eq!(s3.under_way().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_no_error_and_is_removed() {
    let s3 = S3::start().await;
    let storage = s3.open(&s3.options());
    assert_eq!(storage.size(KEY).await, Ok(None));
    assert!(storage.read(KEY, 0..1).await.unwrap().is_none());
    assert_eq!(storage.remove(KEY).await, Ok(()));
    store(storage.as_ref(), &content(1, 10)).await.unwrap();
    assert_eq!(storage.remove(KEY).await, Ok(()));
    assert_eq!(s3.objects().await, Vec::<String>::new());
}

/// Small ones go in one request, large ones in parts: the promise is the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_comes_late_does_not_replace_a_newer_ones_file() {
    let s3 = S3::start().await;
    let storage = s3.open(&s3.options());
    for late in [1_000, PART + 5] {
        for newer in [2_000, PART + 6] {
            let unreported = content(0, 50);
            for before in [None, Some(&unreported)] {
                storage.remove(KEY).await.unwrap();
                if let Some(before) = before {
                    store(storage.as_ref(), before).await.unwrap();
                }
                let (late, newer) = (content(1, late), content(2, newer));
                let sleeping = begin(storage.as_ref(), &late).await;
                store(storage.as_ref(), &newer).await.unwrap();
                let refused = sleeping.commit().await.unwrap_err();
                assert_eq!((refused.code, refused.blame), (FailureCode::Superseded, None));
                assert!(read(storage.as_ref(), 0..newer.len() as u64).await == newer);
                // The next attempt replaces what it finds.
                store(storage.as_ref(), &late).await.unwrap();
                assert!(read(storage.as_ref(), 0..late.len() as u64).await == late);
            }
        }
    }
    super::support::eventually("no upload under way", async || s3.under_way().await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_attempts_at_once_one_stores_its_file() {
    let s3 = S3::start().await;
    let storage = s3.open(&s3.options());
    for length in [1_000, PART + 7] {
        storage.remove(KEY).await.unwrap();
        let mut uploads = Vec::new();
        for seed in 0..4 {
            uploads.push((seed, begin(storage.as_ref(), &content(seed, length)).await));
        }
        let commits = uploads.into_iter().map(async |(seed, upload)| (seed, upload.commit().await));
        let results = futures_util::future::join_all(commits).await;
        let stored: Vec<u8> = results.iter().filter(|(_, result)| result.is_ok()).map(|(seed, _)| *seed).collect();
        assert_eq!(stored.len(), 1, "{results:?}");
        assert!(read(storage.as_ref(), 0..length as u64).await == content(stored[0], length));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_seen_of_a_file_under_way_and_nothing_is_left_of_one_given_up() {
    let s3 = S3::start().await;
    let storage = s3.open(&s3.options());
    let upload = begin(storage.as_ref(), &content(1, 2 * PART + 5)).await;
    assert_eq!(s3.objects().await, Vec::<String>::new());
    assert_eq!(s3.under_way().await.len(), 1);
    upload.abort().await;
    assert_eq!(s3.under_way().await, Vec::<String>::new());
    drop(begin(storage.as_ref(), &content(1, 2 * PART + 5)).await);
    super::support::eventually("no upload under way", async || s3.under_way().await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_what_is_old_below_the_prefix_and_nothing_else() {
    let s3 = S3::start().await;
    let storage = s3.open(&s3.options());
    store(storage.as_ref(), &content(1, 10)).await.unwrap();
    for left in ["eu/recordings/.callspool-aside/1", "eu/recordings/.callspool-aside/2", "other/.callspool-aside/3"]
    {
        s3.ask(reqwest::Method::PUT, &format!("calls/{left}")).await;
    }
    assert_eq!(storage.sweep(Duration::from_hours(1), 100).await, Ok(0), "all of it is young");
    // The server says of each that it began in 2010.
    for begun in ["eu/recordings/42/CA7.mp3", "eu/recordings/42/CA8.mp3", "eu/recordings-of-others/x", "x"] {
        s3.ask(reqwest::Method::POST, &format!("calls/{begun}?uploads")).await;
    }
    assert_eq!(storage.sweep(Duration::ZERO, 3).await, Ok(3));
    assert_eq!(storage.sweep(Duration::ZERO, 100).await, Ok(1));
    assert_eq!(s3.objects().await, [format!("eu/recordings/{KEY}"), "other/.callspool-aside/3".to_owned()]);
    assert_eq!(s3.under_way().await, ["eu/recordings-of-others/x", "x"]);
    // Without a prefix the bucket may be others' too.
    assert_eq!(s3.open_at("s3://calls", &s3.options()).sweep(Duration::ZERO, 100).await, Ok(0));
    assert_eq!(s3.under_way().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_no_conditions_is_not_used_unless_that_is_allowed() {
    let s3 = S3::start().await;
    s3.begin_fault("blind").await;
    let storage = s3.open(&s3.options());
    let refused = storage.check().await.unwrap_err();
    assert!(refused.message.contains("storage.conditions=off"), "{refused}");
    assert_eq!(s3.objects().await, Vec::<String>::new(), "and its probe is gone");
    let lenient = s3.open(&callspool::adapters::storage::BucketOptions { needs_conditions: false, ..s3.options() });
    lenient.check().await.unwrap();
    for length in [10, PART + 1] {
        let whole = content(3, length);
        store(lenient.as_ref(), &whole).await.unwrap();
        assert!(read(lenient.as_ref(), 0..length as u64).await == whole);
    }
    s3.end_fault("blind").await;
    assert_eq!(storage.check().await, Ok(()), "it is asked again until it does");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_the_bucket_is_the_storages_fault_and_tells_no_secret() {
    let mut s3 = S3::start().await;
    let storage = s3.open(&s3.options());
    let upload = begin(storage.as_ref(), &content(1, 10)).await;
    let missing = open("s3://missing/x", &s3.options()).check().await.unwrap_err();
    s3.begin_fault("denied").await;
    let denied = [
        storage.check().await.unwrap_err(),
        storage.begin(KEY).await.err().unwrap(),
        upload.commit().await.unwrap_err(),
        storage.sweep(Duration::ZERO, 1).await.unwrap_err(),
    ];
    s3.kill().await;
    let gone = [storage.check().await.unwrap_err(), storage.begin(KEY).await.err().unwrap()];
    for failure in denied.iter().chain(&gone).chain([&missing]) {
        assert_eq!(failure.code, FailureCode::StorageError);
        assert!(is_storages_fault(failure), "{failure}");
        for secret in [SECRET, "canary", "127.0.0.1", "calls/", "Signature"] {
            assert!(!failure.message.contains(secret), "{failure}");
        }
    }
    assert_eq!(denied[0].message, "permission denied");
    assert_eq!(gone[0].message, "the bucket's server cannot be reached");
    assert_eq!(missing.message, "the bucket is not found");
}

/// The request that publishes is done, its answer is lost, and its repetition is told that a file is there already: this
/// attempt's own.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_knows_its_own_file_when_the_answer_was_lost() {
    let s3 = S3::start().await;
    let storage = s3.open(&callspool::adapters::storage::BucketOptions { retries: 1, ..s3.options() });
    for (seed, length) in [(1, 1_000), (2, 2_000), (3, PART + 9), (4, PART + 10)] {
        let whole = content(seed, length);
        let upload = begin(storage.as_ref(), &whole).await;
        s3.begin_fault("mute").await;
        assert_eq!(upload.commit().await, Ok(()), "{length}");
        s3.end_fault("mute").await;
        assert!(read(storage.as_ref(), 0..length as u64).await == whole);
    }
}
