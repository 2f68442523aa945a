//! A process that is frozen at each step of an attempt until others have taken its job, and is then woken: whatever it
//! does, the newer attempt's file, its completion and the slots stay as they are. What is promised here stands in
//! docs/promises.md.
//!
//! A process that wakes usually finds out by itself that its beats are late, and interrupts its downloads. These do not:
//! their `queue.beat_ttl` is longer than any test, so that nothing but the storage's condition and the lease stands
//! between them and the newer file.

use crate::{
    after_completion::telling,
    queue_law::{assert_law, slots},
    recordings::get,
    support::{
        Answer, Database, Process, Provider, eventually,
        process::Setup,
        provider::{mp3, recording, wav},
        receiver::{Receiver, Reply},
        transcriber::{Transcriber, Words},
        way::Way,
    },
    transcript::configured,
};
use bytes::Bytes;
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use std::fs::{self, File};

/// What the provider has at the first attempt.
fn older() -> Bytes {
    mp3(1, 2_000_000)
}

/// What it has at the second: another length, other bytes.
fn newer() -> Bytes {
    recording(2)
}

struct Scene {
    database: Database,
    provider: Provider,
    zombie: Process,
    job: i64,
}

impl Scene {
    /// Job 1 of business 42 is enqueued at a process that will not notice that it was frozen; its provider gives `first`,
    /// and afterwards [`newer`].
    async fn with(first: Answer, change: impl FnOnce(Setup) -> Setup) -> Self {
        let (database, provider) = (Database::migrated().await, Provider::start());
        provider.tell(1, [first, Answer::Media(newer())]);
        let zombie = change(telling(&database, &provider))
            .var("CALLSPOOL__QUEUE__BEAT_TTL", "10min")
            .var("CALLSPOOL__TWILIO__READ_TIMEOUT", "10min")
            .var("CALLSPOOL__TWILIO__MIN_BYTES_PER_SECOND", "0")
            .run()
            .await;
        let job = zombie.enqueue(42, 1).await;
        Self { database, provider, zombie, job }
    }

    async fn new(first: Answer) -> Self {
        Self::with(first, |setup| setup).await
    }

    /// Freezes it and starts another process, with the same storage, that takes what it has.
    async fn freeze_and_replace(&self) -> Process {
        self.freeze_and_replace_with(|setup| setup).await
    }

    /// Until each of its threads stands still.
    async fn freeze(&self) {
        self.zombie.signal(Signal::SIGSTOP);
        let threads = format!("/proc/{}/task", self.zombie.pid());
        eventually("that it stands still", async || {
            let stands_still = |thread: std::io::Result<fs::DirEntry>| {
                let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
                stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T'))
            };
            fs::read_dir(&threads).unwrap().all(stands_still).then_some(())
        })
        .await;
    }

    async fn freeze_and_replace_with(&self, change: impl FnOnce(Setup) -> Setup) -> Process {
        self.freeze().await;
        let storage = format!("file:{}", self.zombie.storage().display());
        let setup = telling(&self.database, &self.provider).var("CALLSPOOL_STORAGE_URL", &storage);
        change(setup).run().await
    }

    /// Another one stores the newer recording; what the zombie downloads goes on, and comes to nothing.
    async fn is_overtaken(&self) {
        let other = self.freeze_and_replace().await;
        self.is_done_by(&other).await;
        self.provider.release(1);
        self.wakes_and_changes_nothing(&other).await;
        self.superseded().await;
    }

    /// The other process has downloaded and settled what the zombie still believes to have.
    async fn is_done_by(&self, other: &Process) {
        assert_eq!(other.event("WORKER_RELEASE_SLOT").await["reason"], "reaped");
        other.event("WORKER_DOWNLOAD_DONE").await;
        eventually("the newer attempt's end", async || {
            (other.job(self.job).await["state"] == "done").then_some(())
        })
        .await;
        assert_eq!(fs::read(self.zombie.file(42, 1)).unwrap(), newer());
    }

