//! `callspool demo`: the demo's provider in front of an ordinary process, whose worker is made to panic once.

use super::{Running, Signals, io_runtime, log_to, start};
use crate::{
    adapters::{embedded_postgres::EmbeddedPostgres, storage::folder},
    demo::{Caller, Credentials, Recording, Report, Scenario, SimulatedTwilio, Watch},
    domain::{
        faults::Faults,
        ids::{AccountSid, SidForm},
        ports::FleetView,
    },
    http::sign,
    settings::{Settings, Vars},
    telemetry::{Stdout, TelemetryGuard},
};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
    path::Path,
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// Everything of the demo lies here, below the working folder.
const DIR: &str = ".callspool/demo";
/// Between two looks for files.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Without a new file for this long the demo has failed.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy)]
pub struct DemoOptions {
    pub recordings: u32,
    pub businesses: u32,
    /// Stay up when everything is stored.
    pub keep: bool,
}

/// Runs the demo; anything but every recording stored and verified is an error.
pub fn demo(options: &DemoOptions) -> anyhow::Result<()> {
    let scenario = Scenario::open(Path::new(DIR), options.recordings, options.businesses)?;
    let recordings = scenario.recordings();
    let credentials = credentials(&scenario)?;
    let twilio = SimulatedTwilio::start(scenario.listener()?, &recordings, &credentials)
        .context("the simulated provider cannot be started")?;

    let io = io_runtime()?;
    let begun = Instant::now();
    let mut settings = settings(&twilio, &credentials)?;
    // Kept until the database is stopped too.
    let log = log_to(&settings.log, Stdout::Quiet)?;
    let signals = Signals::catch(&io)?;
    let embedded = io.block_on(EmbeddedPostgres::start(&settings.database.embedded_dir))?;
    let made = io.block_on(embedded.database("callspool_demo"));
    let shown = made.map_err(anyhow::Error::from).and_then(|url| {
        settings.database.url = Some(SecretString::from(url));
        let show =
            Show { options, scenario: &scenario, recordings: &recordings, twilio: &twilio, begun, log: &log };
        show.run(settings, credentials, signals, &io)
    });
    // Also when the show ended early: nobody else would stop it.
    io.block_on(embedded.stop());
    shown?;
    scenario.close()?;
    say(&format!("{} recordings stored and verified", recordings.len()))?;
    Ok(())
}

/// What is shown, while the database is up.
struct Show<'a> {
    options: &'a DemoOptions,
    scenario: &'a Scenario,
    recordings: &'a [Recording],
    twilio: &'a SimulatedTwilio,
    begun: Instant,
    log: &'a TelemetryGuard,
}

impl Show<'_> {
    fn run(
        &self,
        settings: Settings,
        credentials: Credentials,
        signals: Signals,
        io: &Handle,
    ) -> anyhow::Result<()> {
        let max_slots = u32::try_from(settings.queue.default_max_slots).unwrap_or(0);
        let files = folder(&settings.storage.url).context("the demo stores files")?;
        let (database_after, log_dir) = (self.begun.elapsed(), settings.log.dir.clone());

        let running = start(settings, io, self.log.lost_lines())?;
        signals.stop(io, &running);
        let target = format!("http://{}", running.address);
        let caller = io.block_on(async { Caller::new(target.clone(), credentials, sign) })?;
        match io.block_on(ready(&caller, &running)) {
            Ready::Yes => {}
            Ready::Ended => return interrupted(running),
            Ready::No(reasons) => {
                running.stop();
                running.join()?;
                bail!("callspool does not become ready: {reasons}; its log lies in {}", log_dir.display());
            }
        }
        say(&format!(
            "PostgreSQL is up after {} ms, callspool is ready at {target} after {} ms",
            database_after.as_millis(),
            self.begun.elapsed().as_millis()
        ))?;
        let again = if self.scenario.resumed { "going on with the interrupted demo: " } else { "" };
        let panic = if cfg!(feature = "faults") { "; one worker is made to panic on the way" } else { "" };
        say(&format!(
            "{again}{} recordings of {} businesses; business 1 is noisy and calls first{panic}",
            self.recordings.len(),
            self.scenario.business_count()
        ))?;

        let mut watch = Watch::new(files.clone(), self.recordings.to_vec());
        let reporting = io.spawn({
            let (twilio, recordings) = (self.twilio.clone(), self.recordings.to_vec());
            async move { caller.report_all(&twilio, &recordings).await }
        });
        let end = show_progress(&mut watch, self.recordings.len(), &running)?;
        let reported = match end {
            End::AllStored => io.block_on(reporting)?.map_err(anyhow::Error::msg)?,
            End::Interrupted | End::Stalled => {
                reporting.abort();
                HashMap::new()
            }
        };
        if end == End::AllStored {
            io.block_on(queue_is_empty(&running))?;
        }
        if end == End::Interrupted {
            return interrupted(running);
        }

        let report = Report::make(&files, self.recordings, self.twilio, &reported, max_slots);
        say(&format!("\n{}\n", report.table(max_slots)))?;
        say(&format!("The provider misbehaved: {}. The log has it all, for example:", report.moods()))?;
        let logs = log_dir.display();
        for marker in ["WORKER_PICKED", "WORKER_JOB_FAILED", "ACTOR_DOWN", "WORKER_RELEASE_SLOT"] {
            say(&format!("  grep -h {marker} {logs}/*"))?;
        }
        say(&format!("Files: {}", files.display()))?;
        if self.options.keep && end == End::AllStored {
            say(&format!("\nStaying up, with the dashboard at {target}/ (Ctrl-C ends it)"))?;
        } else {
            running.stop();
        }
        running.join()?;
        for fault in &report.faults {
            say(&format!("FAULT {fault}"))?;
        }
        if !report.faults.is_empty() {
            bail!("not every recording is stored and verified; the next demo goes on with this one");
        }
        Ok(())
    }
}

