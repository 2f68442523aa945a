//! Traces: one from the webhook to the file, across processes. A span is begun and ended by hand, where the work is, and
//! not derived from log lines: what is traced does not depend on the log's level.
//!
//! ```text
//! POST /webhooks/twilio/recording      server    continues the caller's trace, where there is one
//! └─ process download_only             consumer  one for each attempt, in whichever process; the job's row has the parent
//!    ├─ GET                            client    the provider's answer and its body
//!    └─ store recording                internal  written aside, and seen under its name at the end
//! ```

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc, time::SystemTime};

/// A place in a trace, as it travels between processes: the header `traceparent` (W3C Trace Context, version 00).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

/// The flag by which a trace is recorded; the others have no meaning here.
const SAMPLED: u8 = 1;

impl TraceParent {
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Self {
        Self { trace_id, span_id, flags: u8::from(sampled) }
    }

    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Whether this trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What a log line calls this trace; nothing where nobody would find it.
    pub fn logged_id(&self) -> Option<String> {
        self.is_sampled().then(|| format!("{:032x}", u128::from_be_bytes(self.trace_id)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("traceparent must be 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case, ids not all 0")]
pub struct InvalidTraceParent;

/// Exactly the 55 characters of version 00: what is of another version, or nearly right, is nobody's trace.
impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let bytes: &[u8; 55] = text.as_bytes().try_into().map_err(|_| InvalidTraceParent)?;
        if !bytes.starts_with(b"00-") || bytes[35] != b'-' || bytes[52] != b'-' {
            return Err(InvalidTraceParent);
        }
        let [flags] = unhex(&bytes[53..])?;
        let parent = Self { trace_id: unhex(&bytes[3..35])?, span_id: unhex(&bytes[36..52])?, flags };
        if parent.trace_id == [0; 16] || parent.span_id == [0; 8] { Err(InvalidTraceParent) } else { Ok(parent) }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, span_id) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", self.flags)
    }
}

/// `digits` are twice as many as the bytes that come of them.
fn unhex<const N: usize>(digits: &[u8]) -> Result<[u8; N], InvalidTraceParent> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(InvalidTraceParent),
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

/// Which new traces are recorded (`OTEL_TRACES_SAMPLER`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// A trace that others began is recorded where they record it.
    pub follows_parent: bool,
    /// Of all others this share is recorded, from 0 to 1.
    pub share: f64,
}

/// What a span stands for (OpenTelemetry, "Span kind").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that came in; its parent is another process's.
    Server,
    /// A job that was taken from the queue; its parent may be another process's.
    Consumer,
    /// A request that goes out.
    Client,
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanValue {
    Text(Cow<'static, str>),
    Number(i64),
    Bool(bool),
}

impl From<&'static str> for SpanValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for SpanValue {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u16> for SpanValue {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for SpanValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// A span that is to begin. No attribute may hold a query or a credential: traces leave the house.
#[derive(Debug, Clone)]
pub struct NewSpan {
    pub name: Cow<'static, str>,
    pub kind: SpanKind,
    pub parent: Option<TraceParent>,
    /// When it began; `None` is now.
    pub since: Option<SystemTime>,
    pub attributes: Vec<(&'static str, SpanValue)>,
}

impl NewSpan {
    pub fn new(name: impl Into<Cow<'static, str>>, kind: SpanKind, parent: Option<TraceParent>) -> Self {
        Self { name: name.into(), kind, parent, since: None, attributes: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<SpanValue>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }
}

/// Begins spans. Neither this nor a span's end ever waits: what cannot be kept is dropped.
pub trait Tracer: Send + Sync {
    fn begin(&self, span: NewSpan) -> Box<dyn Span>;
}

/// Some work that is being done. Dropped without an end it counts as given up.
pub trait Span: Send {
    /// What hangs below this span has it for its parent; `None` where nothing is traced.
    fn trace_parent(&self) -> Option<TraceParent>;
    fn set(&mut self, name: &'static str, value: SpanValue);
    /// `Err`: the code of what went wrong.
    fn end(self: Box<Self>, outcome: Result<(), &'static str>);
}

/// Traces nothing.
#[derive(Debug, Clone, Copy)]
pub struct Untraced;

impl Tracer for Untraced {
    fn begin(&self, _: NewSpan) -> Box<dyn Span> {
        Box::new(Self)
    }
}

impl Span for Untraced {
    fn trace_parent(&self) -> Option<TraceParent> {
        None
    }

    fn set(&mut self, _: &'static str, _: SpanValue) {}

    fn end(self: Box<Self>, _: Result<(), &'static str>) {}
}

/// Where the spans of some work hang.
#[derive(Clone)]
pub struct Branch {
    tracer: Arc<dyn Tracer>,
    parent: Option<TraceParent>,
}

impl Branch {
    pub fn below(span: &dyn Span, tracer: &Arc<dyn Tracer>) -> Self {
        Self { tracer: Arc::clone(tracer), parent: span.trace_parent() }
    }

    pub fn begin(&self, name: &'static str, kind: SpanKind) -> Box<dyn Span> {
        self.tracer.begin(NewSpan::new(name, kind, self.parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_written_as_it_was_read() {
        for text in [EXAMPLE, &EXAMPLE.replace("-01", "-00"), &EXAMPLE.replace("-01", "-ff")] {
            assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), text);
        }
        let parent: TraceParent = EXAMPLE.parse().unwrap();
        assert_eq!(parent.logged_id().unwrap(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceParent::new(parent.trace_id(), parent.span_id(), true), parent);
    }

    #[test]
    fn a_trace_that_nobody_records_has_no_id_in_the_log() {
        let parent: TraceParent = EXAMPLE.replace("-01", "-02").parse().unwrap();
        assert_eq!((parent.is_sampled(), parent.logged_id()), (false, None));
    }

    #[test]
    fn anything_but_version_00_to_the_letter_is_refused() {
        let zeros = |id: &str| EXAMPLE.replace(id, &"0".repeat(id.len()));
        for bad in [
            "",
            "junk",
            &EXAMPLE.to_uppercase(),
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-00"),
            &format!(" {}", &EXAMPLE[..54]),
            &EXAMPLE.replace("00-4", "01-4"),
            &EXAMPLE.replace("00-4", "ff-4"),
            &EXAMPLE.replace('-', "_"),
            &EXAMPLE.replace("4bf9", "4bg9"),
            &EXAMPLE.replace("4bf9", "+bf9"),
            &EXAMPLE.replace("4bf92f", "4bf9é"),
            &zeros("4bf92f3577b34da6a3ce929d0e0e4736"),
            &zeros("00f067aa0ba902b7"),
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(InvalidTraceParent), "{bad}");
        }
    }
}
