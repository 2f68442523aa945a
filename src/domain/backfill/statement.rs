//! A backfill's SQL, looked at as far as it must be: is it one statement, which parameters does it use, does it skip
//! rows that others have locked? Everything else PostgreSQL itself says.

use super::BackfillKind;
use crate::domain::sql_script::{statements, tokens};
use std::ops::Range;

/// Statements whose answer is the number of rows that they changed.
const CHANGES: [&str; 5] = ["update", "delete", "insert", "merge", "with"];

/// What was found wrong, and on which line (from 1).
pub(super) type Wrong = (usize, String);

/// The file's one statement, without its final semicolon.
pub(super) fn only_statement<'a>(sql: &'a str, kind: &BackfillKind) -> Result<&'a str, Wrong> {
    let found = statements(sql).map_err(|error| (error.line, error.message.to_owned()))?;
    let statement = match found[..] {
        [statement] => statement,
        [] => return Err((0, "there is no statement".to_owned())),
        [_, second, ..] => {
            let message = "a second statement begins here; allowed is one, in a file of its own each";
            return Err((second.line, message.to_owned()));
        }
    };
    let text = statement.text;
    let line_at = |place: usize| statement.line + text[..place].matches('\n').count();
    let tokens = tokens(text);
    let first = tokens.first().map_or("", |first| &text[first.clone()]);
    if !CHANGES.iter().any(|change| first.eq_ignore_ascii_case(change)) {
        return Err((statement.line, format!("the statement must begin with one of: {}", CHANGES.join(", "))));
    }
    let parameters = parameters(text, &tokens);
    let wanted = match kind {
        BackfillKind::KeyRange { .. } => {
            &[("1", "the key after which a batch begins"), ("2", "the batch's last key")][..]
        }
        BackfillKind::UntilEmpty => &[("1", "the rows of one batch")][..],
    };
    for (number, meaning) in wanted {
        if !parameters.iter().any(|(_, used)| used == number) {
            return Err((statement.line, format!("the statement must use ${number}, {meaning}")));
        }
    }
    for (place, number) in parameters {
        if !wanted.iter().any(|(wanted, _)| *wanted == number) {
            let allowed = wanted.iter().map(|(number, _)| format!("${number}")).collect::<Vec<_>>().join(" and ");
            return Err((line_at(place), format!("${number} has no value; allowed is {allowed}")));
        }
    }
    if let (BackfillKind::KeyRange { .. }, Some(skip)) = (kind, skips(text, &tokens).next()) {
        let message =
            "SKIP LOCKED would leave rows of a key range out for good; allowed without table= and key= only";
        return Err((line_at(skip.start), message.to_owned()));
    }
    Ok(text)
}

/// The statement without its `SKIP LOCKED`: it waits for whoever has locked a row. `None` where it skips nothing.
pub(super) fn without_skip_locked(statement: &str) -> Option<String> {
    let (mut waiting, mut behind) = (String::new(), 0);
    for skip in skips(statement, &tokens(statement)) {
        waiting.push_str(&statement[behind..skip.start]);
        behind = skip.end;
    }
    (behind > 0).then(|| waiting + &statement[behind..])
}

/// The parameters' places and numbers.
fn parameters<'a>(sql: &'a str, tokens: &[Range<usize>]) -> Vec<(usize, &'a str)> {
    let pairs = tokens.windows(2).filter(|pair| &sql[pair[0].clone()] == "$" && pair[0].end == pair[1].start);
    pairs.map(|pair| (pair[0].start, &sql[pair[1].clone()])).collect()
}

fn skips<'a>(sql: &'a str, tokens: &'a [Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    let is = |place: &Range<usize>, word: &str| sql[place.clone()].eq_ignore_ascii_case(word);
    let pairs = tokens.windows(2).filter(move |pair| is(&pair[0], "skip") && is(&pair[1], "locked"));
    pairs.map(|pair| pair[0].start..pair[1].end)
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
        assert_eq!(without_skip_locked("a skip locked b SKIP LOCKED").as_deref(), Some("a  b "));
    }

    #[test]
    fn what_is_not_closed_is_named_with_the_line_where_it_begins() {
        let (line, found) = only_statement("update leads\nset a = 'b", &range()).unwrap_err();
        assert!(line == 2 && found.contains("has no end"), "{line}: {found}");
    }
}
