//! A backfill's SQL, looked at as far as it must be: is it one statement, which parameters does it use, does it skip
//! rows that others have locked? Everything else PostgreSQL itself says.

use super::BackfillKind;

/// Statements whose answer is the number of rows that they changed.
const CHANGES: [&str; 5] = ["update", "delete", "insert", "merge", "with"];

/// What was found wrong, and on which line (from 1).
pub(super) type Wrong = (usize, String);

/// The file's one statement, without its final semicolon.
pub(super) fn only_statement<'a>(sql: &'a str, kind: &BackfillKind) -> Result<&'a str, Wrong> {
    let tokens = tokens(sql);
    let Some(first) = tokens.first().filter(|first| first.token != Token::Semicolon) else {
        return Err((0, "there is no statement".to_owned()));
    };
    let line = line_of(sql, first.start);
    let end = tokens.iter().position(|placed| placed.token == Token::Semicolon).unwrap_or(tokens.len());
    if let Some(second) = tokens[end..].iter().find(|placed| placed.token != Token::Semicolon) {
        let message = "a second statement begins here; allowed is one, in a file of its own each";
        return Err((line_of(sql, second.start), message.to_owned()));
    }
    let Token::Word(word) = first.token else {
        return Err((line, format!("the statement must begin with one of: {}", CHANGES.join(", "))));
    };
    if !CHANGES.iter().any(|change| word.eq_ignore_ascii_case(change)) {
        return Err((line, format!("the statement must begin with one of: {}", CHANGES.join(", "))));
    }
    let wanted: &[u32] = match kind {
        BackfillKind::KeyRange { .. } => &[1, 2],
        BackfillKind::UntilEmpty => &[1],
    };
    let used = |number: u32| tokens.iter().any(|placed| placed.token == Token::Parameter(number));
    if let Some(missing) = wanted.iter().find(|number| !used(**number)) {
        let meaning = match (kind, missing) {
            (BackfillKind::UntilEmpty, _) => "the rows of one batch",
            (BackfillKind::KeyRange { .. }, 1) => "the key after which a batch begins",
            (BackfillKind::KeyRange { .. }, _) => "the batch's last key",
        };
        return Err((line, format!("the statement must use ${missing}, {meaning}")));
    }
    for placed in &tokens {
        if let Token::Parameter(number) = placed.token
            && !wanted.contains(&number)
        {
            let allowed = wanted.iter().map(|number| format!("${number}")).collect::<Vec<_>>().join(" and ");
            return Err((line_of(sql, placed.start), format!("${number} has no value; allowed is {allowed}")));
        }
    }
    if let (BackfillKind::KeyRange { .. }, Some(skip)) = (kind, skip_locked(&tokens)) {
        let message =
            "SKIP LOCKED would leave rows of a key range out for good; allowed without table= and key= only";
        return Err((line_of(sql, skip.0), message.to_owned()));
    }
    Ok(&sql[first.start..tokens[end - 1].end])
}

/// The statement without its `SKIP LOCKED`: it waits for whoever has locked a row. `None` where it skips nothing.
pub(super) fn without_skip_locked(statement: &str) -> Option<String> {
    let mut waiting = statement.to_owned();
    let mut skips = false;
    while let Some((start, end)) = skip_locked(&tokens(&waiting)) {
        waiting.replace_range(start..end, "");
        skips = true;
    }
    skips.then_some(waiting)
}

fn skip_locked(tokens: &[Placed<'_>]) -> Option<(usize, usize)> {
    let is = |placed: &Placed<'_>, word| matches!(placed.token, Token::Word(w) if w.eq_ignore_ascii_case(word));
    let pair = tokens.windows(2).find(|pair| is(&pair[0], "skip") && is(&pair[1], "locked"))?;
    Some((pair[0].start, pair[1].end))
}

fn line_of(sql: &str, place: usize) -> usize {
    sql[..place].matches('\n').count() + 1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// `$1`
    Parameter(u32),
    Semicolon,
    /// Strings, quoted names, numbers, operators.
    Other,
}

struct Placed<'a> {
    token: Token<'a>,
    start: usize,
    end: usize,
}