    /// The zombie's result is dropped, and everything is as the newer attempt left it.
    async fn wakes_and_changes_nothing(&self, other: &Process) {
        self.wakes_and_is_dropped().await;
        assert_eq!(fs::read(self.zombie.file(42, 1)).unwrap(), newer());
        assert_eq!(self.files(), ["CA1.mp3"]);
        assert_eq!(aside(&self.zombie), Vec::<String>::new());
        let shown = get(other, "/v1/recordings/CA1").await.json();
        assert_eq!((&shown["bytes"], &shown["job_id"]), (&newer().len().into(), &self.job.into()));
        assert_eq!(get(other, "/v1/recordings/CA1/media").await.bytes, newer());
        let ended: (i64, i16) =
            self.one("select count(*), max(attempt) from job_history where state = 'done'").await;
        assert_eq!(ended, (1, 2), "one completion, of the second attempt");
        assert_eq!(slots(&self.database, 42).await.0, 0);
        assert_law(&self.database).await;
    }

    async fn wakes_and_is_dropped(&self) {
        self.zombie.signal(Signal::SIGCONT);
        let dropped = self.zombie.event("RESULT_DROPPED").await;
        assert_eq!((&dropped["call_sid"], &dropped["business_id"]), (&"CA1".into(), &42.into()));
        let metrics = self.zombie.get("/metrics").await.text().await.unwrap();
        assert!(metrics.contains("callspool_results_dropped_total 1"), "{metrics}");
    }

    async fn superseded(&self) {
        let failed = self.zombie.event("WORKER_JOB_FAILED").await;
        assert_eq!((&failed["reason"], &failed["attempt"]), (&"superseded".into(), &1.into()), "{failed}");
        assert!(self.zombie.events("WORKER_DOWNLOAD_DONE").is_empty());
    }

    fn files(&self) -> Vec<String> {
        names(&self.zombie.storage().join("42"))
    }

    async fn one<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        sqlx::query_as(sql).fetch_one(&mut self.database.connect().await).await.unwrap()
    }
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What is written aside now.
fn aside(process: &Process) -> Vec<String> {
    let mut names = names(&process.storage().join(".callspool-aside"));
    names.retain(|name| name.starts_with("CA"));
    names
}

async fn writes_aside(process: &Process) {
    eventually("a file written aside", async || (aside(process).len() == 1).then_some(())).await;
}

/// Nothing stood under the name when its file was begun; the newer one stands there now.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_in_the_middle_of_a_download_it_cannot_replace_the_newer_file() {
    let scene = Scene::new(Answer::Held(older())).await;
    writes_aside(&scene.zombie).await;
    scene.is_overtaken().await;
}

/// It begins its file when the newer one stands there already: for the storage, it replaces what it saw.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_before_the_first_byte_it_cannot_replace_the_newer_file() {
    let scene = Scene::new(Answer::Late(older())).await;
    scene.provider.asked_times(1).await;
    scene.is_overtaken().await;
}

/// Its file is whole, and waits for the lock under which names are given.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_before_the_rename_it_cannot_replace_the_newer_file() {
    let scene = Scene::new(Answer::Held(older())).await;
    writes_aside(&scene.zombie).await;
    let path = scene.zombie.storage().join(".callspool-aside/.lock");
    let lock = Flock::lock(File::create(path).unwrap(), FlockArg::LockExclusive).unwrap();
    scene.provider.release(1);
    // The last of it is written when its lease has been asked for.
    let is_whole = || {
        let path = scene.zombie.storage().join(".callspool-aside").join(&aside(&scene.zombie)[0]);
        fs::metadata(path).unwrap().len() == older().len() as u64
    };
    eventually("a whole file aside", async || is_whole().then_some(())).await;
    scene.freeze().await;
    drop(lock);
    let other = scene.freeze_and_replace().await;
    scene.is_done_by(&other).await;
    scene.wakes_and_changes_nothing(&other).await;
    scene.superseded().await;
}

