//! A fleet that does everything it can behind a PgBouncer in transaction mode, and what could not work there.

use crate::{
    pgbouncer::PgBouncer,
    pooled::pooled,
    queue_law::assert_law,
    support::{
        Answer, Database, Process, Provider, eventually,
        gate::Folder,
        http::{Callback, ask_json},
        process::Setup,
        provider::recording,
        receiver::Receiver,
    },
};
use serde_json::json;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn busy(setup: Setup, provider: &Provider, receiver: &Receiver) -> Setup {
    setup
        .provider(provider)
        .config("[twilio.accounts.AC1]\nbusiness_id = 42\n")
        .var("CALLSPOOL_COMPLETION_SECRET", SECRET)
        .var("CALLSPOOL__COMPLETION__URL", &receiver.url("/all"))
        .var("CALLSPOOL__COMPLETION__POLL_INTERVAL", "50ms")
        .var("CALLSPOOL__RETENTION__DAYS", "30")
        .var("CALLSPOOL__RETENTION__INTERVAL", "100ms")
        .var("CALLSPOOL__RECONCILE__INTERVAL", "200ms")
        .var("CALLSPOOL__HOLDS__REFRESH", "50ms")
        .var("CALLSPOOL__HOLDS__ACCOUNT_PROBE", "100ms")
        .var("CALLSPOOL__QUEUE__PROMOTE_INTERVAL", "50ms")
        .var("CALLSPOOL__QUEUE__BEAT_TTL", "1min")
}

async fn until_done(process: &Process, id: i64) {
    eventually("the end of a job", async || (process.job(id).await["state"] == "done").then_some(())).await;
}

