//! Holds in the database: when they begin, what they wait for, and how they end.

use crate::{
    queue_law::{Claimer, assert_law, execute},
    support::{Database, new_job},
};
use callspool::{
    domain::{
        failure::{Failure, FailureCode},
        hold::{Blame, EndedBy, Hold, HoldKey, HoldKind, HoldRules},
        ids::JobId,
        job::Disposition,
        observation::FleetMeter,
        operate::Operator,
        ports::{Blamed, FleetView, Holds, JobBook, Met, Operations, Upkeep, Watch},
    },
    store::Store,
};
use futures_util::future::join_all;
use serde_json::Value;
use std::time::Duration;

fn rules() -> HoldRules {
    HoldRules {
        window: Duration::from_mins(1),
        min_failures: 4,
        failure_share: 0.5,
        probe_first: Duration::from_secs(5),
        probe_max: Duration::from_mins(1),
        account_probe: Duration::from_mins(1),
        storage_probe: Duration::from_secs(30),
        rate_wait: Duration::from_secs(2),
    }
}

fn account() -> HoldKey {
    HoldKey::account("AC1")
}

fn host() -> HoldKey {
    HoldKey::host("127.0.0.1:1")
}

struct Blaming {
    key: HoldKey,
    lasts: Option<Duration>,
    job: i64,
    is_last: bool,
    ok: u32,
}

impl Blaming {
    fn of(key: HoldKey) -> Self {
        Self { key, lasts: None, job: 1, is_last: false, ok: 0 }
    }

    async fn by(self, store: &Store) -> Option<Met> {
        let blame = Blame { key: self.key, lasts: self.lasts };
        let blamed = Blamed {
            blame: &blame,
            message: "it failed",
            job: JobId(self.job),
            is_last: self.is_last,
            ok: self.ok,
        };
        store.blame(&blamed, &rules()).await.unwrap()
    }
}

async fn blame(store: &Store, key: HoldKey) -> Option<Met> {
    Blaming::of(key).by(store).await
}

async fn only(store: &Store) -> Hold {
    let mut standing = store.standing().await.unwrap().holds;
    assert_eq!(standing.len(), 1);
    standing.remove(0)
}