/// Its file stands under the name, and nobody knows of it: the newer attempt replaces it.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_between_the_rename_and_the_settlement_its_file_is_replaced_and_its_result_dropped() {
    let receiver = Receiver::start();
    let told = receiver.url("/all");
    let way = std::cell::OnceCell::new();
    let scene = Scene::with(Answer::Held(older()), |setup| {
        let url = setup.value("DATABASE_URL");
        let (built, far) = Way::to(&Database { url });
        _ = way.set(built);
        // An attempt that is younger than a beat is not asked for its lease.
        let setup = setup.var("CALLSPOOL__QUEUE__BEAT_INTERVAL", "60s");
        setup.var("DATABASE_URL", &far.url).var("CALLSPOOL__COMPLETION__URL", &told)
    })
    .await;
    let way = way.into_inner().unwrap();
    writes_aside(&scene.zombie).await;
    // It stores, and cannot tell.
    way.cut();
    scene.provider.release(1);
    scene.zombie.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(fs::read(scene.zombie.file(42, 1)).unwrap(), older());
    let other = scene.freeze_and_replace_with(|setup| setup.var("CALLSPOOL__COMPLETION__URL", &told)).await;
    scene.is_done_by(&other).await;
    way.mend();
    scene.wakes_and_changes_nothing(&other).await;
    let told = receiver.told_times(1).await;
    assert_eq!(told[0].json()["bytes"], newer().len());
    assert_eq!(scene.one::<(i64,)>("select count(*) from follow_up where kind = 'announce'").await.0, 0);
    assert_eq!(receiver.told().iter().filter(|told| told.kind() == "recording.stored").count(), 1);
}

/// The database has its settlement and is kept from carrying it out: it counts, though nobody hears of that.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_during_the_settlement_its_completion_counts_once_and_nobody_downloads_again() {
    let scene = Scene::new(Answer::Held(older())).await;
    writes_aside(&scene.zombie).await;
    let mut holder = scene.database.connect().await;
    sqlx::raw_sql("begin; select from business where business_id = 42 for update")
        .execute(&mut holder)
        .await
        .unwrap();
    scene.provider.release(1);
    let waits = "select count(*) from pg_stat_activity
                  where datname = current_database() and wait_event_type = 'Lock' and query like '%settle_attempts%'";
    eventually("a settlement that waits", async || (scene.one::<(i64,)>(waits).await.0 == 1).then_some(())).await;
    let other = scene.freeze_and_replace().await;
    // It has taken the zombie for dead, and the zombie's lease is not to be had.
    let lost = "select count(*) from instance where beat_at < now() - interval '1 s'";
    eventually("a zombie without a beat", async || (scene.one::<(i64,)>(lost).await.0 == 1).then_some(())).await;
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    eventually("the end", async || (other.job(scene.job).await["state"] == "done").then_some(())).await;
    scene.zombie.signal(Signal::SIGCONT);
    let told = |line: &serde_json::Value| {
        line["marker"] == "RESULT_DROPPED"
            || (line["marker"] == "WORKER_RELEASE_SLOT" && line["reason"] == "success")
    };
    scene.zombie.line("what became of its result", told).await;
    assert_eq!(fs::read(scene.zombie.file(42, 1)).unwrap(), older());
    assert_eq!(scene.provider.asked().len(), 1);
    let ended: (i64, i16) = scene.one("select count(*), max(attempt) from job_history where state = 'done'").await;
    assert_eq!(ended, (1, 1));
    assert_eq!(slots(&scene.database, 42).await.0, 0);
    assert_law(&scene.database).await;
}

/// Whoever is frozen in the middle of giving a name has the storage's lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_a_frozen_process_has_is_the_storages_trouble_and_costs_no_attempt() {
    let scene = Scene::new(Answer::Held(newer())).await;
    writes_aside(&scene.zombie).await;
    let path = scene.zombie.storage().join(".callspool-aside/.lock");
    let lock = Flock::lock(File::create(path).unwrap(), FlockArg::LockExclusive).unwrap();
    scene.provider.release(1);
    let failed = scene.zombie.event("WORKER_JOB_FAILED").await;
    assert_eq!((&failed["reason"], &failed["detail"]), (&"storage_error".into(), &"resource busy".into()));
    assert_eq!(scene.zombie.event("HOLD_STARTED").await["kind"], "storage");
    drop(lock);
    scene.zombie.event("WORKER_DOWNLOAD_DONE").await;
    eventually("done", async || (scene.zombie.job(scene.job).await["state"] == "done").then_some(())).await;
    assert_eq!(scene.zombie.job(scene.job).await["attempt"], 1);
}

