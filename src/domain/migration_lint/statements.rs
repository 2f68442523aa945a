//! The rules for all statements but `ALTER TABLE` and those on rows.
//!
//! A rule that answers `None` did not understand its statement.

use super::{
    Severity, data, maintenance,
    script::{Creation, Kind, Script},
    tables,
    words::{Words, shortened},
};

const BREAKS: &str =
    "first run a release that does not use it any more, everywhere; then do this in a later migration";
pub(super) const CONCURRENTLY: &str = "use CONCURRENTLY, in a migration whose first line is `-- no-transaction`";
pub(super) const QUIET: &str =
    "keep lock_timeout short and retries high in the header, and let nothing slow follow in this file";
pub(super) const KEEP: &str = "make sure that the data is kept elsewhere or needed no more";
const OWN_TRANSACTION: &str = "leave it out: the migrator opens and ends the transaction";

/// What can be made, changed or dropped and is used by programs under its name.
const USED_BY_NAME: &[(&str, Kind)] = &[
    ("table", Kind::Relation),
    ("foreign table", Kind::Relation),
    ("view", Kind::Relation),
    ("materialized view", Kind::Relation),
    ("sequence", Kind::Relation),
    ("function", Kind::Routine),
    ("procedure", Kind::Routine),
    ("aggregate", Kind::Routine),
    ("routine", Kind::Routine),
    ("type", Kind::Type),
    ("domain", Kind::Type),
    ("schema", Kind::Schema),
    ("extension", Kind::Extension),
];

/// Kinds of objects of which nothing below speaks: making, changing and dropping them neither locks tables for long
/// nor touches rows.
const OTHER_KINDS: &[&str] = &[
    "access method",
    "cast",
    "collation",
    "constraint trigger",
    "conversion",
    "database",
    "default privileges",
    "event trigger",
    "foreign data wrapper",
    "group",
    "index",
    "language",
    "large object",
    "operator",
    "owned",
    "policy",
    "publication",
    "role",
    "rule",
    "server",
    "statistics",
    "subscription",
    "system",
    "tablespace",
    "text search",
    "transform",
    "trigger",
    "user",
];

pub(super) fn check(script: &mut Script, words: Words<'_>) -> Option<()> {
    let mut rest = words;
    let Some(verb) = rest.eat_word() else {
        // Only a query can begin with a parenthesis.
        return words.at("(").then(|| data::check(script, words))?;
    };
    if !words.at("alter type") && verb != "comment" {
        uses_new_enum_value(script, words);
    }
    match verb.as_str() {
        "create" => return create(script, words, rest),
        "drop" => return drop(script, words, rest),
        "alter" => return alter(script, words, rest),
        "select" | "values" | "with" | "insert" | "update" | "delete" | "merge" => {
            return data::check(script, words);
        }
        "truncate" => return truncate(script, words, rest),
        "lock" => return maintenance::lock(script, words, rest),
        "reindex" => return maintenance::reindex(script, words, rest),
        "cluster" => maintenance::cluster(script, words, rest),
        "vacuum" => maintenance::vacuum(script, words, rest),
        "refresh" => return maintenance::refresh(script, words, rest),
        "copy" => copy(script, words, rest),
        "begin" | "start" | "commit" | "end" | "abort" | "rollback" => transaction(script, words, &verb, rest),
        "do" => {
            let message = "what the block of code does is not looked at".to_owned();
            let advice = "look yourself at its locks and at what it rewrites, or write its statements out";
            script.report(words, Severity::NotUnderstood, message, advice);
        }
        "analyze" | "call" | "checkpoint" | "comment" | "deallocate" | "discard" | "execute" | "explain"
        | "grant" | "import" | "listen" | "load" | "notify" | "prepare" | "reassign" | "release" | "reset"
        | "revoke" | "savepoint" | "security" | "set" | "show" | "table" | "unlisten" => {}
        _ => return None,
    }
    Some(())
}

/// What a statement makes, under which name.
pub(super) fn creation(mut words: Words<'_>) -> Option<Creation> {
    if !words.eat("create") {
        return None;
    }
    let replaces = words.eat("or replace");
    while words.eat_any(&["global", "local", "temporary", "temp", "unlogged", "recursive", "unique"]).is_some() {}
    let kind = if words.eat("index") {
        words.eat("concurrently");
        if words.at("on") {
            return None;
        }
        Kind::Relation
    } else {
        eat_kind(&mut words)?
    };
    words.eat("if not exists");
    Some(Creation { kind, name: words.eat_name()?, replaces })
}

fn eat_kind(words: &mut Words<'_>) -> Option<Kind> {
    USED_BY_NAME.iter().find(|(phrase, _)| words.eat(phrase)).map(|(_, kind)| *kind)
}

