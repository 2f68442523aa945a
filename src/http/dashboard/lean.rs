//! Indentation, comments and needless spaces are left away: they are for whoever works on the files, not for browsers.
//!
//! This is no parser. It relies on how the files are written: a comment has its lines for itself, every statement ends
//! with a semicolon, no text goes over lines, and no regular expression holds a quotation mark, or a comma before a
//! bracket.

/// Beside these a space says nothing, in scripts and in styles. (Beside `+`, `-` and `/` it may.)
const ALONE: &str = "{}()[],;:=><?&|!";
/// After these the next line may as well be on the same one.
const OPEN: &str = "{([,;";
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

pub fn lean_js(text: &str) -> String {
    bare_parameters(&lean(text, ALONE))
}

/// In a style a space before `:`, `(` or `[` does matter: `main :focus`, `and (…)`, `.a [b]`.
pub fn lean_css(text: &str) -> String {
    short_names(&lean(text, "{},;>").replace(": ", ":"))
}

/// `(a)=>` as `a=>`, where nothing but an operator or a bracket stands before.
fn bare_parameters(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(")=>") {
        let (head, tail) = rest.split_at(at);
        let name = head.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let before = &head[..head.len() - name.len()];
        let opens = before.strip_suffix('(').filter(|before| {
            let last = before.chars().next_back().or_else(|| bare.chars().next_back());
            last.is_some_and(|c| "({[,;:=?>&|!".contains(c))
        });
        match opens {
            Some(before) if !name.is_empty() => {
                bare.push_str(before);
                bare.push_str(name);
                bare.push_str("=>");
            }
            _ => {
                bare.push_str(head);
                bare.push_str(")=>");
            }
        }
        rest = &tail[")=>".len()..];
    }
    bare.push_str(rest);
    bare
}

/// Custom properties by a letter each, in the order in which they come; nothing but the style knows their names.
fn short_names(text: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("--") {
        let (head, tail) = rest.split_at(at);
        let end = tail[2..].find(|c: char| !c.is_ascii_lowercase() && c != '-').map_or(tail.len(), |end| end + 2);
        let name = &tail[..end];
        let number = names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        short.push_str(head);
        short.push_str("--");
        if number >= LETTERS.len() {
            short.push_str(&number.to_string());
        } else {
            short.push_str(&LETTERS[number..=number]);
        }
        rest = &tail[end..];
    }
    short.push_str(rest);
    short
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
                if lean.ends_with(';') {
                    lean.pop();
                }
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
            "export const a=b=>{return b + -1?'x : \\' y':`${b}  c ${b.map(d=>`${d} : ${e}`)} : ${f}`};let d\n"
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

    #[test]
    fn one_parameter_needs_no_brackets_and_a_styles_own_names_are_short() {
        assert_eq!(
            bare_parameters("f((a)=>a);async(b)=>c;d=(e,f)=>{};()=>(g)=>h"),
            "f(a=>a);async(b)=>c;d=(e,f)=>{};()=>g=>h"
        );
        assert_eq!(
            short_names(":root{--ground:#fff;--on:1}a{b:var(--on,var(--ground))}"),
            ":root{--a:#fff;--b:1}a{b:var(--b,var(--a))}"
        );
    }
}
