//! What the gate has to know of a migration's statements before it runs them: whether one ends the transaction, builds
//! an index concurrently, or may cost a protected table its rows.
//!
//! These are questions about the first words of a statement. What they do not see, such as the body of a function, is
//! looked at while it runs (see `store/gate/protected.rs`).

use super::{
    sql_name,
    sql_script::{self, ScriptError, statements},
};

/// An index that is built without a transaction. What is cut off leaves an invalid index behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexBuild {
    /// `table` as `to_regclass` takes it.
    Create { name: Option<String>, table: String },
    /// `index` as `to_regclass` takes it; its new copy is called `…_ccnew` until it is whole.
    Rebuild { index: String },
}

/// The SQL that keeps the application's tables out of our schema. PostgreSQL looks first in the schema that is called as
/// the role is, and makes new tables there: for a role called as our schema this is ours, from the day on which it
/// exists. Then it comes last.
pub fn application_search_path(schema: &str) -> String {
    let ours = format!("'{}'", schema.replace('\'', "''"));
    format!(
        "select set_config('search_path', coalesce(string_agg(quote_ident(name), ', ' order by place) filter (where name \
         <> {ours}), 'public') || ', ' || quote_ident({ours}), false) from unnest(current_schemas(false)) with ordinality \
         as s (name, place) where current_schema() = {ours} having count(*) > 0"
    )
}

/// The first statement that would end the transaction that the file runs in, with its line.
pub fn transaction_end(sql: &str) -> Result<Option<(usize, String)>, ScriptError> {
    let found = statements(sql)?.into_iter().find(|statement| ends_transaction(statement.text));
    Ok(found.map(|statement| (statement.line, first_word(statement.text).to_uppercase())))
}

fn ends_transaction(statement: &str) -> bool {
    let words: Vec<_> = tokens(statement).into_iter().take(4).collect();
    match words.first().map(Token::word) {
        Some("commit" | "end" | "abort") => true,
        Some("prepare") => words.get(1).is_some_and(|word| word.is("transaction")),
        // To a savepoint is back to the middle.
        Some("rollback") => !words.iter().any(|word| word.is("to")),
        _ => false,
    }
}

/// Whether a statement begins or ends a transaction of its own.
pub fn controls_transaction(statement: &str) -> bool {
    ends_transaction(statement) || ["begin", "start"].contains(&first_word(statement).as_str())
}

fn first_word(statement: &str) -> String {
    tokens(statement).first().map(|token| token.word().to_owned()).unwrap_or_default()
}

/// Whether PostgreSQL lets a statement run outside a transaction only, or it is about the session alone.
pub fn needs_no_transaction(statement: &str) -> bool {
    let words = tokens(statement);
    let second = words.get(1).map(Token::word);
    match words.first().map(Token::word) {
        Some("vacuum" | "reindex" | "cluster" | "checkpoint" | "set" | "reset" | "show" | "discard") => true,
        Some("create" | "drop" | "alter") if matches!(second, Some("database" | "tablespace" | "system")) => true,
        // PostgreSQL 11 and older; harmless later.
        Some("alter") if second == Some("type") => true,
        Some("create" | "drop") => words.iter().take(4).any(|word| word.is("concurrently")),
        Some("alter") => words.iter().any(|word| word.is("concurrently")),
        _ => false,
    }
}

/// Whether a statement names a table and is more than one about an index or statistics.
pub fn may_lose_rows(statement: &str, table: &str) -> bool {
    let words = tokens(statement);
    let mut begin = words.iter().map(Token::word);
    let harmless = match begin.next() {
        Some("create" | "drop" | "reindex" | "alter") => {
            begin.find(|word| !["unique", "concurrently"].contains(word)) == Some("index")
        }
        Some("analyze" | "vacuum" | "comment") => true,
        _ => false,
    };
    let name = table.rsplit('.').next().unwrap_or(table);
    // Strings, too: dynamic SQL names tables there.
    !harmless
        && statement.to_lowercase().split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name)
}

/// The concurrent build that a statement is.
pub fn index_build(statement: &str) -> Option<IndexBuild> {
    let tokens = tokens(statement);
    let mut rest = tokens.as_slice();
    if take(&mut rest, "reindex") {
        rest = after_parentheses(rest);
        let concurrently = take(&mut rest, "index") && take(&mut rest, "concurrently");
        return concurrently.then(|| IndexBuild::Rebuild { index: qualified(rest) });
    }
    if !take(&mut rest, "create") {
        return None;
    }
    take(&mut rest, "unique");
    if !(take(&mut rest, "index") && take(&mut rest, "concurrently")) {
        return None;
    }
    if take(&mut rest, "if") {
        take(&mut rest, "not");
        take(&mut rest, "exists");
    }
    let name = match rest.first() {
        Some(token) if !token.is("on") => {
            rest = &rest[1..];
            Some(token.text.clone())
        }
        _ => None,
    };
    take(&mut rest, "on");
    take(&mut rest, "only");
    Some(IndexBuild::Create { name, table: qualified(rest) })
}

fn take(rest: &mut &[Token], word: &str) -> bool {
    let is_there = rest.first().is_some_and(|token| token.is(word));
    if is_there {
        *rest = &rest[1..];
    }
    is_there
}

fn after_parentheses(rest: &[Token]) -> &[Token] {
    let closed = rest.iter().position(|token| token.text == ")");
    if rest.first().is_some_and(|token| token.text == "(") { &rest[closed.map_or(0, |at| at + 1)..] } else { rest }
}

