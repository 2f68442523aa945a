//! The image and its composition, as far as their files say it: see docs/threats.md. That a process works so is tried in
//! `tests/heavy/container_run.rs`.

use serde_norway::Value;
use std::fs;

fn read(name: &str) -> String {
    fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The lines of one instruction of the last stage, its continuations put together.
fn instructions(name: &str) -> Vec<String> {
    let file = read("Dockerfile").replace("\\\n", " ");
    let last = file.rsplit("\nFROM ").next().unwrap();
    let of_name = |line: &str| line.strip_prefix(name).map(|rest| rest.trim().to_owned());
    last.lines().filter_map(of_name).collect()
}

#[test]
fn the_image_runs_as_nobody_in_particular_and_says_whether_it_is_alive() {
    assert_eq!(instructions("USER "), ["callspool"]);
    let making = instructions("RUN ").concat();
    assert!(making.contains("useradd --system --uid 10001"), "{making}");
    // What it may write is two folders that only it enters; nothing is made for others, and nothing is set-uid.
    assert!(
        making.contains(
            "install -d -m 0750 -o callspool -g callspool /var/lib/callspool/recordings /var/log/callspool"
        )
    );
    assert!(!making.contains("chmod") && !making.contains("sudo"), "{making}");
    // The program belongs to root.
    assert!(instructions("COPY ").iter().all(|copy| !copy.contains("--chown")));
    let health = instructions("HEALTHCHECK ").remove(0);
    let command: Vec<String> = serde_json::from_str(health.split_once("CMD ").unwrap().1).unwrap();
    assert!(command[2].contains("/healthz") && command[2].contains("/dev/tcp/127.0.0.1/8080"), "{command:?}");
    for secret in ["PASSWORD", "TOKEN", "SECRET", "KEY"] {
        assert!(
            !instructions("ENV ").concat().contains(secret) && !read("Dockerfile").contains("ARG "),
            "{secret}"
        );
    }
}

#[test]
fn each_container_of_ours_has_a_read_only_root_and_no_capability() {
    let mut file: Value = serde_norway::from_str(&read("docker-compose.yml")).unwrap();
    file.apply_merge().unwrap();
    let mut ours = 0;
    for (name, service) in file["services"].as_mapping().unwrap() {
        assert_eq!(service["security_opt"][0], "no-new-privileges:true", "{name:?}");
        for forbidden in ["privileged", "cap_add", "pid", "ipc", "network_mode", "devices", "user"] {
            assert!(service[forbidden].is_null(), "{name:?}: {forbidden}");
        }
        // Ports are published on this machine only; a proxy stands before them.
        for port in service["ports"].as_sequence().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name:?}: {port:?}");
        }
        if service["image"] != "callspool" {
            continue;
        }
        ours += 1;
        assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&Value::from(true), &Value::from("ALL")));
        let temporary: Vec<&str> =
            service["tmpfs"].as_sequence().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        assert_eq!(temporary.len(), 2, "{temporary:?}");
        for mount in temporary {
            assert!(["noexec", "nosuid", "nodev", "size="].iter().all(|word| mount.contains(word)), "{mount}");
        }
        let volumes = service["volumes"].as_sequence().cloned().unwrap_or_default();
        assert!(volumes.iter().all(|volume| volume == "recordings:/var/lib/callspool/recordings"), "{volumes:?}");
    }
    assert_eq!(ours, 3);
}

#[test]
fn nothing_that_holds_a_secret_is_copied_into_the_image() {
    let ignored = read(".dockerignore");
    for name in [".env", ".git", "logs", "data", ".callspool"] {
        assert!(ignored.lines().any(|line| line == name), "{name}");
    }
    let copied: Vec<String> = instructions("COPY ");
    assert!(copied.iter().all(|copy| !copy.starts_with(". ")), "{copied:?}");
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let key = line.split('=').next().unwrap_or_default();
            let is_secret = ["token", "secret", "password", "api_key"].iter().any(|word| key.contains(word));
            assert!(!is_secret, "{line}");
        }
    }
}
