//! Statements on rows: those that touch a whole table in one transaction.

use super::{
    Severity,
    script::{Kind, Script},
    words::{Words, name_of, shortened},
};
use sqlparser::ast::{
    Delete, Expr, FromTable, Insert, Query, SetExpr, Statement, TableFactor, TableWithJoins, Update, Value,
};

const BACKFILL: &str = "make it a backfill: small batches after the migration, each in a transaction of its own";

/// Data-modifying statements can also stand in WITH (queries: "WITH Queries, Data-Modifying Statements in WITH").
pub(super) fn check(script: &mut Script, words: Words<'_>) -> Option<()> {
    let statement = words.statement()?;
    Rows { script, words, named: Vec::new() }.statement(&statement);
    Some(())
}

struct Rows<'s, 't> {
    script: &'s mut Script,
    words: Words<'t>,
    /// Names that WITH gives to queries: not tables.
    named: Vec<String>,
}

impl Rows<'_, '_> {
    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Query(query) => self.query(query),
            _ => {}
        }
    }

    fn query(&mut self, query: &Query) {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.query(&cte.query);
            self.named.push(cte.alias.name.value.clone());
        }
        match &*query.body {
            SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
                self.statement(statement);
            }
            _ => {}
        }
    }

    /// UPDATE; "Routine Vacuuming, Recovering Disk Space": each row is written anew, the old one stays until vacuum.
    /// "Explicit Locking, Row-Level Locks": each row stays locked until the transaction ends.
    fn update(&mut self, update: &Update) {
        let Some(table) = table_name(&update.table).filter(|table| self.is_old(table)) else { return };
        if is_whole(update.selection.as_ref()) {
            let message = format!(
                "writes each row of {} anew and locks it until the transaction ends; the old rows stay as bloat",
                shortened(&table)
            );
            self.script.report(self.words, Severity::RewritesTable, message, BACKFILL);
        }
    }

    /// DELETE: without a condition all rows go.
    fn delete(&mut self, delete: &Delete) {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let Some(table) = from.first().and_then(table_name).filter(|table| self.is_old(table)) else { return };
        if is_whole(delete.selection.as_ref()) {
            let message = format!(
                "deletes all rows of {}, each of them locked until the transaction ends",
                shortened(&table)
            );
            self.script.report(
                self.words,
                Severity::LosesData,
                message,
                "say which rows with WHERE; to remove many, make it a backfill in small batches",
            );
        }
    }

    /// INSERT from a query without a condition reads all of a table, in one snapshot that holds back vacuum ("Routine
    /// Vacuuming").
    fn insert(&mut self, insert: &Insert) {
        let Some(query) = &insert.source else { return };
        self.query(query);
        if query.limit_clause.is_some() || query.fetch.is_some() {
            return;
        }
        let Some(table) = self.whole_table(&query.body) else { return };
        let message = format!(
            "copies from all of {} in one transaction, which holds its locks and holds back vacuum until it ends",
            shortened(&table)
        );
        self.script.report(self.words, Severity::ScansTable, message, BACKFILL);
    }

    /// The first table that a query reads without a condition.
    fn whole_table(&self, body: &SetExpr) -> Option<String> {
        match body {
            SetExpr::Select(select) if is_whole(select.selection.as_ref()) => {
                select.from.iter().filter_map(table_name).find(|table| self.is_old(table))
            }
            SetExpr::Query(query) if query.limit_clause.is_none() => self.whole_table(&query.body),
            SetExpr::SetOperation { left, right, .. } => self.whole_table(left).or_else(|| self.whole_table(right)),
            _ => None,
        }
    }

    fn is_old(&self, table: &str) -> bool {
        !self.script.is_new(Kind::Relation, table) && !self.named.iter().any(|name| name == table)
    }
}

/// None for a function, a subquery and the like. The grammar takes the ONLY of `DELETE FROM ONLY orders` for a table.
fn table_name(from: &TableWithJoins) -> Option<String> {
    let TableFactor::Table { name, args: None, alias, .. } = &from.relation else { return None };
    match (name_of(name), alias) {
        (only, Some(alias)) if only == "only" => Some(name_of(&alias.name.clone().into())),
        (name, _) => Some(name),
    }
}

fn is_whole(condition: Option<&Expr>) -> bool {
    condition
        .is_none_or(|condition| matches!(condition, Expr::Value(literal) if literal.value == Value::Boolean(true)))
}
