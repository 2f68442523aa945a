//! Text from outside, made fit for a log line, an error or a page.

use std::{io, iter::successors};

/// The longest error text that is kept or logged, in characters.
pub const MAX_CHARS: usize = 200;

/// `text` without control characters (each becomes a space), without URLs' queries and user info, cut at
/// [`MAX_CHARS`].
pub fn clean(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c == ' ').filter(|w| !w.is_empty()).map(without_url_secrets);
    let mut line = String::with_capacity(text.len().min(MAX_CHARS));
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    if line.chars().count() > MAX_CHARS {
        line = line.chars().take(MAX_CHARS - 1).chain(['…']).collect();
    }
    line
}

/// The operating system's reason, somewhere below an error whose own words may name a path: "no storage space", say.
pub fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>())
        .map(io::Error::kind)
}

/// `scheme://user:pass@host/path?query` as `scheme://host/path`, also where another URL stands in the path; any other word
/// as it is.
fn without_url_secrets(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    rest.split("://").fold(scheme.to_owned(), |kept, part| {
        let authority_end = part.find('/').unwrap_or(part.len());
        let (authority, path) = part.split_at(authority_end);
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{kept}://{host}{path}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_survive() {
        assert_eq!(clean("a\nb\r\n\u{1b}[31mc\u{0}"), "a b [31mc");
    }

    #[test]
    fn urls_lose_their_credentials_and_queries() {
        assert_eq!(
            clean("error for postgres://me:secret@db:5432/app?password=x (https://h/p?token=y)"),
            "error for postgres://db:5432/app (https://h/p"
        );
    }

    #[test]
    fn a_url_in_anothers_path_loses_its_own() {
        assert_eq!(clean("to=https://a/b,postgres://me:secret@db/x?y"), "to=https://a/b,postgres://db/x");
        assert_eq!(clean("x://y://me:secret@z"), "x://y://z");
    }

    #[test]
    fn a_long_text_is_cut_at_200_characters() {
        assert_eq!(clean(&"é".repeat(500)).chars().count(), MAX_CHARS);
    }
}
