//! What another program on the same machine gets of a process: no core, no look into its memory. See docs/threats.md.

use crate::support::{Database, eventually, process::Setup};
use nix::{sys::signal::Signal, unistd::Uid};
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::ExitStatusExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Soft and hard limit of its core file.
fn core_limits(pid: i32) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut values = core.split_whitespace().map(ToOwned::to_owned);
    [values.next().unwrap(), values.next().unwrap()]
}

fn files_called_core(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("core")).collect()
}

/// Whether a process that is allowed to leave a core leaves one here: not every machine lets it.
fn cores_are_made_here() -> bool {
    let folder = TempDir::new().unwrap();
    let line = "ulimit -c unlimited; kill -ABRT $$";
    let status = Command::new("sh").args(["-c", line]).current_dir(folder.path()).status().unwrap();
    status.core_dumped()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_process_leaves_no_core_although_its_shell_allows_one() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("CALLSPOOL_API_TOKEN", "0123456789-core-canary");
    let mut process = setup.start_by_shell("ulimit -c unlimited 2>/dev/null; exec callspool run");
    process.wait_until_ready().await;
    assert_eq!(core_limits(process.pid()), ["0", "0"], "neither the limit nor what it may be raised to");
    process.signal(Signal::SIGABRT);
    let status = process.exit_status().await;
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{status:?}");
    assert!(!status.core_dumped(), "{status:?}; elsewhere here: {}", cores_are_made_here());
    assert_eq!(files_called_core(process.folder()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_to_debug_a_process_says_so_at_its_start() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("CALLSPOOL_ALLOW_DEBUGGER", "1");
    let process = setup.start_by_shell("ulimit -c 8; exec callspool run");
    process.wait_until_ready().await;
    assert_ne!(core_limits(process.pid())[0], "0");
    let user = Uid::effective().as_raw();
    assert_eq!(owner(process.pid().cast_unsigned(), "environ"), Some(user));
    assert!(fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count() > 3);
}

/// The kernel gives what belongs to a process that is not dumpable to root (proc(5)), whoever runs it.
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_process_is_roots_and_no_siblings() {
    let database = Database::migrated().await;
    let process = Setup::new(&database).run().await;
    for name in PRIVATE {
        assert_eq!(owner(process.pid().cast_unsigned(), name), Some(0), "{name}");
    }
    // One who is not root sees what others of theirs do, but for callspool.
    if Uid::effective().is_root() {
        let control = AsNobody::start(&["env", "CANARY=0123456789-environ", "sleep", "1000"]);
        eventually("a process that lets itself be looked at", async || {
            control.as_a_sibling_sees_it().filter(|environment| environment.contains("0123456789-environ"))
        })
        .await;
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let line = format!(
            "cd {} && exec env -i DATABASE_URL=postgres://x@127.0.0.1:1/x CALLSPOOL_HTTP_BIND=127.0.0.1:0 {} run",
            folder.path().display(),
            env!("CARGO_BIN_EXE_callspool")
        );
        let private = AsNobody::start(&["sh", "-c", &line]);
        let pid = private.0.id();
        eventually("the start of callspool", async || {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            (name.trim() == "callspool" && owner(pid, "environ") == Some(0)).then_some(())
        })
        .await;
        assert_eq!(private.as_a_sibling_sees_it(), None);
        // It goes on all the same, and reads of itself what it has to.
        eventually("a line of its log", async || folder.path().join("logs").exists().then_some(())).await;
    }
}

const PRIVATE: [&str; 4] = ["environ", "mem", "maps", "fd"];

fn owner(pid: u32, name: &str) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}/{name}")).map(|file| file.uid()).ok()
}

/// A process of the user with the number 65534; it ends with this.
struct AsNobody(Child);

impl AsNobody {
    fn command(line: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]).args(line);
        command
    }

    fn start(line: &[&str]) -> Self {
        Self(Self::command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Its environment, for another process of the same user; `None`: it is refused.
    fn as_a_sibling_sees_it(&self) -> Option<String> {
        let output = Self::command(&["cat", &format!("/proc/{}/environ", self.0.id())]).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for AsNobody {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