async fn change(process: &Process, line: &str, body: &serde_json::Value) -> serde_json::Value {
    let answer = ask_json(process, line, "", body).await;
    assert!((200..300).contains(&answer.status), "{line}: {answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_fleet_does_works_with_two_sessions() {
    let (database, provider, receiver) = (Database::migrated().await, Provider::start(), Receiver::start());
    database
        .run(
            "create table public.leads (id bigint primary key, n integer not null default 0);
                  insert into public.leads (id) select generate_series(1, 500)",
        )
        .await;
    let folder = Folder::with(&[]);
    std::fs::create_dir(folder.path().join("backfills")).unwrap();
    folder.write(
        "backfills/count.sql",
        "-- callspool: backfill table=public.leads key=id batch=50 pause=1ms\n\
         update public.leads set n = n + 1 where id > $1 and id <= $2;",
    );
    let pgbouncer = PgBouncer::transaction(&database, 2).await;
    provider.listing().has(900..=902);
    let setup = || busy(pooled(&database, &pgbouncer), &provider, &receiver);
    let one = setup().var("MIGRATIONS_DIR", &folder.path().display().to_string());
    let storage = format!("file:{}", one.storage().display());
    let mut one = one.run().await;
    let two = setup().var("CALLSPOOL_STORAGE_URL", &storage).run().await;

    // In by each door, listed, changed, told of.
    for number in 1..=20 {
        let answer = Callback::completed(number).send(if number % 2 == 0 { &one } else { &two }).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let line = |number: u32| {
        json!({"business_id": 42, "call_sid": format!("CA{number}"),
               "recording_url": format!("/2010-04-01/Accounts/AC1/Recordings/RE{number}")})
    };
    let lines: Vec<String> = (21..=30).map(|number| line(number).to_string()).collect();
    let bulk = reqwest::Client::new().post(format!("{}/v1/jobs/bulk", two.url().await)).body(lines.join("\n"));
    let bulk = bulk.header("Content-Type", "application/x-ndjson").send().await.unwrap();
    assert!(bulk.status().is_success(), "{}", bulk.text().await.unwrap());
    receiver.told_times(33).await;
    for path in [
        "/v1/jobs?state=done&limit=10",
        "/v1/businesses",
        "/v1/status",
        "/v1/recordings/CA1",
        "/v1/follow-ups",
        "/v1/holds",
        "/v1/audit",
        "/metrics",
        "/",
    ] {
        assert_eq!(one.get(path).await.status(), 200, "{path}");
    }
    change(&one, "PATCH /v1/businesses/42", &json!({"max_slots": 3, "weight": 2})).await;
    one.line("what nobody told of", |line| line["marker"] == "RECONCILE_DONE").await;

    // Cancelled while it runs, and tried again; dead, and tried again.
    provider.tell(50, [Answer::Held(recording(50)), Answer::Media(recording(50))]);
    let id = one.enqueue(42, 50).await;
    eventually("it runs", async || (one.job(id).await["state"] == "running").then_some(())).await;
    change(&two, &format!("POST /v1/jobs/{id}/cancel"), &json!(null)).await;
    eventually("it is cancelled", async || (one.job(id).await["state"] == "cancelled").then_some(())).await;
    change(&two, &format!("POST /v1/jobs/{id}/retry"), &json!(null)).await;
    until_done(&one, id).await;

    // Held with its account, and let go.
    provider.tell_where("Accounts/AC1.json", Answer::status(401));
    provider.tell(51, [Answer::status(401), Answer::Media(recording(51))]);
    let id = one.enqueue(42, 51).await;
    eventually("the account is held", async || (one.job(id).await["state"] == "scheduled").then_some(())).await;
    provider.forget_where("Accounts/AC1.json");
    until_done(&one, id).await;

    // Kept long enough.
    database
        .run("update callspool.recordings set stored_at = now() - interval '31 days' where call_sid = 'CA1'")
        .await;
    eventually("retention", async || (one.get("/v1/recordings/CA1").await.status() == 410).then_some(())).await;
    eventually("the backfill", async || {
        database.one::<bool>("select min(n) = 1 and max(n) = 1 from public.leads").await.then_some(())
    })
    .await;

    // A drain hands back what the other finishes.
    provider.tell(60, [Answer::Held(recording(60)), Answer::Media(recording(60))]);
    let id = one.enqueue(42, 60).await;
    eventually("it runs", async || (one.job(id).await["state"] == "running").then_some(())).await;
    one.terminate();
    two.terminate();
    provider.release(10);
    assert_eq!(one.exit_code().await, 0, "{}", one.everything());
    let mut two = two;
    assert_eq!(two.exit_code().await, 0, "{}", two.everything());
    let ended: String = database.one(&format!("select state from callspool.job_view where job_id = {id}")).await;
    assert!(["done", "ready"].contains(&ended.as_str()), "{ended}");
    for process in [&one, &two] {
        let errors: Vec<_> = process.lines().into_iter().filter(|line| line["level"] == "ERROR").collect();
        // The account that was refused.
        assert!(
            errors.iter().all(|line| line["marker"] == "HOLD_STARTED" || line["code"] == "account"),
            "{errors:#?}"
        );
        let mut down = process.events("ACTOR_DOWN").into_iter();
        assert!(down.all(|line| line["reason"] == "stopped"), "{}", process.everything());
    }
    assert_law(&database).await;
    let open: i64 = database
        .one("select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'")
        .await;
    let locks: i64 = database.one("select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())").await;
    assert_eq!((open, locks), (0, 0), "left in the pooler's sessions");
}

/// What lives in a session: settings beyond a transaction, its locks, its temporary tables, its cursors, its ears, its
/// statements, and the last value of a sequence.
#[tokio::test(flavor = "multi_thread")]
async fn no_function_and_no_statement_of_the_pool_uses_what_lives_in_a_session() {
    const OF_A_SESSION: &str = r"\m(pg_(try_)?advisory_(lock|unlock)|listen|unlisten|prepare|deallocate|discard|with hold|lastval|currval|temp|temporary|set session)\M|set_config\([^)]*false\)|^\s*set (?!local)";
    let database = Database::migrated().await;
    let found = async |text: &str| -> bool {
        sqlx::query_scalar("select $1 ~* $2")
            .bind(text)
            .bind(OF_A_SESSION)
            .fetch_one(&mut database.connect().await)
            .await
            .unwrap()
    };
    for text in [
        "select pg_try_advisory_lock(1)",
        "set search_path to x",
        "listen door",
        "select set_config('a', 'b', false)",
    ] {
        assert!(found(text).await, "{text} is found");
    }
    let bodies: Vec<(String, String)> = sqlx::query_as(
        "select proname::text, regexp_replace(prosrc, '--[^\n]*', '', 'g') from pg_proc
          where pronamespace = 'callspool'::regnamespace",
    )
    .fetch_all(&mut database.connect().await)
    .await
    .unwrap();
    assert!(bodies.len() > 20, "{}", bodies.len());
    // Of the migrator's own connection.
    let direct = ["try_lock", "unlock"];
    let statements = database.store().statements().into_iter().filter(|(name, _)| !direct.contains(name));
    let statements = statements.map(|(name, sql)| (name.to_owned(), sql));
    for (name, text) in bodies.into_iter().chain(statements) {
        assert!(!found(&text).await, "{name} uses a session: {text}");
    }
}
