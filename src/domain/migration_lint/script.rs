//! What the lint knows of the script while it reads it, and the findings so far.

use super::{
    Finding, Severity,
    words::{Words, first_words},
};
use crate::domain::sql_script::Statement;
use std::collections::HashSet;

/// What a name is a name of. Tables, views, indexes and sequences share one space of names in PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Relation,
    Routine,
    Type,
    Schema,
    Extension,
}

/// What a statement makes.
pub(super) struct Creation {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// `OR REPLACE`: it may have been there before.
    pub(super) replaces: bool,
}

#[derive(Default)]
pub(super) struct Script {
    pub(super) findings: Vec<Finding>,
    no_transaction: bool,
    /// Inside of BEGIN … COMMIT of a script without a transaction.
    pub(super) block_open: bool,
    /// Made by an earlier statement: nobody else uses it yet, and it has no rows to speak of.
    new: HashSet<(Kind, String)>,
    /// Made by a later statement: dropped only to be made anew. The places count statements.
    creations: Vec<(usize, Kind, String)>,
    /// Table and name of constraints that this transaction added as NOT VALID.
    pub(super) not_valid: HashSet<(String, String)>,
    /// Tables of which an earlier statement has validated a constraint.
    pub(super) validated: HashSet<String>,
    /// Type and value of enum values that this transaction added.
    pub(super) enum_values: Vec<(String, String)>,
    index: usize,
    line: usize,
    statement: String,
}

impl Script {
    pub(super) fn new(no_transaction: bool) -> Self {
        Self { no_transaction, ..Self::default() }
    }

    /// Tells what statement number `index` is going to make.
    pub(super) fn will_create(&mut self, index: usize, creation: Creation) {
        self.creations.push((index, creation.kind, creation.name));
    }

    pub(super) fn begin(&mut self, index: usize, statement: &Statement<'_>) {
        self.index = index;
        self.line = statement.line;
        self.statement = first_words(statement.text);
    }

    pub(super) fn created(&mut self, creation: Creation) {
        if !creation.replaces {
            self.new.insert((creation.kind, creation.name));
        }
    }

    pub(super) fn is_new(&self, kind: Kind, name: &str) -> bool {
        self.new.contains(&(kind, name.to_owned()))
    }

    pub(super) fn renamed(&mut self, kind: Kind, from: &str, to: String) {
        if self.new.remove(&(kind, from.to_owned())) {
            self.new.insert((kind, to));
        }
    }

    pub(super) fn dropped(&mut self, kind: Kind, name: &str) {
        self.new.remove(&(kind, name.to_owned()));
    }

    pub(super) fn is_created_later(&self, kind: Kind, name: &str) -> bool {
        self.creations.iter().any(|(index, k, n)| *index > self.index && *k == kind && n == name)
    }

    pub(super) fn in_transaction(&self) -> bool {
        !self.no_transaction || self.block_open
    }

    pub(super) fn is_no_transaction(&self) -> bool {
        self.no_transaction
    }

    /// What was said of "this transaction" does not hold after its end.
    pub(super) fn transaction_ended(&mut self) {
        self.block_open = false;
        self.not_valid.clear();
        self.enum_values.clear();
    }

    /// `at` is the part of the statement that it is about.
    pub(super) fn report(&mut self, at: Words<'_>, severity: Severity, message: String, advice: &'static str) {
        let line = self.line + at.line();
        self.findings.push(Finding { line, statement: self.statement.clone(), severity, message, advice });
    }

    pub(super) fn needs_no_transaction(&mut self, at: Words<'_>, what: &str) {
        if self.in_transaction() {
            let advice = if self.no_transaction {
                "take it out of the block of BEGIN and COMMIT"
            } else {
                "put it in a migration of its own whose first line is `-- no-transaction`"
            };
            self.report(at, Severity::WillFail, format!("{what} cannot run inside a transaction"), advice);
        }
    }
}
