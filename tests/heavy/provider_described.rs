//! The provider's API as Twilio itself describes it: prism answers by Twilio's public OpenAPI description, and refuses a
//! request that does not fit it.

use crate::support::{Database, command::Said, eventually, process::Setup};
use std::{net::TcpListener, path::PathBuf, process::Stdio};
use tokio::process::{Child, Command};

/// Where `.ci/setup.sh heavy` puts them.
const PRISM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.callspool/prism");
/// The account, call and recording of the description's examples.
const DIGITS: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

struct Prism {
    base: String,
    // Killed when it is dropped.
    _child: Child,
}

impl Prism {
    async fn start() -> Self {
        let program = PathBuf::from(PRISM).join("node_modules/.bin/prism");
        assert!(program.exists(), "prism is missing; `sh .ci/setup.sh heavy` installs it");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["mock", "--errors", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.arg(PathBuf::from(PRISM).join("twilio_api_v2010.json"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        let base = format!("http://127.0.0.1:{port}");
        eventually("prism", || async { reqwest::get(&base).await.is_ok().then_some(()) }).await;
        Self { base, _child: child }
    }

    fn setup(&self, database: &Database) -> Setup {
        Setup::new(database)
            .var("CALLSPOOL__TWILIO__ALLOW_SHORT_SIDS", "false")
            .var("TWILIO_API_BASE", &self.base)
            .var("TWILIO_ACCOUNT_SID", &format!("AC{DIGITS}"))
            .var("TWILIO_AUTH_TOKEN", "any-token")
    }
}

async fn backfill(setup: &Setup) -> Said {
    let account = format!("AC{DIGITS}");
    setup.say(&["backfill", "--account", &account, "--since", "7d", "--business", "42", "--json"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_asks_as_the_description_says_and_reads_its_answer() {
    let (database, prism) = (Database::migrated().await, Prism::start().await);
    let setup = prism.setup(&database);
    let first = backfill(&setup).await;
    assert_eq!(first.code, 0, "{first:?}");
    let report = first.json();
    assert_eq!(
        (&report["seen"], &report["enqueued"], &report["had"]),
        (&1.into(), &1.into(), &0.into()),
        "{report}"
    );
    let again = backfill(&setup).await;
    assert_eq!(again.json()["had"], 1, "{again:?}");
    let mut connection = database.connect().await;
    let job = "select call_sid, recording_sid, recording_url, (details -> 'duration_s')::int from job";
    let job: (String, String, String, i32) = sqlx::query_as(job).fetch_one(&mut connection).await.unwrap();
    let url = format!("{}/2010-04-01/Accounts/AC{DIGITS}/Recordings/RE{DIGITS}", prism.base);
    assert_eq!(job, (format!("CA{DIGITS}"), format!("RE{DIGITS}"), url, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconciler_finds_the_same() {
    let (database, prism) = (Database::migrated().await, Prism::start().await);
    let setup = prism.setup(&database).var("CALLSPOOL__RECONCILE__INTERVAL", "1h");
    let process = setup.config(&format!("[twilio.accounts.AC{DIGITS}]\nbusiness_id = 42\n")).run().await;
    let done = process.event("RECONCILE_DONE").await;
    assert_eq!((&done["seen"], &done["enqueued"]), (&1.into(), &1.into()), "{done}");
}
