//! Secrets that are planted wherever one can come from, through failures of every kind, and looked for wherever something
//! comes out: see docs/threats.md.

use crate::support::{
    Answer, Database, Process, Provider, eventually,
    http::{Callback, ask, ask_json},
    process::Setup,
    transcriber::{Transcriber, Words},
    way::Way,
    within_patience,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path, process::Command};

/// One for each place: none is a part of another, and none is a word that is there anyway.
const DATABASE: &str = "cnry-database-password";
const API: &str = "cnry-api-token-000";
const BOSS: &str = "cnry-operate-token";
const READER: &str = "cnry-reading-token";
const TWILIO: &str = "cnry-twilio-token-new";
const TWILIO_OLD: &str = "cnry-twilio-token-old";
const TWILIO_KEY: &str = "cnry-twilio-key-secret";
const LINKS: &str = "cnry-link-secret-0";
/// 24 bytes, as the completion secrets have to be in base64.
const COMPLETION: &str = "cnry-completion-secret-0";
const TRANSCRIPTION: &str = "cnry-transcription-key";
const TELNYX: &str = "cnry-telnyx-api-key";
const LOOKUP: &str = "cnry-lookup-token";
const COLLECTOR: &str = "cnry-collector-header";
const AWS_SECRET: &str = "cnry-aws-secret-key";
const AWS_SESSION: &str = "cnry-aws-session-token";
const QUERY: &str = "cnry-webhook-query";
const BASIC: &str = "cnry-webhook-basic";
const BEARER: &str = "cnry-wrong-bearer";
const URL_USER: &str = "cnry-recording-user-info";
const URL_QUERY: &str = "cnry-recording-query";
const REDIRECT: &str = "cnry-redirect-query";
const BODY: &str = "cnry-provider-body";
const RECEIVER: &str = "cnry-receiver-query";

const ALL: [&str; 23] = [
    DATABASE,
    API,
    BOSS,
    READER,
    TWILIO,
    TWILIO_OLD,
    TWILIO_KEY,
    LINKS,
    COMPLETION,
    TRANSCRIPTION,
    TELNYX,
    LOOKUP,
    COLLECTOR,
    AWS_SECRET,
    AWS_SESSION,
    QUERY,
    BASIC,
    BEARER,
    URL_USER,
    URL_QUERY,
    REDIRECT,
    BODY,
    RECEIVER,
];

/// As it may be written: itself, in base64 at each of the three places of a group, in hexadecimal.
fn spellings(canary: &str) -> Vec<String> {
    // What does not depend on what stands before and behind.
    let in_base64 = |before: &str| {
        let text = BASE64_STANDARD.encode(format!("{before}{canary}"));
        let skipped = (before.len() * 4).div_ceil(3);
        text[skipped..text.trim_end_matches('=').len() - 2].to_owned()
    };
    let hex = canary.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    vec![canary.to_owned(), in_base64(""), in_base64("x"), in_base64("xx"), hex]
}

/// What was written, and where.
#[derive(Default)]
struct Written(Vec<(String, String)>);

impl Written {
    fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    /// The places where a canary stands, with what stands around it.
    fn found(&self, canaries: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (place, text) in &self.0 {
            let lower = text.to_lowercase();
            for canary in canaries {
                for spelling in spellings(canary) {
                    // Hexadecimal in either case.
                    let at = text.find(&spelling).or_else(|| lower.find(&spelling));
                    if let Some(at) = at {
                        let before: String = text[..at].chars().rev().take(200).collect();
                        found.push(format!(
                            "{canary} in {place} behind: {}",
                            before.chars().rev().collect::<String>()
                        ));
                    }
                }
            }
        }
        found
    }
}

fn files(written: &mut Written, folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(written, &path);
        } else {
            written.add(path.display().to_string(), String::from_utf8_lossy(&fs::read(&path).unwrap()));
        }
    }
}

/// With every secret that there is a setting for.
fn secretive(setup: Setup, transcriber: &Transcriber) -> Setup {
    let completion = format!("whsec_{}", BASE64_STANDARD.encode(COMPLETION));
    setup
        .var("TWILIO_AUTH_TOKEN", &format!("{TWILIO},{TWILIO_OLD}"))
        .var("CALLSPOOL_API_TOKEN", API)
        .var("CALLSPOOL_API_TOKENS", &format!("boss:operate+read+enqueue:{BOSS},reader:read:{READER}"))
        .var("CALLSPOOL_LINK_SECRET", LINKS)
        .var("CALLSPOOL_COMPLETION_SECRET", &completion)
        .var("CALLSPOOL__TRANSCRIPTION__BASE_URL", transcriber.base())
        .var("CALLSPOOL_TRANSCRIPTION_KEY", TRANSCRIPTION)
        .var("TELNYX_API_KEY", TELNYX)
        .var("CALLSPOOL__MAPPING__LOOKUP_URL", "http://127.0.0.1:1/whose")
        .var("CALLSPOOL_LOOKUP_TOKEN", LOOKUP)
        .var("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .var("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-api-key={COLLECTOR}"))
        .var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "300ms")
        .var("CALLSPOOL__COMPLETION__RETRY_BASE", "50ms")
        .var("CALLSPOOL__COMPLETION__POLL_INTERVAL", "50ms")
        .var("CALLSPOOL__LOG__LEVEL", "trace")
}