/// A signal came: what is begun is on disk and in the database.
fn interrupted(running: Running) -> anyhow::Result<()> {
    running.join()?;
    bail!("interrupted; the next demo goes on with this one")
}

enum Ready {
    Yes,
    /// A signal ended the process under show before.
    Ended,
    /// What it says against itself after all this time.
    No(String),
}

async fn ready(caller: &Caller, running: &Running) -> Ready {
    tokio::select! {
        () = caller.wait_until_ready() => Ready::Yes,
        () = running.ended() => Ready::Ended,
        () = tokio::time::sleep(PATIENCE) => Ready::No(caller.readiness().await),
    }
}

fn credentials(scenario: &Scenario) -> anyhow::Result<Credentials> {
    let account_sid = AccountSid::parse(&format!("AC{}", scenario.digits()), SidForm::Strict)?;
    // As long and as random as a real one; it lives as long as this process.
    let auth_token = SecretString::from(format!("{:032x}", rand::random::<u128>()));
    Ok(Credentials { account_sid, auth_token })
}

/// An ordinary configuration, with waits that suit a short show.
fn settings(twilio: &SimulatedTwilio, credentials: &Credentials) -> anyhow::Result<Settings> {
    let log_dir = format!("{DIR}/logs");
    let storage = format!("file:{DIR}/recordings");
    let vars: Vars = [
        ("RUN_MIGRATIONS", "1"),
        ("CALLSPOOL_HTTP_BIND", "127.0.0.1:0"),
        ("CALLSPOOL_STORAGE_URL", &storage),
        // The report looks for files by their call alone.
        ("CALLSPOOL__STORAGE__LAYOUT", "{business_id}/{call_sid}.{ext}"),
        ("CALLSPOOL_LOG_DIR", &log_dir),
        ("TWILIO_API_BASE", twilio.base()),
        ("TWILIO_ACCOUNT_SID", credentials.account_sid.as_str()),
        ("TWILIO_AUTH_TOKEN", credentials.auth_token.expose_secret()),
        ("CALLSPOOL__RETRY__BASE", "300ms"),
        ("CALLSPOOL__RETRY__NOT_READY_BASE", "300ms"),
        // What a killed demo held comes back soon.
        ("CALLSPOOL__QUEUE__BEAT_INTERVAL", "500ms"),
        ("CALLSPOOL__QUEUE__BEAT_TTL", "2s"),
    ]
    .into_iter()
    .collect();
    let (mut settings, _) = Settings::load(Some("development"), None, &vars)?;
    settings.faults = panic_once();
    Ok(settings)
}

/// One worker panics in the middle of the show.
#[cfg(feature = "faults")]
fn panic_once() -> Faults {
    use crate::domain::faults::{FaultKind, FaultRule};
    Faults::new(vec![FaultRule {
        actor: "recording_worker".into(),
        place: "io".into(),
        kind: FaultKind::Panic,
        after: 40,
        times: 1,
    }])
}

#[cfg(not(feature = "faults"))]
fn panic_once() -> Faults {
    Faults::default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    AllStored,
    /// A signal ended the process under show.
    Interrupted,
    /// No file came for too long.
    Stalled,
}

/// Shows how many files are there, until all are: a bar on a terminal, else a line for each tenth.
fn show_progress(watch: &mut Watch, total: usize, running: &Running) -> anyhow::Result<End> {
    let terminal = io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new(total as u64) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} stored  {elapsed}")?);
    let (mut stored, mut tenths, mut last_news) = (0, 0, Instant::now());
    loop {
        let now = watch.look();
        if now > stored {
            (stored, last_news) = (now, Instant::now());
            bar.set_position(stored as u64);
        }
        if !terminal && stored * 10 / total > tenths {
            tenths = stored * 10 / total;
            say(&format!("{stored} of {total} stored"))?;
        }
        let end = if stored == total {
            End::AllStored
        } else if !running.is_running() {
            End::Interrupted
        } else if last_news.elapsed() > PATIENCE {
            End::Stalled
        } else {
            thread::sleep(LOOK_EVERY);
            continue;
        };
        bar.finish();
        return Ok(end);
    }
}

/// The last files are there; their jobs are settled a moment later.
async fn queue_is_empty(running: &Running) -> anyhow::Result<()> {
    let empty = async {
        loop {
            let backlog = running.store.fleet_status().await?.backlog;
            if backlog.ready + backlog.scheduled + backlog.running == 0 {
                return anyhow::Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, empty).await.context("every file is stored, but the queue is not empty")?
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
