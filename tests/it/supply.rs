//! Where the program's parts come from, and what its audit says of itself: see docs/threats.md.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn every_dependency_is_locked_with_a_checksum_from_one_registry() {
    let lock = fs::read_to_string(format!("{ROOT}/Cargo.lock")).unwrap();
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    assert!(packages.len() > 100);
    for package in packages {
        let of = |name: &str| package.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        match of("source") {
            // Our own.
            None => assert!(matches!(of("name"), Some("\"callspool\"" | "\"callspool-protocol\"")), "{package}"),
            Some(source) => {
                assert_eq!(source, "\"registry+https://github.com/rust-lang/crates.io-index\"", "{package}");
                assert_eq!(of("checksum").map(str::len), Some(66), "{package}");
            }
        }
    }
    let deny = fs::read_to_string(format!("{ROOT}/.ci/deny.toml")).unwrap();
    for rule in ["unknown-registry = \"deny\"", "unknown-git = \"deny\"", "yanked = \"deny\""] {
        assert!(deny.contains(rule), "{rule}");
    }
}

/// The audit with a `cargo-deny` that fails where `fails` says, and what it was asked for.
fn audit(fails: &str) -> (Output, String) {
    let folder = TempDir::new().unwrap();
    let bin = folder.path().join("tools/bin");
    fs::create_dir_all(&bin).unwrap();
    let asked = folder.path().join("asked");
    let script =
        format!("#!/bin/sh\necho \"$*\" >> {}\ncase \"$*\" in *'{fails}'*) exit 1;; esac\n", asked.display());
    fs::write(bin.join("cargo-deny"), script).unwrap();
    fs::set_permissions(bin.join("cargo-deny"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("sh");
    command.arg(".ci/audit.sh").current_dir(ROOT).env("CARGO_TARGET_DIR", folder.path());
    let output = command.output().unwrap();
    (output, fs::read_to_string(asked).unwrap())
}

#[test]
fn the_audit_checks_sources_and_says_when_it_did_not_ask_for_vulnerabilities() {
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let (all, asked) = audit("no such word");
    assert!(all.status.success() && said(&all).contains("known vulnerabilities were checked"), "{all:?}");
    for check in ["check bans licenses sources", "fetch db", "check advisories"] {
        assert!(asked.contains(check), "{check}: {asked}");
    }
    let (away, asked) = audit("fetch db");
    assert!(away.status.success() && said(&away).contains("known vulnerabilities were NOT"), "{away:?}");
    assert!(!asked.contains("check advisories") && !said(&away).contains("were checked;  known"), "{asked}");
    for found in ["check advisories", "check bans"] {
        let (output, _) = audit(found);
        assert!(!output.status.success() && !said(&output).contains("were checked"), "{found}: {output:?}");
    }
}