/// Another extension is another name, under which nothing stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_whose_recording_was_of_another_kind_leaves_no_second_file() {
    let scene = Scene::new(Answer::Held(wav(1, 2))).await;
    writes_aside(&scene.zombie).await;
    scene.is_overtaken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_does_not_bring_back_a_recording_that_was_deleted_meanwhile() {
    let scene = Scene::new(Answer::Held(older())).await;
    writes_aside(&scene.zombie).await;
    let other = scene.freeze_and_replace().await;
    scene.is_done_by(&other).await;
    let url = format!("{}/v1/recordings/CA1", other.url().await);
    assert_eq!(reqwest::Client::new().delete(url).send().await.unwrap().status(), 204);
    eventually("the file's end", async || scene.files().is_empty().then_some(())).await;
    scene.provider.release(1);
    scene.wakes_and_is_dropped().await;
    assert_eq!(scene.files(), Vec::<String>::new());
    assert_eq!(aside(&scene.zombie), Vec::<String>::new());
    assert_law(&scene.database).await;
}

/// Two requests for one transcript, which cost twice; one set of words.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_during_a_transcription_its_words_are_dropped() {
    let transcriber = Transcriber::start();
    transcriber.tell(1, [Words::Held("Words of a zombie."), Words::Spoken("Words that count.")]);
    let with = |setup: Setup| configured(setup, &transcriber);
    let scene = Scene::with(Answer::Media(newer()), with).await;
    eventually("it is stored", async || (scene.zombie.job(scene.job).await["state"] == "done").then_some(())).await;
    let body = serde_json::json!({ "business_id": 42, "call_sid": "CA1", "job_type": "full",
                                   "recording_url": "/2010-04-01/Accounts/AC1/Recordings/RE1" });
    assert_eq!(scene.zombie.post_json("/v1/jobs", &body).await.status(), 202);
    transcriber.heard_times(1).await;
    let other = scene.freeze_and_replace_with(with).await;
    other.event("WORKER_TRANSCRIBED").await;
    let words = eventually("words", async || {
        let got = get(&other, "/v1/recordings/CA1/transcript").await;
        (got.status == 200).then(|| got.json()["text"].clone())
    })
    .await;
    assert_eq!(words, "Words that count.");
    transcriber.release(1);
    scene.wakes_and_is_dropped().await;
    assert_eq!(get(&other, "/v1/recordings/CA1/transcript").await.json()["text"], words);
    assert_eq!(transcriber.heard().len(), 2);
    assert_law(&scene.database).await;
}

/// The receiver has answered, and the process that told it never heard: another one tells again, by the same id.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_while_it_tells_of_a_completion_another_tells_again_by_the_same_id() {
    let receiver = Receiver::start();
    receiver.tell([Reply::Silence]);
    let url = receiver.url("/all");
    let with =
        |setup: Setup| setup.var("CALLSPOOL__COMPLETION__URL", &url).var("CALLSPOOL__COMPLETION__TIMEOUT", "1s");
    let scene = Scene::with(Answer::Media(newer()), with).await;
    receiver.told_times(1).await;
    let _other = scene.freeze_and_replace_with(with).await;
    let told = receiver.told_times(2).await;
    assert_eq!((&told[0].id, &told[0].body), (&told[1].id, &told[1].body));
    scene.zombie.signal(Signal::SIGCONT);
    let left = "select count(*) from follow_up";
    eventually("no follow-up", async || (scene.one::<(i64,)>(left).await.0 == 0).then_some(())).await;
    let ids: std::collections::BTreeSet<_> = receiver.told().into_iter().map(|told| told.id).collect();
    assert_eq!(ids.len(), 1);
}