/// Jobs that are stored and that fail in each way of the provider, and requests that are refused.
async fn trouble(process: &Process, provider: &Provider, written: &mut Written) {
    let redirect = format!("http://user:{REDIRECT}@127.0.0.1:1/x?token={REDIRECT}");
    let body = Bytes::from(format!("{{\"message\": \"{BODY}\"}}"));
    provider.tell(2, [Answer::Status(302, vec![("Location", redirect)], Bytes::new())]);
    provider.tell(3, [Answer::Status(401, Vec::new(), body.clone())]);
    provider.tell(4, [Answer::Status(500, Vec::new(), body.clone())]);
    provider.tell(5, [Answer::Status(200, vec![("Content-Type", "text/html".to_owned())], body)]);
    for number in 1..=5 {
        let callback = Callback::completed(number).token(TWILIO).query(&format!("?business_id=42&key={QUERY}"));
        assert_eq!(callback.send(process).await.status, 202, "{number}");
    }
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("me:{BASIC}")));
    let refused = [
        Callback::completed(6).token("guessed").query(&format!("?business_id=42&key={QUERY}")),
        Callback::completed(6).token(TWILIO).header("Authorization", &basic),
        Callback::completed(6)
            .token(TWILIO_OLD)
            .field("RecordingUrl", &format!("http://me:{URL_USER}@h/x?k={URL_QUERY}")),
        Callback::completed(6).token(TWILIO).query(&format!("?key={QUERY}")),
    ];
    for callback in refused {
        written.add("a webhook's answer", format!("{:?}", callback.send(process).await));
    }
}

/// Every route with every token, right and wrong, with bodies that are refused.
async fn every_answer(process: &Process, written: &mut Written) {
    let paths = crate::support::http::OPENAPI["paths"].as_object().unwrap();
    for (path, item) in paths.iter().filter(|(path, _)| *path != "/v1/events") {
        for method in item.as_object().unwrap().keys() {
            let target = path.replace("{call_sid}", "CA1").replace("{key}", "host:x").replace("{id}", "3");
            let line = format!("{} {}", method.to_uppercase(), target.replace("{name}", "app.js"));
            // What deletes or cancels is left to the one who may not.
            let tokens: &[&str] =
                if method == "get" { &[READER, BOSS, API, BEARER, ""] } else { &[READER, BEARER, ""] };
            for token in tokens {
                let body =
                    json!({ "recording_url": format!("http://u:{URL_USER}@h/?{URL_QUERY}"), "token": BEARER });
                let body = if method == "get" { Value::Null } else { body };
                let answer = ask_json(process, &line, token, &body).await;
                written.add(line.clone(), format!("{}\n{}", answer.original_head, answer.body));
            }
        }
    }
    // What is of the wrong kind is repeated to whoever sent it, and to nobody else: so it is not tried here.
    let url = format!("http://u:{URL_USER}@127.0.0.1/x?{URL_QUERY}");
    let wrong = json!({"business_id": 1, "call_sid": URL_USER, "recording_url": url});
    let answer = ask_json(process, "POST /v1/jobs", BOSS, &wrong).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    written.add("POST /v1/jobs", format!("{answer:?}"));
    let good = json!({"business_id": 42, "call_sid": "CA7", "job_type": "full",
        "recording_url": format!("/2010-04-01/Accounts/AC1/Recordings/RE7.mp3?token={URL_QUERY}")});
    assert_eq!(ask_json(process, "POST /v1/jobs", BOSS, &good).await.status, 202);
    let login = ask(process, "POST /session", "Content-Type: application/json\r\n", BEARER.as_bytes()).await;
    written.add("a login", format!("{login:?}"));
}

async fn commands(setup: &Setup, written: &mut Written) {
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "check"],
        &["status", "--json"],
        &["jobs", "list", "--json"],
        &["jobs", "show", "3", "--json"],
        &["jobs", "explain", "3", "--json"],
        &["jobs", "explain", "2"],
        &["holds", "list", "--json"],
        &["audit", "list", "--json"],
        &["migrate", "status", "--json"],
    ] {
        let said = setup.say(arguments).await;
        assert!([0, 1].contains(&said.code), "{arguments:?}: {said:?}");
        written.add(arguments.join(" "), format!("{}\n{}", said.out, said.err));
    }
}

