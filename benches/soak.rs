//! Whether anything grows that must not: `SOAK_MINUTES` (30 unless set) at 80 % of the measured peak, sampled each second;
//! the last third of it has to be like the first. See `docs/load.md`.
//!
//! A process with the doors and one with the workers, PostgreSQL with fsync, files with fsync, recordings of 10 kB.
//! As a smoke test (`-- --test`) it runs at a fixed low rate, and only what is lost or leaks is judged.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a harness that cannot go on ends there")]

#[allow(dead_code, reason = "shared by the runs, each of which uses a part")]
mod load;
#[allow(dead_code, unused_imports, reason = "shared with the tests")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use load::{
    cluster::Cluster,
    figures::{median, most, thirds},
    member::{Member, Usage, setup},
    peak,
    probe::{Look, Probe},
    report::Report,
    senders::Senders,
};
use std::{
    process::ExitCode,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

const DATABASE: &str = "soak";
const BUSINESSES: u32 = 60;
/// Of the peak.
const SHARE: f64 = 0.8;
/// Jobs a second of the smoke test.
const SMOKE_RATE: f64 = 5.0;
const PEAK: Duration = Duration::from_secs(30);
/// Latencies are taken of the jobs of so many samples at a time, as long a time after them: all of them are done then.
const WINDOW: usize = 10;
/// Longest wait for what was accepted to be stored: it only ends a run that hangs.
const DRAIN: Duration = Duration::from_mins(10);

/// A second of the run.
struct Sample {
    door: Usage,
    worker: Usage,
    look: Look,
}

#[derive(Default)]
struct Run {
    samples: Vec<Sample>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Run {
    fn of(&self, value: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(value).collect()
    }

    /// Between one window and the next.
    fn wal_bytes_a_job(&self) -> Vec<f64> {
        let ends: Vec<&Look> = self.samples.iter().step_by(WINDOW).map(|sample| &sample.look).collect();
        let rate =
            |pair: &[&Look]| (pair[1].wal_bytes - pair[0].wal_bytes) / (pair[1].done - pair[0].done).max(1.0);
        ends.windows(2).map(rate).collect()
    }
}

/// Looks once a second, until `time` is over.
async fn watch(door: &Member, worker: &Member, probe: &mut Probe, time: Duration) -> Run {
    let (mut run, began) = (Run::default(), Instant::now());
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while began.elapsed() < time {
        pace.tick().await;
        let sample = Sample { door: door.usage(), worker: worker.usage(), look: probe.look().await };
        run.samples.push(sample);
        let count = run.samples.len();
        if count.is_multiple_of(WINDOW) && count > 2 * WINDOW {
            let edge = |back: usize| run.samples[count - 1 - back].look.last_job;
            if let Some((p50, p99)) = probe.latency(edge(2 * WINDOW), edge(WINDOW)).await {
                run.p50.push(p50);
                run.p99.push(p99);
                let Sample { door, worker, look } = &run.samples[count - 1];
                println!(
                    "{:>5} s  p50 {p50:>6.0} ms  p99 {p99:>6.0} ms  rss {:>5.0} + {:>5.0} MiB  files {:>3} + {:>3}  \
                     threads {:>3} + {:>3}  connections {:>3}  dead rows {:>6}  hot tables {:>5.1} MiB",
                    began.elapsed().as_secs(),
                    door.rss_mib,
                    worker.rss_mib,
                    door.files,
                    worker.files,
                    door.threads,
                    worker.threads,
                    look.connections,
                    look.dead_rows,
                    look.hot_mib,
                );
            }
        }
    }
    run
}

/// The medians of the first and of the last third, and how much more the last may be.
fn judge(report: &mut Report, what: &str, values: &[f64], factor: f64, more: f64) {
    let (first, last) = thirds(values);
    report.figure(&format!("{what}, first third"), median(first));
    report.figure(&format!("{what}, last third"), median(last));
    report.at_most(&format!("{what}: last third"), median(last), median(first) * factor + more);
}

fn judge_leaks(report: &mut Report, run: &Run) {
    type Of = fn(&Sample) -> Usage;
    let members: [(&str, Of); 2] = [("doors", |sample| sample.door), ("workers", |sample| sample.worker)];
    for (name, of) in members {
        judge(report, &format!("RSS of the {name}, MiB"), &run.of(|sample| of(sample).rss_mib), 1.1, 8.0);
        judge(report, &format!("open files of the {name}"), &run.of(|sample| of(sample).files), 1.25, 8.0);
        judge(report, &format!("threads of the {name}"), &run.of(|sample| of(sample).threads), 1.25, 4.0);
    }
    judge(report, "connections to the database", &run.of(|sample| sample.look.connections), 1.0, 4.0);
}

fn judge_speed(report: &mut Report, run: &Run) {
    judge(report, "enqueue to file, p50, ms", &run.p50, 1.5, 50.0);
    judge(report, "enqueue to file, p99, ms", &run.p99, 2.0, 250.0);
    judge(report, "WAL a job, bytes", &run.wal_bytes_a_job(), 1.5, 1024.0);
    judge(report, "size of the hot tables, MiB", &run.of(|sample| sample.look.hot_mib), 1.25, 16.0);
    let dead = run.of(|sample| sample.look.dead_rows);
    let (first, last) = thirds(&dead);
    report.at_most("dead rows of the hot tables: most, last third", most(last), most(first) * 1.5 + 10_000.0);
}

async fn soak() -> bool {
    let smoke = load::is_smoke();
    let minutes: f64 = load::variable("SOAK_MINUTES", if smoke { 1.0 } else { 30.0 });
    let cluster = Cluster::start(DATABASE).await;
    let database = cluster.database(DATABASE).await;
    let media = load::media::start();
    let door = Member::start(setup(&database, &media).var("CALLSPOOL_ROLES", "api,webhooks")).await;
    let workers = setup(&database, &media).var("CALLSPOOL_ROLES", "worker").var("RUN_MIGRATIONS", "0");
    let worker = Member::start(workers).await;
    let mut probe = Probe::of(&database).await;
    let (mut report, mut senders) = (Report::default(), Senders::new(&door.url, BUSINESSES));

    let rate = if smoke {
        SMOKE_RATE
    } else {
        let peak = peak::of_recordings(&senders, &worker, PEAK).await;
        report.figure("peak, stored recordings a second", peak);
        assert!(probe.is_drained(DRAIN).await, "what the peak left is not stored");
        load::variable("SOAK_RATE", peak * SHARE)
    };
    let mut numbers = std::mem::take(&mut *senders.tally.numbers.lock().unwrap());
    senders = senders.again();
    report.figure("rate of the run, jobs a second", rate);
    let time = Duration::from_secs_f64(minutes * 60.0);
    let ((), run) = tokio::join!(senders.open_loop(rate, time), watch(&door, &worker, &mut probe, time));
    let drained = probe.is_drained(DRAIN).await;

    let tally = &senders.tally;
    numbers.append(&mut tally.numbers.lock().unwrap());
    for (name, count) in [
        ("accepted", &tally.accepted),
        ("shed", &tally.shed),
        ("timeouts", &tally.timeouts),
        ("other", &tally.other),
        ("not sent in time by the harness", &tally.unsent),
    ] {
        report.figure(&format!("requests: {name}"), count.load(Relaxed));
    }
    judge_leaks(&mut report, &run);
    if !smoke {
        judge_speed(&mut report, &run);
    }
    report.holds("what was accepted is stored", drained);
    let lost = load::figures::float(probe.lost(&numbers).await);
    report.at_most("accepted recordings of which no job is known", lost, 0.0);
    let dead: i64 = probe.one("select count(*) from job_history where state <> 'done'").await;
    report.at_most("jobs that did not end well", load::figures::float(dead), 0.0);
    probe.close().await;
    report.holds("both processes drain and exit with 0", door.stop().await & worker.stop().await);
    cluster.stop(DATABASE).await;
    report.close("soak")
}

fn main() -> ExitCode {
    load::run(soak())
}