/// A name with or without its schema, quoted.
fn qualified(rest: &[Token]) -> String {
    let quoted = |token: &Token| sql_name::quoted(&token.text);
    match rest {
        [schema, dot, name, ..] if dot.text == "." => format!("{}.{}", quoted(schema), quoted(name)),
        [name, ..] => quoted(name),
        [] => String::new(),
    }
}

/// A word in lower case, as PostgreSQL folds it; a quoted identifier as it is, or a single other character.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    quoted: bool,
}

impl Token {
    fn is(&self, word: &str) -> bool {
        !self.quoted && self.text == word
    }

    /// Empty for an identifier in quotes, which is no keyword.
    fn word(&self) -> &str {
        if self.quoted { "" } else { &self.text }
    }
}

/// Of one statement, by the one scanner of scripts. Strings are left out: no caller asks for them.
fn tokens(statement: &str) -> Vec<Token> {
    sql_script::tokens(statement).into_iter().filter_map(|place| token(&statement[place])).collect()
}

/// PostgreSQL folds ASCII letters only.
fn token(text: &str) -> Option<Token> {
    if let Some(name) = text.strip_prefix('"') {
        let name = name.strip_suffix('"').unwrap_or(name);
        return Some(Token { text: name.replace("\"\"", "\""), quoted: true });
    }
    let is_string = text.ends_with('\'') || text.len() > 1 && text.starts_with('$');
    (!is_string).then(|| Token { text: text.to_ascii_lowercase(), quoted: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_ends_its_transaction_is_seen_with_the_line() {
        for (sql, line, word) in [
            ("select 1;\nCommit;", 2, "COMMIT"),
            ("begin;\nselect 1;\nend", 3, "END"),
            ("/* why */ rollback and chain", 1, "ROLLBACK"),
            ("abort", 1, "ABORT"),
            ("prepare transaction 'x'", 1, "PREPARE"),
        ] {
            assert_eq!(transaction_end(sql), Ok(Some((line, word.to_owned()))), "{sql}");
        }
    }

    #[test]
    fn what_only_looks_like_an_end_is_none() {
        for sql in [
            "create function f() returns int language sql begin atomic select 1; end",
            "do $$ begin commit; end $$",
            "savepoint a; rollback to savepoint a; rollback work to a",
            "prepare commit as select 1",
            "-- commit;\nselect 'commit;'",
        ] {
            assert_eq!(transaction_end(sql), Ok(None), "{sql}");
        }
    }

    #[test]
    fn a_concurrent_build_is_told_with_its_name_and_table() {
        let create = |name: Option<&str>, table: &str| {
            Some(IndexBuild::Create { name: name.map(ToOwned::to_owned), table: table.to_owned() })
        };
        for (sql, build) in [
            ("create index concurrently leads_phone on leads (phone)", create(Some("leads_phone"), "\"leads\"")),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"Leads by \"\"x\"\"\" ON ONLY crm.Leads(x)",
                create(Some("Leads by \"x\""), "\"crm\".\"leads\""),
            ),
            ("create index concurrently on -- no name\n leads (phone)", create(None, "\"leads\"")),
            ("create /* a /* b */ c */ index concurrently if not exists i on t (x)", create(Some("i"), "\"t\"")),
            ("reindex index concurrently crm.i", Some(IndexBuild::Rebuild { index: "\"crm\".\"i\"".to_owned() })),
            ("reindex (verbose) index concurrently i", Some(IndexBuild::Rebuild { index: "\"i\"".to_owned() })),
            ("create index i on t (x)", None),
            ("drop index concurrently i", None),
            ("reindex table concurrently t", None),
        ] {
            assert_eq!(index_build(sql), build, "{sql}");
        }
    }

    #[test]
    fn a_name_is_read_as_postgresql_reads_it() {
        for (sql, name) in [
            ("create index concurrently Größe on t (x)", "größe"),
            ("create index concurrently ÄX on t (x)", "Äx"),
            ("create index concurrently x_😀 on t (x)", "x_😀"),
            ("create index concurrently -- not: y\rx on t (x)", "x"),
            ("create index concurrently \"A\"\"b\" on t (x)", "A\"b"),
        ] {
            let table = "\"t\"".to_owned();
            let build = IndexBuild::Create { name: Some(name.to_owned()), table };
            assert_eq!(index_build(sql), Some(build), "{sql}");
        }
    }

    #[test]
    fn an_index_on_a_protected_table_loses_no_rows() {
        for harmless in [
            "create unique index concurrently if not exists i on crm.leads (id)",
            "DROP INDEX CONCURRENTLY leads_i",
            "reindex index concurrently leads_i",
            "analyze leads",
            "delete from leads_archive",
        ] {
            assert!(!may_lose_rows(harmless, "crm.leads"), "{harmless}");
        }
        for harmful in [
            "delete from leads",
            "truncate crm.leads, x",
            "DROP TABLE Leads",
            "alter table leads drop column x",
            "do $$ begin execute 'truncate leads'; end $$",
        ] {
            assert!(may_lose_rows(harmful, "leads"), "{harmful}");
        }
    }

    #[test]
    fn only_what_cannot_run_in_a_transaction_runs_outside_one() {
        for outside in [
            "create index concurrently i on t (x)",
            "drop index concurrently if exists i",
            "vacuum (analyze) t",
            "alter type mood add value 'calm'",
            "alter system set work_mem = '8MB'",
            "alter table t detach partition p concurrently",
            "set lock_timeout = 0",
        ] {
            assert!(needs_no_transaction(outside), "{outside}");
        }
        for inside in ["delete from businesses", "select purge()", "call purge()", "create table concurrently_x ()"]
        {
            assert!(!needs_no_transaction(inside), "{inside}");
        }
    }
}
