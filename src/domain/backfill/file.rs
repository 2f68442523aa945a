//! A backfill's file: its name, its header, its statement.

use super::{
    Backfill, BackfillKind, BackfillName,
    pace::MAX_PAUSE,
    statement::{only_statement, without_skip_locked},
};
use crate::domain::{
    duration::{parse, pg_timeout, words},
    migration_header::header_lines,
    sql_name::{is_name, is_table},
    text::clean,
};
use sha2::{Digest, Sha256};
use std::{fmt, fmt::Write, time::Duration};

/// The header's mark, and the first word behind it.
const MARK: &str = "callspool:";
const WORD: &str = "backfill";
const MAX_BATCH: u32 = 1_000_000;
const FIELDS: &str = "table, key, batch, pause, statement_timeout, lock_timeout";

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillFile {
    /// Without its folder, such as `001_phones.sql`.
    pub name: String,
    pub content: Vec<u8>,
}

/// A file that cannot be run, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", file, Line(*line))]
pub struct BackfillFault {
    pub file: String,
    /// Of the backfill, where the file's name is one.
    pub name: Option<BackfillName>,
    /// Of the whole content.
    pub checksum: String,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    pub message: String,
}

struct Line(usize);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " line {}", self.0) }
    }
}

/// All files of the folder, in the order in which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackfillPlan {
    pub backfills: Vec<Backfill>,
    pub faults: Vec<BackfillFault>,
    /// How many of `backfills` stand before the first fault: what comes later may depend on it, and does not run.
    pub runnable: usize,
}

impl BackfillPlan {
    pub fn new(mut files: Vec<BackfillFile>) -> Self {
        files.sort_by(|a, b| stem(&a.name).cmp(stem(&b.name)));
        let mut plan = Self::default();
        for file in &files {
            match Backfill::parse(file) {
                Ok(backfill) => plan.backfills.push(backfill),
                Err(fault) => plan.faults.push(fault),
            }
            if plan.faults.is_empty() {
                plan.runnable = plan.backfills.len();
            }
        }
        plan
    }
}

impl Backfill {
    pub fn parse(file: &BackfillFile) -> Result<Self, BackfillFault> {
        let name = BackfillName::parse(stem(&file.name));
        let fault = |(line, message)| BackfillFault {
            file: short(&file.name),
            name: name.clone(),
            checksum: checksum(&[&file.content]),
            line,
            message,
        };
        let Some(name) = name.clone() else {
            let allowed = "a name has 1 to 63 of a-z, 0-9, _ and -, and ends in .sql";
            return Err(fault((0, allowed.to_owned())));
        };
        let text = str::from_utf8(&file.content).map_err(|_| fault((0, "the file is not UTF-8".to_owned())))?;
        let text = text.trim_start_matches('\u{FEFF}');
        let header = Header::parse(text).map_err(fault)?;
        let statement = only_statement(text, &header.kind).map_err(fault)?.to_owned();
        let (table, key) = match &header.kind {
            BackfillKind::KeyRange { table, key } => (table.as_str(), key.as_str()),
            BackfillKind::UntilEmpty => ("", ""),
        };
        Ok(Self {
            name,
            checksum: checksum(&[table.as_bytes(), key.as_bytes(), statement.as_bytes()]),
            last_look: without_skip_locked(&statement),
            statement,
            kind: header.kind,
            batch: header.batch,
            pause: header.pause,
            statement_timeout: header.statement_timeout,
            lock_timeout: header.lock_timeout,
        })
    }
}

fn stem(file: &str) -> &str {
    file.strip_suffix(".sql").unwrap_or(file)
}

