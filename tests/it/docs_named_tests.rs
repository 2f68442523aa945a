//! The pages that name tests, docs/incidents.md and docs/promises.md, against the sources: what is named is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PREFIX: &str = "incident_";
const INCIDENTS: u32 = 31;

fn page(name: &str) -> String {
    fs::read_to_string(format!("{ROOT}/docs/{name}.md")).unwrap()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let with_folders = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    with_folders.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Tests, by the file that has them: functions below the attribute of a test.
fn tests() -> BTreeMap<PathBuf, BTreeSet<String>> {
    let files = ["tests", "src"].iter().flat_map(|folder| sources(&Path::new(ROOT).join(folder)));
    let found = files.map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let mut names = BTreeSet::new();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| !line.starts_with("//"))
                && std::mem::take(&mut is_test)
            {
                names.insert(rest.split(['(', '<']).next().unwrap().to_owned());
            }
        }
        (file.strip_prefix(ROOT).unwrap().to_owned(), names)
    });
    found.collect()
}

/// `file:name` of what a text names: links to files, and the tests after each, in backticks.
fn named(text: &str) -> Vec<(String, String)> {
    let mut file = "";
    let mut found = Vec::new();
    for (place, part) in text.split('`').enumerate() {
        if place % 2 == 1 {
            let is_test = part.matches('_').count() >= 2
                && part.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
            if is_test && !file.is_empty() {
                found.push((file.to_owned(), part.to_owned()));
            }
        } else if let Some((_, link)) = part.rsplit_once("](../") {
            file = link.split(')').next().unwrap();
        }
    }
    found
}

#[test]
fn every_test_that_a_page_names_is_in_the_file_that_it_names() {
    let tests = tests();
    for (name, least) in [("incidents", INCIDENTS as usize), ("promises", 30)] {
        let mut checked = 0;
        // A row or a paragraph names its own files.
        for line in page(name).lines() {
            for (file, test) in named(line) {
                let has = tests.get(Path::new(&file)).unwrap_or_else(|| panic!("docs/{name}.md names {file}"));
                assert!(has.contains(&test), "docs/{name}.md: there is no test {test} in {file}");
                checked += 1;
            }
        }
        assert!(checked >= least, "docs/{name}.md names {checked} tests");
    }
}

#[test]
fn the_page_of_incidents_has_each_of_the_31_with_tests_of_its_number_and_misses_no_test() {
    let mut on_page = BTreeSet::new();
    let mut numbers = Vec::new();
    for line in page("incidents").lines() {
        let Some(number) = line.strip_prefix("| ").and_then(|row| row.split(' ').next()?.parse::<u32>().ok())
        else {
            continue;
        };
        numbers.push(number);
        let of_row: Vec<String> =
            named(line).into_iter().map(|(_, test)| test).filter(|test| test.starts_with(PREFIX)).collect();
        assert!(!of_row.is_empty(), "incident {number} has no test");
        for test in of_row {
            assert!(test.starts_with(&format!("{PREFIX}{number:02}_")), "incident {number} names {test}");
            on_page.insert(test);
        }
    }
    assert_eq!(numbers, (1..=INCIDENTS).collect::<Vec<_>>());
    let written: BTreeSet<String> =
        tests().into_values().flatten().filter(|test| test.starts_with(PREFIX)).collect();
    assert_eq!(on_page, written);
}

/// Their own pages tell what was attacked; this one has the place for it.
#[test]
fn the_page_of_promises_has_one_place_for_the_attacks() {
    let text = page("promises");
    let places = ["<!-- attacks:begin -->", "<!-- attacks:end -->"].map(|marker| {
        let found: Vec<usize> = text.match_indices(marker).map(|(at, _)| at).collect();
        assert_eq!(found.len(), 1, "{marker}");
        found[0]
    });
    assert!(places.is_sorted());
}
