//! `callspool backfill`: what the provider has and no webhook told of.

use crate::support::{
    Answer, Database, Provider, business, command::Said, lookup::Lookup, new_job, process::Setup,
};
use callspool::domain::ports::JobBook;

const COMMAND: [&str; 5] = ["backfill", "--account", "AC1", "--since", "24h"];

async fn backfill(setup: &Setup, more: &[&str]) -> Said {
    setup.say(&[&COMMAND[..], more, &["--json"]].concat()).await
}

fn counts(ran: &Said) -> [i64; 6] {
    let report = ran.json();
    ["seen", "had", "dead", "enqueued", "gone", "unmapped"].map(|name| report[name].as_i64().unwrap())
}

async fn jobs(database: &Database) -> Vec<(String, i64, i16)> {
    let mut connection = database.connect().await;
    let jobs = "select call_sid, business_id, priority from job order by length(call_sid), call_sid";
    sqlx::query_as(jobs).fetch_all(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_enqueued_last_and_a_second_time_all_of_it_is_had() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=25);
    provider.listing().has_as(26, "failed");
    provider.listing().has_as(27, "absent");
    provider.listing().page_size(10);
    let setup = Setup::new(&database).provider(&provider);
    database.store().enqueue(&[new_job(7, 3)]).await.unwrap();

    let dry = backfill(&setup, &["--business", "42", "--dry-run"]).await;
    assert_eq!((dry.code, counts(&dry)), (0, [27, 1, 0, 24, 2, 0]), "{dry:?}");
    assert_eq!(jobs(&database).await.len(), 1, "nothing was enqueued");

    let first = backfill(&setup, &["--business", "42"]).await;
    assert_eq!((first.code, counts(&first)), (0, [27, 1, 0, 24, 2, 0]), "{first:?}");
    let enqueued = jobs(&database).await;
    assert_eq!(enqueued.len(), 25);
    assert_eq!(enqueued[0], ("CA1".to_owned(), 42, 9));
    assert_eq!(enqueued[2], ("CA3".to_owned(), 7, 5), "whosever it was before");

    let second = backfill(&setup, &["--business", "42"]).await;
    assert_eq!((second.code, counts(&second)), (0, [27, 25, 0, 0, 2, 0]), "{second:?}");
    let table = setup.say(&[&COMMAND[..], &["--business", "42"]].concat()).await;
    assert!(table.out.contains("had") && table.out.contains("25"), "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_recordings_are_had_and_dead_or_cancelled_jobs_are_not_enqueued_again() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.tell(2, [Answer::status(410)]);
    let process = Setup::new(&database).provider(&provider).run().await;
    process.enqueue(42, 1).await;
    process.enqueue(42, 2).await;
    process.event_number("WORKER_RELEASE_SLOT", 2).await;
    let body = serde_json::json!({
        "business_id": 42, "call_sid": "CA3", "recording_url": "/2010-04-01/Accounts/AC1/Recordings/RE3",
        "run_at": "2099-01-01T00:00:00Z",
    });
    let later = crate::support::process::json(process.post_json("/v1/jobs", &body).await).await;
    let cancel = process.setup().say(&["jobs", "cancel", &later["id"].to_string()]).await;
    assert_eq!(cancel.code, 0, "{cancel:?}");
    provider.listing().has(1..=3);
    let ran = backfill(process.setup(), &["--business", "42"]).await;
    assert_eq!((ran.code, counts(&ran)), (0, [3, 3, 2, 0, 0, 0]), "{ran:?}");
    assert_eq!(jobs(&database).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_they_are_is_said_by_the_account_or_the_lookup_service_or_they_are_left() {
    let (database, provider, lookup) = (Database::migrated().await, Provider::start(), Lookup::start());
    provider.listing().has(1..=3);
    let setup = Setup::new(&database).provider(&provider);
    let nobody = backfill(&setup, &[]).await;
    assert_eq!((nobody.code, counts(&nobody)), (1, [3, 0, 0, 0, 0, 3]), "{nobody:?}");
    assert!(nobody.err.contains("mapping.lookup_url"), "{nobody:?}");

    let setup = setup.var("CALLSPOOL__MAPPING__LOOKUP_URL", lookup.url());
    lookup.knows(1, 7);
    lookup.knows(2, 8);
    let asked = backfill(&setup, &[]).await;
    assert_eq!((asked.code, counts(&asked)), (1, [3, 0, 0, 2, 0, 1]), "{asked:?}");
    assert_eq!(jobs(&database).await, [("CA1".to_owned(), 7, 9), ("CA2".to_owned(), 8, 9)]);

    let account = setup.config("[twilio.accounts.AC1]\nbusiness_id = 9\n");
    let said = backfill(&account, &[]).await;
    assert_eq!((said.code, counts(&said)), (0, [3, 2, 0, 1, 0, 0]), "{said:?}");
    assert_eq!(jobs(&database).await[2], ("CA3".to_owned(), business(9).get(), 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_fails_is_asked_for_again_and_one_that_cannot_pass_ends_it() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=4);
    provider.listing().page_size(2);
    let busy = Answer::Status(429, vec![("Retry-After", "0".to_owned())], "".into());
    provider.listing().instead([busy, Answer::status(503)]);
    let setup = Setup::new(&database).provider(&provider);
    let ran = backfill(&setup, &["--business", "42"]).await;
    assert_eq!((ran.code, counts(&ran)), (0, [4, 0, 0, 4, 0, 0]), "{ran:?}");
    assert_eq!(provider.listing().asked(), 4);

    provider.listing().instead([Answer::status(401)]);
    let refused = backfill(&setup, &["--business", "42"]).await;
    assert_eq!(refused.code, 75, "{refused:?}");
    assert!(refused.err.contains("not all pages came") && refused.err.contains("401"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_before_anything_is_asked() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database).provider(&provider);
    for (arguments, says) in [
        (&["backfill", "--account", "CA1", "--since", "24h"][..], "account_sid must be AC"),
        (&["backfill", "--account", "AC1", "--since", "yesterday"], "how long ago"),
        (&["backfill", "--account", "AC1", "--since", "1h", "--until", "2h"], "before --until"),
        (&["backfill", "--account", "AC1", "--since", "2099-01-01T00:00:00Z"], "before --until"),
        (&["backfill", "--account", "AC1", "--since", "1h", "--business", "0"], "positive"),
    ] {
        let ran = setup.say(arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(says), "{arguments:?}: {ran:?}");
    }
    let unknown = Setup::new(&database).say(&COMMAND).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.err.contains("AC1 is not configured"), "{unknown:?}");
    assert_eq!(provider.listing().asked(), 0);
}

/// A backfill that is killed has lost nothing: the next one has what it enqueued.
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_killed_in_the_middle_is_given_again() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    provider.listing().has(1..=6);
    provider.listing().page_size(2);
    provider.listing().hold_after(2);
    let setup = Setup::new(&database).provider(&provider);
    let mut child = setup.command(&[&COMMAND[..], &["--business", "42"]].concat()).spawn().unwrap();
    crate::support::eventually("the third page", || async { (provider.listing().asked() == 3).then_some(()) })
        .await;
    child.kill().await.unwrap();
    assert_eq!(jobs(&database).await.len(), 4);
    provider.listing().release();
    let again = backfill(&setup, &["--business", "42"]).await;
    assert_eq!((again.code, counts(&again)), (0, [6, 4, 0, 2, 0, 0]), "{again:?}");
}
