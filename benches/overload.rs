//! Three times what the door accepts at its peak, for `OVERLOAD_SECONDS` (60 unless set): what one process with every role
//! does then, and how soon it is as before. See `docs/load.md`.
//!
//! As a smoke test (`-- --test`) it is short, and judged by what was lost and by the memory.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a harness that cannot go on ends there")]

#[allow(dead_code, reason = "shared by the runs, each of which uses a part")]
mod load;
#[allow(dead_code, unused_imports, reason = "shared with the tests")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use load::{
    cluster::Cluster,
    figures::{float, median, most, quantile},
    member::{Member, setup},
    peak,
    probe::Probe,
    report::Report,
    senders::{Senders, Tally},
};
use std::{
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

const DATABASE: &str = "overload";
const BUSINESSES: u32 = 60;
const TIMES: f64 = 3.0;
/// Resident memory that the overload may add, MiB: `http.max_in_flight` requests, connections with their buffers, and
/// what the allocator keeps.
const MORE_MIB: f64 = 128.0;
/// Of the recordings a second before; the harness has its share of the same processors.
const KEPT: f64 = 0.5;
/// After the last request of the overload.
const RECOVERY: Duration = Duration::from_secs(10);
/// Businesses of single jobs that ask how long a newcomer waits.
static NEWCOMER: AtomicU32 = AtomicU32::new(1_000_000);

/// Milliseconds until the door answers a job of a business that had none, and until that job's file is settled.
async fn newcomer(door: &Member, probe: &mut Probe) -> Option<(f64, f64)> {
    let number = NEWCOMER.fetch_add(1, Relaxed);
    let body = format!(
        r#"{{"business_id":{number},"call_sid":"CAN{number}","recording_url":"/2010-04-01/Accounts/AC1/Recordings/RE{number}"}}"#
    );
    let began = Instant::now();
    loop {
        let request = door.http.post(format!("{}/v1/jobs", door.url)).header("Content-Type", "application/json");
        match request.body(body.clone()).send().await {
            Ok(answer) if answer.status() == 202 => break,
            // As `Retry-After` says.
            _ if began.elapsed() < Duration::from_secs(60) => tokio::time::sleep(Duration::from_secs(1)).await,
            _ => return None,
        }
    }
    let accepted = began.elapsed();
    let done = format!("select exists (select from job_history where call_sid = 'CAN{number}')");
    while !probe.one::<bool>(&done).await {
        if began.elapsed() > Duration::from_secs(120) {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Some((accepted.as_secs_f64() * 1000.0, began.elapsed().as_secs_f64() * 1000.0))
}

#[derive(Default)]
struct Watched {
    rss_mib: Vec<f64>,
    health_ms: Vec<f64>,
    accepted_ms: Vec<f64>,
    stored_ms: Vec<f64>,
    unanswered: u32,
    stored_a_second: f64,
}

/// Newcomers, health and memory, until `time` is over.
async fn watch(member: &Member, probe: &mut Probe, time: Duration) -> Watched {
    let (mut watched, began, stored) = (Watched::default(), Instant::now(), member.stored().await);
    while began.elapsed() < time {
        watched.rss_mib.push(member.usage().rss_mib);
        let asked = Instant::now();
        let answer = member.http.get(format!("{}/healthz", member.url)).send().await;
        watched.unanswered += u32::from(!answer.is_ok_and(|answer| answer.status().is_success()));
        watched.health_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
        if let Some((accepted, stored)) = newcomer(member, probe).await {
            watched.accepted_ms.push(accepted);
            watched.stored_ms.push(stored);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    watched.stored_a_second = (member.stored().await - stored) / began.elapsed().as_secs_f64();
    watched
}

fn tell(report: &mut Report, when: &str, watched: &Watched) {
    report.figure(&format!("{when}: resident memory, most, MiB"), most(&watched.rss_mib));
    report.figure(&format!("{when}: /healthz, p99, ms"), quantile(&watched.health_ms, 0.99));
    report.figure(&format!("{when}: a newcomer's job is accepted, p50, ms"), median(&watched.accepted_ms));
    report.figure(&format!("{when}: a newcomer's job is stored, p50, ms"), median(&watched.stored_ms));
    report.figure(&format!("{when}: stored recordings a second"), watched.stored_a_second);
}

/// Seconds until three newcomers in a row are served as before; `None`: not within a minute.
async fn recovery(member: &Member, probe: &mut Probe, normal_ms: f64) -> Option<f64> {
    let (began, mut in_a_row) = (Instant::now(), 0);
    let mut since = began;
    while began.elapsed() < Duration::from_mins(1) {
        let asked = Instant::now();
        let is_normal = newcomer(member, probe).await.is_some_and(|(_, stored)| stored <= normal_ms);
        in_a_row = if is_normal { in_a_row + 1 } else { 0 };
        if in_a_row == 1 {
            since = asked;
        }
        if in_a_row == 3 {
            return Some((since - began).as_secs_f64());
        }
    }
    None
}

fn tell_requests(report: &mut Report, tally: &Tally, time: Duration) {
    let count = |counter: &AtomicU32| counter.load(Relaxed);
    let sent = [&tally.accepted, &tally.shed, &tally.timeouts, &tally.other].map(count).iter().sum::<u32>();
    report.figure("offered, requests a second", f64::from(sent) / time.as_secs_f64());
    report.figure("accepted, requests a second", f64::from(count(&tally.accepted)) / time.as_secs_f64());
    report.figure("accepted: wait, p99, ms", quantile(&tally.waits.lock().unwrap(), 0.99));
    for (name, counter) in [
        ("shed with Retry-After", &tally.shed),
        ("without an answer in 30 s", &tally.timeouts),
        ("other answers and broken connections", &tally.other),
        ("not sent by the harness", &tally.unsent),
    ] {
        report.figure(&format!("requests: {name}"), count(counter));
    }
    report.at_most("shed without Retry-After", f64::from(count(&tally.shed_silently)), 0.0);
}

async fn overload() -> bool {
    let smoke = load::is_smoke();
    let time = Duration::from_secs(load::variable("OVERLOAD_SECONDS", if smoke { 10 } else { 60 }));
    let calm = if smoke { Duration::from_secs(3) } else { Duration::from_secs(20) };
    let cluster = Cluster::start(DATABASE).await;
    let database = cluster.database(DATABASE).await;
    let member = Member::start(setup(&database, &load::media::start())).await;
    let mut probe = Probe::of(&database).await;
    let (mut report, senders) = (Report::default(), Senders::new(&member.url, BUSINESSES));

    let recordings = peak::of_recordings(&senders, &member, calm).await;
    report.figure("peak, stored recordings a second", recordings);
    assert!(probe.is_drained(Duration::from_mins(10)).await, "what the peak left is not stored");
    let half = senders.again();
    let ((), before) = tokio::join!(half.open_loop(recordings / 2.0, calm), watch(&member, &mut probe, calm));
    tell(&mut report, "before", &before);
    let requests = peak::of_requests(&senders, calm / 2).await;
    report.figure("peak of the door, accepted requests a second", requests);

    let pushing = senders.again();
    let ((), during) = tokio::join!(pushing.open_loop(TIMES * requests, time), watch(&member, &mut probe, time));
    let normal_ms = 2.0 * quantile(&before.stored_ms, 0.99) + 250.0;
    let recovered = recovery(&member, &mut probe, normal_ms).await;
    tell(&mut report, "during", &during);
    tell_requests(&mut report, &pushing.tally, time);
    report.figure("after: seconds until a newcomer is served as before", recovered.unwrap_or(f64::INFINITY));
    let backlog: i64 = probe.one("select count(*) from job").await;
    report.figure("after: jobs that still wait their turn", backlog);

    report.at_most("memory that the overload added, MiB", most(&during.rss_mib) - most(&before.rss_mib), MORE_MIB);
    report.at_most("/healthz without an answer", f64::from(during.unanswered), 0.0);
    let numbers = std::mem::take(&mut *pushing.tally.numbers.lock().unwrap());
    report.at_most("accepted jobs that are lost", float(probe.lost(&numbers).await), 0.0);
    if !smoke {
        report.at_most(
            "share of the peak that is not stored meanwhile, %",
            100.0 * (1.0 - during.stored_a_second / recordings),
            100.0 * (1.0 - KEPT),
        );
        report.at_most(
            "seconds until a newcomer is served as before",
            recovered.unwrap_or(f64::MAX),
            RECOVERY.as_secs_f64(),
        );
    }
    probe.close().await;
    report.holds("the process drains and exits with 0", member.stop().await);
    cluster.stop(DATABASE).await;
    report.close("overload")
}

fn main() -> ExitCode {
    load::run(overload())
}
