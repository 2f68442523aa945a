//! The storage on a disk, through a real process: full disks, what is left of killed processes, names, settings.

use crate::support::{
    Answer, Database, Process, Provider, eventually,
    process::Setup,
    provider::{mp3, recording},
};
use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

async fn process_with(change: impl FnOnce(Setup) -> Setup) -> (Database, Provider, Process) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = change(Setup::new(&database).provider(&provider)).run().await;
    (database, provider, process)
}

/// What is written aside now.
fn aside(process: &Process) -> Vec<String> {
    let entries = fs::read_dir(process.storage().join(".callspool-aside")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains('#') && !name.starts_with("check"));
    names
}

fn refused(vars: &[(&str, &str)]) -> String {
    let vars = vars.iter().copied().collect();
    callspool::settings::Settings::load(Some("test"), None, &vars).map(|_| ()).expect_err("refused").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_layout_of_ones_own_files_lie_by_business_and_month() {
    let layout = "{business_id}/{yyyy}/{mm}/{call_sid}.{ext}";
    let (settings, _) =
        callspool::settings::Settings::load(Some("test"), None, &[("X", "")].into_iter().collect()).unwrap();
    assert_eq!(settings.storage.layout.to_string(), layout);
    let (_database, _provider, process) =
        process_with(|setup| setup.var("CALLSPOOL__STORAGE__LAYOUT", layout)).await;
    let month = chrono::Utc::now().format("%Y/%m").to_string();
    process.enqueue(42, 1).await;
    assert_eq!(process.event("WORKER_DOWNLOAD_DONE").await["file"], "CA1.mp3", "no path in the log");
    let stored = fs::read(process.storage().join(format!("42/{month}/CA1.mp3"))).unwrap();
    assert_eq!(stored, recording(1));
}

/// A file system of 3 MB that this process alone sees; no rights are needed where the kernel gives user namespaces to
/// everybody. (Where it does not, there is nothing to be tested.)
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_of_the_storage_and_leaves_nothing_half() {
    // Root needs no user namespace, in which it could not reach the database's socket.
    let kind = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
    let may = std::process::Command::new("unshare").args([kind, "true"]).output();
    if !may.is_ok_and(|run| run.status.success()) {
        return;
    }
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database)
        .provider(&provider)
        .var("CALLSPOOL__STORAGE__MIN_FREE", "0")
        .var("CALLSPOOL__RETRY__MAX_ATTEMPTS", "1000");
    let folder = setup.storage();
    let mount = "mkdir -p recordings && mount -t tmpfs -o size=3m none recordings";
    let line = format!("{mount} && head -c 2000000 /dev/zero >recordings/others && exec callspool run");
    let process = setup.start_by_shell(&format!("exec unshare {kind} sh -c '{line}'"));
    process.wait_until_ready().await;
    let seen =
        Path::new("/proc").join(process.pid().to_string()).join("root").join(folder.strip_prefix("/").unwrap());
    provider.tell(1, [Answer::Media(mp3(1, 2_000_000))]);
    let id = process.enqueue(42, 1).await;
    let failed = process.event("WORKER_JOB_FAILED").await;
    assert_eq!((&failed["reason"], &failed["detail"]), (&"storage_error".into(), &"no storage space".into()));
    let file = seen.join("42/CA1.mp3");
    assert!(!file.exists());
    fs::remove_file(seen.join("others")).unwrap();
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(fs::read(&file).unwrap(), mp3(1, 2_000_000));
    eventually("done", || async { (process.job(id).await["state"] == "done").then_some(()) }).await;
    let aside = fs::read_dir(seen.join(".callspool-aside")).unwrap();
    let left = aside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".mp3#"));
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_is_not_ready_and_says_why() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("CALLSPOOL__STORAGE__MIN_FREE", &(1_u64 << 50).to_string());
    let process = setup.start();
    let said = |line: &serde_json::Value| line.to_string().contains("the storage cannot be used");
    let line = process.line("the check", said).await;
    assert!(line.to_string().contains("the disk is nearly full: "), "{line}");
    let reasons = eventually("not ready", || async {
        let answer = process.get("/readyz").await;
        (answer.status() == 503).then_some(answer.text().await.unwrap()).filter(|text| text.contains("min_free"))
    });
    assert!(reasons.await.contains("storage: the disk is nearly full"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_processes_left_is_swept_when_it_is_old_and_told() {
    let (_database, provider, mut process) = process_with(|setup| setup).await;
    provider.tell(1, [Answer::Held(mp3(1, 2_000_000))]);
    process.enqueue(42, 1).await;
    eventually("a file written aside", || async { (aside(&process).len() == 1).then_some(()) }).await;
    process.kill().await;
    let folder = process.storage().join(".callspool-aside");
    age(&folder.join(&aside(&process)[0]), Duration::from_hours(25));
    fs::write(folder.join("CA2.mp3#2"), "young").unwrap();
    // Its name is a recording's.
    fs::create_dir_all(process.storage().join("7")).unwrap();
    fs::write(process.storage().join("7/CA7.mp3"), "old").unwrap();
    age(&process.storage().join("7/CA7.mp3"), Duration::from_hours(25));
    provider.tell(1, [Answer::Media(recording(1))]);
    let process = process.again();
    assert_eq!(process.event("STORAGE_SWEPT").await["files"], 1);
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(aside(&process), ["CA2.mp3#2"]);
    assert!(process.storage().join("7/CA7.mp3").exists());
}

fn age(file: &Path, age: Duration) {
    File::options().append(true).open(file).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

/// It was stored, and the report of that was lost with its process.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_no_row_is_replaced_by_the_next_attempt() {
    let (_database, _provider, process) = process_with(|setup| setup).await;
    fs::create_dir_all(process.storage().join("42")).unwrap();
    fs::write(process.file(42, 1), "of an attempt that nobody knows of").unwrap();
    process.enqueue(42, 1).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(fs::read(process.file(42, 1)).unwrap(), recording(1));
}

/// Two attempts at one recording at once: the first one's process lost its lease, and it did not hear of that.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_comes_late_is_superseded_and_the_newer_file_stays() {
    let (_database, provider, process) = process_with(|setup| setup).await;
    provider.tell(1, [Answer::Held(mp3(1, 2_000_000)), Answer::Media(recording(1))]);
    process.enqueue(42, 1).await;
    eventually("a file written aside", || async { (aside(&process).len() == 1).then_some(()) }).await;
    // As another process's attempt would.
    fs::create_dir_all(process.storage().join("42")).unwrap();
    fs::write(process.file(42, 1), "newer").unwrap();
    provider.release(1);
    let failed = process.event("WORKER_JOB_FAILED").await;
    assert_eq!(failed["reason"], "superseded");
    assert_eq!(aside(&process), Vec::<String>::new());
    // Here the job is still its own: its next attempt finds that file and replaces it.
    process.event("WORKER_DOWNLOAD_DONE").await;
    assert_eq!(fs::read(process.file(42, 1)).unwrap(), recording(1));
}

#[test]
fn a_storage_that_cannot_be_meant_is_refused_at_start() {
    for url in
        ["ftp://calls", "s3://", "s3://key:canary@calls", "s3://calls?token=canary", "gs:///x", "az://c#canary"]
    {
        let refused = refused(&[("CALLSPOOL_STORAGE_URL", url)]);
        assert!(
            refused.contains("storage.url (from CALLSPOOL_STORAGE_URL): allowed is file: and a path"),
            "{refused}"
        );
        assert!(refused.contains("s3://bucket/prefix") && !refused.contains("canary"), "{refused}");
    }
    for layout in ["{call_sid}.{ext}", "{business_id}/{call_sid}", "/{business_id}/{call_sid}.{ext}", "{canary}"] {
        let refused = refused(&[("CALLSPOOL__STORAGE__LAYOUT", layout)]);
        assert!(refused.contains("storage.layout (from CALLSPOOL__STORAGE__LAYOUT): allowed is"), "{refused}");
    }
    let short = refused(&[("CALLSPOOL__STORAGE__SWEEP_AGE", "1min")]);
    assert!(short.contains("storage.sweep_age") && short.contains("at least queue.lease"), "{short}");
}

#[test]
fn what_says_how_a_bucket_is_reached_is_checked_and_never_shown() {
    let s3 = ("CALLSPOOL_STORAGE_URL", "s3://calls");
    for (vars, text) in [
        (
            vec![s3, ("AWS_SECRET_ACCESS_KEY", "canary")],
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together",
        ),
        (
            vec![s3, ("AWS_ENDPOINT_URL", "http://canary")],
            "AWS_ENDPOINT_URL is an http URL, which needs AWS_ALLOW_HTTP=true",
        ),
        (vec![s3, ("AWS_ENDPOINT_URL", "https://u:canary@h")], "AWS_ENDPOINT_URL: allowed is an https URL"),
        (vec![s3, ("AWS_ALLOW_HTTP", "canary")], "AWS_ALLOW_HTTP: allowed is true or false"),
        (vec![("CALLSPOOL_STORAGE_URL", "az://calls")], "az:// needs AZURE_STORAGE_ACCOUNT_NAME"),
    ] {
        let refused = refused(&vars);
        assert!(refused.contains(text) && !refused.contains("canary"), "{refused}");
    }
    let vars = [s3, ("AWS_ACCESS_KEY_ID", "key-canary"), ("AWS_SECRET_ACCESS_KEY", "secret-canary")];
    let (settings, effective) =
        callspool::settings::Settings::load(Some("test"), None, &vars.into_iter().collect()).unwrap();
    assert_eq!(settings.storage.options.len(), 2);
    assert!(!format!("{settings:?} {effective:?}").contains("canary"));
}
