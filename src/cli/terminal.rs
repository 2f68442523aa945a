//! What the standard output is: a terminal of some width, perhaps with colour, or something that a script reads.

use console::{Style, Term};
use std::io::{self, IsTerminal};

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// In columns; `None` is no terminal: everything may be as wide as it is.
    pub width: Option<usize>,
    pub colour: bool,
}

impl Screen {
    pub fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self { width: None, colour: false };
        }
        let width = Term::stdout().size_checked().map_or(USUAL_WIDTH, |(_, columns)| usize::from(columns));
        Self { width: Some(width), colour: wants_colour() }
    }

    /// `word` in the colour of what it says: a state, say. Any other word is left as it is.
    pub fn paint(self, word: &str) -> String {
        match colour_of(word) {
            Some(style) if self.colour => style.force_styling(true).apply_to(word).to_string(),
            _ => word.to_owned(),
        }
    }
}

/// <https://no-color.org>: present and not empty.
fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).unwrap_or_default();
    set("NO_COLOR").is_empty() && set("TERM") != "dumb"
}

/// By the first word: `done`, but also `restarting 2`. States of jobs, migrations, backfills and actors.
fn colour_of(text: &str) -> Option<Style> {
    let style = Style::new();
    Some(match text.split([' ', ',', ':']).next()? {
        "done" | "applied" | "up" | "fits" | "runnable" | "finished" | "retried" => style.green(),
        "dead" | "drifted" | "missing" | "incompatible" | "failed" | "stopped" | "no_live_workers" | "unknown" => {
            style.red()
        }
        "scheduled" | "pending" | "waiting" | "restarting" | "paused" | "slots_full" | "business_paused"
        | "schema_behind" => style.yellow(),
        "running" | "cancelling" => style.cyan(),
        "ready" => style.blue(),
        "cancelled" | "newer" | "skipped" => style.dim(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_screen_with_colour_is_painted_and_only_words_that_have_one() {
        let (plain, coloured) =
            (Screen { width: Some(80), colour: false }, Screen { width: Some(80), colour: true });
        assert_eq!(plain.paint("done"), "done");
        assert_eq!(coloured.paint("done"), "\u{1b}[32mdone\u{1b}[0m");
        assert_eq!(coloured.paint("dead"), "\u{1b}[31mdead\u{1b}[0m");
        assert_eq!(coloured.paint("CA1"), "CA1");
        assert_eq!(coloured.paint(""), "");
    }
}
