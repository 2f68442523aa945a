//! A SQL script as its statements: what a migration outside a transaction runs one by one.
//!
//! `CREATE INDEX CONCURRENTLY` may not share a query with another statement, so somebody has to find the semicolons
//! that end statements. The rules are those of PostgreSQL's documentation, "SQL Syntax, Lexical Structure", with
//! `standard_conforming_strings` on; where a statement ends is decided as psql does it (its lexer, `psqlscan.l`): not
//! inside parentheses, as in `CREATE RULE … DO (…; …)`, nor between `BEGIN ATOMIC` and its `END` in a function. Where
//! psql, which reads line by line, and the server disagree (an `E''` string continued on the next line, a column
//! `t.end` in such a function), the server is followed.
//!
//! The scanner is our own. The parser's tokenizer tells lines and columns, not slices, works at dialects rather than
//! at PostgreSQL's lexer (a string continued on the next line, `$` in identifiers), and would fail here on a character
//! that only matters later. Finding the ends of things needs none of its tokens.

use std::ops::Range;

/// One statement of a script; the text has no semicolon, begins and ends with a token, and may hold comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Where its first token stands; counts from 1.
    pub line: usize,
    /// Never empty.
    pub text: &'a str,
}

/// A script whose statements cannot be told apart. PostgreSQL refuses such a script, too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// Where the thing begins that is wrong; counts from 1.
    pub line: usize,
    pub message: &'static str,
}

/// The statements in order. Pieces without a token, such as a comment at the end, are none; a byte order mark at the
/// begin is skipped.
pub fn statements(sql: &str) -> Result<Vec<Statement<'_>>, ScriptError> {
    let (found, error) = readable_statements(sql);
    error.map_or(Ok(found), Err)
}

