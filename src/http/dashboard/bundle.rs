//! The scripts as one: what each module asks of another is there already, so its imports and exports need not be sent.
//!
//! It relies on how the files are written: imports and exports have their lines for themselves, nothing is renamed on its
//! way, and no two modules call something of theirs by one name. A test holds that.

use super::{lean::lean_js, texts::without_keys};

macro_rules! modules {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("assets/", $name, ".js")))),*] };
}

/// Each behind those that it asks something of.
pub const MODULES: &[(&str, &str)] = modules! {
    "api" "live" "dom" "en" "he" "words" "parts" "dialog" "explain" "plot" "jobs" "businesses" "business" "recording"
    "job" "transcripts" "overview" "instances" "schema" "login" "main"
};

pub fn bundle() -> String {
    let english = lean_js(MODULES.iter().find(|(name, _)| *name == "en").map_or("", |(_, text)| text));
    let mut all = String::new();
    for (name, text) in MODULES {
        let own: Vec<&str> = text.lines().filter(|line| !line.starts_with("import ")).collect();
        let lean = lean_js(&own.join("\n"));
        let lean = if *name == "he" { without_keys(&lean, &english) } else { lean };
        let lean = lean.replace("export default", &format!("const {name}="));
        all.push_str(&lean.replace("export ", ""));
    }
    // An element without attributes: nothing says that as well as null does.
    joined(&all).replace("',null,", "',0,").replace(",}", "}").replace(",]", "]").replace(",)", ")")
}

/// `const a=1;const b=2;` as `const a=1,b=2;`.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    // What is open, and where the statement began that is written inside of it.
    let (mut open, mut began) = (Vec::new(), vec![0]);
    let mut rest = text.char_indices();
    while let Some((at, c)) = rest.next() {
        let quote = open.last().copied().filter(|open| ['\'', '"', '`'].contains(open));
        let opens = match quote {
            None => ['{', '(', '['].contains(&c),
            Some(quote) => quote == '`' && c == '{' && text[..at].ends_with('$'),
        };
        joined.push(c);
        match (quote, c) {
            _ if opens => {
                open.push(c);
                began.push(joined.len());
            }
            (Some(_), '\\') => joined.extend(rest.next().map(|(_, escaped)| escaped)),
            (Some(quote), c) if c == quote => drop(open.pop()),
            (None, '\'' | '"' | '`') => open.push(c),
            (None, '}' | ')' | ']') => {
                open.pop();
                began.pop();
            }
            (None, ';' | '\n') => {
                let start = began.last().copied().unwrap_or(0);
                let again = ["const ", "let "]
                    .into_iter()
                    .find(|word| c == ';' && joined[start..].starts_with(word) && text[at + 1..].starts_with(word));
                if let Some(word) = again {
                    joined.pop();
                    joined.push(',');
                    rest.nth(word.len() - 1);
                } else if let Some(began) = began.last_mut() {
                    *began = joined.len();
                }
            }
            _ => {}
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn declarations_that_follow_each_other_are_one() {
        assert_eq!(
            joined(
                "const a=1;const b=()=>{const c=';const d';const e=`${f};const g`;h();const i=1};let j;let k;for(const l of m);const n=1;\n"
            ),
            "const a=1,b=()=>{const c=';const d',e=`${f};const g`;h();const i=1};let j,k;for(const l of m);const n=1;\n"
        );
    }

    #[test]
    fn no_two_modules_use_one_name_and_each_stands_behind_those_that_it_needs() {
        let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (module, text) in MODULES {
            for line in text.lines() {
                if let Some((_, from)) = line.split_once(" from './").filter(|_| line.starts_with("import ")) {
                    assert!(seen.contains(from.trim_end_matches(".js';")), "{module}: {line}");
                    assert!(!line.contains(" as "), "{module}: {line}");
                    continue;
                }
                let line = line.trim_start_matches("export ").trim_start_matches("async ");
                let declared =
                    ["const ", "let ", "function ", "class "].iter().find_map(|word| line.strip_prefix(word));
                let Some(declared) = declared else { continue };
                let name: String = declared.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                assert!(!name.is_empty() && names.insert(name.clone()), "{name} of {module} is another's too");
            }
            seen.insert(*module);
        }
        assert!(!bundle().contains("import ") && !bundle().contains("export "));
    }
}
