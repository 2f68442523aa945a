//! The rules for `ALTER TABLE`, action by action: one may be fine and its neighbour not.

use super::{
    Severity,
    script::{Kind, Script},
    statements::{CONCURRENTLY, KEEP, breaks},
    words::{Words, shortened, tokens},
};
use sqlparser::ast::{AlterTableOperation, ColumnDef, ColumnOption, Expr, TableConstraint};

const TWO_PHASES: &str = "add it with NOT VALID, and VALIDATE CONSTRAINT in a later migration";
const BY_INDEX: &str = "CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT … USING INDEX";
const IN_STEPS: &str =
    "add a new plain column, let the programs write both, fill it by a backfill, then switch over";
const DEFAULT_LATER: &str =
    "add the column without it, ALTER COLUMN … SET DEFAULT, and fill old rows by a backfill";
const PLAIN_COLUMN: &str =
    "add a plain column that the programs or a trigger write, and fill old rows by a backfill";

/// Functions whose value is the same in the whole statement, and types and words that look like a function. Every
/// other one PostgreSQL takes as volatile unless it was declared otherwise ("CREATE FUNCTION").
const NOT_VOLATILE: &str = "\
    abs array bit bpchar cast char character coalesce concat convert_from convert_to \
    current_date current_setting current_time current_timestamp current_user date_part date_trunc dec decimal \
    decode encode extract float format greatest hashtext interval json_build_array json_build_object jsonb_build_array \
    jsonb_build_object least left length localtime localtimestamp lower make_date make_interval make_timestamp \
    make_timestamptz md5 now nullif numeric position replace right round row sha256 statement_timestamp \
    substring time timestamp timestamptz timetz timezone to_char to_date to_json to_jsonb to_number to_timestamp \
    transaction_timestamp trim trunc upper varbit varchar varying vector zone";

/// Actions that hold their lock for a moment only: ACCESS EXCLUSIVE or weaker, and nothing is read or written.
const BRIEF: &[&str] = &[
    "alter constraint",
    "cluster on",
    "disable",
    "drop constraint",
    "enable",
    "force row level security",
    "inherit",
    "no force row level security",
    "no inherit",
    "not of",
    "of",
    "options",
    "owner to",
    "rename constraint",
    "replica identity",
    "reset (",
    "set (",
    "set without",
];

const BRIEF_OF_COLUMN: &[&str] = &[
    "add generated",
    "drop",
    "options",
    "reset (",
    "restart",
    "set (",
    "set cache",
    "set compression",
    "set default",
    "set generated",
    "set increment",
    "set statistics",
    "set storage",
];

/// The table that is altered, by an action that begins at `at`.
struct Action<'s, 't> {
    script: &'s mut Script,
    at: Words<'t>,
    table: &'t str,
}

pub(super) fn alter_table(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    rest.eat("if exists");
    rest.eat("only");
    let table = rest.eat_name()?;
    rest.eat("*");
    if rest.is_empty() {
        return None;
    }
    // A rename is alone in its statement.
    if rest.at("rename to") {
        let mut name = rest;
        name.eat("rename to");
        let to = name.eat_name()?;
        if script.is_new(Kind::Relation, &table) {
            script.renamed(Kind::Relation, &table, to);
        } else {
            breaks(script, words, &table, "renames {}");
        }
        return Some(());
    }
    let mut understood = true;
    for at in rest.between_commas() {
        understood &= Action { script, at, table: &table }.check().is_some();
    }
    understood.then_some(())
}

impl Action<'_, '_> {
    fn check(&mut self) -> Option<()> {
        let mut rest = self.at;
        if rest.eat("detach partition") {
            return self.detach_partition(rest);
        }
        if rest.eat("attach partition") {
            return self.attach_partition(rest);
        }
        if rest.eat("validate constraint") {
            return self.validate(rest);
        }
        // In a table that nobody has seen yet there is nothing to break, to lose or to wait for.
        if self.script.is_new(Kind::Relation, self.table) {
            return Some(());
        }
        if BRIEF.iter().any(|phrase| rest.at(phrase)) {
            return Some(());
        }
        if rest.eat("rename") {
            rest.eat("column");
            let column = format!("{}.{}", self.table, rest.eat_name()?);
            breaks(self.script, self.at, &column, "renames {}");
            return Some(());
        }
        if rest.eat("set schema") {
            breaks(self.script, self.at, self.table, "moves {} to another schema");
            return Some(());
        }
        // "ALTER TABLE": SET TABLESPACE, SET LOGGED and SET ACCESS METHOD copy the table.
        if rest.eat_any(&["set tablespace", "set logged", "set unlogged", "set access method"]).is_some() {
            let advice = "do it at a quiet time, or copy into a new table in batches and switch over";
            self.report(Severity::RewritesTable, "copies {} under an ACCESS EXCLUSIVE lock: all wait", advice);
            return Some(());
        }
        if rest.eat("drop") {
            return self.drop_column(rest);
        }
        if rest.eat("alter") {
            return self.alter_column(rest);
        }
        match self.at.table_operation()? {
            AlterTableOperation::AddColumn { column_def, .. } => self.add_column(&column_def),
            AlterTableOperation::AddConstraint { constraint, not_valid } => {
                self.add_constraint(&constraint, not_valid);
            }
            _ => return None,
        }
        Some(())
    }

