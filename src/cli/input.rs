//! What commands read: a file, or the standard input for `-`.

use crate::app::OrNext;
use anyhow::Context;
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// `what` is in it, such as `JSON lines`.
pub fn open(file: &Path, what: &str) -> anyhow::Result<Box<dyn BufRead>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    // A folder can be opened, and only refuses to be read.
    let opened = File::open(file).and_then(|opened| {
        if opened.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(opened) }
    });
    let opened = opened.with_context(|| format!("{} cannot be read", file.display()));
    let opened = opened.or_next(|| format!("name a file with {what}, or - for the standard input"))?;
    Ok(Box::new(BufReader::new(opened)))
}