fn create(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    rest.eat("or replace");
    if rest.eat_any(&["index", "unique index"]).is_some() {
        return create_index(script, words, rest);
    }
    if rest.eat_any(&["trigger", "constraint trigger"]).is_some() {
        return create_trigger(script, words, rest);
    }
    // "CREATE DATABASE", "CREATE TABLESPACE": cannot be executed inside a transaction block.
    if let Some(kind) = rest.eat_any(&["database", "tablespace"]) {
        script.needs_no_transaction(words, &format!("CREATE {}", kind.to_uppercase()));
        return Some(());
    }
    if creation(words).is_some() {
        return create_partition(script, words, rest);
    }
    rest.eat_any(&["trusted language", "procedural language"]).or_else(|| rest.eat_any(OTHER_KINDS)).map(|_| ())
}

/// "CREATE TABLE, PARTITION OF": takes an ACCESS EXCLUSIVE lock on the parent table.
fn create_partition(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    if !rest.eat_until("partition of") {
        return Some(());
    }
    let parent = rest.eat_name()?;
    if !script.is_new(Kind::Relation, &parent) {
        let message = format!(
            "takes an ACCESS EXCLUSIVE lock on {}: it waits for its running queries, and all others wait behind it",
            shortened(&parent)
        );
        let advice =
            "create it alone (LIKE the parent) and then ALTER TABLE … ATTACH PARTITION, which does not block";
        script.report(words, Severity::LocksHard, message, advice);
    }
    Some(())
}

/// "CREATE INDEX, Building Indexes Concurrently".
fn create_index(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    let concurrently = rest.eat("concurrently");
    if !rest.eat_until("on") {
        return None;
    }
    // The index of a partitioned table without those of its partitions, which are attached later.
    let only = rest.eat("only");
    let table = rest.eat_name()?;
    if concurrently {
        script.needs_no_transaction(words, "CREATE INDEX CONCURRENTLY");
    } else if !only && !script.is_new(Kind::Relation, &table) {
        let message = format!("holds a SHARE lock on {} during the whole build: writes wait", shortened(&table));
        script.report(words, Severity::LocksHard, message, CONCURRENTLY);
    }
    Some(())
}

/// "Explicit Locking, Table-Level Locks": CREATE TRIGGER takes SHARE ROW EXCLUSIVE.
fn create_trigger(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    if !rest.eat_until("on") {
        return None;
    }
    let table = rest.eat_name()?;
    if !script.is_new(Kind::Relation, &table) {
        let message = format!(
            "takes a SHARE ROW EXCLUSIVE lock on {}: writes wait; programs that still run get the trigger, too",
            shortened(&table)
        );
        script.report(words, Severity::LocksHard, message, QUIET);
    }
    Some(())
}

fn drop(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    if rest.eat("index") {
        return drop_index(script, words, rest);
    }
    if rest.at("table") || rest.at("schema") {
        let table = rest.at("table");
        let kind = eat_kind(&mut rest)?;
        rest.eat("if exists");
        for name in rest.eat_names()? {
            if !script.is_new(kind, &name) {
                let rows = if table { "its rows are gone" } else { "with CASCADE all tables in it are gone" };
                let message = format!("drops {}: {rows}", shortened(&name));
                script.report(words, Severity::LosesData, message, KEEP);
                breaks(script, words, &name, "drops {}");
            }
            script.dropped(kind, &name);
        }
        return Some(());
    }
    if let Some(kind) = eat_kind(&mut rest) {
        rest.eat("if exists");
        for name in rest.eat_names()? {
            if !script.is_new(kind, &name) && !script.is_created_later(kind, &name) {
                breaks(script, words, &name, "drops {}");
            }
            script.dropped(kind, &name);
        }
        return Some(());
    }
    // "DROP DATABASE", "DROP TABLESPACE": cannot be executed inside a transaction block. "DROP OWNED".
    if let Some(kind) = rest.eat_any(&["database", "tablespace"]) {
        script.needs_no_transaction(words, &format!("DROP {}", kind.to_uppercase()));
    }
    if words.at("drop owned") || words.at("drop database") {
        script.report(
            words,
            Severity::LosesData,
            "drops everything in it, tables with their rows".to_owned(),
            KEEP,
        );
        return Some(());
    }
    (words.at("drop tablespace") || rest.eat_any(OTHER_KINDS).is_some()).then_some(())
}

/// "DROP INDEX, CONCURRENTLY": else an ACCESS EXCLUSIVE lock on the table; one index only, no CASCADE.
fn drop_index(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    let concurrently = rest.eat("concurrently");
    rest.eat("if exists");
    let names = rest.eat_names()?;
    if concurrently {
        script.needs_no_transaction(words, "DROP INDEX CONCURRENTLY");
        if names.len() > 1 || rest.has("cascade") {
            let message = "DROP INDEX CONCURRENTLY takes one index and no CASCADE".to_owned();
            script.report(words, Severity::WillFail, message, "write a statement for each index");
        }
    } else if !names.iter().all(|name| script.is_new(Kind::Relation, name)) {
        let message =
            "takes an ACCESS EXCLUSIVE lock on the index's table: it waits for its running queries, and all \
                       others wait behind it"
                .to_owned();
        script.report(words, Severity::LocksHard, message, CONCURRENTLY);
    }
    Some(())
}