    /// `{}` in the message is the table's name.
    fn report(&mut self, severity: Severity, message: &str, advice: &'static str) {
        self.script.report(self.at, severity, message.replace("{}", &shortened(self.table)), advice);
    }

    /// "ALTER TABLE, DROP COLUMN".
    fn drop_column(&mut self, mut rest: Words<'_>) -> Option<()> {
        rest.eat("column");
        rest.eat("if exists");
        let column = format!("{}.{}", self.table, rest.eat_name()?);
        let message = format!("drops {}: its values are gone", shortened(&column));
        self.script.report(self.at, Severity::LosesData, message, KEEP);
        breaks(self.script, self.at, &column, "drops {}");
        Some(())
    }

    fn alter_column(&mut self, mut rest: Words<'_>) -> Option<()> {
        rest.eat("column");
        rest.eat_name()?;
        if rest.eat_any(&["type", "set data type"]).is_some() {
            // "ALTER TABLE, Notes".
            let message = "writes {} and its indexes anew under an ACCESS EXCLUSIVE lock, unless the values stay as \
                           they are (a longer varchar, varchar to text)";
            self.report(Severity::RewritesTable, message, IN_STEPS);
        } else if rest.eat("set not null") {
            // "ALTER TABLE, SET NOT NULL": not scanned if a valid CHECK constraint proves it.
            if !self.script.validated.contains(self.table) {
                let message = "reads all of {} under an ACCESS EXCLUSIVE lock, unless a valid CHECK proves it";
                let advice = "ADD CONSTRAINT … CHECK (… IS NOT NULL) NOT VALID, VALIDATE it in a later migration, then \
                              SET NOT NULL, then drop the CHECK";
                self.report(Severity::ScansTable, message, advice);
            }
        } else if rest.eat("set expression") {
            let message = "computes the column anew in all rows of {} under an ACCESS EXCLUSIVE lock";
            self.report(Severity::RewritesTable, message, IN_STEPS);
        } else if !BRIEF_OF_COLUMN.iter().any(|phrase| rest.at(phrase)) {
            return None;
        }
        Some(())
    }

