//! The house: who may import whom. The arrows point from the edges to the rules, and there are no cycles.

use std::{collections::BTreeSet, fs, path::Path};

/// Module, and what it may import. `main` and `lib` stand outside.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("settings", &["domain"]),
    ("telemetry", &["domain"]),
    ("store", &["domain"]),
    ("adapters", &["domain"]),
    ("actors", &["domain"]),
    ("http", &["domain", "actors"]),
    ("demo", &["domain", "adapters", "settings"]),
    ("app", &["domain", "settings", "telemetry", "store", "adapters", "actors", "http", "demo"]),
    ("cli", &["app", "settings", "store"]),
];

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Every file of a module, with its text.
fn files(path: &Path, found: &mut Vec<(String, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let name = path.strip_prefix(SRC).unwrap().display().to_string();
        // Prose may speak of any module.
        let text = fs::read_to_string(path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        found.push((name, code.collect::<Vec<_>>().join("\n")));
    }
}

/// The modules that a text names by `crate::`, also inside the braces of `use crate::{…}`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, rest) in text.match_indices("crate::").map(|(at, _)| text.split_at(at + "crate::".len())) {
        match rest.strip_prefix('{') {
            None => {
                found.insert(word(rest));
            }
            Some(list) => {
                let mut depth = 0;
                let mut begins = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = true,
                        c if begins && !c.is_whitespace() => {
                            found.insert(word(&list[at..]));
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn every_module_imports_only_what_its_place_in_the_house_allows() {
    let modules: BTreeSet<&str> = MAY_IMPORT.iter().map(|(module, _)| *module).collect();
    let mut all = Vec::new();
    files(Path::new(SRC), &mut all);
    let mut wrong = Vec::new();
    for (file, text) in &all {
        let module = file.split(['/', '.']).next().unwrap();
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let (_, allowed) = MAY_IMPORT.iter().find(|(name, _)| *name == module).unwrap_or_else(|| {
            panic!("{file}: a module without a place in the table");
        });
        for import in imports(text).iter().filter(|import| modules.contains(import.as_str())) {
            if import != module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{file} imports {import}"));
            }
        }
    }
    assert!(all.len() > 50, "the sources were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_domain_does_no_io() {
    let mut all = Vec::new();
    files(&Path::new(SRC).join("domain"), &mut all);
    for (file, text) in &all {
        for library in ["tokio", "actix", "sqlx", "reqwest", "object_store", "std::fs", "std::net"] {
            assert!(!text.contains(&format!("{library}::")), "{file} uses {library}");
        }
    }
}

#[test]
fn main_knows_telemetry_and_the_command_line_only() {
    let main = fs::read_to_string(Path::new(SRC).join("main.rs")).unwrap();
    assert!(main.contains("use callspool::{cli, telemetry};"));
    assert_eq!(main.matches("callspool::").count(), 1);
}

#[test]
fn the_scan_sees_every_way_to_write_an_import() {
    let text = "use crate::{\n    a::{b, c},\n    d,\n};\nuse crate::e::f;\nlet x = crate::g::h();";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["a", "d", "e", "g"]);
}
