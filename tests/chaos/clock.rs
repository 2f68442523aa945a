//! One process's clock, set by libfaketime: what it is now, not how time passes.

use std::{fs, path::Path, path::PathBuf};

/// Read anew by the process each second.
const FILE: &str = "clock";

/// Debian's, or what `.ci/setup.sh` unpacked; the variant for processes with threads. None: nobody's clock can be set here.
pub fn library() -> Option<PathBuf> {
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/.callspool/debian/usr/lib");
    let found = ["/usr/lib", unpacked].into_iter().filter_map(|lib| fs::read_dir(lib).ok()).flatten().flatten();
    found.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file())
}

pub fn settings(folder: &Path) -> Vec<(String, String)> {
    let Some(library) = library() else { return Vec::new() };
    set(folder, "+0");
    let file = folder.join(FILE);
    [
        ("LD_PRELOAD", library.to_string_lossy().as_ref()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_string_lossy().as_ref()),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        // The times of files are the file system's.
        ("NO_FAKE_STAT", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// `offset`: `+0`, `-2h` and the like.
pub fn set(folder: &Path, offset: &str) {
    let (file, aside) = (folder.join(FILE), folder.join("clock.new"));
    fs::write(&aside, format!("{offset}\n")).unwrap();
    fs::rename(aside, file).unwrap();
}