fn checksum(parts: &[&[u8]]) -> String {
    let mut sha256 = Sha256::new();
    for part in parts {
        // Where one part ends and the next begins counts too.
        sha256.update(part.len().to_be_bytes());
        sha256.update(part);
    }
    sha256.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

struct Header {
    kind: BackfillKind,
    batch: u32,
    pause: Duration,
    statement_timeout: Duration,
    lock_timeout: Duration,
}

impl Header {
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut fields: Vec<(usize, &str, &str)> = Vec::new();
        let mut marked = false;
        for (line, rest) in header_lines(text, MARK) {
            let mut rest = rest.split_whitespace();
            if !std::mem::replace(&mut marked, true) && rest.next() != Some(WORD) {
                return Err((line, format!("the header must begin with -- {MARK} {WORD}")));
            }
            for field in rest {
                let (name, value) = field.split_once('=').unwrap_or((field, ""));
                if fields.iter().any(|(_, other, _)| *other == name) {
                    return Err((line, format!("{} stands there twice", short(name))));
                }
                fields.push((line, name, value));
            }
        }
        if !marked {
            let example = format!("-- {MARK} {WORD} table=crm.leads key=id batch=1000 pause=50ms");
            return Err((0, format!("no header before the statement, such as {example}")));
        }
        Self::from_fields(&fields)
    }

    fn from_fields(fields: &[(usize, &str, &str)]) -> Result<Self, (usize, String)> {
        let (mut table, mut key) = (None, None);
        let mut header = Self {
            kind: BackfillKind::UntilEmpty,
            batch: 1_000,
            pause: Duration::from_millis(50),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(2),
        };
        for &(line, name, value) in fields {
            let refused = |allowed: String| (line, format!("{name}={} is not allowed; {allowed}", short(value)));
            let timeout = || {
                let allowed = "a number with ms, s, min, h or d is, at most 24d; 0 is no limit";
                pg_timeout(value).ok_or_else(|| refused(allowed.into()))
            };
            match name {
                "table" if is_table(value) => table = Some((line, value)),
                "table" => return Err(refused("a lower-case table is, with or without its schema".into())),
                "key" if is_name(value) => key = Some((line, value)),
                "key" => return Err(refused("a lower-case column is".into())),
                "batch" => {
                    let batch = value.parse().ok().filter(|batch| (1..=MAX_BATCH).contains(batch));
                    header.batch = batch.ok_or_else(|| refused(format!("a number from 1 to {MAX_BATCH} is")))?;
                }
                "pause" => {
                    let pause = if value == "0" { Some(Duration::ZERO) } else { parse(value, None) };
                    let allowed = || refused(format!("0 is, or a number with ms or s up to {}", words(MAX_PAUSE)));
                    header.pause = pause.filter(|pause| *pause <= MAX_PAUSE).ok_or_else(allowed)?;
                }
                "statement_timeout" => header.statement_timeout = timeout()?,
                "lock_timeout" => header.lock_timeout = timeout()?,
                other => return Err((line, format!("{} is not known; allowed are {FIELDS}", short(other)))),
            }
        }
        header.kind = match (table, key) {
            (Some((_, table)), Some((_, key))) => {
                BackfillKind::KeyRange { table: table.to_owned(), key: key.to_owned() }
            }
            (None, None) => BackfillKind::UntilEmpty,
            (Some((line, _)), None) => return Err((line, "table= needs key=, its bigint key".to_owned())),
            (None, Some((line, _))) => return Err((line, "key= needs table=".to_owned())),
        };
        Ok(header)
    }
}

