//! Which recordings a demo moves. Everything follows from a seed that is written down before the first webhook: after a
//! `kill -9` the next demo knows what the provider has, goes on, and can check that nothing was lost.

use super::media::{mp3, seconds, wav};
use crate::domain::ids::{BusinessId, CallSid, RecordingSid, SidForm};
use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

/// The share of the noisy business, whose calls all come first, in percent.
const NOISY_PERCENT: u32 = 40;

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    // No `source`: what prints the chain of causes would say it twice.
    #[error("the demo's folder {folder}: {cause}")]
    Folder { folder: String, cause: io::Error },
    #[error("{file} is not what a demo wrote; remove it to begin anew")]
    Unreadable { file: String },
    #[error(
        "another demo runs here, or something else has port {port} of the interrupted one: wait for its end. To begin anew \
         instead, remove {file}"
    )]
    PortTaken { port: u16, file: String },
}

/// What is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    seed: u64,
    /// Of the simulated provider: the jobs in the database name it.
    port: u16,
    recordings: u32,
    businesses: u32,
}

/// A plan, the socket that the provider will listen on, and where the plan is written.
#[derive(Debug)]
pub struct Scenario {
    plan: Plan,
    file: PathBuf,
    listener: TcpListener,
    /// An interrupted demo goes on.
    pub resumed: bool,
}

/// One recording as the provider has it.
#[derive(Debug, Clone)]
pub struct Recording {
    pub business_id: BusinessId,
    pub call_sid: CallSid,
    pub recording_sid: RecordingSid,
    pub temper: Temper,
    seed: u64,
}

/// What the provider does at first when this recording is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Calm,
    /// 404 for a while.
    NotReady,
    /// 429 with `Retry-After`, once.
    RateLimited,
    /// 500, once.
    Failing,
    /// The connection ends in the middle, once.
    Truncating,
    /// A page where audio should be, with status 200, once.
    Paging,
    /// WAV with this many channels, always, and called MPEG.
    Mislabelling {
        channels: u16,
    },
}

impl Recording {
    pub fn media(&self) -> Bytes {
        match self.temper {
            Temper::Mislabelling { channels } => wav(self.seed, channels),
            _ => mp3(self.seed),
        }
    }

    /// Of a file that is called what it is.
    pub fn extension(&self) -> &'static str {
        match self.temper {
            Temper::Mislabelling { .. } => "wav",
            _ => "mp3",
        }
    }

    pub fn channels(&self) -> u16 {
        match self.temper {
            Temper::Mislabelling { channels } => channels,
            _ => 1,
        }
    }

    /// As the provider says it.
    pub fn seconds(&self) -> u32 {
        seconds(self.seed)
    }
}

