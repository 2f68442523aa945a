//! What commands read: a file, or the standard input for `-`.

use crate::{app::OrNext, store::JobId};
use anyhow::Context;
use serde_json::Value;
use std::{
    collections::HashSet,
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

/// Job ids, each once and in their order: one a line, or JSON values with an `id`, also in a list, as
/// `callspool jobs list --json` and `callspool enqueue --json` print them.
pub fn ids(file: &Path) -> anyhow::Result<Vec<JobId>> {
    let values = serde_json::Deserializer::from_reader(open(file, "job ids")?).into_iter::<Value>();
    let (mut ids, mut seen) = (Vec::new(), HashSet::new());
    let mut add = |value: &Value| {
        let id = value.as_i64().or_else(|| value["id"].as_i64());
        let id = id.context("a value that is no job id, and has none under \"id\"")?;
        if seen.insert(id) {
            ids.push(JobId(id));
        }
        anyhow::Ok(())
    };
    for value in values {
        let read = value.map_err(anyhow::Error::from).and_then(|value| match &value {
            Value::Array(values) => values.iter().try_for_each(&mut add),
            one => add(one),
        });
        read.with_context(|| format!("{} cannot be understood", file.display()))
            .or_next(|| "give one job id a line, or JSON lines with \"id\"".to_owned())?;
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(text: &str) -> anyhow::Result<Vec<i64>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        ids(file.path()).map(|ids| ids.into_iter().map(|id| id.0).collect())
    }

    #[test]
    fn ids_are_read_from_lines_json_lines_and_lists_each_once() {
        assert_eq!(read("3\n\n1\r\n3\n").unwrap(), [3, 1]);
        assert_eq!(read("{\"id\":3,\"state\":\"ready\"}\n{\"id\":1}\n").unwrap(), [3, 1]);
        assert_eq!(read("[\n  {\"id\": 3},\n  1\n]\n").unwrap(), [3, 1]);
        assert_eq!(read("").unwrap(), [0_i64; 0]);
    }

    #[test]
    fn what_is_no_id_is_refused_with_its_place() {
        for (text, place) in
            [("1\nx\n", "line 2"), ("{\"call\":1}", "no job id"), ("1.5", "no job id"), ("[[1]]", "no job id")]
        {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(place) && error.contains("cannot be understood"), "{error}");
        }
    }
}
