//! One event as one line: readable, or JSON.

use super::events;
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value};
use std::fmt;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// The longest value of one field, in characters.
const MAX_VALUE: usize = 200;

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    json: bool,
    colour: bool,
}

impl Lines {
    pub(super) fn pretty(colour: bool) -> Self {
        Self { json: false, colour }
    }

    pub(super) fn json() -> Self {
        Self { json: true, colour: false }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if self.json {
            writeln!(out, "{}", fields.into_json(&time, level, target))
        } else {
            let level = if self.colour { coloured(level) } else { format!("{level:>5}") };
            writeln!(out, "{time} {level} {}", fields.message())
        }
    }
}

fn coloured(level: Level) -> String {
    let code = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 34,
    };
    format!("\u{1b}[{code}m{level:>5}\u{1b}[0m")
}

/// What an event carries, made harmless as it comes in.
#[derive(Debug, Default)]
struct Fields {
    marker: Option<String>,
    text: String,
    values: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        let name = field.name().trim_start_matches("r#");
        match (name, value) {
            ("message", Value::String(text)) => self.text = text,
            ("marker", Value::String(marker)) => self.marker = Some(marker),
            (_, value) => self.values.push((name, value)),
        }
    }

    /// `🎯 [MARKER] key=value …` in the order of the table of events; without a marker the text, then the fields.
    fn message(&self) -> String {
        let event = self.marker.as_deref().and_then(events::find);
        let mut line = match (&self.marker, event) {
            (Some(marker), Some(event)) if !event.icon.is_empty() => format!("{} [{marker}]", event.icon),
            (Some(marker), _) => format!("[{marker}]"),
            (None, _) => self.text.clone(),
        };
        let known: &[&str] = event.map_or(&[], |event| event.fields);
        let first = known.iter().filter_map(|name| self.values.iter().find(|(other, _)| other == name));
        let others = self.values.iter().filter(|(name, _)| !known.contains(name));
        for (name, value) in first.chain(others) {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            line.push_str(&shown(value));
        }
        if event.is_some_and(|event| event.speaks) {
            line.extend([" (", self.text.as_str(), ")"]);
        }
        line
    }

    fn into_json(self, time: &str, level: Level, target: &str) -> Value {
        let message = self.message();
        let mut object = Map::new();
        object.insert("timestamp".into(), time.into());
        object.insert("level".into(), level.as_str().into());
        if let Some(marker) = self.marker {
            object.insert("marker".into(), marker.into());
        }
        object.insert("message".into(), message.into());
        object.insert("target".into(), target.into());
        for (name, value) in self.values {
            // An event's field never replaces one of the above.
            object.entry(name).or_insert(value);
        }
        Value::Object(object)
    }
}

/// As it stands in a line: quoted where it would not be one word.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
            format!("\"{}\"", text.replace('"', "'"))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// No line break, control or direction character of a caller's reaches a log.
fn harmless(text: &str) -> Value {
    let replaced = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c });
    let mut kept: String = replaced.take(MAX_VALUE + 1).collect();
    if kept.chars().count() > MAX_VALUE {
        kept = kept.chars().take(MAX_VALUE - 1).chain(['…']).collect();
    }
    Value::String(kept)
}

/// Line and paragraph separators, and what changes the direction of text (Unicode Standard Annex 9).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, harmless(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, u64::try_from(value).unwrap_or(u64::MAX).into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, harmless(&format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tracing_subscriber::{Registry, fmt, layer::SubscriberExt};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(lines: Lines, log: impl FnOnce()) -> String {
        let out = Written::default();
        let writer = out.clone();
        let layer = fmt::layer().event_format(lines).with_writer(move || writer.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), log);
        String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
    }

    fn pick() {
        tracing::info!(
            marker = "WORKER_PICKED",
            attempt = 1,
            job_type = "download_only",
            call_sid = %"CA123",
            business_id = 42,
            recording_sid = None::<&str>,
            extra = "two words",
            "picked"
        );
    }

    #[test]
    fn a_markers_line_has_its_fields_in_the_order_of_the_table() {
        let line = written(Lines::pretty(false), pick);
        let expected = "INFO 🎯 [WORKER_PICKED] job_type=download_only call_sid=CA123 business_id=42 attempt=1 extra=\"two words\"\n";
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn a_process_that_does_not_migrate_says_that_this_is_safe() {
        let skip = || tracing::info!(marker = "MIGRATION_SKIPPED", reason = "disabled", "this is safe");
        let line = written(Lines::pretty(false), skip);
        assert!(line.ends_with("✅ [MIGRATION_SKIPPED] reason=disabled (this is safe)\n"), "{line}");
        let json: Value = serde_json::from_str(&written(Lines::json(), skip)).unwrap();
        assert_eq!(json["message"], "✅ [MIGRATION_SKIPPED] reason=disabled (this is safe)");
    }

    #[test]
    fn json_has_the_marker_and_every_value_as_a_field() {
        let line = written(Lines::json(), pick);
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["marker"], "WORKER_PICKED");
        assert_eq!(json["business_id"], 42);
        assert_eq!(json["call_sid"], "CA123");
        assert!(json["message"].as_str().unwrap().starts_with("🎯 [WORKER_PICKED] job_type=download_only"));
    }

    #[test]
    fn no_value_of_a_caller_breaks_a_line() {
        let evil = "a\nb\r\u{1b}[31m\u{202e}c\u{2028}d\u{0}";
        for lines in [Lines::pretty(false), Lines::json()] {
            let line = written(lines, || tracing::warn!(value = evil, debug = ?evil, text = %evil, "{evil}"));
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(!line.trim_end().chars().any(|c| c.is_control() || is_invisible(c)), "{line:?}");
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        let line = written(Lines::pretty(false), || tracing::info!(value = "x".repeat(1_000), "text"));
        assert_eq!(line.matches('x').count(), MAX_VALUE - 1 + "text".matches('x').count());
    }

    #[test]
    fn a_raw_name_loses_its_prefix() {
        let line = written(Lines::pretty(false), || {
            tracing::info!(marker = "WORKER_JOB_FAILED", r#type = "download_only", "failed");
        });
        assert!(line.ends_with("❌ [WORKER_JOB_FAILED] type=download_only\n"), "{line}");
    }
}
