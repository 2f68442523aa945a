//! Indentation, comments and needless spaces are left away: they are for whoever works on the files, not for browsers.
//!
//! This is no parser. It relies on how the files are written: a comment has its lines for itself, every statement ends
//! with a semicolon, no text goes over lines, and no regular expression holds a quotation mark.

/// Beside these a space says nothing, in scripts and in styles. (Beside `+`, `-` and `/` it may.)
const ALONE: &str = "{}()[],;:=><?&|!";
/// After these the next line may as well be on the same one.
const OPEN: &str = "{([,;";

pub fn lean_js(text: &str) -> String {
    lean(text, ALONE)
}

/// In a style a space before `:`, `(` or `[` does matter: `main :focus`, `and (…)`, `.a [b]`.
pub fn lean_css(text: &str) -> String {
    lean(text, "{},;>").replace(": ", ":").replace(";}", "}")
}

fn lean(text: &str, alone: &str) -> String {
    let mut lean = String::with_capacity(text.len());
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        in_comment |= line.starts_with("/*");
        if in_comment {
            in_comment = !line.ends_with("*/");
        } else if !line.is_empty() && !line.starts_with("//") {
            squeeze(line, alone, &mut lean);
            if !lean.ends_with(|c| OPEN.contains(c)) {
                lean.push('\n');
            }
        }
    }
    lean
}

fn squeeze(line: &str, alone: &str, lean: &mut String) {
    // What is open: a text by its quotation mark, and by `{` a place in one, in which there may be texts again.
    let mut open = Vec::new();
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match open.last() {
            Some(quote @ ('\'' | '"' | '`')) => {
                if c == '\\' {
                    lean.push(c);
                    lean.extend(characters.next());
                    continue;
                }
                if c == *quote {
                    open.pop();
                } else if *quote == '`' && c == '{' && lean.ends_with('$') {
                    open.push('{');
                }
            }
            _ if matches!(c, '\'' | '"' | '`' | '{') => open.push(c),
            _ if c == '}' => {
                open.pop();
            }
            _ if c == ' ' => {
                let next = characters.peek().copied();
                if lean.ends_with(|before| alone.contains(before)) || next.is_some_and(|next| alone.contains(next))
                {
                    continue;
                }
            }
            _ => {}
        }
        lean.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_loses_what_it_does_not_need_and_keeps_its_texts() {
        let text = "// why\n/** What\n    it is. */\nexport const a = (b) => {\n  return b + -1 ? 'x : \\' y' : `${b}  c ${b.map((d) => `${d} : ${e}`)} : ${f}`;\n};\n\nlet d\n";
        assert_eq!(
            lean_js(text),
            "export const a=(b)=>{return b + -1?'x : \\' y':`${b}  c ${b.map((d)=>`${d} : ${e}`)} : ${f}`;};let d\n"
        );
    }

    #[test]
    fn a_style_keeps_the_spaces_that_mean_something() {
        let text = "/* why */\nmain :focus, .a [b] > c {\n  inset: 0 auto calc(1px + 2px);\n  color: red;\n}\n@media (x) and (y) { a { b: c; } }\n";
        assert_eq!(
            lean_css(text),
            "main :focus,.a [b]>c{inset:0 auto calc(1px + 2px);color:red}\n@media (x) and (y){a{b:c}}\n"
        );
    }
}