/// Whoever uses the old name meets an error; that is so for each kind of object. `{}` in `does` is the name.
pub(super) fn breaks(script: &mut Script, words: Words<'_>, name: &str, does: &str) {
    let does = does.replace("{}", &shortened(name));
    let message = format!("{does}: programs that still use it meet errors");
    script.report(words, Severity::BreaksOldCode, message, BREAKS);
}

fn alter(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    if rest.eat_any(&["table", "foreign table"]).is_some() {
        return tables::alter_table(script, words, rest);
    }
    if rest.at("domain") {
        alter_domain(script, words, rest);
    }
    if rest.at("system") {
        // "ALTER SYSTEM": cannot be executed inside a transaction block.
        script.needs_no_transaction(words, "ALTER SYSTEM");
    }
    if rest.at("index") && rest.has("set tablespace") {
        let message = "moves the index under an ACCESS EXCLUSIVE lock: queries and writes wait".to_owned();
        script.report(words, Severity::LocksHard, message, "build it anew there with CREATE INDEX CONCURRENTLY");
    }
    let is_type = rest.at("type");
    let Some(kind) = eat_kind(&mut rest) else {
        return rest.eat_any(OTHER_KINDS).map(|_| ());
    };
    rest.eat("if exists");
    let name = rest.eat_name()?;
    rest.eat_parentheses();
    if is_type && rest.eat("add value") {
        rest.eat("if not exists");
        let value = rest.string()?.to_owned();
        // Also of a type that this transaction made itself.
        if script.in_transaction() {
            script.enum_values.push((name, value));
        }
        return Some(());
    }
    if script.is_new(kind, &name) {
        if rest.eat("rename to") {
            script.renamed(kind, &name, rest.eat_name()?);
        }
    } else if rest.has("set schema") {
        breaks(script, words, &name, "moves {} to another schema");
    } else if rest.has("rename") && !rest.at("rename constraint") {
        breaks(script, words, &name, if rest.at("rename to") { "renames {}" } else { "renames a part of {}" });
    } else if is_type && (rest.at("drop attribute") || rest.at("alter attribute")) {
        breaks(script, words, &name, "changes the attributes of {}");
    }
    Some(())
}

/// "ALTER DOMAIN": ADD CONSTRAINT without NOT VALID checks all columns of that domain. (Its locks are not on that
/// page; the server's typecmds.c takes SHARE.)
fn alter_domain(script: &mut Script, words: Words<'_>, rest: Words<'_>) {
    if rest.has("set not null") || (rest.has("add") && !rest.has("not valid")) {
        let message = "reads every table with a column of the domain, under a SHARE lock: writes wait".to_owned();
        let advice = "ADD CONSTRAINT … CHECK … NOT VALID, and VALIDATE CONSTRAINT in a later migration";
        script.report(words, Severity::ScansTable, message, advice);
    }
}

/// "ALTER TYPE, Notes": a new value of an enum cannot be used until the transaction that added it has ended.
fn uses_new_enum_value(script: &mut Script, words: Words<'_>) {
    let used = script.enum_values.iter().find(|(_, value)| words.has_string(value));
    if let Some((name, value)) = used {
        let message = format!(
            "uses '{}', which this transaction added to the enum {}: it can be used only after its end",
            shortened(value),
            shortened(name)
        );
        script.report(words, Severity::WillFail, message, "add the value in an earlier migration of its own");
    }
}

/// "TRUNCATE".
fn truncate(script: &mut Script, words: Words<'_>, mut rest: Words<'_>) -> Option<()> {
    rest.eat("table");
    for name in rest.eat_names()? {
        if !script.is_new(Kind::Relation, &name) {
            let message = format!("removes all rows of {} under an ACCESS EXCLUSIVE lock", shortened(&name));
            script.report(words, Severity::LosesData, message, KEEP);
        }
    }
    Some(())
}

/// "COPY": the rows come by a protocol of their own, not in the script.
fn copy(script: &mut Script, words: Words<'_>, rest: Words<'_>) {
    if rest.has("from stdin") || rest.has("to stdout") {
        let message = "COPY with the client needs a client that speaks it; a migration is only text".to_owned();
        script.report(words, Severity::WillFail, message, "write INSERT … VALUES, or load the data apart");
    }
}

/// "BEGIN", "COMMIT": inside of a migration's transaction they end it half-way, or change nothing.
fn transaction(script: &mut Script, words: Words<'_>, verb: &str, rest: Words<'_>) {
    if verb == "rollback" && rest.has("to") {
        return;
    }
    if !script.is_no_transaction() {
        let message = "ends or begins a transaction inside of the migration's own".to_owned();
        script.report(words, Severity::WillFail, message, OWN_TRANSACTION);
        return;
    }
    if ["begin", "start"].contains(&verb) {
        script.block_open = true;
    } else {
        script.transaction_ended();
    }
}
