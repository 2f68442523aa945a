//! The rules for statements that lock or rebuild tables and indexes as their very purpose.

use super::{
    Severity,
    script::{Kind, Script},
    statements::{CONCURRENTLY, QUIET},
    words::{Words, shortened},
};

/// "LOCK": outside of a transaction it is an error; without a mode it is ACCESS EXCLUSIVE. The weaker modes let
/// readers and writers go on ("Explicit Locking, Conflicting Lock Modes").
pub(super) fn lock(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    if !script.in_transaction() {
        let message = "LOCK TABLE is refused outside of a transaction".to_owned();
        script.report(words, Severity::WillFail, message, "put BEGIN before it and COMMIT behind what it protects");
    }
    rest.eat("table");
    let names = rest.eat_names()?;
    let weak = ["access share", "row share", "row exclusive", "share update exclusive"];
    let mode = if rest.eat("in") { rest.eat_any(&weak) } else { None };
    for name in names.iter().filter(|_| mode.is_none()) {
        if !script.is_new(Kind::Relation, name) {
            let message = format!("locks {} against others until the transaction ends: they wait", shortened(name));
            script.report(words, Severity::LocksHard, message, QUIET);
        }
    }
    Some(())
}

/// "REINDEX, Rebuilding Indexes Concurrently"; of a schema, database or system not inside a transaction block.
pub(super) fn reindex(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    rest.eat_parentheses();
    let kind = rest.eat_any(&["index", "table", "schema", "database", "system"])?;
    let concurrently = words.mentions("concurrently");
    rest.eat("concurrently");
    let name = rest.eat_name().unwrap_or_else(|| kind.to_owned());
    if concurrently {
        script.needs_no_transaction(words, "REINDEX CONCURRENTLY");
    } else {
        if !["index", "table"].contains(&kind) {
            script.needs_no_transaction(words, &format!("REINDEX {}", kind.to_uppercase()));
        }
        if !script.is_new(Kind::Relation, &name) {
            let message = format!(
                "rebuilds indexes of {} while writes wait, and queries that would use them (ACCESS EXCLUSIVE)",
                shortened(&name)
            );
            script.report(words, Severity::LocksHard, message, CONCURRENTLY);
        }
    }
    Some(())
}

/// "CLUSTER": an ACCESS EXCLUSIVE lock while the table is written anew.
pub(super) fn cluster(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) {
    rest.eat("verbose");
    rest.eat_parentheses();
    if rest.is_empty() {
        script.needs_no_transaction(words, "CLUSTER of all tables");
    }
    let name = rest.eat_name().unwrap_or_else(|| "all tables".to_owned());
    if !script.is_new(Kind::Relation, &name) {
        rewrites_all(script, words, &name);
    }
}

/// "VACUUM": not inside a transaction block; FULL takes an ACCESS EXCLUSIVE lock.
pub(super) fn vacuum(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) {
    script.needs_no_transaction(words, "VACUUM");
    if words.mentions("full") {
        rest.eat_parentheses();
        while rest.eat_any(&["full", "freeze", "verbose", "analyze"]).is_some() {}
        rewrites_all(script, words, &rest.eat_name().unwrap_or_else(|| "all tables".to_owned()));
    }
}

fn rewrites_all(script: &mut Script, words: Words<'_>, name: &str) {
    let message =
        format!("writes {} anew under an ACCESS EXCLUSIVE lock: queries and writes wait", shortened(name));
    let advice = "leave it to plain VACUUM, or to a tool that rewrites tables online";
    script.report(words, Severity::RewritesTable, message, advice);
}

/// "REFRESH MATERIALIZED VIEW, CONCURRENTLY".
pub(super) fn refresh(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    if !rest.eat("materialized view") {
        return None;
    }
    let concurrently = rest.eat("concurrently");
    let name = rest.eat_name()?;
    if !concurrently && !script.is_new(Kind::Relation, &name) {
        let message =
            format!("holds an ACCESS EXCLUSIVE lock on {} until it is filled: queries wait", shortened(&name));
        let advice = "use CONCURRENTLY (the view needs a unique index), outside of migrations if it takes long";
        script.report(words, Severity::LocksHard, message, advice);
    }
    Some(())
}
