//! docs/threats.md: each of its lines names a test, and that test is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// One line of a table: its number and its cells.
struct Threat {
    number: usize,
    cells: Vec<String>,
}

fn threats() -> Vec<Threat> {
    let page = fs::read_to_string(format!("{ROOT}/docs/threats.md")).unwrap();
    let lines = page.lines().filter_map(|line| line.strip_prefix("| T"));
    let of_line = |line: &str| {
        let cells: Vec<String> =
            line.trim_end_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        Threat { number: cells[0].parse().unwrap_or_else(|_| panic!("no number: {line}")), cells }
    };
    lines.map(of_line).collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The names of functions that stand below an attribute `#[test]` or `#[tokio::test…]`.
fn tests_in(source: &str) -> Vec<String> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            is_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
        }
    }
    names
}

fn every_test() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        sources(&Path::new(ROOT).join(folder), &mut files);
    }
    files.iter().flat_map(|file| tests_in(&fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn each_line_of_the_threats_says_what_stops_it_what_is_left_and_names_tests_that_exist() {
    let (threats, tests) = (threats(), every_test());
    assert!(threats.len() >= 40, "{}", threats.len());
    for (place, threat) in (1..).zip(&threats) {
        assert_eq!(threat.number, place, "the lines are numbered in their order");
        assert_eq!(threat.cells.len(), 5, "T{place:02}: number, attack, what stops it, what is left, tests");
        assert!(threat.cells.iter().all(|cell| !cell.is_empty()), "T{place:02} has an empty cell");
        let named: Vec<&str> = threat.cells[4].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "T{place:02} names no test");
        for name in named {
            assert!(tests.contains(name), "T{place:02}: there is no test {name}");
        }
    }
}

#[test]
fn a_function_is_a_test_only_where_its_attribute_says_so() {
    let source = "#[test]\nfn one() {}\nfn two() {}\n/// x\n#[tokio::test(flavor = \"multi_thread\")]\n// y\nasync fn three() {}\n#[derive(Debug)]\nstruct X;\n";
    assert_eq!(tests_in(source), ["one", "three"]);
}
