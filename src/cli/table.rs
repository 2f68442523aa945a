//! Tables that fit: never wider than the terminal they are printed on, and as wide as their content anywhere else, so
//! that scripts and grep see all of it.
//!
//! What does not fit becomes shorter in this order: free text is wrapped, words such as SIDs are cut. Numbers and states
//! stay whole; a terminal too narrow for that gets a line for each value instead of a line for each row.

use super::terminal::Screen;
use console::{measure_text_width, truncate_str};
use std::io::{self, Write};

/// Between two columns.
const GAP: usize = 2;
/// What is left at least of a free text, and of a word that is cut.
const TEXT_MIN: usize = 14;
const WORD_MIN: usize = 8;
/// Lines that a wrapped text takes before it is cut.
const TEXT_LINES: usize = 3;

#[derive(Debug, Clone, Copy)]
pub struct Column {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    /// Whole, and in the colour of what it says.
    State,
    /// Whole, and aligned to the right.
    Number,
    Word,
    Text,
}

impl Column {
    /// Never shortened.
    pub fn whole(name: &'static str) -> Self {
        Self { name, kind: Kind::Whole }
    }

    pub fn state(name: &'static str) -> Self {
        Self { name, kind: Kind::State }
    }

    pub fn number(name: &'static str) -> Self {
        Self { name, kind: Kind::Number }
    }

    /// May be cut, once texts are as narrow as they get.
    pub fn word(name: &'static str) -> Self {
        Self { name, kind: Kind::Word }
    }

    /// May be wrapped.
    pub fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text }
    }
}

#[derive(Debug)]
pub struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| one_line(&cell)));
    }

    /// To the standard output.
    pub fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.lines(Screen::of_stdout()).iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    fn lines(&self, screen: Screen) -> Vec<String> {
        let lines = match self.widths(screen.width) {
            Some(widths) => {
                let head = self.columns.map(|column| column.name.to_owned());
                let rows = self.rows.iter().flat_map(|row| self.row_lines(row, widths, screen));
                // A header is no state, whatever it is called.
                let plain = Screen { colour: false, ..screen };
                self.row_lines(&head, widths, plain).into_iter().chain(rows).collect()
            }
            None if self.rows.is_empty() => vec![self.columns.map(|column| column.name).join(&" ".repeat(GAP))],
            None => self.blocks(screen),
        };
        lines.into_iter().map(|line| cut(line.trim_end(), screen.width)).collect()
    }

    /// `None`: there is no way to keep whole what has to be.
    fn widths(&self, limit: Option<usize>) -> Option<[usize; N]> {
        let mut widths: [usize; N] = std::array::from_fn(|at| {
            let cells = self.rows.iter().map(|row| measure_text_width(&row[at]));
            cells.chain([self.columns[at].name.len()]).max().unwrap_or(0)
        });
        let Some(limit) = limit else { return Some(widths) };
        for (kind, min) in [(Kind::Text, TEXT_MIN), (Kind::Word, WORD_MIN)] {
            let total = widths.iter().sum::<usize>() + GAP * N.saturating_sub(1);
            for _ in limit..total {
                let wide = (0..N)
                    .filter(|at| self.columns[*at].kind == kind)
                    .filter(|at| widths[*at] > min.max(self.columns[*at].name.len()))
                    .max_by_key(|at| widths[*at]);
                let Some(wide) = wide else { break };
                widths[wide] -= 1;
            }
        }
        let total = widths.iter().sum::<usize>() + GAP * N.saturating_sub(1);
        (total <= limit).then_some(widths)
    }

    /// One row, which is several lines where a text is wrapped.
    fn row_lines(&self, row: &[String; N], widths: [usize; N], screen: Screen) -> Vec<String> {
        let cells: [Vec<String>; N] = std::array::from_fn(|at| match self.columns[at].kind {
            Kind::Text if screen.width.is_some() => wrap(&row[at], widths[at], TEXT_LINES),
            _ => vec![cut_middle(&row[at], widths[at])],
        });
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let line = |number: usize| {
            let cell = |at: usize| {
                let text = cells[at].get(number).map_or("", String::as_str);
                let space = " ".repeat(widths[at].saturating_sub(measure_text_width(text)));
                match self.columns[at].kind {
                    Kind::Number => format!("{space}{text}"),
                    Kind::State => format!("{}{space}", screen.paint(text)),
                    Kind::Whole | Kind::Word | Kind::Text => format!("{text}{space}"),
                }
            };
            (0..N).map(cell).collect::<Vec<_>>().join(&" ".repeat(GAP))
        };
        (0..height).map(line).collect()
    }

    /// A line for each value, and an empty one between two rows.
    fn blocks(&self, screen: Screen) -> Vec<String> {
        let names = self.columns.map(|column| column.name);
        let mut lines = Vec::new();
        for row in &self.rows {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            for (name, value) in names.iter().zip(row) {
                lines.extend(field(name, value, names.iter().map(|name| name.len()).max().unwrap_or(0), screen));
            }
        }
        lines
    }
}

