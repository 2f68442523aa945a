//! The API against its own description: thousands of requests, right and wrong ones, made from `/openapi.json`.

use crate::support::{Database, Process, process::Setup, within_patience};
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::process::Command;

/// Where `.ci/setup.sh heavy` puts them.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.callspool/python/bin");
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/heavy/schemathesis_hooks.py");
const TOKEN: &str = "0123456789abcdef";
/// Longest time of the whole run, which takes half a minute where nothing else is going on.
const PATIENCE: Duration = Duration::from_mins(10);

pub fn tool(name: &str) -> Command {
    let path = PathBuf::from(TOOLS).join(name);
    assert!(path.exists(), "{name} is missing; `sh .ci/setup.sh heavy` installs it");
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// With SIDs as strict as the description has them, and jobs that stay as they were enqueued.
async fn process(database: &Database) -> Process {
    let setup = Setup::new(database)
        .var("CALLSPOOL_ROLES", "api,webhooks")
        .var("CALLSPOOL_API_TOKENS", &format!("fuzz:read+enqueue+operate:{TOKEN}"))
        .var("CALLSPOOL__TWILIO__ALLOW_SHORT_SIDS", "false")
        .var("CALLSPOOL__HTTP__RATE_LIMIT", "0");
    setup.run().await
}

async fn document(process: &Process) -> PathBuf {
    let file = process.folder().join("openapi.json");
    std::fs::write(&file, process.get("/openapi.json").await.text().await.unwrap()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_openapi() {
    let process = process(&Database::migrated().await).await;
    let run = tool("openapi-spec-validator").arg(document(&process).await).output();
    let run = within_patience("the validator", run).await.unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}

/// Every answer is one that the description has, with its content type and shape; whatever is wrong is refused, and
/// nothing is a server's error. (What is right need not be accepted: a URL elsewhere is a string, too.)
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_the_answer_is_as_described() {
    let process = process(&Database::migrated().await).await;
    let document = document(&process).await;
    let mut fuzz = tool("schemathesis");
    fuzz.current_dir(process.folder()).env("SCHEMATHESIS_HOOKS", HOOKS).env("NO_COLOR", "1");
    fuzz.arg("run").arg(document).args(["--url", &process.url().await]);
    fuzz.args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--header", "Sec-Fetch-Site: same-origin"]);
    fuzz.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    // A stream of events does not end.
    fuzz.args(["--exclude-path", "/v1/events", "--continue-on-failure"]);
    fuzz.args(["--max-examples", "30", "--workers", "1", "--request-timeout", "30"]);
    let run = tokio::time::timeout(PATIENCE, fuzz.output()).await.expect("an end of the run").unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert!(said.contains(" generated"), "{said}");
    assert!(process.is_ready().await && !process.everything().contains("panic"), "{}", process.everything());
}