    /// "ALTER TABLE, Notes": a constant default is kept once and costs nothing; a volatile one, a stored generated
    /// column and an identity are written into each row.
    fn add_column(&mut self, column: &ColumnDef) {
        let kind = column.data_type.to_string().to_ascii_lowercase();
        let serial =
            ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"].contains(&kind.as_str());
        let (mut filled, mut not_null, mut rewrites) = (serial, false, serial.then_some(("a serial", IN_STEPS)));
        let (mut checked, mut unique, mut references) = (false, false, false);
        for option in column.options.iter().map(|option| &option.option) {
            match option {
                ColumnOption::Default(default) => {
                    filled = !is_null(default);
                    if is_volatile(default) {
                        rewrites = Some(("a default that may be volatile", DEFAULT_LATER));
                    }
                }
                // The grammar reads STORED only; a column that is computed when it is read (PostgreSQL 18) it does not.
                ColumnOption::Generated { generation_expr: Some(_), .. } => {
                    filled = true;
                    rewrites = Some(("a stored generated column", PLAIN_COLUMN));
                }
                ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                    filled = true;
                    rewrites = Some(("an identity column", IN_STEPS));
                }
                ColumnOption::NotNull => not_null = true,
                ColumnOption::PrimaryKey(_) => (not_null, unique) = (true, true),
                ColumnOption::Unique(_) => unique = true,
                ColumnOption::Check(_) => checked = true,
                ColumnOption::ForeignKey(_) => references = true,
                _ => {}
            }
        }
        if let Some((what, advice)) = rewrites {
            let message = format!("{what} is written into each row of {{}} under an ACCESS EXCLUSIVE lock");
            self.report(Severity::RewritesTable, &message, advice);
        }
        if not_null && !filled {
            let message = "a NOT NULL column without a default is refused as soon as {} has a row";
            self.report(
                Severity::WillFail,
                message,
                "give it a constant DEFAULT, or add it nullable and fill it later",
            );
        }
        if unique {
            let message = "builds a unique index on {} under an ACCESS EXCLUSIVE lock";
            self.report(Severity::LocksHard, message, BY_INDEX);
        }
        // Without a default all values are null, and a foreign key on nulls is not checked.
        if checked || references && filled {
            let message = "checks the new column's constraint in all rows of {} under an ACCESS EXCLUSIVE lock";
            self.report(Severity::ScansTable, message, TWO_PHASES);
        }
    }

    fn add_constraint(&mut self, constraint: &TableConstraint, not_valid: bool) {
        match constraint {
            // "ALTER TABLE, ADD table_constraint [NOT VALID]" and Notes.
            TableConstraint::Check(_) | TableConstraint::ForeignKey(_) if not_valid => {
                if let Some(name) = constraint_name(self.at).filter(|_| self.script.in_transaction()) {
                    self.script.not_valid.insert((self.table.to_owned(), name));
                }
            }
            TableConstraint::Check(_) => {
                self.report(
                    Severity::ScansTable,
                    "checks all rows of {} under an ACCESS EXCLUSIVE lock",
                    TWO_PHASES,
                );
            }
            TableConstraint::ForeignKey(_) => {
                let message =
                    "checks all rows of {} under SHARE ROW EXCLUSIVE locks on both tables: writes to both wait";
                self.report(Severity::ScansTable, message, TWO_PHASES);
            }
            // "ALTER TABLE, ADD table_constraint_using_index".
            TableConstraint::PrimaryKey(_) | TableConstraint::Unique(_) => {
                let message = "builds a unique index on {} under an ACCESS EXCLUSIVE lock: queries and writes wait";
                self.report(Severity::LocksHard, message, BY_INDEX);
            }
            TableConstraint::Exclude(_) => {
                let message = "builds an index on {} under an ACCESS EXCLUSIVE lock: queries and writes wait";
                let advice = "there is no way to do this online: choose a quiet time, or a new table";
                self.report(Severity::LocksHard, message, advice);
            }
            _ => {}
        }
    }

    /// "ALTER TABLE, Notes": validating takes only a SHARE UPDATE EXCLUSIVE lock, but the transaction that added the
    /// constraint still has its stronger one.
    fn validate(&mut self, mut rest: Words<'_>) -> Option<()> {
        let constraint = rest.eat_name()?;
        if self.script.not_valid.contains(&(self.table.to_owned(), constraint)) {
            let message = "reads all of {} while this transaction holds the lock of its ADD CONSTRAINT … NOT VALID";
            self.report(Severity::ScansTable, message, "move VALIDATE CONSTRAINT to a later migration");
        }
        self.script.validated.insert(self.table.to_owned());
        Some(())
    }

    /// "ALTER TABLE, ATTACH PARTITION".
    fn attach_partition(&mut self, mut rest: Words<'_>) -> Option<()> {
        // An index is attached to an index without reading it.
        let partition = rest.eat_name()?;
        if !self.script.is_new(Kind::Relation, &partition) {
            let message = format!(
                "reads all of {} under an ACCESS EXCLUSIVE lock on it, unless a valid CHECK proves its bounds; the \
                 default partition of {{}} as well",
                shortened(&partition)
            );
            let advice = "add such a CHECK with NOT VALID and VALIDATE it in earlier migrations";
            self.report(Severity::ScansTable, &message, advice);
        }
        Some(())
    }

    /// "ALTER TABLE, DETACH PARTITION [CONCURRENTLY]".
    fn detach_partition(&mut self, mut rest: Words<'_>) -> Option<()> {
        rest.eat_name()?;
        if rest.eat("concurrently") {
            self.script.needs_no_transaction(self.at, "DETACH PARTITION CONCURRENTLY");
        } else if !self.script.is_new(Kind::Relation, self.table) {
            let message = "takes an ACCESS EXCLUSIVE lock on {}: it waits for its running queries, and all others \
                           wait behind it";
            self.report(Severity::LocksHard, message, CONCURRENTLY);
        }
        Some(())
    }
}

fn constraint_name(mut action: Words<'_>) -> Option<String> {
    action.eat("add constraint").then(|| action.eat_name())?
}

fn is_null(default: &Expr) -> bool {
    default.to_string().eq_ignore_ascii_case("null")
}

fn is_volatile(default: &Expr) -> bool {
    let text = default.to_string();
    let Some(tokens) = tokens(&text) else { return true };
    Words(&tokens).called().any(|name| !NOT_VOLATILE.split(' ').any(|known| known == name))
}
