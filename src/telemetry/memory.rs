//! The memory of a process holds every secret of its configuration: none of it is written to a disk when the process
//! dies, and no other process of the same user looks into it.

use std::io::Write;

/// Whoever has to look into a process, with a debugger say, starts it with this, set to `1`.
const ALLOWED: &str = "CALLSPOOL_ALLOW_DEBUGGER";

/// For the whole life of the process: no core file, also of what it starts. A core that `core_pattern` pipes to a program
/// is not bounded by that limit, but none is made of a process that is not dumpable; nor may a process of the same user
/// then attach to it, or read its environment, its memory and the list of its open files in `/proc` (proc(5), ptrace(2)).
pub fn keep_private() {
    if std::env::var_os(ALLOWED).is_some_and(|value| value == "1") {
        return;
    }
    #[cfg(unix)]
    say_unless(nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0), "RLIMIT_CORE");
    #[cfg(target_os = "linux")]
    say_unless(nix::sys::prctl::set_dumpable(false), "PR_SET_DUMPABLE");
}

/// Nobody can say it in the log yet. A filter of system calls may refuse it, and the process does its work all the same.
fn say_unless(done: nix::Result<()>, what: &str) {
    if let Err(error) = done {
        let _ =
            writeln!(std::io::stderr(), "callspool: {what} cannot be set ({error}): a core dump may show secrets");
    }
}