/// SQL without its comments (PostgreSQL documentation, "Lexical Structure").
fn tokens(sql: &str) -> Vec<Placed<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = sql[at..].chars().next() {
        let (rest, start) = (&sql[at..], at);
        let (length, token) = if c.is_whitespace() {
            (c.len_utf8(), None)
        } else if rest.starts_with("--") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (comment(rest), None)
        } else if c == ';' {
            (1, Some(Token::Semicolon))
        } else if c == '\'' || c == '"' {
            (quoted(rest, c, false), Some(Token::Other))
        } else if c == '$' {
            dollar(rest)
        } else if is_word(c) && !c.is_ascii_digit() {
            let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            match &rest[word.len()..] {
                string if word.eq_ignore_ascii_case("e") && string.starts_with('\'') => {
                    (word.len() + quoted(string, '\'', true), Some(Token::Other))
                }
                _ => (word.len(), Some(Token::Word(word))),
            }
        } else if c.is_ascii_digit() {
            (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), Some(Token::Other))
        } else {
            (c.len_utf8(), Some(Token::Other))
        };
        at += length;
        found.extend(token.map(|token| Placed { token, start, end: at }));
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// The length of a comment, with those inside it; to the end where it is not closed.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        let (step, change) = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth = depth.saturating_add_signed(change);
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string or a quoted name; to the end where it is not closed.
fn quoted(rest: &str, quote: char, backslashes: bool) -> usize {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        let escapes =
            (backslashes && c == '\\') || (c == quote && characters.peek().is_some_and(|(_, c)| *c == quote));
        if escapes {
            characters.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// `$1`, `$$ … $$` or `$tag$ … $tag$`.
fn dollar(rest: &str) -> (usize, Option<Token<'_>>) {
    let digits = rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1);
    if digits > 0 {
        let number = rest[1..=digits].parse().unwrap_or(u32::MAX);
        return (1 + digits, Some(Token::Parameter(number)));
    }
    let is_tag = |tag: &str| tag.chars().all(|c| is_word(c) && c != '$');
    let string = rest[1..].find('$').filter(|end| is_tag(&rest[1..=*end])).map(|end| {
        let mark = &rest[..end + 2];
        rest[mark.len()..].find(mark).map_or(rest.len(), |end| end + 2 * mark.len())
    });
    (string.unwrap_or(1), Some(Token::Other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> BackfillKind {
        BackfillKind::KeyRange { table: "leads".into(), key: "id".into() }
    }

    #[test]
    fn the_statement_stands_between_comments_and_its_semicolon() {
        let sql = "-- why; because $9\n/* a /* nested; */ comment */ update leads set a = ';' -- ; \n \
                   where id > $1 and id <= $2 ;\n-- the end;\n";
        let statement = only_statement(sql, &range()).unwrap();
        assert_eq!(statement, "update leads set a = ';' -- ; \n where id > $1 and id <= $2");
    }

    #[test]
    fn strings_hide_semicolons_and_parameters() {
        for string in ["'a;$3'", "'it''s;$3'", "e'\\';''$3'", "$$;$3$$", "$t$;$$ $3$t$", "\"odd;$3\""] {
            let sql = format!("update leads set a = {string} where id > $1 and id <= $2");
            assert_eq!(only_statement(&sql, &range()), Ok(sql.as_str()), "{string}");
        }
    }

    #[test]
    fn what_is_no_single_batch_is_refused_with_its_line() {
        let cases = [
            ("", 0, "no statement"),
            (";", 0, "no statement"),
            ("update a set b = 1 where id > $1 and id <= $2;\nvacuum", 2, "second statement"),
            ("\nselect f($1, $2)", 2, "must begin with one of: update"),
            ("(update)", 1, "must begin with one of"),
            ("update a set b = 1 where id > $1", 1, "must use $2"),
            ("update a set b = 1 where id <= $2", 1, "must use $1"),
            ("update a set b = $3\nwhere id > $1 and id <= $2", 1, "$3 has no value"),
            (
                "update a set b = 1 where id > $1\nand id in (select 1 for update skip\nlocked) and id < $2",
                2,
                "SKIP LOCKED",
            ),
        ];
        for (sql, line, message) in cases {
            let (at, found) = only_statement(sql, &range()).unwrap_err();
            assert!(at == line && found.contains(message), "{sql}: line {at}: {found}");
        }
        let (_, found) = only_statement("delete from a where id = $1 + $2", &BackfillKind::UntilEmpty).unwrap_err();
        assert_eq!(found, "$2 has no value; allowed is $1");
    }

    #[test]
    fn skipping_is_taken_out_where_it_is_a_word_of_sql() {
        let sql =
            "delete from a where b = 'skip locked' and id in (select id from a limit $1 for update SKIP  LOCKED)";
        let waiting = "delete from a where b = 'skip locked' and id in (select id from a limit $1 for update )";
        assert_eq!(without_skip_locked(sql).as_deref(), Some(waiting));
        assert_eq!(without_skip_locked(waiting), None);
    }

    #[test]
    fn no_text_is_too_odd_to_be_read() {
        for odd in ["'", "\"", "$", "$a", "$a$", "/*", "e'\\", "é$1€", "--", "1e5$1", "$99999999999"] {
            tokens(odd);
            let _ = only_statement(odd, &range());
        }
    }
}
