//! A look at a migration before it runs: what locks hard, rewrites or scans a table, breaks programs that still run,
//! loses data, or cannot work.
//!
//! It reads the text only and never asks a database, so it knows neither sizes nor what a name stands for: a finding
//! says what happens when the table is large and in use. A table that the script itself made is not reported on.
//! It is no check of syntax: `NotUnderstood` says that a statement may do anything.
//!
//! `words` reads a statement, `script` keeps what earlier statements did; the rules stand in `statements`,
//! `tables` (`ALTER TABLE`), `maintenance` (`LOCK`, `REINDEX` and the like) and `data` (rows).
//! Each names the page of PostgreSQL's documentation it comes from.

mod data;
mod maintenance;
mod script;
mod statements;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use super::sql_script::readable_statements;
use script::Script;
use serde::Serialize;
use std::fmt;
use words::Words;

/// The kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Readers or writers of the table wait while it runs.
    LocksHard,
    /// The table's rows are written anew, while it is locked.
    RewritesTable,
    /// The table is read from one end to the other, while it is locked or the transaction stays open.
    ScansTable,
    /// Programs that were built before this migration meet errors after it.
    BreaksOldCode,
    /// Rows or values are gone afterwards.
    LosesData,
    /// PostgreSQL refuses it, at the latest when the table has rows; or the migration's transaction ends half-way.
    WillFail,
    /// The lint cannot say what it does.
    NotUnderstood,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LocksHard => "locks hard",
            Self::RewritesTable => "rewrites the table",
            Self::ScansTable => "scans the table",
            Self::BreaksOldCode => "breaks old code",
            Self::LosesData => "loses data",
            Self::WillFail => "will fail",
            Self::NotUnderstood => "not understood",
        })
    }
}

/// One remark on one statement. All texts are clean single lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where the part of the script stands that it is about; counts from 1.
    pub line: usize,
    /// How the statement begins, at most 60 characters, without literals.
    pub statement: String,
    pub severity: Severity,
    /// What happens, and which lock is held meanwhile.
    pub message: String,
    /// What to do instead.
    pub advice: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, statement, severity, message, advice } = self;
        write!(f, "line {line}: {severity}: {statement}: {message}; {advice}")
    }
}

/// The findings in the order of the script. `no_transaction` says that it runs outside of a transaction, statement by
/// statement; else the whole script is one transaction.
pub fn lint(sql: &str, no_transaction: bool) -> Vec<Finding> {
    let (statements, error) = readable_statements(sql);
    let tokens: Vec<_> = statements.iter().map(|statement| words::tokens(statement.text)).collect();
    let mut script = Script::new(no_transaction);
    for (index, tokens) in tokens.iter().enumerate() {
        let creation = tokens.as_ref().and_then(|tokens| statements::creation(Words(tokens)));
        if let Some(creation) = creation {
            script.will_create(index, creation);
        }
    }
    for (index, (statement, tokens)) in statements.iter().zip(&tokens).enumerate() {
        let words = Words(tokens.as_deref().unwrap_or_default());
        script.begin(index, statement);
        if statements::check(&mut script, words).is_none() {
            let message = "the lint cannot read this statement".to_owned();
            let advice = "look yourself at its locks, at what it rewrites, and at programs that still run";
            script.report(words, Severity::NotUnderstood, message, advice);
        }
        if let Some(creation) = statements::creation(words) {
            script.created(creation);
        }
    }
    let mut findings = script.findings;
    if let Some(error) = error {
        let statement = sql.lines().nth(error.line - 1).map(words::first_words).unwrap_or_default();
        let (message, advice) = (error.message.to_owned(), "put it right; what comes after it was not looked at");
        findings.push(Finding { line: error.line, statement, severity: Severity::WillFail, message, advice });
    }
    findings
}
