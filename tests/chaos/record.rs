//! What was survived so far: `docs/attacks.json`, and the table of it in `docs/promises.md`.

use std::{collections::BTreeMap, fmt::Write, fs, io, path::Path};

pub const BEGIN: &str = "<!-- attacks:begin -->\n";
pub const END: &str = "<!-- attacks:end -->";

/// Each attack in words.
pub const WORDS: [(&str, &str); 16] = [
    ("kill", "a process is killed (`kill -9`) and started again"),
    ("freeze", "a process is stopped for longer than `queue.beat_ttl`, and woken"),
    ("drain", "a process is told to end, and started again"),
    ("panic", "actors of a process panic, at up to four places"),
    ("skew", "a process's clock is hours or seconds ahead or behind"),
    ("cut", "a process loses its connections to the database, and gets no new ones"),
    ("silence", "a process's connections to the database pass nothing any more, and stay open"),
    ("delay", "the database answers a process 200 ms later"),
    ("lose-notifications", "a process's NOTIFYs are lost"),
    ("restart-fast", "PostgreSQL is restarted, mode fast"),
    ("restart-immediate", "PostgreSQL is restarted, mode immediate: as after a crash"),
    (
        "failover",
        "PostgreSQL's primary is killed, and its synchronous standby promoted; the killed one comes back as a standby",
    ),
    ("terminate", "every session of the fleet is ended"),
    ("held-transaction", "a transaction is held open"),
    ("exhaust", "other sessions take every connection that PostgreSQL has"),
    ("disk-full", "the recordings' disk is full"),
];

/// Of one kind of attack, over all runs that were recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    pub tried: u64,
    pub survived: u64,
    pub worst_recovery_ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub runs: u64,
    pub seconds: u64,
    /// From `kill -9` until no lease is the dead process's.
    pub worst_rescue_ms: u64,
    pub attacks: BTreeMap<String, Tally>,
}

impl Record {
    pub fn read(file: &Path) -> io::Result<Self> {
        match fs::read_to_string(file) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    pub fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, serde_json::to_string_pretty(self)? + "\n")
    }

    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.seconds += other.seconds;
        self.worst_rescue_ms = self.worst_rescue_ms.max(other.worst_rescue_ms);
        for (attack, tally) in &other.attacks {
            let sum = self.attacks.entry(attack.clone()).or_default();
            sum.tried += tally.tried;
            sum.survived += tally.survived;
            sum.worst_recovery_ms = sum.worst_recovery_ms.max(tally.worst_recovery_ms);
        }
    }

    /// As Markdown.
    pub fn table(&self) -> String {
        let (tried, survived) = self.attacks.values().fold((0, 0), |sum, t| (sum.0 + t.tried, sum.1 + t.survived));
        let mut table = format!(
            "{} runs, {} minutes: {tried} attacks, {survived} survived. The jobs of a killed process were taken back after \
             {} ms at most.\n\n| attack | what is done | tried | survived | well again after at most |\n|---|---|--:|--:|--:|\n",
            self.runs,
            self.seconds / 60,
            self.worst_rescue_ms
        );
        for (attack, tally) in &self.attacks {
            let words = WORDS.iter().find(|(name, _)| name == attack).map_or("", |(_, words)| words);
            let Tally { tried, survived, worst_recovery_ms } = tally;
            _ = writeln!(table, "| {attack} | {words} | {tried} | {survived} | {worst_recovery_ms} ms |");
        }
        table
    }
}

/// What stands between the marks of the page. None: it has no marks.
pub fn shown(page: &str) -> Option<&str> {
    Some(page.split_once(BEGIN)?.1.split_once(END)?.0)
}

/// Puts the table between the marks of the page.
pub fn show(page: &Path, record: &Record) -> io::Result<()> {
    let text = fs::read_to_string(page)?;
    let no_marks = || io::Error::other(format!("{} has no marks for the attacks", page.display()));
    let (before, rest) = text.split_once(BEGIN).ok_or_else(no_marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(no_marks)?;
    fs::write(page, format!("{before}{BEGIN}{}{END}{after}", record.table()))
}
