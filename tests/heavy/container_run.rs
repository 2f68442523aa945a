//! A process as its container runs it, without a container: nobody in particular, no capability, no way to a new right, a
//! root that is read-only, and two folders that it may write.

use crate::support::{
    Database, Provider, eventually,
    process::{Process, Setup},
    provider::recording,
    way::Way,
};
use nix::unistd::Uid;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, ExitStatus},
};

/// As docker-compose.yml has it; the namespace ends with the process.
const LINE: &str = "chmod 755 . && mkdir recordings logs && exec unshare --mount --propagation private sh -c '\
    mount -t tmpfs -o uid=10001,gid=10001,mode=0750,noexec,nosuid,nodev none recordings && \
    mount -t tmpfs -o uid=10001,gid=10001,mode=0750,noexec,nosuid,nodev none logs && \
    mount -o remount,bind,ro / && \
    exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \
    callspool run'";

/// The tests' database listens at a socket of its user's only.
fn open_to_others(database: &Database) {
    let folder = Path::new(database.url.split_once("host=").unwrap().1);
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open(folder);
    fs::read_dir(folder).unwrap().for_each(|entry| open(&entry.unwrap().path()));
}

/// The command of the image's HEALTHCHECK, at the port where this process listens.
async fn health(process: &Process) -> ExitStatus {
    let file = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile")).unwrap();
    let line = file.lines().find_map(|line| line.trim().strip_prefix("CMD [\"bash\"")).unwrap();
    let command: Vec<String> = serde_json::from_str(&format!("[\"bash\"{line}")).unwrap();
    let port = process.url().await.rsplit(':').next().unwrap().to_owned();
    let script = command[2].replace("/8080", &format!("/{port}"));
    Command::new(&command[0]).args([&command[1], &script]).status().unwrap()
}

/// Whether this user may make mount namespaces, and nobody in particular reach the binary where it lies.
fn may_be_contained() -> bool {
    let line = "mount -t tmpfs none /mnt && exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs \
                --inh-caps=-all --bounding-set=-all \"$0\" --version";
    let arguments = ["--mount", "--propagation", "private", "sh", "-c", line, env!("CARGO_BIN_EXE_callspool")];
    let may = Uid::effective().is_root()
        && Command::new("unshare").args(arguments).output().is_ok_and(|run| run.status.success());
    if !may {
        eprintln!(
            "no mount namespace can be made here, or nobody may run the binary where it lies: nothing was tried"
        );
    }
    may
}

/// A way to the database that anybody may use, and a process that goes by it.
async fn contained() -> (Way, Setup) {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let (way, far) = Way::to(&database);
    open_to_others(&far);
    (way, Setup::new(&database).provider(&provider).var("DATABASE_URL", &far.url))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_works_as_nobody_on_a_read_only_root_and_its_health_is_seen() {
    if !may_be_contained() {
        return;
    }
    let (_way, setup) = contained().await;
    let mut process = setup.start_by_shell(LINE);
    process.wait_until_ready().await;
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!((of("Uid:"), of("Gid:"), of("NoNewPrivs:")), ("10001".into(), "10001".into(), "1".into()));
    for set in ["CapPrm:", "CapEff:", "CapInh:", "CapBnd:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&of(set), 16), Ok(0), "{set}");
    }
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", process.pid())).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
    assert!(root.split(' ').nth(3).unwrap().split(',').any(|option| option == "ro"), "{root}");

    let id = process.enqueue(42, 1).await;
    eventually("the stored recording", async || (process.job(id).await["state"] == "done").then_some(())).await;
    let played = process.get("/v1/recordings/CA1/media").await;
    assert_eq!((played.status().as_u16(), played.bytes().await.unwrap()), (200, recording(1)));
    assert!(health(&process).await.success());
    process.terminate();
    assert_eq!(process.exit_code().await, 0, "{}", process.everything());
    assert!(!health(&process).await.success());
    assert!(!process.everything().contains("log lines are lost"), "{}", process.everything());
}

/// One that only takes webhooks has no volume, so nothing of the storage may be written by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_for_webhooks_needs_no_storage_that_it_can_write() {
    if !may_be_contained() {
        return;
    }
    let (_way, setup) = contained().await;
    let line =
        LINE.replace("mount -t tmpfs -o uid=10001,gid=10001,mode=0750,noexec,nosuid,nodev none recordings && ", "");
    assert_ne!(line, LINE);
    let mut process = setup.var("CALLSPOOL_ROLES", "webhooks").var("RUN_MIGRATIONS", "0").start_by_shell(&line);
    process.wait_until_ready().await;
    assert_eq!(crate::support::http::Callback::completed(1).send(&process).await.status, 202);
    process.terminate();
    assert_eq!(process.exit_code().await, 0, "{}", process.everything());
}
