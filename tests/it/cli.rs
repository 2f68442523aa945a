//! The commands that look, and how every command ends, by the real binary.

use crate::support::{Answer, Database, Provider, command::Said, new_job, process::Setup, provider::recording};
use callspool::store::JobBook;

const CANARY: &str = "s3cret-canary";

async fn enqueued(database: &Database, count: u32) {
    let jobs: Vec<_> = (1..=count).map(|number| new_job(if number % 2 == 0 { 2 } else { 1 }, number)).collect();
    let store = database.store();
    store.enqueue(&jobs).await.unwrap();
    store.close().await;
}

fn ids(said: &Said) -> Vec<i64> {
    said.json().as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_list_filters_and_goes_on_from_page_to_page() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database);
    enqueued(&database, 5).await;
    let list = |more: &[&'static str]| {
        let arguments = [&["jobs", "list", "--json"], more].concat();
        let setup = &setup;
        async move { setup.say(&arguments).await }
    };
    let all = ids(&list(&[]).await);
    assert!(all.len() == 5 && all.is_sorted_by(|a, b| a > b), "newest first: {all:?}");
    let page = ids(&list(&["--limit", "2"]).await);
    assert_eq!(page, all[..2]);
    let after = page[1].to_string();
    assert_eq!(ids(&setup.say(&["jobs", "list", "--json", "--limit", "2", "--after", &after]).await), all[2..4]);
    assert_eq!(ids(&list(&["--business-id", "2"]).await).len(), 2);
    let one = list(&["--call-sid", "CA3"]).await.json();
    assert_eq!((one.as_array().unwrap().len(), &one[0]["call_sid"]), (1, &"CA3".into()));
    assert_eq!(ids(&list(&["--state", "ready"]).await), all);
    assert_eq!(list(&["--state", "done"]).await.out, "[]\n");
    let table = setup.say(&["jobs", "list"]).await;
    assert_eq!((table.code, table.out.lines().count()), (0, 6), "{}", table.out);
    assert!(table.out.starts_with("ID") || table.out.starts_with(" ID"), "{}", table.out);
    for wrong in
        [["--state", "asleep"], ["--limit", "0"], ["--limit", "1001"], ["--business-id", "0"], ["--call-sid", "x"]]
    {
        let said = setup.say(&[&["jobs", "list"][..], &wrong].concat()).await;
        assert!(said.code == 2 && !said.err.is_empty(), "{wrong:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_show_shows_one_job_whole() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database);
    enqueued(&database, 1).await;
    let id = ids(&setup.say(&["jobs", "list", "--json"]).await)[0].to_string();
    let json = setup.say(&["jobs", "show", &id, "--json"]).await.json();
    assert_eq!((&json["call_sid"], &json["state"]), (&"CA1".into(), &"ready".into()));
    let text = setup.say(&["jobs", "show", &id]).await;
    for name in json.as_object().unwrap().keys() {
        assert!(text.out.lines().any(|line| line.starts_with(name.as_str())), "{name} is not in:\n{}", text.out);
    }
    let said = setup.say(&["jobs", "show", "999999"]).await;
    assert!(said.code == 1 && said.err.contains("there is no job 999999"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_show_names_every_attempt_that_failed_with_its_error() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(1, [Answer::status(500), Answer::status(418), Answer::Media(recording(1))]);
    let process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_DOWNLOAD_DONE").await;
    process.event_number("WORKER_RELEASE_SLOT", 3).await;
    let setup = Setup::new(&database);
    let id = ids(&setup.say(&["jobs", "list", "--json"]).await)[0].to_string();
    let job = setup.say(&["jobs", "show", &id, "--json"]).await.json();
    let attempts: Vec<_> = job["attempts"].as_array().unwrap().iter().collect();
    let codes: Vec<_> = attempts.iter().map(|attempt| (&attempt["attempt"], &attempt["error"]["code"])).collect();
    assert_eq!(codes, [(&1.into(), &"http_status".into()), (&2.into(), &"http_status".into())], "{job}");
    assert_eq!((&job["state"], &job["attempt"]), (&"done".into(), &3.into()), "{job}");
    let text = setup.say(&["jobs", "show", &id]).await.out;
    for expected in ["2 failed", "http_status: the provider answered 500", "http_status: the provider answered 418"]
    {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_fleet() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    let setup = Setup::new(&database);
    let json = setup.say(&["status", "--json"]).await.json();
    assert_eq!((&json["backlog"]["done"], &json["slots_in_use"]), (&1.into(), &0.into()), "{json}");
    assert_eq!(json["schema"]["have"], json["schema"]["need"]);
    let instance = &json["instances"][0];
    assert_eq!(
        (instance["pid"].as_i64(), &instance["roles"][2]),
        (Some(i64::from(process.pid())), &"worker".into())
    );
    assert!(instance["actors"].as_array().unwrap().len() > 16, "{instance}");
    let text = setup.say(&["status"]).await;
    for expected in ["schema", "lock", "backlog", "1 done", "slots", "oldest", "INSTANCE", "api,webhooks,worker"] {
        assert!(text.out.contains(expected), "{expected} is not in:\n{}", text.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_schema_a_command_says_what_to_do() {
    let database = Database::empty().await;
    let setup = Setup::new(&database);
    for arguments in [
        &["jobs", "list"][..],
        &["jobs", "show", "1"],
        &["enqueue", "--business-id", "1", "--call-sid", "CA1", "--recording-url", "/x"],
    ] {
        let said = setup.say(arguments).await;
        assert!(
            said.code == 1 && said.err.contains("`callspool migrate run` brings it there"),
            "{arguments:?}: {said:?}"
        );
    }
    let status = setup.say(&["status"]).await;
    assert!(status.code == 0 && status.out.contains("schema     0 (this binary needs"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_reached_is_named_without_its_credentials() {
    let database = Database::migrated().await;
    for address in ["127.0.0.1:1", "[::1]:1"] {
        let setup = Setup::new(&database)
            .var("DATABASE_URL", &format!("postgres://me:{CANARY}@{address}/app?pasword={CANARY}"))
            .var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "100ms");
        for arguments in [&["status"][..], &["jobs", "list"], &["jobs", "show", "1"]] {
            let said = setup.say(arguments).await;
            assert!(said.code == 1 && said.err.contains("DATABASE_URL cannot be used"), "{said:?}");
            assert!(!format!("{said:?}").contains(CANARY), "{said:?}");
        }
    }
}

/// What to do stands below what went wrong, in a line of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_what_to_do_next() {
    let (database, empty) = (Database::migrated().await, Database::empty().await);
    let url = |change: (&str, &str)| database.url.replace(change.0, change.1);
    let name = database.url.split(['/', '?']).nth(3).unwrap();
    let away = Setup::new(&database).var("DATABASE_URL", "postgres://me@127.0.0.1:1/app");
    let setups = [
        (
            away.var("CALLSPOOL__DATABASE__ACQUIRE_TIMEOUT", "100ms"),
            &["status"][..],
            1,
            "see that PostgreSQL is up",
        ),
        (Setup::new(&database).var("DATABASE_URL", &url((name, "nowhere"))), &["status"], 1, "create the database"),
        (Setup::new(&empty), &["jobs", "list"], 1, "`callspool migrate run` brings it there"),
        (Setup::new(&empty), &["jobs", "explain", "1"], 1, "`callspool migrate run` brings the schema there"),
        (Setup::new(&empty), &["migrate", "wait", "--timeout", "0"], 75, "start one process with RUN_MIGRATIONS=1"),
        (Setup::new(&database), &["jobs", "show", "9"], 1, "finds the jobs of a call"),
        (Setup::new(&database), &["jobs", "list", "--call-sid", "x"], 2, "take it as the provider"),
        (Setup::new(&database), &["enqueue", "--file", "/no/such"], 1, "name a file with JSON lines, or -"),
        (Setup::new(&database), &["enqueue", "--file", "/"], 1, "name a file with JSON lines, or -"),
        (Setup::new(&database), &["migrate", "new", "x"], 1, "set it to the folder"),
        (Setup::new(&database).config("[queue]\npol = 1\n"), &["run"], 78, "`callspool config check`"),
    ];
    for (setup, arguments, code, next) in setups {
        let said = setup.say(arguments).await;
        let last = said.err.lines().last().unwrap_or_default();
        assert!(said.err.starts_with("callspool: ") && said.code == code, "{arguments:?}: {said:?}");
        assert!(last.starts_with("  next: ") && last.contains(next), "{arguments:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn config_show_names_each_origin_and_masks_secrets() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database)
        .config("[queue]\nquantum = 3\n")
        .var("DATABASE_URL", &format!("postgres://me:{CANARY}@db/app"))
        .var("CALLSPOOL_API_TOKEN", CANARY)
        .var("TWILIO_ACCOUNT_SID", "AC1")
        .var("TWILIO_AUTH_TOKEN", CANARY)
        .var("CALLSPOOL__WORKER__COUNT", "3");
    let json = setup.say(&["config", "show", "--json"]).await;
    let value = |key: &str| {
        let found = json.json().as_array().unwrap().iter().find(|value| value["key"] == key).unwrap().clone();
        (found["value"].clone(), found["origin"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(value("worker.count"), ("3".into(), "CALLSPOOL__WORKER__COUNT".to_owned()));
    assert_eq!(value("http.api_token"), ("********".into(), "CALLSPOOL_API_TOKEN".to_owned()));
    assert_eq!(value("database.url"), ("********".into(), "DATABASE_URL".to_owned()));
    assert!(value("queue.quantum").1.ends_with("test.toml"), "{:?}", value("queue.quantum"));
    assert_eq!(value("retry.max_attempts"), ("8".into(), "the built-in defaults".to_owned()));
    assert_eq!(value("http.public_url"), (serde_json::Value::Null, String::new()));
    let table = setup.say(&["config", "show"]).await;
    assert_eq!((json.code, table.code), (0, 0));
    assert!(!format!("{json:?}{table:?}").contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn config_check_exits_with_0_or_with_78_and_every_fault() {
    let database = Database::migrated().await;
    assert_eq!(Setup::new(&database).say(&["config", "check"]).await.code, 0);
    let setup = Setup::new(&database)
        .config("[queue]\npoll = \"1s\"\n[worker]\ncount = \"many\"\n")
        .var("RUN_MIGRATIONS", "yes")
        .var("DATABASE_URL", &format!("mysql://me:{CANARY}@db"))
        .var("CALLSPOOL_HTTP_BIND", "0.0.0.0:1")
        .var("TWILIO_AUTH_TOKEN", CANARY);
    for arguments in [&["config", "check"][..], &["config", "show"], &["run"], &["status"]] {
        let said = setup.say(arguments).await;
        assert_eq!((said.code, said.out.as_str()), (78, ""), "{arguments:?}");
        for expected in [
            "queue.poll (from ",
            "there is no such key",
            "worker.count (from ",
            "a whole number from 1 to 1024",
            "migrations.run (from RUN_MIGRATIONS): allowed is 0 or 1",
            "database.url (from DATABASE_URL)",
            "http.bind (from CALLSPOOL_HTTP_BIND)",
            "loopback",
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN belong together",
        ] {
            assert!(said.err.contains(expected), "{expected} is not in:\n{}", said.err);
        }
        assert!(!said.err.contains(CANARY) && said.err.contains("(6 faults)"), "{}", said.err);
    }
    let said = Setup::new(&database).say(&["--env", "moon", "config", "check"]).await;
    assert!(said.code == 78 && said.err.contains("development, test, staging, production"), "{said:?}");
    let said = Setup::new(&database).say(&["--env", "production", "config", "check"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_2_and_help_is_plain_where_nobody_wants_colour() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database).var("NO_COLOR", "1");
    for arguments in [&[][..], &["dance"], &["jobs"], &["jobs", "show"], &["run", "--fast"]] {
        assert_eq!(setup.say(arguments).await.code, 2, "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["enqueue", "--help"], &["jobs", "list"], &["config", "show"]] {
        let said = setup.say(arguments).await;
        assert!(said.code == 0 && !said.out.contains('\u{1b}'), "{said:?}");
    }
    let help = setup.say(&["enqueue", "--help"]).await.out;
    assert!(help.contains("nothing is enqueued") && help.contains("1,000 at a time"), "{help}");
    assert!(setup.say(&["--version"]).await.out.starts_with("callspool "));
}

/// `callspool jobs list | head -1`
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() {
    let database = Database::migrated().await;
    let setup = Setup::new(&database);
    enqueued(&database, 5).await;
    for arguments in [&["jobs", "list"][..], &["jobs", "list", "--json"], &["config", "show"], &["status"]] {
        let mut child = setup.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().await.unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
