//! The header of a migration's file: what this migration wants to be different.
//!
//! ```sql
//! -- no-transaction
//! -- callspool: lock_timeout=120s statement_timeout=0 retries=10 compatible=true
//! create index concurrently …
//! ```
//!
//! The header is the first comment line that begins with `-- callspool:`, before any statement. `-- no-transaction` is
//! the migrator's own mark and has to be the very first line of the file.

use super::duration;
use std::time::Duration;

/// Zero means "no limit", as in PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MigrationHeader {
    /// Instead of `MIGRATION_LOCK_TIMEOUT`.
    pub lock_timeout: Option<Duration>,
    /// Instead of `MIGRATION_STATEMENT_TIMEOUT`.
    pub statement_timeout: Option<Duration>,
    /// How often this migration is tried again after a failure that can pass.
    pub retries: Option<u32>,
    /// Programs that were built before this migration go on working after it ("expand"); without the mark they do not.
    pub compatible: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct HeaderError {
    /// Counts from 1.
    pub line: usize,
    pub message: String,
}

const NO_TRANSACTION: &str = "no-transaction";

/// What may stand in a header, for errors and the documentation. Short, since a reason is cut at 200 characters.
pub const ALLOWED: &str = "lock_timeout=T statement_timeout=T retries=<0 to 1000> compatible=<true or false>, where T is \
                           0 or a number with ms, s, min or h, at most 24d";

impl MigrationHeader {
    /// A file without a header has the default one.
    pub fn parse(sql: &str) -> Result<Self, HeaderError> {
        let mut header = Self::default();
        if let Some((line, _)) = header_lines(sql, NO_TRANSACTION).next()
            && !sql.starts_with("-- no-transaction")
        {
            let message = "`-- no-transaction` counts only as the very beginning of the file".to_owned();
            return Err(HeaderError { line, message });
        }
        for (line, fields) in header_lines(sql, "callspool:") {
            for field in fields.split_whitespace() {
                header.set(field).ok_or_else(|| HeaderError {
                    line,
                    message: format!("{field:?} is not understood; allowed is {ALLOWED}"),
                })?;
            }
        }
        Ok(header)
    }

    fn set(&mut self, field: &str) -> Option<()> {
        let (name, value) = field.split_once('=')?;
        match name {
            "lock_timeout" => self.lock_timeout = Some(duration::pg_timeout(value)?),
            "statement_timeout" => self.statement_timeout = Some(duration::pg_timeout(value)?),
            "retries" => self.retries = Some(value.parse().ok().filter(|retries| *retries <= 1000)?),
            "compatible" => self.compatible = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

/// The comment lines before the first statement that begin with `mark`, without it; with their number from 1.
pub(super) fn header_lines<'a>(sql: &'a str, mark: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let comments = (1..).zip(sql.lines()).map_while(|(number, line)| {
        let line = line.trim_start_matches('\u{FEFF}').trim();
        if line.is_empty() { Some((number, "")) } else { line.strip_prefix("--").map(|rest| (number, rest.trim())) }
    });
    comments.filter_map(move |(number, comment)| comment.strip_prefix(mark).map(|rest| (number, rest.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        let sql = "-- no-transaction\n-- Why: orders are looked up by phone.\n\
                   -- callspool: lock_timeout=120s statement_timeout=0 retries=10 compatible=true\ncreate index …";
        let header = MigrationHeader::parse(sql).unwrap();
        assert_eq!(
            header,
            MigrationHeader {
                lock_timeout: Some(Duration::from_mins(2)),
                statement_timeout: Some(Duration::ZERO),
                retries: Some(10),
                compatible: true,
            }
        );
    }

    #[test]
    fn a_file_without_a_header_has_the_defaults() {
        for sql in ["", "select 1;", "-- a comment\nselect 1;", "select 1;\n-- callspool: retries=1"] {
            assert_eq!(MigrationHeader::parse(sql), Ok(MigrationHeader::default()), "{sql}");
        }
    }

    #[test]
    fn a_no_transaction_mark_that_would_not_count_is_refused() {
        for sql in ["\n-- no-transaction\nvacuum", "-- Why: speed\n-- no-transaction", "--no-transaction\nvacuum"] {
            let error = MigrationHeader::parse(sql).unwrap_err();
            assert!(error.message.contains("beginning of the file"), "{sql}: {error}");
        }
        assert!(MigrationHeader::parse("-- no-transaction\nvacuum").is_ok());
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line_and_what_is_allowed() {
        for bad in [
            "retry=1",
            "retries=many",
            "retries=1001",
            "lock_timeout=5",
            "lock_timeout=500us",
            "statement_timeout=30d",
            "lock_timeout",
            "compatible=yes",
        ] {
            let error = MigrationHeader::parse(&format!("\n-- callspool: {bad}\nselect 1")).unwrap_err();
            assert_eq!(error.line, 2);
            assert!(error.message.contains(bad) && error.message.contains("retries=<0 to 1000>"), "{error}");
        }
    }
}
