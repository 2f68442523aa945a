//! What the page of promises says of attacks is what was recorded.

#[allow(dead_code, reason = "shared with the chaos command")]
#[path = "../chaos/record.rs"]
mod record;

use record::{Record, Tally, WORDS};
use std::{collections::BTreeMap, fs, path::Path};

fn docs(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file)
}

#[test]
fn the_page_of_promises_shows_the_attacks_that_were_recorded() {
    let recorded = Record::read(&docs("attacks.json")).unwrap();
    let page = fs::read_to_string(docs("promises.md")).unwrap();
    assert_eq!(record::shown(&page), Some(recorded.table().as_str()), "`--record docs/attacks.json` writes both");
    for attack in recorded.attacks.keys() {
        assert!(WORDS.iter().any(|(name, _)| name == attack), "{attack}");
    }
}

#[test]
fn runs_add_up() {
    let tally = |tried, survived, worst_recovery_ms| Tally { tried, survived, worst_recovery_ms };
    let run = |attacks: &[(&str, Tally)], worst_rescue_ms| Record {
        runs: 1,
        seconds: 600,
        worst_rescue_ms,
        attacks: attacks.iter().map(|(name, tally)| ((*name).to_owned(), *tally)).collect::<BTreeMap<_, _>>(),
    };
    let mut all = run(&[("kill", tally(2, 2, 900))], 2_100);
    all.add(&run(&[("kill", tally(1, 0, 1_500)), ("cut", tally(1, 1, 10))], 1_900));
    assert_eq!((all.runs, all.seconds, all.worst_rescue_ms), (2, 1_200, 2_100));
    assert_eq!((all.attacks["kill"], all.attacks["cut"]), (tally(3, 2, 1_500), tally(1, 1, 10)));
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (folder.path().join("attacks.json"), folder.path().join("promises.md"));
    assert_eq!(Record::read(&file).unwrap(), Record::default());
    all.write(&file).unwrap();
    assert_eq!(Record::read(&file).unwrap(), all);
    fs::write(&page, format!("before\n{}old\n{}\nafter\n", record::BEGIN, record::END)).unwrap();
    record::show(&page, &all).unwrap();
    let text = fs::read_to_string(&page).unwrap();
    assert_eq!(record::shown(&text), Some(all.table().as_str()));
    assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"));
    assert!(
        text.contains("| kill | a process is killed (`kill -9`) and started again | 3 | 2 | 1500 ms |"),
        "{text}"
    );
}
