//! What the fuzz targets try (`make fuzz`) is tried with every kept input each time: see docs/fuzzing.md.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

#[path = "../../fuzz/bodies/answers.rs"]
mod answers;
#[path = "../../fuzz/bodies/api.rs"]
mod api;
#[path = "../../fuzz/bodies/audio.rs"]
mod audio;
#[path = "../../fuzz/bodies/headers.rs"]
mod headers;
#[path = "../../fuzz/bodies/json_lines.rs"]
mod json_lines;
#[path = "../../fuzz/bodies/migration.rs"]
mod migration;
#[path = "../../fuzz/bodies/names.rs"]
mod names;
#[path = "../../fuzz/bodies/provider_lists.rs"]
mod provider_lists;
#[path = "../../fuzz/bodies/storage_names.rs"]
mod storage_names;
#[path = "../../fuzz/bodies/telnyx_event.rs"]
mod telnyx_event;
#[path = "../../fuzz/bodies/texts.rs"]
mod texts;
#[path = "../../fuzz/bodies/url_policy.rs"]
mod url_policy;
#[path = "../../fuzz/bodies/webhook_form.rs"]
mod webhook_form;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

/// Runs a target's body over its corpus.
fn keeps(target: &str, body: fn(&[u8])) {
    let folder = Path::new(FUZZ).join("corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 5, "{target} has {} inputs", inputs.len());
    for input in inputs {
        let data = fs::read(&input).unwrap();
        let kept = catch_unwind(AssertUnwindSafe(|| body(&data)));
        assert!(kept.is_ok(), "{}", input.display());
    }
}

#[test]
fn answers_of_services_are_kept_clean_or_refused() {
    keeps("answers", answers::run);
}

#[test]
fn what_callers_of_the_api_send_keeps_its_bounds_or_is_told_what_is_wrong() {
    keeps("api", api::run);
}

#[test]
fn audio_of_any_bytes_is_walked_to_its_end() {
    keeps("audio", audio::run);
}

#[test]
fn headers_that_make_no_sense_are_as_good_as_not_there() {
    keeps("headers", headers::run);
}

#[test]
fn json_lines_of_any_bytes_are_jobs_or_faults() {
    keeps("json_lines", json_lines::run);
}

#[test]
fn files_of_migrations_are_their_own_statements_in_order() {
    keeps("migration", migration::run);
}

#[test]
fn names_of_any_bytes_are_written_as_they_were_read() {
    keeps("names", names::run);
}

#[test]
fn pages_of_a_provider_are_jobs_and_come_to_an_end() {
    keeps("provider_lists", provider_lists::run);
}

#[test]
fn names_in_the_storage_stay_in_it() {
    keeps("storage_names", storage_names::run);
}

#[test]
fn events_of_telnyx_are_jobs_or_faults() {
    keeps("telnyx_event", telnyx_event::run);
}

#[test]
fn texts_are_clean_once_for_all() {
    keeps("texts", texts::run);
}

#[test]
fn urls_of_any_bytes_belong_to_the_base_or_are_refused() {
    keeps("url_policy", url_policy::run);
}

#[test]
fn webhook_forms_of_any_bytes_are_jobs_or_faults() {
    keeps("webhook_form", webhook_form::run);
}

#[test]
fn every_target_runs_here_and_is_named_in_its_page() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fuzzing.md")).unwrap();
    let tests = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fuzz_corpora.rs")).unwrap();
    for entry in fs::read_dir(Path::new(FUZZ).join("fuzz_targets")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(page.contains(&format!("`{name}`")), "docs/fuzzing.md says nothing of {name}");
        assert!(tests.contains(&format!("keeps(\"{name}\"")), "the corpus of {name} does not run");
    }
}

/// Else what is tried would not be what is shipped, and would be built twice.
#[test]
fn the_targets_are_built_of_the_programs_own_dependencies() {
    let locked = |path: &str| -> BTreeSet<(String, String)> {
        let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let packages = lock.split("[[package]]\n").skip(1);
        let value = |package: &str, key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim_matches(['=', ' ', '"']).to_owned()
        };
        packages.map(|package| (value(package, "name"), value(package, "version"))).collect()
    };
    let (own, program) = (locked("fuzz/Cargo.lock"), locked("Cargo.lock"));
    let more: Vec<&str> = own.difference(&program).map(|(name, _)| name.as_str()).collect();
    assert_eq!(more, ["arbitrary", "callspool-fuzz", "libfuzzer-sys"]);
}
