//! The README's tables come from the code: `UPDATE_DOCS=1 cargo test --features faults docs` writes them.

use std::fs;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// Compares what stands between the markers of `name` with `generated`.
fn stands(name: &str, generated: &str) {
    let readme = fs::read_to_string(README).unwrap();
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = readme.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (written, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    if written == generated {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "the README's table of {name} is not the code's; UPDATE_DOCS=1 writes it"
    );
    fs::write(README, format!("{before}{begin}{generated}{end}{after}")).unwrap();
}

/// One test, since both write the same file.
#[test]
fn the_tables_of_events_settings_and_metrics_are_the_codes() {
    stands("events", &callspool::telemetry::events::markdown_table());
    stands("metrics", &callspool::telemetry::metrics::table::markdown_table());
    stands("settings", &callspool::settings::markdown_table());
}

#[test]
fn every_make_target_that_the_readme_names_exists() {
    let readme = fs::read_to_string(README).unwrap();
    let makefile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
    let mut named = 0;
    for rest in readme.split("make ").skip(1) {
        let target: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        let quoted = readme.contains(&format!("`make {target}`")) || readme.contains(&format!("\nmake {target}"));
        if !target.is_empty() && quoted {
            assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
            named += 1;
        }
    }
    assert!(named >= 4);
}

#[test]
fn every_link_to_a_file_resolves() {
    let readme = fs::read_to_string(README).unwrap();
    let links: Vec<&str> =
        readme.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(l, _)| l).collect();
    assert!(!links.is_empty());
    for link in links.iter().filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
        let path = format!("{}/{link}", env!("CARGO_MANIFEST_DIR"));
        assert!(fs::exists(&path).unwrap(), "{link}");
    }
}
