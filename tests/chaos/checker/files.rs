//! The storage, file by file.

use super::Wanted;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Where files are written before they have their name; and the one file that stays there.
const ASIDE: &str = ".callspool-aside";
const LOCK: &str = ".lock";

/// What was left aside.
pub fn aside(storage: &Path) -> Vec<PathBuf> {
    let mut left = Vec::new();
    // A folder that was never made holds nothing.
    _ = walk(&storage.join(ASIDE), &mut left);
    left.retain(|file| file.file_name().is_none_or(|name| name != LOCK));
    left
}

pub fn check(storage: &Path, wanted: &[Wanted]) -> Vec<String> {
    let mut found = Vec::new();
    let mut violations = Vec::new();
    if let Err(error) = walk(storage, &mut found) {
        violations.push(format!("the storage cannot be read: {error}"));
    }
    let mut by_name: HashMap<String, &Wanted> = wanted.iter().map(|wanted| (wanted.file(), wanted)).collect();
    for file in found {
        let name = file.strip_prefix(storage).unwrap_or(&file).to_string_lossy().into_owned();
        if name.starts_with(ASIDE) {
            if !name.ends_with(LOCK) {
                violations.push(format!("left aside: {name}"));
            }
            continue;
        }
        let Some(wanted) = by_name.remove(&name) else {
            violations.push(format!("wrong name: {name}"));
            continue;
        };
        match fs::read(&file) {
            Ok(bytes) if Sha256::digest(&bytes)[..] == wanted.sha256 => {}
            Ok(bytes) => violations.push(format!("torn: {name}, {} bytes", bytes.len())),
            Err(error) => violations.push(format!("unreadable: {name}: {error}")),
        }
    }
    let lost = by_name.values().filter(|wanted| wanted.accepted);
    violations.extend(lost.map(|wanted| format!("lost: no file {}", wanted.file())));
    violations
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}