/// The statements before the first error, and that error: a report can tell about both.
pub(super) fn readable_statements(sql: &str) -> (Vec<Statement<'_>>, Option<ScriptError>) {
    let mut scanner = Scanner::new(sql);
    let mut found = Vec::new();
    loop {
        match scanner.statement() {
            Ok(Some(statement)) => found.push(statement),
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

/// Where the tokens of one statement stand, in order; comments are none. A parameter such as `$1` is two of them.
pub(super) fn tokens(statement: &str) -> Vec<Range<usize>> {
    let (mut scanner, mut open) = (Scanner::new(statement), Open::default());
    let mut found = Vec::new();
    while scanner.skip_blank().is_ok()
        && let Some(byte) = scanner.peek(0)
    {
        let begin = scanner.at;
        if scanner.token(byte, &mut open).is_err() {
            break;
        }
        found.push(begin..scanner.at);
    }
    found
}

const UNCLOSED_STRING: &str = "the string that begins here has no end";
const UNCLOSED_DOLLAR: &str = "the dollar-quoted string that begins here has no end";
const UNCLOSED_IDENTIFIER: &str = "the quoted identifier that begins here has no end";
const UNCLOSED_COMMENT: &str = "the comment that begins here has no end";
const UNCLOSED_PARENTHESIS: &str = "the parenthesis that opens here is not closed";
const UNCLOSED_BODY: &str = "the function body that begins here (BEGIN ATOMIC) has no END";
const BACKSLASH: &str =
    "a backslash outside of a string: commands of psql are not SQL and cannot stand in a migration";

/// Reads bytes: all that SQL gives a meaning to is ASCII, and every cut is made next to an ASCII byte.
struct Scanner<'a> {
    sql: &'a str,
    at: usize,
    /// A place, and its line: lines are counted from there on.
    counted: (usize, usize),
}

/// What of the statement so far decides whether a semicolon ends it.
#[derive(Default)]
struct Open {
    /// Where each open parenthesis stands.
    parentheses: Vec<usize>,
    /// Where each BEGIN or CASE stands whose END is still to come.
    blocks: Vec<usize>,
    /// How many words there were, and whether the first ones are `CREATE [OR REPLACE] FUNCTION` or `PROCEDURE`.
    words: usize,
    routine: Routine,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Routine {
    #[default]
    No,
    /// Only `CREATE`, `OR` or `REPLACE` so far.
    Perhaps,
    Yes,
}

impl<'a> Scanner<'a> {
    fn new(sql: &'a str) -> Self {
        let at = if sql.starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 };
        Self { sql, at, counted: (0, 1) }
    }

    fn statement(&mut self) -> Result<Option<Statement<'a>>, ScriptError> {
        let mut open = Open::default();
        // Of the tokens so far: where the first begins, with its line, and where the last ends.
        let mut span: Option<(usize, usize, usize)> = None;
        loop {
            self.skip_blank()?;
            let begin = self.at;
            let Some(byte) = self.peek(0) else { break };
            if byte == b';' && open.parentheses.is_empty() && open.blocks.is_empty() {
                self.at += 1;
                match span {
                    None => continue,
                    Some(_) => break,
                }
            }
            self.token(byte, &mut open)?;
            let (first, line) = match span {
                None => (begin, self.line_of(begin)),
                Some((first, line, _)) => (first, line),
            };
            span = Some((first, line, self.at));
        }
        // The end of the file also gets here.
        if let Some(at) = open.blocks.first() {
            return Err(self.error(*at, UNCLOSED_BODY));
        }
        if let Some(at) = open.parentheses.last() {
            return Err(self.error(*at, UNCLOSED_PARENTHESIS));
        }
        Ok(span.map(|(first, line, end)| Statement { line, text: &self.sql[first..end] }))
    }

    /// Goes behind the token that begins here.
    fn token(&mut self, byte: u8, open: &mut Open) -> Result<(), ScriptError> {
        let begin = self.at;
        match byte {
            b'\'' => self.string(begin, false)?,
            b'"' => self.quoted(b'"').ok_or_else(|| self.error(begin, UNCLOSED_IDENTIFIER))?,
            b'$' => match self.dollar_tag() {
                Some(tag) => self.dollar_string(tag)?,
                // A parameter such as $1, or nothing that SQL knows.
                None => self.at += 1,
            },
            b'\\' => return Err(self.error(begin, BACKSLASH)),
            b'(' => {
                open.parentheses.push(begin);
                self.at += 1;
            }
            b')' => {
                open.parentheses.pop();
                self.at += 1;
            }
            // A number is skipped as a whole, so that no letter in it begins a word.
            b'0'..=b'9' => self.skip_while(|b| is_word(b) && b != b'$' || b == b'.'),
            b if is_word_start(b) => {
                self.skip_while(is_word);
                let word = &self.sql[begin..self.at];
                if word.eq_ignore_ascii_case("e") && self.peek(0) == Some(b'\'') {
                    self.string(begin, true)?;
                } else {
                    self.word(word, begin, open);
                }
            }
            _ => self.at += 1,
        }
        Ok(())
    }

    /// Keeps account of BEGIN ATOMIC … END in `CREATE FUNCTION`; CASE also ends with END.
    fn word(&mut self, word: &str, begin: usize, open: &mut Open) {
        let is = |expected: &str| word.eq_ignore_ascii_case(expected);
        open.words += 1;
        if open.words == 1 || open.routine == Routine::Perhaps {
            open.routine = match open.words {
                1 if is("create") => Routine::Perhaps,
                2.. if is("or") || is("replace") => Routine::Perhaps,
                2.. if is("function") || is("procedure") => Routine::Yes,
                _ => Routine::No,
            };
        }
        // After a dot it is a column's name, in parentheses an expression is whole.
        let after_dot = self.sql[..begin].ends_with('.');
        if open.routine != Routine::Yes || !open.parentheses.is_empty() || after_dot {
            return;
        }
        if open.blocks.is_empty() {
            if is("begin") && self.next_word_is("atomic") {
                open.blocks.push(begin);
            }
        } else if is("case") {
            open.blocks.push(begin);
        } else if is("end") {
            open.blocks.pop();
        }
    }

    /// Looks only.
    fn next_word_is(&mut self, expected: &str) -> bool {
        let begin = self.at;
        let readable = self.skip_blank().is_ok();
        let word = self.sql.get(self.at..self.at + expected.len());
        let ends = self.peek(expected.len()).is_none_or(|b| !is_word(b));
        self.at = begin;
        readable && ends && word.is_some_and(|word| word.eq_ignore_ascii_case(expected))
    }

    /// From the opening quote. A string with a newline between it and another quote goes on there, in the same way:
    /// backslashes escape in the second part of an `E''` string, too.
    fn string(&mut self, begin: usize, escapes: bool) -> Result<(), ScriptError> {
        loop {
            let closed = if escapes { self.escape_quoted() } else { self.quoted(b'\'') };
            closed.ok_or_else(|| self.error(begin, UNCLOSED_STRING))?;
            let end = self.at;
            self.skip_blank_of_string();
            let newline = self.sql[end..self.at].contains(['\n', '\r']);
            if !(newline && self.peek(0) == Some(b'\'')) {
                self.at = end;
                return Ok(());
            }
        }
    }

    /// Behind the closing quote; a doubled quote is two quoted parts side by side, which end at the same place.
    fn quoted(&mut self, quote: u8) -> Option<()> {
        while self.peek(0) == Some(quote) {
            let length = self.bytes().get(self.at + 1..)?.iter().position(|b| *b == quote)?;
            self.at += length + 2;
        }
        Some(())
    }

    fn escape_quoted(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek(0)? {
                b'\\' => self.at += 2,
                b'\'' if self.peek(1) == Some(b'\'') => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    return Some(());
                }
                _ => self.at += 1,
            }
        }
    }

    /// `$$` or `$tag$`, if one stands here.
    fn dollar_tag(&self) -> Option<&'a str> {
        let rest = &self.sql[self.at..];
        let length = rest.bytes().skip(1).take_while(|b| is_word(*b) && *b != b'$').count();
        let begins_with_digit = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let closes = rest.as_bytes().get(length + 1) == Some(&b'$');
        (closes && !begins_with_digit).then(|| &rest[..length + 2])
    }

    fn dollar_string(&mut self, tag: &str) -> Result<(), ScriptError> {
        let body = self.at + tag.len();
        let length = self.sql[body..].find(tag).ok_or_else(|| self.error(self.at, UNCLOSED_DOLLAR))?;
        self.at = body + length + tag.len();
        Ok(())
    }

    /// White space and comments.
    fn skip_blank(&mut self) -> Result<(), ScriptError> {
        loop {
            self.skip_blank_of_string();
            if !self.sql[self.at..].starts_with("/*") {
                return Ok(());
            }
            self.block_comment()?;
        }
    }

    /// What may stand between two parts of a string: white space and line comments.
    fn skip_blank_of_string(&mut self) {
        loop {
            self.skip_while(is_space);
            if !self.sql[self.at..].starts_with("--") {
                return;
            }
            self.skip_while(|b| b != b'\n' && b != b'\r');
        }
    }

    fn block_comment(&mut self) -> Result<(), ScriptError> {
        let begin = self.at;
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.at += 1,
                (None, _) => return Err(self.error(begin, UNCLOSED_COMMENT)),
            }
        }
    }

    fn bytes(&self) -> &'a [u8] {
        self.sql.as_bytes()
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes().get(self.at + ahead).copied()
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }

    fn line_of(&mut self, at: usize) -> usize {
        let (from, line) = self.counted;
        let line = line + self.sql[from..at].matches('\n').count();
        self.counted = (at, line);
        line
    }

    fn error(&self, at: usize, message: &'static str) -> ScriptError {
        let line = 1 + self.sql[..at].matches('\n').count();
        ScriptError { line, message }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Every byte that is not ASCII is a letter to PostgreSQL, a no-break space as well.
fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(sql: &str) -> Vec<&str> {
        statements(sql)
            .unwrap_or_else(|error| panic!("{error}: {sql}"))
            .iter()
            .map(|statement| statement.text)
            .collect()
    }

    #[test]
    fn each_statement_is_told_with_the_line_of_its_first_token() {
        let sql =
            "-- no-transaction\n\nselect 1 ; select\n2;\n/* a\nb */ select 3 -- end\n;\n;;\n-- nothing more\n";
        let found: Vec<_> = statements(sql).unwrap().iter().map(|s| (s.line, s.text)).collect();
        assert_eq!(found, [(3, "select 1"), (3, "select\n2"), (6, "select 3")]);
    }

    #[test]
    fn a_file_without_a_statement_has_none() {
        for sql in ["", "  \n", ";", " ; ;\n", "-- only this", "/* a /* nested */ one */", "\u{feff}-- a mark\n"] {
            assert_eq!(texts(sql), Vec::<&str>::new(), "{sql:?}");
        }
    }

    #[test]
    fn the_last_statement_needs_no_semicolon_and_a_byte_order_mark_is_no_part_of_the_first() {
        assert_eq!(texts("\u{feff}select 1; select 2"), ["select 1", "select 2"]);
    }

    /// Each is one statement, followed by another.
    const HARD: &[&str] = &[
        "select 'a;b'",
        "select 'it''s; here'",
        r"select 'c:\', 'x;'",
        r"select E'it\'s; here', e'\\'",
        r"select E'a\é;', E'\\\';'",
        "select E'a'\n  'it\\'s;'",
        "select E'a' -- why\n 'it\\'s;'",
        "select 'a'\n 'c:\\', ';'",
        r"select date'2024-01-01;', type'\'",
        r#"select U&'d\0061t;' || U&"a;\0041""#,
        "select B'0101', X'1F', N'é;'",
        "select $$a;b$$",
        "select $tag$ a $ b $$ c $other$ ; $tag$",
        "select $é$ ; $é$",
        "select a$b$c, $1, $2 from a$b$",
        "select $1$$;$$",
        "select 1e5, .5, 1_000, 0x1F",
        "select \"a;b\", \"it\"\"s;\", \"-- no\"",
        "select 1 -- a;b",
        "select 1 -- it's",
        "select 1 /* ; /* nested; 'unclosed */ still; */ + 1",
        "select 1 +-- a;\n 2",
        "select '--', '/*', \"/*\", $$--$$",
        "select 2*/**/3",
        "select a - -1, b @> c, d #>> '{;}'",
        "create rule r as on insert to t do also (insert into u values (1); delete from v)",
        "create function f() returns int language sql begin atomic select 1; select case when a then 1 end from t; end",
        "create or replace function f(a int) returns int\nbegin /* so */ ATOMIC\n select (case 1 when 1 then 2 end); select t.end; END",
        "create procedure p() begin atomic insert into t values (1); delete from begin; end",
        "create function f() returns int language sql return case when a then 1 else 2 end",
        "create function begin() returns int language sql as 'select 1;'",
        "create table t (begin int, atomic int)",
        "begin",
        "do $$ begin if a then b; end if; end $$",
        "select 'ü', \"ö\" as ä\u{a0}ß",
    ];

    #[test]
    fn a_semicolon_ends_a_statement_only_where_it_does_in_postgresql() {
        for sql in HARD {
            let script = format!("{sql}\n;\nselect 2;");
            let found = texts(&script);
            assert_eq!(found.len(), 2, "{script}: {found:?}");
            assert!(sql.starts_with(found[0]), "{found:?}");
            assert_eq!(found[1], "select 2");
        }
    }

    #[test]
    fn the_tokens_of_a_statement_are_its_words_strings_and_signs() {
        let sql = "update a.b set c = E'it\\'s' -- why; $9\n where \"d e\" > $12 /* ' */ and f$1 = $$;$$";
        let found: Vec<_> = tokens(sql).into_iter().map(|place| &sql[place]).collect();
        let names = ["update", "a", ".", "b", "set", "c", "=", "E'it\\'s'"];
        let others = ["where", "\"d e\"", ">", "$", "12", "and", "f$1", "=", "$$;$$"];
        assert_eq!(found, [names.as_slice(), others.as_slice()].concat());
    }

    #[test]
    fn what_has_no_end_is_an_error_with_the_line_where_it_begins() {
        for (broken, message) in [
            ("'a", UNCLOSED_STRING),
            (r"E'a\'", UNCLOSED_STRING),
            ("E'\\", UNCLOSED_STRING),
            ("'a'\n'b", UNCLOSED_STRING),
            ("$$a$", UNCLOSED_DOLLAR),
            ("$a$ $$ $b$", UNCLOSED_DOLLAR),
            ("\"a", UNCLOSED_IDENTIFIER),
            ("/* /* */", UNCLOSED_COMMENT),
            ("(select (1)", UNCLOSED_PARENTHESIS),
            (r"\d orders", BACKSLASH),
            (r"\.", BACKSLASH),
        ] {
            let sql = format!("select 1;\nselect 2,\n{broken}");
            assert_eq!(statements(&sql), Err(ScriptError { line: 3, message }), "{sql}");
            assert_eq!(readable_statements(&sql).0.len(), 1, "{sql}");
        }
        let body = "create function f() returns int\nbegin atomic\nselect 1;\n";
        assert_eq!(statements(body), Err(ScriptError { line: 2, message: UNCLOSED_BODY }));
    }

    #[test]
    fn an_error_is_one_line_for_people() {
        let error = statements("\\i other.sql").unwrap_err();
        assert!(error.to_string().starts_with("line 1: a backslash outside of a string"), "{error}");
    }

    /// Pieces that meet in every order, with everything that begins or ends something.
    fn script() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            proptest::sample::select(vec![
                "'",
                "''",
                "E'",
                "\\'",
                "\"",
                "$$",
                "$a$",
                "$",
                "--",
                "/*",
                "*/",
                "(",
                ")",
                ";",
                ";",
                "\n",
                "\r",
                " ",
                "create",
                "function",
                "begin atomic",
                "case",
                "end",
                "select",
                "1",
                "é",
                "\u{a0}",
                "\\",
                ".",
                "a$",
            ])
            .prop_map(str::to_owned),
            ".{0,3}",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_script_makes_it_panic_and_the_statements_are_slices_in_order(sql in script()) {
            let (found, _) = readable_statements(&sql);
            let mut from = 0;
            for statement in found {
                prop_assert!(!statement.text.trim_ascii().is_empty());
                let at = statement.text.as_ptr() as usize - sql.as_ptr() as usize;
                prop_assert!(at >= from);
                prop_assert_eq!(statement.line, 1 + sql[..at].matches('\n').count());
                from = at + statement.text.len();
            }
        }

        #[test]
        fn between_the_statements_there_are_only_semicolons_spaces_and_comments(sql in script()) {
            if let Ok(found) = statements(&sql) {
                let mut from = if sql.starts_with('\u{feff}') { 3 } else { 0 };
                let mut gaps = String::new();
                for statement in &found {
                    let at = statement.text.as_ptr() as usize - sql.as_ptr() as usize;
                    gaps.push_str(&sql[from..at]);
                    gaps.push('\n');
                    from = at + statement.text.len();
                }
                gaps.push_str(&sql[from..]);
                prop_assert_eq!(statements(&gaps), Ok(vec![]), "{:?}", gaps);
            }
        }

        #[test]
        fn statements_that_are_joined_are_found_again(picked in proptest::collection::vec(0..HARD.len(), 0..6)) {
            let script = picked.iter().map(|at| HARD[*at]).collect::<Vec<_>>().join("\n;") + "\n;";
            let found = texts(&script);
            prop_assert_eq!(found.len(), picked.len());
            let again = found.join("\n;") + "\n;";
            prop_assert_eq!(texts(&again), found);
        }
    }
}