fn wait(hold: &Hold) -> i64 {
    (hold.probe_at.or(hold.until).unwrap() - hold.since).num_milliseconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_the_storage_are_held_by_the_first_failure_and_all_that_follow_meet_it() {
    let database = Database::migrated().await;
    let store = database.store();
    for key in [account(), HoldKey::storage()] {
        let met = blame(&store, key.clone()).await.unwrap();
        assert!(met.began && !met.counts && met.hold.until.is_none(), "{met:?}");
        assert_eq!((wait(&met.hold), met.hold.met, met.hold.message.as_str()), (2_000, 1, "it failed"));
        let again = blame(&store, key).await.unwrap();
        assert!(!again.began && again.hold.met == 2 && again.hold.since == met.hold.since, "{again:?}");
    }
    let standing = store.standing().await.unwrap();
    assert_eq!((standing.holds.len(), standing.is_due), (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_fail_at_one_moment_a_hold_begins_once() {
    let database = Database::migrated().await;
    let stores: Vec<Store> = (0..5).map(|_| database.store()).collect();
    let met = join_all((0..40).map(|n| blame(&stores[n % 5], account()))).await;
    assert_eq!(met.iter().flatten().filter(|met| met.began).count(), 1);
    assert_eq!(only(&stores[0]).await.met, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_held_when_enough_of_what_was_asked_of_it_fails_in_the_whole_fleet() {
    let database = Database::migrated().await;
    let (one, two) = (database.store(), database.store());
    two.credit(&[(host(), 2), (HoldKey::host("other"), 100)], &rules()).await.unwrap();
    for store in [&one, &two, &one] {
        assert_eq!(blame(store, host()).await, None, "fewer than four");
    }
    // Good answers that were not told yet come with the failure.
    assert_eq!(Blaming { ok: 3, ..Blaming::of(host()) }.by(&two).await, None, "4 of 9");
    let met = blame(&one, host()).await.unwrap();
    assert!(met.began && !met.counts && wait(&met.hold) == 5_000, "5 of 10: {met:?}");
    assert!(!blame(&two, host()).await.unwrap().began);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_are_older_than_the_window_hold_no_host() {
    let database = Database::migrated().await;
    let store = database.store();
    for _ in 0..3 {
        assert_eq!(blame(&store, host()).await, None);
    }
    execute(&database, "update hold_tally set at = at - interval '2 min'").await;
    assert_eq!(blame(&store, host()).await, None);
    store.tend(&rules()).await.unwrap();
    execute(&database, "update hold_tally set at = at - interval '2 min'").await;
    store.tend(&rules()).await.unwrap();
    let mut connection = database.connect().await;
    let left: i64 = sqlx::query_scalar("select count(*) from hold_tally").fetch_one(&mut connection).await.unwrap();
    assert_eq!(left, 0, "what is old is taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_not_killed_by_a_host_that_answers_nobody() {
    let database = Database::migrated().await;
    let store = database.store();
    let last = || Blaming { is_last: true, ..Blaming::of(host()) };
    let met = last().by(&store).await.unwrap();
    assert!(met.began && !met.counts, "{met:?}");
    // Where others are answered, it is the job.
    store.end(&met.hold).await.unwrap().unwrap();
    execute(&database, "delete from hold_memory").await;
    store.credit(&[(host(), 2)], &rules()).await.unwrap();
    assert_eq!(last().by(&store).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_comes_back_soon_lasts_longer_and_a_job_that_begins_it_again_uses_its_attempt_up() {
    let database = Database::migrated().await;
    let store = database.store();
    let mut waits = Vec::new();
    for job in [1, 2, 1, 3, 4, 5, 6] {
        let blaming = Blaming { job, is_last: true, ..Blaming::of(host()) };
        let met = blaming.by(&store).await.unwrap();
        assert_eq!(met.counts, job == 1 && !waits.is_empty(), "{met:?}");
        waits.push(wait(&met.hold) / 1_000);
        store.end(&met.hold).await.unwrap().unwrap();
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60]);
    execute(&database, "update hold_memory set ended_at = ended_at - interval '1 hour'").await;
    assert_eq!(blame(&store, host()).await, None, "long ago: the rule is the first one's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_to_be_left_alone_is_so_for_the_time_that_was_asked_or_for_twice_as_long_each_time() {
    let database = Database::migrated().await;
    let store = database.store();
    let rate = || Blaming::of(HoldKey::rate("AC1"));
    let asked = |seconds| Blaming { lasts: Some(Duration::from_secs(seconds)), ..rate() };
    let met = asked(30).by(&store).await.unwrap();
    assert_eq!((wait(&met.hold), met.hold.probe_at), (30_000, None));
    asked(10).by(&store).await.unwrap();
    assert_eq!(only(&store).await.until, met.hold.until, "it is never shortened");
    let longer = asked(3_000_000).by(&store).await.unwrap();
    assert!(!longer.began && longer.hold.until.unwrap() > met.hold.until.unwrap());
    assert!((3_599_000..3_700_000).contains(&wait(&longer.hold)), "an hour is believed: {longer:?}");

    for key in ["AC2", "AC3"] {
        let rate = || Blaming::of(HoldKey::rate(key)).by(&store);
        let mut waits = Vec::new();
        for _ in 0..4 {
            let met = rate().await.unwrap();
            assert!(met.began && !met.counts, "{met:?}");
            waits.push(wait(&met.hold));
            let passed = "update hold set until = now() where hold_key <> 'rate:AC1'";
            execute(&database, passed).await;
            if key == "AC2" {
                // Taken away, or not yet: the same.
                let ended = store.tend(&rules()).await.unwrap().ended;
                assert_eq!((ended.len(), &ended[0].by), (1, &EndedBy::Time));
            }
        }
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000]);
    }
    assert_eq!(only(&store).await.key, HoldKey::rate("AC1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_due_is_taken_by_one_process_and_is_due_again_later() {
    let database = Database::migrated().await;
    let stores: Vec<Store> = (0..4).map(|_| database.store()).collect();
    let met = blame(&stores[0], account()).await.unwrap();
    let taken = async || {
        let tended = join_all(stores.iter().map(|store| async { store.tend(&rules()).await.unwrap() })).await;
        tended.into_iter().flat_map(|tended| tended.probes).collect::<Vec<_>>()
    };
    assert_eq!(taken().await, []);
    let mut waits = Vec::new();
    for _ in 0..7 {
        execute(&database, "update hold set probe_at = now()").await;
        assert!(stores[0].standing().await.unwrap().is_due);
        let probes = taken().await;
        assert_eq!(probes.len(), 1);
        waits.push((probes[0].probe_at.unwrap() - chrono::Utc::now()).num_seconds() + 1);
    }
    assert_eq!(waits, [4, 8, 16, 32, 60, 60, 60]);

    // It ends once, and only the one that was probed.
    let other = Hold { since: met.hold.since - chrono::TimeDelta::seconds(1), ..met.hold.clone() };
    assert_eq!(stores[1].end(&other).await.unwrap(), None);
    let ended = join_all(stores.iter().map(|store| store.end(&met.hold))).await;
    let ended: Vec<_> = ended.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!((ended.len(), &ended[0].by, ended[0].waiting), (1, &EndedBy::Probe, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lifts_a_hold_at_once_and_it_is_said_and_written_down_who_did() {
    let database = Database::migrated().await;
    let store = database.store();
    let dana = Operator::new("dana");
    assert!(!store.lift(&account(), &dana).await.unwrap());
    blame(&store, account()).await.unwrap();
    assert!(store.lift(&account(), &dana).await.unwrap());
    assert!(!store.lift(&account(), &dana).await.unwrap(), "it is over");
    let standing = store.standing().await.unwrap();
    assert!(standing.holds.is_empty() && standing.is_due);
    assert!(store.holds().await.unwrap().is_empty());
    let ended = store.tend(&rules()).await.unwrap().ended;
    assert_eq!(ended.iter().map(|ended| ended.by.to_string()).collect::<Vec<_>>(), ["operator dana"]);
    assert!(store.tend(&rules()).await.unwrap().ended.is_empty());
    let mut connection = database.connect().await;
    let said: Vec<(String, String, String)> =
        sqlx::query_as("select operator, action, detail from operator_action")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(said, [("dana".to_owned(), "lift_hold".to_owned(), "account:AC1".to_owned())]);
}

fn waits_for(key: HoldKey) -> Disposition {
    Disposition::Wait { hold: key, failure: Failure::new(FailureCode::Unauthorized, "the provider answered 401") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_parked_just_when_its_hold_ends_is_freed_all_the_same() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let store = claimer.store.clone();
    store.enqueue(&[new_job(1, 1), new_job(1, 2), new_job(2, 3)]).await.unwrap();
    let jobs = claimer.claim(3).await;
    let met = blame(&store, account()).await.unwrap();
    claimer.settle(&jobs[0], waits_for(account())).await;
    assert_eq!(store.holds().await.unwrap()[0].waiting, 1);
    assert_eq!(store.promote(10).await.unwrap().count, 0);
    assert_eq!(store.end(&met.hold).await.unwrap().unwrap().waiting, 1);
    claimer.settle(&jobs[1], waits_for(account())).await;
    assert_eq!(store.promote(10).await.unwrap().count, 2);
    assert_law(&database).await;
    let again = claimer.claim(5).await;
    assert_eq!(again.iter().map(|job| job.attempt).collect::<Vec<_>>(), [1, 1], "no attempt was used up");
}

async fn explained(store: &Store, id: JobId) -> Value {
    serde_json::to_value(store.explain(id).await.unwrap().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_a_hold_or_would_is_explained_by_it() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let store = claimer.store.clone();
    let ids: Vec<JobId> =
        store.enqueue(&[new_job(1, 1), new_job(1, 2)]).await.unwrap().iter().map(|job| job.id).collect();
    let running = claimer.claim(1).await;
    for (key, reason, sentence) in [
        (HoldKey::rate("AC1"), "provider_unavailable", "account AC1 is to be left alone since 20"),
        (host(), "provider_unavailable", "127.0.0.1:1 fails since 20"),
        (account(), "account_suspended", "account AC1 is suspended since 20"),
        (HoldKey::storage(), "storage_unavailable", "recordings cannot be stored since 20"),
    ] {
        let met = Blaming { is_last: true, ..Blaming::of(key.clone()) }.by(&store).await.unwrap();
        let why = explained(&store, ids[1]).await;
        assert_eq!((&why["state"], &why["reason"]), (&"ready".into(), &reason.into()), "{why}");
        assert!(why["text"].as_str().unwrap().starts_with(sentence), "{why}");
        assert_eq!(why["detail"]["hold"]["key"], key.to_string(), "{why}");
        assert_eq!(why["detail"]["hold"]["message"], "it failed");
        let next = why["next"].as_str().unwrap();
        assert!(!next.contains("  ") && next.len() > 20, "{why}");
        if key.kind() == HoldKind::Rate {
            continue;
        }
        store.end(&met.hold).await.unwrap().unwrap();
    }
    // The one that is parked waits for its own, whatever else stands.
    blame(&store, HoldKey::storage()).await.unwrap();
    let met = blame(&store, account()).await.unwrap();
    claimer.settle(&running[0], waits_for(account())).await;
    let why = explained(&store, ids[0]).await;
    assert_eq!((&why["state"], &why["reason"]), (&"scheduled".into(), &"account_suspended".into()), "{why}");
    assert!(why["next"].as_str().unwrap().contains("callspool holds lift account:AC1"), "{why}");
    assert_eq!(explained(&store, ids[1]).await["reason"], "storage_unavailable");
    assert_eq!(store.job(ids[0]).await.unwrap().unwrap().run_at, None, "it has no time of its own");
    store.end(&met.hold).await.unwrap().unwrap();
    let why = explained(&store, ids[0]).await;
    assert_eq!(why["reason"], "scheduled", "it is freed at any moment: {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_depends_on_is_read_from_its_url() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    for (url, expected) in [
        (
            "https://api.twilio.com/2010-04-01/Accounts/AC9/Recordings/RE1",
            "storage account:AC9 host:api.twilio.com rate:AC9",
        ),
        ("https://API.twilio.com:443/x", "storage host:api.twilio.com"),
        ("http://h:80/x", "storage host:h"),
        ("http://h:443/x", "storage host:h:443"),
        ("http://[::1]:8080/x", "storage host:[::1]:8080"),
    ] {
        let keys: Vec<String> =
            sqlx::query_scalar("select hold_keys($1)").bind(url).fetch_one(&mut connection).await.unwrap();
        assert_eq!(keys.join(" "), expected, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_the_overview_and_the_metrics_know_of_holds() {
    let database = Database::migrated().await;
    let mut claimer = Claimer::new(&database).await;
    let store = claimer.store.clone();
    store.enqueue(&[new_job(1, 1), new_job(1, 2)]).await.unwrap();
    let running = claimer.claim(1).await;
    blame(&store, HoldKey::storage()).await.unwrap();
    claimer.settle(&running[0], waits_for(HoldKey::storage())).await;
    execute(&database, "update business set waiting_since = now() - interval '1 hour'").await;
    store.watch(&crate::queue_watch::rules()).await.unwrap();
    let overview = store.overview(0).await.unwrap();
    assert_eq!(overview.stalls[0].reason.to_string(), "storage_unavailable");
    assert_eq!((overview.holds[0].hold.kind, overview.holds[0].waiting), (HoldKind::Storage, 1));
    assert_eq!(store.fleet_status().await.unwrap().holds, overview.holds);
    assert_eq!(store.gauges().await.unwrap().holds, [(HoldKind::Storage, 1)]);
}