impl Scenario {
    /// The plan of the interrupted demo under `dir`, or a new one, written down.
    pub fn open(dir: &Path, recordings: u32, businesses: u32) -> Result<Self, ScenarioError> {
        let folder = |cause| ScenarioError::Folder { folder: dir.display().to_string(), cause };
        fs::create_dir_all(dir).map_err(folder)?;
        let file = dir.join("unfinished.json");
        if let Ok(text) = fs::read_to_string(&file) {
            let name = file.display().to_string();
            let plan: Plan =
                serde_json::from_str(&text).map_err(|_| ScenarioError::Unreadable { file: name.clone() })?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, plan.port))
                .map_err(|_| ScenarioError::PortTaken { port: plan.port, file: name })?;
            return Ok(Self { plan, file, listener, resumed: true });
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(folder)?;
        let port = listener.local_addr().map_err(folder)?.port();
        let plan = Plan { seed: rand::random(), port, recordings, businesses };
        let text = serde_json::to_string(&plan).unwrap_or_else(|_| unreachable!("four numbers are JSON"));
        let aside = file.with_extension("new");
        fs::write(&aside, text).and_then(|()| fs::rename(&aside, &file)).map_err(folder)?;
        Ok(Self { plan, file, listener, resumed: false })
    }

    /// Everything is stored and was checked: the next demo is a new one.
    pub fn close(self) -> io::Result<()> {
        fs::remove_file(self.file)
    }

    pub fn listener(&self) -> io::Result<TcpListener> {
        self.listener.try_clone()
    }

    /// 32 hexadecimal digits of this scenario's, as a SID has them.
    pub fn digits(&self) -> String {
        hex(&mut SmallRng::seed_from_u64(self.plan.seed))
    }

    pub fn business_count(&self) -> u32 {
        self.plan.businesses
    }

    /// The noisy business's first.
    pub fn recordings(&self) -> Vec<Recording> {
        let Plan { seed, recordings, businesses, .. } = self.plan;
        let noisy = if businesses > 1 { recordings * NOISY_PERCENT / 100 } else { recordings };
        let mut random = SmallRng::seed_from_u64(seed.wrapping_add(1));
        let recording = |number: u32| {
            let business = if number < noisy { 1 } else { 2 + number % (businesses - 1) };
            Recording {
                business_id: BusinessId::try_from(i64::from(business))
                    .unwrap_or_else(|_| unreachable!("businesses count from 1")),
                call_sid: CallSid::parse(&format!("CA{}", hex(&mut random)), SidForm::Strict)
                    .unwrap_or_else(|_| unreachable!("32 hexadecimal digits")),
                recording_sid: RecordingSid::parse(&format!("RE{}", hex(&mut random)), SidForm::Strict)
                    .unwrap_or_else(|_| unreachable!("32 hexadecimal digits")),
                temper: temper(random.random_range(0..20)),
                seed: random.random(),
            }
        };
        (0..recordings).map(recording).collect()
    }
}

fn temper(twentieth: u8) -> Temper {
    match twentieth {
        0 | 1 => Temper::NotReady,
        2 => Temper::RateLimited,
        3 => Temper::Failing,
        4 => Temper::Truncating,
        5 => Temper::Paging,
        6 => Temper::Mislabelling { channels: 1 },
        7 => Temper::Mislabelling { channels: 2 },
        _ => Temper::Calm,
    }
}

fn hex(random: &mut SmallRng) -> String {
    format!("{:032x}", random.random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_interrupted_demo_goes_on_with_the_same_recordings() {
        let dir = tempfile::tempdir().unwrap();
        let first = Scenario::open(dir.path(), 50, 4).unwrap();
        let before: Vec<_> = first.recordings().iter().map(|r| (r.call_sid.clone(), r.media())).collect();
        drop(first);
        let second = Scenario::open(dir.path(), 7, 1).unwrap();
        assert!(second.resumed);
        let after: Vec<_> = second.recordings().iter().map(|r| (r.call_sid.clone(), r.media())).collect();
        assert!(before == after);
        second.close().unwrap();
        assert!(!Scenario::open(dir.path(), 7, 1).unwrap().resumed);
    }

    #[test]
    fn one_business_is_noisy_and_every_other_has_calls() {
        let dir = tempfile::tempdir().unwrap();
        let recordings = Scenario::open(dir.path(), 200, 8).unwrap().recordings();
        let of = |id: i64| recordings.iter().filter(|r| r.business_id.get() == id).count();
        assert_eq!(of(1), 80);
        assert!((2..=8).all(|id| of(id) >= 17));
        assert_eq!(recordings.iter().map(|r| &r.call_sid).collect::<HashSet<_>>().len(), 200);
        for temper in [Temper::Truncating, Temper::Paging, Temper::Mislabelling { channels: 2 }] {
            assert!(recordings.iter().any(|r| r.temper == temper), "{temper:?}");
        }
    }

    #[test]
    fn a_taken_port_is_said_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let first = Scenario::open(dir.path(), 5, 1).unwrap();
        let second = Scenario::open(dir.path(), 5, 1).map(|_| ()).unwrap_err();
        assert!(matches!(second, ScenarioError::PortTaken { .. }), "{second}");
        drop(first);
    }
}
