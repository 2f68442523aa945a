//! The README's walk-through for whoever is on call: each cause is brought about, the commands are run as they stand there,
//! say what stands there, and the recording arrives. `UPDATE_DOCS=1` writes what they say.

use crate::support::{
    Answer, Database, Process, Provider, eventually, http::Callback, process::Setup, provider::recording,
    within_patience,
};
use std::{fmt::Write, fs, sync::Mutex};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
/// Tests run side by side, and each may write its part.
static WRITING: Mutex<()> = Mutex::new(());

/// What differs from time to time.
const ANY: &str = "…";

/// Runs the `number`th block of commands (from 0) below the README's heading `cause`.
async fn follow(setup: &Setup, cause: &str, number: usize) {
    let readme = fs::read_to_string(README).unwrap();
    let section = readme.split_once(&format!("\n### {cause}\n")).unwrap_or_else(|| panic!("no {cause}")).1;
    let section = section.split("\n##").next().unwrap();
    let block = section.split("```console\n").nth(number + 1).unwrap().split("```").next().unwrap();
    let mut said = String::new();
    for command in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let output = within_patience(command, setup.shell(command).output()).await.unwrap();
        writeln!(said, "$ {command}").unwrap();
        for stream in [output.stdout, output.stderr] {
            for line in String::from_utf8(stream).unwrap().lines() {
                writeln!(said, "{}", without_what_differs(line).trim_end()).unwrap();
            }
        }
    }
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if squeezed(&said) == squeezed(block) {
        return;
    }
    assert!(std::env::var_os("UPDATE_DOCS").is_some(), "{cause}: the README has\n{block}\nand it is\n{said}");
    let _writing = WRITING.lock().unwrap();
    let readme = fs::read_to_string(README).unwrap();
    let (before, from) = readme.split_once(&format!("\n### {cause}\n")).unwrap();
    fs::write(README, format!("{before}\n### {cause}\n{}", from.replacen(block, &said, 1))).unwrap();
}

/// Times, lengths of time, ids of instances and names of machines; as wide as they were, so that columns stand.
fn without_what_differs(line: &str) -> String {
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let mut words = line.split(' ').peekable();
    let (mut said, mut was_span): (Vec<String>, bool) = (Vec::new(), false);
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('(').trim_end_matches([',', ';', ':', ')']);
        let follows_span = std::mem::replace(&mut was_span, false);
        let is_time = bare.matches('-').count() >= 2 && bare.starts_with(|c: char| c.is_ascii_hexdigit());
        if is_time || bare == host || bare.contains('@') || is_span(bare) {
            // In a column it stays as wide as it was.
            let is_cell = words.peek().is_some_and(|next| next.is_empty());
            let width = if is_cell { bare.chars().count() - 1 } else { 0 };
            said.push(format!("{}{}", word.replacen(bare, ANY, 1), " ".repeat(width)));
        } else if is_number(bare)
            && let Some(unit) = words.next_if(|next| is_unit(next))
        {
            // `1 min 5 s` and `65 s` are the same to a reader.
            let after = unit.trim_start_matches(char::is_alphabetic);
            was_span = after.is_empty();
            match said.last_mut().filter(|_| follows_span) {
                Some(minutes) => minutes.push_str(after),
                None => said.push(format!("{}{after}", word.replacen(bare, ANY, 1))),
            }
        } else {
            said.push(word.to_owned());
        }
    }
    said.join(" ")
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

fn is_unit(word: &str) -> bool {
    ["ms", "s", "min", "h", "d"].contains(&word.trim_end_matches([',', ';', ':', ')']))
}

/// As tables have it: `5s`.
fn is_span(word: &str) -> bool {
    word.find(char::is_alphabetic).is_some_and(|unit| is_number(&word[..unit]) && is_unit(&word[unit..]))
}

async fn arrives(database: &Database, job: i64) {
    eventually("the recording", || async {
        let state = sqlx::query_scalar("select state from job_view where job_id = $1").bind(job);
        let state: Option<String> = state.fetch_optional(&mut database.connect().await).await.unwrap();
        (state.as_deref() == Some("done")).then_some(())
    })
    .await;
}

