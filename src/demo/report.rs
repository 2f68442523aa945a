//! What came of it: files are looked for in the storage and compared byte by byte with what the provider has. Nothing
//! that the process under show says of itself is used.

use super::{
    scenario::Recording,
    twilio::{Observed, SimulatedTwilio},
};
use crate::domain::ids::BusinessId;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Looks for the files that are not there yet.
#[derive(Debug)]
pub struct Watch {
    folder: PathBuf,
    missing: Vec<Recording>,
    total: usize,
}

impl Watch {
    pub fn new(folder: PathBuf, recordings: Vec<Recording>) -> Self {
        Self { folder, total: recordings.len(), missing: recordings }
    }

    /// Looks again; how many are there now.
    pub fn look(&mut self) -> usize {
        let folder = &self.folder;
        self.missing.retain(|recording| !file(folder, recording).exists());
        self.total - self.missing.len()
    }
}

fn file(folder: &Path, recording: &Recording) -> PathBuf {
    folder.join(recording.business_id.to_string()).join(format!("{}.{}", recording.call_sid, recording.extension()))
}

/// The closing table, and whether it is a success.
#[derive(Debug)]
pub struct Report {
    rows: BTreeMap<BusinessId, Row>,
    observed: Observed,
    /// What is wrong, a line each.
    pub faults: Vec<String>,
}

#[derive(Debug, Default)]
struct Row {
    recordings: u32,
    stored: u32,
    retried: u32,
    /// From webhook to file, of those that were stored after their webhook.
    times: Vec<Duration>,
}

impl Report {
    /// Reads every file. `reported`: when each call's webhook was sent.
    pub fn make(
        folder: &Path,
        recordings: &[Recording],
        twilio: &SimulatedTwilio,
        reported: &HashMap<String, SystemTime>,
        max_slots: u32,
    ) -> Self {
        let observed = twilio.observed();
        let mut report = Self { rows: BTreeMap::new(), observed, faults: Vec::new() };
        for recording in recordings {
            let row = report.rows.entry(recording.business_id).or_default();
            row.recordings += 1;
            if report.observed.requests.get(recording.recording_sid.as_str()).is_some_and(|n| *n > 1) {
                row.retried += 1;
            }
            match verified(folder, recording) {
                Ok(stored_at) => {
                    row.stored += 1;
                    let sent = reported.get(recording.call_sid.as_str());
                    row.times.extend(sent.and_then(|sent| stored_at.duration_since(*sent).ok()));
                }
                Err(fault) => report.faults.push(fault),
            }
        }
        for (business_id, peak) in report.observed.peak.iter().filter(|(_, peak)| **peak > max_slots) {
            report
                .faults
                .push(format!("business {business_id} had {peak} downloads at once, its slots are {max_slots}"));
        }
        report
    }

    pub fn table(&self, max_slots: u32) -> String {
        let header = ["BUSINESS", "RECORDINGS", "STORED", "RETRIED", "PEAK SLOTS", "P50", "P95"];
        let mut lines = vec![line(header.map(ToOwned::to_owned))];
        for (business_id, row) in &self.rows {
            let noisy = if business_id.get() == 1 && self.rows.len() > 1 { " (noisy)" } else { "" };
            let peak = self.observed.peak.get(business_id).copied().unwrap_or(0);
            let mut times = row.times.clone();
            times.sort();
            lines.push(line([
                format!("{business_id}{noisy}"),
                row.recordings.to_string(),
                row.stored.to_string(),
                row.retried.to_string(),
                format!("{peak} of {max_slots}"),
                percentile(&times, 50),
                percentile(&times, 95),
            ]));
        }
        lines.join("\n")
    }

    /// What the provider did wrong, as it counted.
    pub fn moods(&self) -> String {
        let counts: Vec<String> = self.observed.moods.iter().map(|(mood, n)| format!("{n} × {mood}")).collect();
        if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
    }
}

/// One of the closing table, whose columns are as wide as the demo's largest numbers.
fn line([business, recordings, stored, retried, peak, p50, p95]: [String; 7]) -> String {
    format!("{business:<12}{recordings:>10}{stored:>8}{retried:>9}{peak:>12}{p50:>10}{p95:>10}")
}

/// When the file got its final name.
fn verified(folder: &Path, recording: &Recording) -> Result<SystemTime, String> {
    let path = file(folder, recording);
    let call = &recording.call_sid;
    let stored = fs::read(&path).map_err(|error| format!("{call}: no file ({})", error.kind()))?;
    if stored != recording.media() {
        return Err(format!("{call}: the file is not what the provider has"));
    }
    // The rename is the last change of the inode.
    let metadata = fs::metadata(&path).map_err(|error| format!("{call}: {}", error.kind()))?;
    let changed = Duration::new(
        u64::try_from(metadata.ctime()).unwrap_or(0),
        u32::try_from(metadata.ctime_nsec()).unwrap_or(0),
    );
    Ok(SystemTime::UNIX_EPOCH + changed)
}

/// The nearest-rank percentile of sorted times.
fn percentile(sorted: &[Duration], percent: usize) -> String {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).map_or_else(|| "-".to_owned(), |time| format!("{} ms", time.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Scenario;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<_> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), "10 ms");
        assert_eq!(percentile(&times, 95), "19 ms");
        assert_eq!(percentile(&[], 95), "-");
    }

    #[test]
    fn a_file_that_is_missing_or_changed_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let recording = Scenario::open(dir.path(), 1, 1).unwrap().recordings().remove(0);
        assert!(verified(dir.path(), &recording).unwrap_err().contains("no file"));
        let path = file(dir.path(), &recording);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, recording.media()).unwrap();
        assert!(verified(dir.path(), &recording).is_ok());
        fs::write(&path, recording.media().slice(1..)).unwrap();
        assert!(verified(dir.path(), &recording).unwrap_err().contains("not what the provider has"));
    }
}
