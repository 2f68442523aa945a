//! The table, the verdict and the JSON of a run.

use serde_json::{Map, Value, json};
use std::path::Path;

/// One bound: what was measured, and the most that it may be.
struct Bound {
    what: String,
    is: f64,
    most: f64,
}

#[derive(Default)]
pub struct Report {
    figures: Map<String, Value>,
    bounds: Vec<Bound>,
}

impl Report {
    /// Something that was measured.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        println!("{name:<58} {}", shown(&value));
        self.figures.insert(name.to_owned(), value);
    }

    /// Something that has to be at most `most`.
    pub fn at_most(&mut self, what: &str, is: f64, most: f64) {
        self.bounds.push(Bound { what: what.to_owned(), is, most });
    }

    /// Something that has to hold.
    pub fn holds(&mut self, what: &str, holds: bool) {
        self.at_most(what, if holds { 0.0 } else { 1.0 }, 0.0);
    }

    /// Prints the verdict, writes `target/load/NAME.json`, and says whether every bound is kept.
    pub fn close(self, name: &str) -> bool {
        println!("\n{:<58} {:>14} {:>14}", "bound", "is", "at most");
        let mut all = true;
        for Bound { what, is, most } in &self.bounds {
            let kept = is <= most;
            all &= kept;
            println!("{what:<58} {is:>14.1} {most:>14.1} {}", if kept { "ok" } else { "NOT KEPT" });
        }
        let bounds = self.bounds.iter().map(|bound| {
            json!({"bound": bound.what, "is": bound.is, "at_most": bound.most, "kept": bound.is <= bound.most})
        });
        let whole =
            json!({"run": name, "kept": all, "figures": self.figures, "bounds": bounds.collect::<Vec<_>>()});
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("load");
        let file = folder.join(format!("{name}.json"));
        std::fs::create_dir_all(&folder).expect("the build's folder");
        std::fs::write(&file, format!("{whole:#}\n")).expect("the build's folder");
        println!("\n{}: {}", if all { "every bound is kept" } else { "NOT every bound is kept" }, file.display());
        all
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => format!("{:>14.1}", number.as_f64().unwrap_or(0.0)),
        Value::Number(number) => format!("{number:>14}"),
        other => other.to_string(),
    }
}