/// `name  value`, the value wrapped beside its name where the screen is narrower.
pub fn field(name: &str, value: &str, name_width: usize, screen: Screen) -> Vec<String> {
    let value = one_line(value);
    let lines = match screen.width {
        None => vec![value],
        Some(width) => wrap(&value, width.saturating_sub(name_width + 1).max(1), usize::MAX),
    };
    let named = (0..).zip(lines).map(|(number, line)| {
        let name = if number == 0 { name } else { "" };
        // A word alone is a state, perhaps; the first of a sentence is not.
        let line = if line.contains(' ') { line } else { screen.paint(&line) };
        cut(format!("{name:<name_width$} {line}").trim_end(), screen.width)
    });
    named.collect()
}

/// Values may come from anybody's rows: nothing in them moves the cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn cut(line: &str, width: Option<usize>) -> String {
    width.map_or_else(|| line.to_owned(), |width| truncate_str(line, width, "…").into_owned())
}

/// Both ends stay: what sorts by time differs at its end, and what kind it is stands at the beginning.
fn cut_middle(word: &str, width: usize) -> String {
    if measure_text_width(word) <= width {
        return word.to_owned();
    }
    let tail_width = width.saturating_sub(1).div_ceil(2);
    let mut tail: Vec<char> = Vec::new();
    for c in word.chars().rev() {
        tail.push(c);
        if measure_text_width(&tail.iter().collect::<String>()) > tail_width {
            tail.pop();
            break;
        }
    }
    let tail: String = tail.into_iter().rev().collect();
    let head_width = width.saturating_sub(1 + measure_text_width(&tail));
    format!("{}…{tail}", truncate_str(word, head_width, ""))
}

/// By words, and inside of those that are longer than a line. More than `max_lines` lines end in `…`.
fn wrap(text: &str, width: usize, max_lines: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let line = lines.last_mut().map_or(0, |line| measure_text_width(line));
        if line > 0 && line + 1 + measure_text_width(word) <= width {
            push(&mut lines, " ");
        } else if line > 0 {
            lines.push(String::new());
        }
        for c in word.chars() {
            let mut buffer = [0; 4];
            let c = c.encode_utf8(&mut buffer);
            let line = lines.last().map_or(0, |line| measure_text_width(line));
            if line > 0 && line + measure_text_width(c) > width {
                lines.push(String::new());
            }
            push(&mut lines, c);
        }
    }
    if lines.len() > max_lines {
        lines.truncate(max_lines);
        if let Some(last) = lines.last_mut() {
            *last = truncate_str(&format!("{last} …"), width, "…").into_owned();
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PIPE: Screen = Screen { width: None, colour: false };

    fn terminal(width: usize) -> Screen {
        Screen { width: Some(width), colour: true }
    }

    fn jobs(error: &str) -> Table<4> {
        let mut table =
            Table::new([Column::number("ID"), Column::state("STATE"), Column::word("CALL"), Column::text("ERROR")]);
        table.row(["7".into(), "dead".into(), format!("CA{}", "0".repeat(32)), error.into()]);
        table.row(["12345".into(), "done".into(), "CA1".into(), "-".into()]);
        table
    }

    #[test]
    fn in_a_pipe_nothing_is_cut_coloured_or_padded_at_the_end() {
        let error = "http_status: the provider answered 500 ".repeat(10);
        let lines = jobs(error.trim_end()).lines(PIPE);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains(error.trim_end()) && lines[1].starts_with("    7  dead   CA000"), "{lines:#?}");
        assert!(lines.iter().all(|line| !line.contains('\u{1b}') && !line.ends_with(' ')), "{lines:#?}");
    }

    #[test]
    fn a_text_is_wrapped_before_a_word_is_cut_and_a_number_never_is() {
        let table = jobs("http_status: the provider answered 500");
        let wide = table.lines(terminal(80)).join("\n");
        assert!(wide.contains(&"0".repeat(32)) && wide.contains("answered") && !wide.contains('…'), "{wide}");
        let narrow = table.lines(terminal(50)).join("\n");
        assert!(narrow.contains("CA0") && narrow.contains("…0") && narrow.contains("12345"), "{narrow}");
        assert!(narrow.contains("\u{1b}[31mdead\u{1b}[0m") && narrow.contains("\u{1b}[32mdone"), "{narrow}");
    }

    #[test]
    fn a_terminal_too_narrow_for_a_table_gets_a_line_for_each_value() {
        let lines = jobs("http_status: the provider answered 500").lines(terminal(24));
        assert!(lines[0].starts_with("ID") && lines.iter().any(|line| line.contains("12345")), "{lines:#?}");
        assert!(lines.iter().any(String::is_empty), "{lines:#?}");
    }

    #[test]
    fn what_moves_the_cursor_is_taken_out() {
        let lines = jobs("a\u{1b}[2Jb\nc\td").lines(PIPE);
        assert!(lines.len() == 3 && lines[1].ends_with("a [2Jb c d"), "{lines:#?}");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            width in 1_usize..200,
            rows in prop::collection::vec(("\\PC{0,12}", "[a-z]{1,10}", "\\PC{0,40}", "\\PC{0,300}"), 0..6),
        ) {
            let mut table = jobs("x");
            for (id, state, call, error) in rows {
                table.row([id, state, call, error]);
            }
            for line in table.lines(terminal(width)) {
                prop_assert!(measure_text_width(&line) <= width, "{line:?} at {width}");
            }
        }
    }
}
