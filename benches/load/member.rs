//! A process of the fleet, started as anybody starts it, and what the system says of it.

use crate::support::process::{AUTH_TOKEN, Setup};
use std::{
    collections::HashMap,
    fs,
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::Child;

/// Longest wait for a start; on a large database it migrates.
const START: Duration = Duration::from_mins(10);

pub struct Member {
    child: Child,
    pub url: String,
    pub http: reqwest::Client,
    /// From exec to `/readyz` 200.
    pub start: Duration,
    /// Its folder lives as long as it does.
    _setup: Setup,
}

/// What a process holds of the system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub rss_mib: f64,
    pub threads: f64,
    pub files: f64,
}

/// As in production, but for what has to fit to a run of minutes.
pub fn setup(database: &crate::support::Database, media: &str) -> Setup {
    Setup::new(database)
        .var("TWILIO_API_BASE", media)
        .var("TWILIO_ACCOUNT_SID", crate::support::process::ACCOUNT_SID)
        .var("TWILIO_AUTH_TOKEN", AUTH_TOKEN)
        .var("CALLSPOOL__STORAGE__FSYNC", "true")
        .var("CALLSPOOL__QUEUE__BEAT_INTERVAL", "2s")
        .var("CALLSPOOL__QUEUE__BEAT_TTL", "10s")
        .var("CALLSPOOL__QUEUE__REAP_INTERVAL", "1s")
        .var("CALLSPOOL__HTTP__RATE_LIMIT", "0")
}

impl Member {
    pub async fn start(setup: Setup) -> Self {
        // A port that is free now: nobody reads the log that would say which one it took.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("loopback has ports");
        let setup = setup.var("CALLSPOOL_HTTP_BIND", &address.to_string());
        let began = Instant::now();
        let mut command = setup.command(&["run"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary");
        let http = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().expect("a client");
        let mut member =
            Self { child, url: format!("http://{address}"), http, start: Duration::ZERO, _setup: setup };
        while !member.is_ready().await {
            assert!(began.elapsed() < START, "it does not become ready");
            assert!(member.child.try_wait().expect("its state").is_none(), "it ended at its start");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        member.start = began.elapsed();
        member
    }

    async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Its `/metrics`, by the name with its labels.
    pub async fn metrics(&self) -> HashMap<String, f64> {
        let Ok(answer) = self.http.get(format!("{}/metrics", self.url)).send().await else { return HashMap::new() };
        let text = answer.text().await.unwrap_or_default();
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
    }

    /// Recordings that it stored since its start.
    pub async fn stored(&self) -> f64 {
        self.metrics().await.get(r#"callspool_jobs_finished_total{outcome="done"}"#).copied().unwrap_or(0.0)
    }

    /// Linux, proc(5).
    pub fn usage(&self) -> Usage {
        let pid = self.child.id().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok())
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Usage {
            rss_mib: field("VmRSS").unwrap_or(0.0) / 1024.0,
            threads: field("Threads").unwrap_or(0.0),
            files: super::figures::float(i64::try_from(files).unwrap_or(0)),
        }
    }

    /// Asks it to end, and waits.
    pub async fn stop(mut self) -> bool {
        let pid = nix::unistd::Pid::from_raw(self.child.id().expect("it runs").cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        self.child.wait().await.is_ok_and(|status| status.success())
    }
}