fn fleet(database: &Database, provider: &Provider) -> Setup {
    let setup = Setup::new(database).provider(provider).var("CALLSPOOL__QUEUE__WATCH_INTERVAL", "100ms");
    setup.var("CALLSPOOL__QUEUE__STALLED_AFTER", "200ms")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_behind() {
    let (database, provider) = (Database::empty().await, Provider::start());
    let process = fleet(&database, &provider).var("RUN_MIGRATIONS", "0").start();
    process.event("SCHEMA_WAITING").await;
    assert_eq!(Callback::completed(1).send(&process).await.status, 503);
    follow(process.setup(), "The schema is behind", 0).await;
    follow(process.setup(), "The schema is behind", 1).await;
    process.wait_until_ready().await;
    assert_eq!(Callback::completed(1).send(&process).await.status, 202, "the provider calls again");
    arrives(&database, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_refused() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = fleet(&database, &provider).run().await;
    let told = "https://calls.example.com/webhooks/twilio/recording?business_id=42";
    assert_eq!(Callback::completed(1).told(told).send(&process).await.status, 403);
    follow(process.setup(), "The webhook is refused", 0).await;
    follow(process.setup(), "The webhook is refused", 1).await;
    arrives(&database, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_takes_jobs() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = fleet(&database, &provider).var("CALLSPOOL_ROLES", "api,webhooks").run().await;
    process.enqueue(42, 1).await;
    process.event("QUEUE_STALLED").await;
    follow(process.setup(), "No process takes jobs", 0).await;
    let worker = fleet(&database, &provider).var("CALLSPOOL_ROLES", "worker").run().await;
    arrives(&database, 1).await;
    // Whichever of them looks says it.
    tokio::select! {
        _ = process.event("QUEUE_MOVES") => {}
        _ = worker.event("QUEUE_MOVES") => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_paused_the_business() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = fleet(&database, &provider).run().await;
    assert_eq!(process.setup().say(&["businesses", "set", "42", "--pause"]).await.code, 0);
    process.enqueue(42, 1).await;
    process.event("QUEUE_STALLED").await;
    follow(process.setup(), "Somebody paused the business", 0).await;
    arrives(&database, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slot_is_in_use() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::Held(recording(1))]);
    let process = fleet(&database, &provider).run().await;
    assert_eq!(process.setup().say(&["businesses", "set", "42", "--max-slots", "1"]).await.code, 0);
    process.enqueue(42, 1).await;
    eventually("the download", || async { (!provider.asked().is_empty()).then_some(()) }).await;
    process.enqueue(42, 2).await;
    process.event("QUEUE_STALLED").await;
    follow(process.setup(), "Every slot is in use", 0).await;
    follow(process.setup(), "Every slot is in use", 1).await;
    arrives(&database, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_asks_to_wait() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let wait = vec![("Retry-After", "1800".to_owned())];
    provider.tell(1, [Answer::Status(503, wait, "busy".into()), Answer::Media(recording(1))]);
    let process = fleet(&database, &provider).run().await;
    process.enqueue(42, 1).await;
    scheduled(&process, 1).await;
    follow(process.setup(), "The provider asks to wait", 0).await;
    follow(process.setup(), "The provider asks to wait", 1).await;
    arrives(&database, 1).await;
}

async fn scheduled(process: &Process, job: i64) {
    eventually("the wait", || async { (process.job(job).await["state"] == "scheduled").then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_are_wrong() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell_where("/Accounts/AC1", Answer::status(401));
    let process = fleet(&database, &provider).run().await;
    process.enqueue(42, 1).await;
    scheduled(&process, 1).await;
    follow(process.setup(), "The credentials are wrong", 0).await;
    // The account's own resource is still refused, so that it does not go on by itself.
    provider.tell_where("/Accounts/AC1.json", Answer::status(401));
    provider.forget_where("/Accounts/AC1");
    follow(process.setup(), "The credentials are wrong", 1).await;
    arrives(&database, 1).await;
}
