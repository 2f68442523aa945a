//! What a recording has to be: the content is walked while it streams, through a real process, from the provider's answer
//! to the API's `duration_ms`.

use crate::support::{
    Answer, Database, Process, Provider, eventually, new_job,
    process::{Setup, json},
    provider::{mp3, plays_ms, recording, wav},
};
use bytes::Bytes;
use callspool::domain::{details::Details, job::NewJob, ports::JobBook};
use chrono::{TimeDelta, Utc};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqlx::Executor;

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = change(Setup::new(&database).provider(&provider)).run().await;
    (database, provider, process)
}

/// Recording `number`, of which the provider says that it plays so many seconds.
fn announced(provider: &Provider, number: u32, duration_s: Option<u32>) -> NewJob {
    NewJob {
        recording_url: format!("{}/2010-04-01/Accounts/AC1/Recordings/RE{number}", provider.base()),
        details: Details { duration_s, ..Details::default() },
        ..new_job(42, number)
    }
}

fn ok(content_type: &str, body: impl Into<Bytes>) -> Answer {
    Answer::Status(200, vec![("Content-Type", content_type.to_owned())], body.into())
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes
}

fn nothing_is_in(process: &Process) -> bool {
    let Ok(mut entries) = std::fs::read_dir(process.storage().join("42")) else { return true };
    entries.next().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_recording_that_was_announced_is_bad_audio_and_leaves_nothing() {
    let (database, provider, process) =
        process_with(|setup| setup.var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1")).await;
    let page = "<!DOCTYPE html><html>Sign in</html>";
    let streamed = |said: u32, samples: usize| {
        let mut bytes = wav(1, 1).to_vec();
        bytes[40..44].copy_from_slice(&said.to_le_bytes());
        bytes.resize(44 + samples, 7);
        bytes
    };
    for (number, (answer, duration_s, said)) in (1..).zip([
        (ok("text/html; charset=utf-8", page), None, "answered with text/html, which is no audio"),
        (ok("text/html", recording(1)), None, "answered with text/html"),
        (ok("application/json", "{\"code\": 20404}"), None, "answered with application/json"),
        (ok("text/xml", "<Error/>"), None, "answered with text/xml"),
        (ok("audio/mpeg", page), None, "neither MP3 nor WAV"),
        (ok("audio/mpeg", ""), None, "empty"),
        (ok("audio/mpeg", [&mp3(1, 4)[..], &noise(30_000)].concat()), None, "no whole MPEG frame"),
        (ok("audio/mpeg", mp3(1, 103)), None, "no whole MPEG frame"),
        (ok("audio/mpeg", [&mp3(1, 20_000)[..], &noise(20_000)].concat()), None, "of 40000 bytes are no audio"),
        (ok("audio/wav", b"RIFF\x24\0\0\0WAVEfmt ".as_slice()), None, "WAV header cannot be right"),
        (ok("audio/wav", streamed(0, 0)), None, "it has no samples"),
        (ok("audio/wav", streamed(160_000, 48_000)), None, "it plays 3000 ms where 10000 ms"),
        (ok("audio/mpeg", recording(1)), Some(10), "it plays 2507 ms where 10000 ms were announced"),
        (ok("audio/mpeg", wav(2, 3)), Some(60), "it plays 3000 ms where 60000 ms were announced"),
    ]) {
        provider.tell(number, [answer]);
        let enqueued = database.store().enqueue(&[announced(&provider, number, duration_s)]).await.unwrap();
        let failed = process.event_number("WORKER_JOB_FAILED", number.try_into().unwrap()).await;
        assert_eq!((&failed["reason"], &failed["retry_in"]), (&"bad_audio".into(), &"never".into()), "{failed}");
        assert!(failed["detail"].as_str().unwrap().contains(said), "{said}: {failed}");
        process.event_number("WORKER_RELEASE_SLOT", number.try_into().unwrap()).await;
        let error = process.job(enqueued[0].id.0).await["last_error"].clone();
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
    assert!(nothing_is_in(&process));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_ends_too_early_comes_again_and_is_stored_whole() {
    let (database, provider, process) = process_with(|setup| setup).await;
    let whole = mp3(1, 60_000);
    provider.tell(1, [ok("audio/mpeg", whole.slice(..10_000)), ok("audio/mpeg", whole.clone())]);
    database.store().enqueue(&[announced(&provider, 1, Some(15))]).await.unwrap();
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(process.event("WORKER_JOB_FAILED").await["reason"], "bad_audio");
    assert_eq!(std::fs::read(process.file(42, 1)).unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_plays_as_announced_is_stored_with_how_long_it_plays() {
    // One channel where two are preferred: what there is, is stored.
    let dual = |setup: Setup| setup.config("[recordings]\nforms = [\"mp3-dual\", \"mp3\"]\n");
    let (database, provider, process) = process_with(dual).await;
    let mut endless = wav(1, 4).to_vec();
    endless[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    endless[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    let tagged = [b"ID3\x04\0\0\0\0\x08\x00".as_slice(), &noise(1_024), &mp3(5, 10_400)].concat();
    for (number, (answer, duration_s, plays, file)) in (1..).zip([
        (ok("audio/mpeg", recording(1)), Some(3), plays_ms(10_000), "CA1.mp3"),
        (ok("audio/mpeg", recording(2)), Some(1), plays_ms(10_000), "CA2.mp3"),
        // Incident 19: WAV, called MPEG.
        (ok("audio/mpeg", wav(1, 3)), Some(3), 3_000, "CA3.wav"),
        (ok("application/octet-stream", wav(2, 5)), Some(7), 5_000, "CA4.wav"),
        (ok("audio/mpeg", tagged), None, plays_ms(10_400), "CA5.mp3"),
        (ok("audio/x-wav", endless), Some(4), 4_000, "CA6.wav"),
        (Answer::Chunked(vec![mp3(7, 5_000), mp3(7, 200_000).slice(5_000..)]), None, plays_ms(200_000), "CA7.mp3"),
    ]) {
        provider.tell(number, [answer]);
        database.store().enqueue(&[announced(&provider, number, duration_s)]).await.unwrap();
        let done = process.event_number("WORKER_DOWNLOAD_DONE", number.try_into().unwrap()).await;
        assert_eq!(done["file"], file);
        process.event_number("WORKER_RELEASE_SLOT", number.try_into().unwrap()).await;
        let shown = json(process.get(&format!("/v1/recordings/CA{number}")).await).await;
        assert_eq!(shown["duration_ms"], plays, "{file}: {shown}");
        let is_wav = file.ends_with("wav");
        assert_eq!(shown["content_type"], if is_wav { "audio/wav" } else { "audio/mpeg" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_much_may_be_missing_is_configured() {
    let (database, provider, process) = process_with(|setup| {
        setup.var("CALLSPOOL__AUDIO__DURATION_TOLERANCE", "8s").var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1")
    })
    .await;
    for (number, duration_s) in [(1, 10), (2, 11)] {
        database.store().enqueue(&[announced(&provider, number, Some(duration_s))]).await.unwrap();
    }
    process.event("WORKER_DOWNLOAD_DONE").await;
    process.event("WORKER_JOB_FAILED").await;
    assert!(process.file(42, 1).exists() && !process.file(42, 2).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_that_cannot_be_are_refused_at_start() {
    let database = Database::empty().await;
    for (forms, said) in [("mp3,mp3", "each once"), ("ogg", "mp3, wav, mp3-dual, wav-dual, original")] {
        let setup = Setup::new(&database).var("CALLSPOOL__RECORDINGS__FORMS", forms);
        let output = setup.command(&["run"]).output().await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains("recordings.forms") && text.contains(said), "{text}");
    }
}

/// Another job, or an attempt whose report was lost, has stored the recording: it is not fetched again, unless its file
/// is not what was stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_stored_already_is_fetched_again_only_where_its_file_is_not_whole() {
    let (database, provider, process) = process_with(|setup| setup).await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let later = Some(Utc::now() + TimeDelta::hours(1));
    let jobs = [2, 3].map(|number| NewJob { run_at: later, ..announced(&provider, number, None) });
    let enqueued = database.store().enqueue(&jobs).await.unwrap();
    let mut connection = database.connect().await;
    for (number, file) in [(2, recording(2)), (3, recording(3).slice(..9_999))] {
        std::fs::write(process.file(42, number), file).unwrap();
        let stored = format!(
            "insert into recordings (business_id, recording_key, job_type, job_id, call_sid, recording_sid, storage_key,
                                     bytes, sha256, content_type, form)
             select business_id, replace(recording_key, '1', '{number}'), job_type, {job}, 'CA{number}', 'RE{number}',
                    '42/CA{number}.mp3', bytes, sha256, content_type, form from recordings where call_sid = 'CA1'",
            job = enqueued[number as usize - 2].id
        );
        connection.execute(sqlx::AssertSqlSafe(stored)).await.unwrap();
    }
    connection.execute("update job_scheduled set run_at = now()").await.unwrap();
    for job in enqueued {
        let is_done = || async { (process.job(job.id.0).await["state"] == "done").then_some(()) };
        eventually("both jobs are done", is_done).await;
    }
    let asked: Vec<_> = provider.asked().iter().map(|asked| asked.path.clone()).collect();
    let times = |number: u32| asked.iter().filter(|path| path.contains(&format!("RE{number}"))).count();
    assert_eq!((times(1), times(2), times(3)), (1, 0, 1), "{asked:?}");
    assert_eq!(std::fs::read(process.file(42, 3)).unwrap(), recording(3));
}