/// The whole database as text, by PostgreSQL's own tool.
fn dump(database: &Database) -> String {
    let installed = |major: u32| format!("/usr/lib/postgresql/{major}/bin/pg_dump");
    let newest = (14..30).rev().map(installed).find(|path| Path::new(path).exists());
    let program = newest.unwrap_or_else(|| "pg_dump".to_owned());
    let output = Command::new(program).args(["--inserts", "--dbname", &database.url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_search_finds_a_canary_in_each_spelling() {
    let credentials = BASE64_STANDARD.encode(format!("AC1:{TWILIO}"));
    let hex = spellings(TWILIO).pop().unwrap();
    for text in [
        format!("a line with {TWILIO} in it"),
        format!("Authorization: Basic {credentials}"),
        BASE64_STANDARD.encode(format!("ab{TWILIO}")),
        BASE64_STANDARD.encode(TWILIO),
        format!("\\x{hex}"),
        hex.to_uppercase(),
    ] {
        let mut written = Written::default();
        written.add("here", text.clone());
        assert!(!written.found(&ALL).is_empty(), "{text}");
        assert!(written.found(&[API]).is_empty(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_come_out_nowhere_through_failures_of_every_kind() {
    let (database, provider, transcriber) = (Database::migrated().await, Provider::start(), Transcriber::start());
    transcriber.tell(7, [Words::status(401)]);
    let (way, far) = Way::to(&database);
    let url = far.url.replace("callspool@", &format!("callspool:{DATABASE}@"));
    let mut process = secretive(Setup::new(&database).provider(&provider), &transcriber)
        .var("DATABASE_URL", &url)
        .config("[[faults]]\nactor = \"listener\"\nplace = \"started\"\nkind = \"panic\"\n")
        .run()
        .await;
    let mut written = Written::default();
    // It is kept where it is used, and nobody sees it who may not change it.
    let receiver = format!("https://127-0-0-1.example/in?key={RECEIVER}");
    let set = ask_json(&process, "PATCH /v1/businesses/42", BOSS, &json!({ "completion_url": receiver })).await;
    assert_eq!(set.status, 200, "{set:?}");
    trouble(&process, &provider, &mut written).await;
    process.event_number("WORKER_JOB_FAILED", 3).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    process.event("COMPLETION_FAILED").await;
    process.line("the panic", |line| line["message"].to_string().contains("panic")).await;
    every_answer(&process, &mut written).await;
    commands(process.setup(), &mut written).await;

    way.cut();
    let away =
        Callback::completed(8).token(TWILIO).query(&format!("?business_id=1&key={QUERY}")).send(&process).await;
    assert_eq!(away.status, 503);
    written.add("a webhook without the database", format!("{away:?}"));
    written.add("/readyz", process.get("/readyz").await.text().await.unwrap());
    written.add("/metrics without the database", process.get("/metrics").await.text().await.unwrap());
    for arguments in [&["status"][..], &["jobs", "list"], &["migrate", "status"]] {
        let said = process.setup().say(arguments).await;
        assert_ne!(said.code, 0, "{said:?}");
        written.add(format!("{} without the database", arguments.join(" ")), format!("{said:?}"));
    }
    way.mend();
    process.wait_until_ready().await;
    // Only the title: the environment is the process's own, see `what_belongs_to_a_process_is_roots_and_no_siblings`.
    for name in ["cmdline", "comm", "status", "mountinfo"] {
        written.add(name, fs::read_to_string(format!("/proc/{}/{name}", process.pid())).unwrap());
    }
    process.terminate();
    assert_eq!(process.exit_code().await, 0);
    written.add("stdout and stderr", process.everything());
    files(&mut written, &process.folder().join("logs"));
    assert!(written.0.iter().any(|(place, _)| place.contains("/logs/")), "the log's files were looked at");

    // What leads to a receiver has to be kept, and shows that a dump is searched; whoever may change it sees it too.
    let dump = dump(&database);
    let (mut dumped, kept) = (Written::default(), [RECEIVER]);
    dumped.add("a dump of the database", dump.clone());
    assert!(!dumped.found(&kept).is_empty(), "the dump has no completion URL");
    let others: Vec<&str> = ALL.into_iter().filter(|canary| *canary != RECEIVER).collect();
    assert_eq!(dumped.found(&others), Vec::<String>::new());
    assert_eq!(written.found(&others), Vec::<String>::new());
    let by_readers =
        Written(written.0.into_iter().filter(|(place, _)| !place.contains("/v1/businesses")).collect());
    assert_eq!(by_readers.found(&kept), Vec::<String>::new());
    // The provider was asked with the secret: it was there to be told.
    assert!(provider.asked().iter().any(|asked| {
        let mut seen = Written::default();
        seen.add("the provider", asked.authorization.clone().unwrap_or_default());
        !seen.found(&[TWILIO]).is_empty()
    }));
}

/// The starts that end at once, or never get to work.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_shows_no_secret_whatever_it_fails_of() {
    let (database, transcriber) = (Database::migrated().await, Transcriber::start());
    let base = || secretive(Setup::new(&database), &transcriber).var("TWILIO_ACCOUNT_SID", "AC1");
    let faulty = [
        ("CALLSPOOL_API_TOKENS", format!("{READER},x:read:{BOSS}\n,boss:{BOSS}")),
        ("CALLSPOOL_LINK_SECRET", format!("{LINKS} {LINKS}")),
        ("CALLSPOOL_COMPLETION_SECRET", format!("whsec_{COMPLETION}")),
        ("DATABASE_URL", format!("postgres//me:{DATABASE}@h/x")),
        ("MIGRATION_DATABASE_URL", format!("mysql://me:{DATABASE}@h/x")),
        ("TWILIO_AUTH_TOKEN", format!("{TWILIO},,{TWILIO_OLD}")),
        ("TWILIO_API_KEY", format!("AC1:{TWILIO_KEY}")),
        ("TWILIO_API_BASE", format!("https://me:{TWILIO}@h/?{URL_QUERY}")),
        ("CALLSPOOL_STORAGE_URL", format!("s3://{AWS_SECRET}:{AWS_SESSION}@bucket/x?{URL_QUERY}")),
        ("TELNYX_API_KEY", format!("{TELNYX} x")),
        ("TELNYX_PUBLIC_KEY", TELNYX.to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", COLLECTOR.to_owned()),
        ("CALLSPOOL__COMPLETION__URL", format!("http://me:{RECEIVER}@h/")),
    ];
    let mut written = Written::default();
    for (name, value) in &faulty {
        for arguments in [&["run"][..], &["config", "show"], &["config", "check"]] {
            let said = base().var(name, value).say(arguments).await;
            assert_eq!(said.code, 78, "{name}: {said:?}");
            assert!(said.err.contains(name) || said.err.contains('.'), "{name}: {said:?}");
            written.add(format!("{arguments:?} with a faulty {name}"), format!("{said:?}"));
        }
    }
    // All of them together, and text where a table of TOML is expected.
    let all = faulty.iter().fold(base(), |setup, (name, value)| setup.var(name, value));
    written.add("all of them", format!("{:?}", all.say(&["run"]).await));
    let said = base().config(&format!("[twilio]\nauth_token = {TWILIO}\n")).say(&["run"]).await;
    assert_eq!(said.code, 78, "{said:?}");
    written.add("a file that is no TOML", format!("{said:?}"));
    assert_eq!(written.found(&ALL), Vec::<String>::new());

    // A role that the database refuses, and a bucket that nobody answers for.
    let (_way, far) = Way::to(&database);
    let wrong_role = far.url.replace("callspool@", &format!("nobody_like_this:{DATABASE}@"));
    let mut refused = base().var("DATABASE_URL", &wrong_role).var("RUN_MIGRATIONS", "1").start();
    let is_trouble = |line: &Value| line["level"] != "INFO" && line.to_string().contains("nobody_like_this");
    refused.line("the refusal of a role", is_trouble).await;
    assert_ne!(wrong_role, far.url);
    written.add("/readyz", refused.get("/readyz").await.text().await.unwrap());
    refused.signal(Signal::SIGTERM);
    refused.exit_code().await;
    written.add("a refused role", refused.everything());
    let mut bucket = base()
        .var("CALLSPOOL_STORAGE_URL", "s3://bucket/prefix")
        .var("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .var("AWS_ALLOW_HTTP", "true")
        .var("AWS_REGION", "us-east-1")
        .var("AWS_ACCESS_KEY_ID", "key-of-nobody")
        .var("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
        .var("AWS_SESSION_TOKEN", AWS_SESSION)
        .var("CALLSPOOL__STORAGE__RETRIES", "0")
        .start();
    let reasons = eventually("the storage's trouble", async || {
        let page = within_patience("an answer", bucket.get("/readyz")).await.text().await.unwrap();
        page.contains("storage").then_some(page)
    })
    .await;
    written.add("/readyz without a bucket", reasons);
    let said = bucket.setup().say(&["config", "show"]).await;
    written.add("config show of a bucket", format!("{said:?}"));
    bucket.terminate();
    bucket.exit_code().await;
    written.add("a bucket that is away", bucket.everything());
    files(&mut written, &bucket.folder().join("logs"));
    assert_eq!(written.found(&ALL), Vec::<String>::new());
}
