//! A migration's file and a backfill's: the statements are the file's own text, in order, with their lines; what is asked of
//! one of them is asked of its tokens; what is reported is one clean line; and no header waits for ever by mistake.

use callspool::domain::{
    backfill::{Backfill, BackfillFile},
    migration_header::MigrationHeader,
    migration_lint::lint,
    migration_script::{controls_transaction, index_build, may_lose_rows, needs_no_transaction, transaction_end},
    sql_script::statements,
};
use std::time::Duration;

/// The longest timeout that PostgreSQL takes, in milliseconds.
const LONGEST: u128 = i32::MAX as u128;

pub fn run(data: &[u8]) {
    backfill(data);
    let Ok(sql) = std::str::from_utf8(data) else { return };
    header(sql);
    script(sql);
    for no_transaction in [false, true] {
        for finding in lint(sql, no_transaction) {
            assert!((1..=sql.matches('\n').count() + 1).contains(&finding.line), "{finding}");
            let text = finding.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.chars().count() < 1_000, "{text}");
        }
    }
}

fn script(sql: &str) {
    let Ok(found) = statements(sql) else {
        assert!(transaction_end(sql).is_err());
        return;
    };
    let mut behind = 0;
    for statement in &found {
        let text = statement.text;
        let at = text.as_ptr() as usize - sql.as_ptr() as usize;
        assert!(at >= behind && !text.is_empty(), "{text:?} stands behind what came before");
        assert_eq!(statement.line, sql[..at].matches('\n').count() + 1, "{text:?}");
        // What stands between two statements is none; neither is what stands behind the last.
        assert_eq!(statements(&sql[behind..at]).as_deref().map(<[_]>::len), Ok(0), "{:?}", &sql[behind..at]);
        behind = at + text.len();
        // At the begin of a file this would be its mark.
        if text.starts_with('\u{feff}') {
            continue;
        }
        let again = statements(text).unwrap_or_else(|error| panic!("{text:?} alone: {error}"));
        assert_eq!(again.iter().map(|statement| statement.text).collect::<Vec<_>>(), [text]);
        asked(text);
    }
    assert_eq!(statements(&sql[behind..]).as_deref().map(<[_]>::len), Ok(0));
    let end = transaction_end(sql).expect("it can be told apart");
    assert!(end.is_none_or(|(line, _)| found.iter().any(|statement| statement.line == line)));
}

/// White space and a comment before a statement and behind it change nothing.
fn asked(text: &str) {
    let apart = format!("/* ' */\n{text}\n-- $$\n");
    let answers = |text: &str| {
        (
            controls_transaction(text),
            needs_no_transaction(text),
            index_build(text),
            may_lose_rows(text, "crm.calls"),
        )
    };
    assert_eq!(answers(text), answers(&apart), "{text:?}");
}

fn header(sql: &str) {
    match MigrationHeader::parse(sql) {
        Ok(header) => {
            assert!(header.retries.is_none_or(|retries| retries <= 1_000));
            [header.lock_timeout, header.statement_timeout].into_iter().flatten().for_each(timeout);
        }
        Err(error) => assert!((1..=sql.lines().count()).contains(&error.line), "{error}"),
    }
}

/// PostgreSQL is told milliseconds; 0 is no limit.
fn timeout(timeout: Duration) {
    assert!(timeout.is_zero() || (1..=LONGEST).contains(&timeout.as_millis()), "{timeout:?}");
}

fn backfill(data: &[u8]) {
    let file = BackfillFile { name: "001_phones.sql".to_owned(), content: data.to_vec() };
    match Backfill::parse(&file) {
        Ok(backfill) => {
            assert!((1..=1_000_000).contains(&backfill.batch));
            [backfill.lock_timeout, backfill.statement_timeout].into_iter().for_each(timeout);
            assert_eq!(statements(&backfill.statement).map(|found| found.len()), Ok(1));
        }
        Err(fault) => {
            let lines = data.split(|byte| *byte == b'\n').count();
            assert!(fault.line <= lines, "{fault}");
            let message = &fault.message;
            assert!(message.chars().count() <= 300 && !message.contains(char::is_control), "{message:?}");
        }
    }
}