/// What somebody wrote, clean, and short enough to leave room for what is allowed.
fn short(text: &str) -> String {
    let text = clean(text);
    if text.chars().count() <= 40 { text } else { text.chars().take(39).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: &str = "update crm.leads set a = 1 where id > $1 and id <= $2";
    const EMPTY: &str = "delete from a where id in (select id from a limit $1 for update skip locked)";

    fn file(name: &str, content: &str) -> BackfillFile {
        BackfillFile { name: name.to_owned(), content: content.as_bytes().to_vec() }
    }

    fn parsed(content: &str) -> Result<Backfill, BackfillFault> {
        Backfill::parse(&file("001_phones.sql", content))
    }

    #[test]
    fn a_key_range_has_a_table_and_a_key() {
        let header = "-- Phones as E.164.\n-- callspool: backfill table=crm.leads key=id batch=500 pause=2s";
        let more = "-- callspool: statement_timeout=0 lock_timeout=100ms";
        let backfill = parsed(&format!("\u{FEFF}{header}\n{more}\n{RANGE};\n")).unwrap();
        assert_eq!(backfill.name.as_str(), "001_phones");
        assert_eq!(backfill.kind, BackfillKind::KeyRange { table: "crm.leads".into(), key: "id".into() });
        assert_eq!((backfill.batch, backfill.pause), (500, Duration::from_secs(2)));
        assert_eq!(
            (backfill.statement_timeout, backfill.lock_timeout),
            (Duration::ZERO, Duration::from_millis(100))
        );
        assert_eq!((backfill.statement.as_str(), backfill.last_look), (RANGE, None));
    }

    #[test]
    fn without_a_table_it_runs_until_nothing_is_left() {
        let backfill = parsed(&format!("-- callspool: backfill\n{EMPTY}")).unwrap();
        assert_eq!(backfill.kind, BackfillKind::UntilEmpty);
        assert_eq!((backfill.batch, backfill.pause), (1_000, Duration::from_millis(50)));
        assert_eq!(backfill.statement_timeout, Duration::from_secs(30));
        assert_eq!(backfill.lock_timeout, Duration::from_secs(2));
        assert!(backfill.last_look.unwrap().ends_with("for update )"));
    }

    #[test]
    fn the_checksum_is_of_what_it_does_not_of_how_fast() {
        let of = |header: &str, statement: &str| parsed(&format!("{header}\n{statement}")).unwrap().checksum;
        let first = of("-- callspool: backfill table=leads key=id", RANGE);
        assert_eq!(first, of("-- Why.\n-- callspool: backfill key=id table=leads pause=1s batch=7", RANGE));
        assert_ne!(first, of("-- callspool: backfill table=leads key=lead_id", RANGE));
        assert_ne!(first, of("-- callspool: backfill table=leads key=id", &RANGE.replace("a = 1", "a = 2")));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_file_line_field_and_what_is_allowed() {
        let cases = [
            ("", "no header before the statement"),
            ("\n-- callspool: lock_timeout=5s", " line 2: the header must begin with -- callspool: backfill"),
            ("-- callspool: backfill size=5", " line 1: size is not known; allowed are table, key, batch"),
            ("-- callspool: backfill batch", " line 1: batch= is not allowed; a number from 1 to 1000000 is"),
            ("-- callspool: backfill batch=0", "batch=0 is not allowed"),
            ("-- callspool: backfill batch=1 batch=2", "batch stands there twice"),
            (
                "-- callspool: backfill pause=31s",
                "pause=31s is not allowed; 0 is, or a number with ms or s up to 30s",
            ),
            ("-- callspool: backfill lock_timeout=5", "lock_timeout=5 is not allowed; a number with ms, s"),
            ("-- callspool: backfill lock_timeout=500us", "lock_timeout=500us is not allowed; a number with ms, s"),
            ("-- callspool: backfill table=Crm.leads key=id", "table=Crm.leads is not allowed"),
            ("-- callspool: backfill table=leads key=a;b", "key=a;b is not allowed; a lower-case column is"),
            ("-- callspool: backfill table=leads", "table= needs key="),
            ("-- callspool: backfill key=id", "key= needs table="),
            ("-- callspool: backfill table=leads key=id", " line 2: the statement must use $2"),
        ];
        for (header, message) in cases {
            let fault = parsed(&format!("{header}\n{EMPTY}")).unwrap_err();
            let shown = fault.to_string();
            assert!(shown.starts_with("001_phones.sql") && shown.contains(message), "{shown}");
            assert!(shown.chars().count() <= 200, "{shown}");
        }
    }

    #[test]
    fn a_file_name_becomes_a_name_or_is_refused() {
        for bad in ["Phones.sql", ".sql", "a b.sql", "a.b.sql", "é.sql", &format!("{}.sql", "a".repeat(64))] {
            let fault = Backfill::parse(&file(bad, EMPTY)).unwrap_err();
            assert_eq!((fault.name, fault.line), (None, 0), "{bad}");
        }
        let fault = Backfill::parse(&BackfillFile { name: "a.sql".into(), content: vec![0xff] }).unwrap_err();
        assert_eq!(fault.to_string(), "a.sql: the file is not UTF-8");
    }

    #[test]
    fn files_run_in_the_order_of_their_names_up_to_the_first_that_is_not_understood() {
        let good = format!("-- callspool: backfill\n{EMPTY}");
        let names = ["b.sql", "c.sql", "a-b.sql", "a.sql", "d.sql"];
        let files = names.map(|name| file(name, if name == "c.sql" { EMPTY } else { &good }));
        let plan = BackfillPlan::new(files.to_vec());
        let order: Vec<_> = plan.backfills.iter().map(|backfill| backfill.name.as_str()).collect();
        assert_eq!((order.as_slice(), plan.runnable), (["a", "a-b", "b", "d"].as_slice(), 3));
        assert_eq!(plan.faults[0].file, "c.sql");
    }
}
