//! Traces to a collector, by OpenTelemetry's own protocol (OTLP as protobuf over HTTP).
//!
//! A span that ends goes into a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`, 2048), which a thread of the SDK's empties in
//! batches (every `OTEL_BSP_SCHEDULE_DELAY`, 5 s). Where the queue is full, or the collector does not take a batch, the
//! spans are dropped: nobody waits for a collector.

use crate::domain::{
    ids::InstanceId,
    trace::{NewSpan, Sampling, Span, SpanKind, SpanValue, TraceParent, Tracer},
};
use async_trait::async_trait;
use opentelemetry::{
    Context, InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value,
    trace::{
        Span as _, SpanContext, SpanKind as OtelKind, Status, TraceContextExt, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use url::Url;

/// Longest time that one batch may take, its retries included.
const EXPORT_LIMIT: Duration = Duration::from_secs(10);
/// Between two warnings about a collector.
const WARN_EVERY: Duration = Duration::from_mins(10);
/// Bytes of a collector's answer that are read; it says a few at most.
const MAX_ANSWER: usize = 64 * 1024;
/// What a span that nobody ended failed with.
const GIVEN_UP: &str = "given_up";

pub struct TraceConfig {
    /// The collector's base: `/v1/traces` is put behind it.
    pub endpoint: Url,
    /// Sent with each batch, such as an API key.
    pub headers: Vec<(String, SecretString)>,
    pub service_name: String,
    pub sampling: Sampling,
    pub instance: InstanceId,
}

#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent: {0}")]
pub struct TraceError(String);

/// The tracing of a process. Its clones are the same.
#[derive(Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Batches are sent on `io`.
    pub fn start(config: &TraceConfig, io: &Handle) -> Result<Self, TraceError> {
        let client = {
            let _on_io = io.enter();
            // As for recordings, no proxy of the environment; and a header that is secret follows no redirect.
            let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
            client.timeout(EXPORT_LIMIT).build().map_err(|error| TraceError(error.without_url().to_string()))?
        };
        let secret = |(name, value): &(String, SecretString)| (name.clone(), value.expose_secret().to_owned());
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector { client, io: io.clone(), warned: Mutex::default() })
            .with_endpoint(traces_url(&config.endpoint))
            .with_headers(config.headers.iter().map(secret).collect())
            .with_timeout(EXPORT_LIMIT)
            .build()
            .map_err(|error| TraceError(error.to_string()))?;
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", config.instance.to_string()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler(config.sampling))
            .with_resource(resource)
            .build();
        let scope = InstrumentationScope::builder("callspool").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { tracer: provider.tracer_with_scope(scope), provider })
    }

    /// Sends what is left, for `limit` at most; spans that end later are dropped. Blocks: call it off the runtimes.
    pub fn finish(&self, limit: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "the last spans may not have been sent");
        }
    }
}

fn traces_url(endpoint: &Url) -> String {
    format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'))
}

fn sampler(sampling: Sampling) -> Sampler {
    let of_roots = Sampler::TraceIdRatioBased(sampling.share);
    if sampling.follows_parent { Sampler::ParentBased(Box::new(of_roots)) } else { of_roots }
}

impl Tracer for Traces {
    fn begin(&self, span: NewSpan) -> Box<dyn Span> {
        // A request and a job may come from another process; whatever hangs below them is of this one.
        let is_remote = matches!(span.kind, SpanKind::Server | SpanKind::Consumer);
        let parent = span.parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(span_context(parent, is_remote))
        });
        let attributes = span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, otel_value(value)));
        let mut builder = self.tracer.span_builder(span.name).with_kind(otel_kind(span.kind));
        builder.start_time = span.since;
        builder.attributes = Some(attributes.collect());
        Box::new(Traced { span: self.tracer.build_with_context(builder, &parent), ended: false })
    }
}

struct Traced {
    span: SdkSpan,
    ended: bool,
}

impl Traced {
    fn end_with(&mut self, outcome: Result<(), &'static str>) {
        self.ended = true;
        if let Err(code) = outcome {
            self.span.set_attribute(KeyValue::new("error.type", code));
            self.span.set_status(Status::error(code));
        }
        self.span.end();
    }
}

impl Span for Traced {
    fn trace_parent(&self) -> Option<TraceParent> {
        let context = self.span.span_context();
        let (trace_id, span_id) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
        context.is_valid().then(|| TraceParent::new(trace_id, span_id, context.is_sampled()))
    }

    fn set(&mut self, name: &'static str, value: SpanValue) {
        self.span.set_attribute(KeyValue::new(name, otel_value(value)));
    }

    fn end(mut self: Box<Self>, outcome: Result<(), &'static str>) {
        self.end_with(outcome);
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.ended {
            self.end_with(Err(GIVEN_UP));
        }
    }
}

fn span_context(parent: TraceParent, is_remote: bool) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from_bytes(parent.trace_id()), SpanId::from_bytes(parent.span_id()));
    let flags = TraceFlags::default().with_sampled(parent.is_sampled());
    SpanContext::new(trace_id, span_id, flags, is_remote, TraceState::NONE)
}

fn otel_kind(kind: SpanKind) -> OtelKind {
    match kind {
        SpanKind::Server => OtelKind::Server,
        SpanKind::Consumer => OtelKind::Consumer,
        SpanKind::Client => OtelKind::Client,
        SpanKind::Internal => OtelKind::Internal,
    }
}

fn otel_value(value: SpanValue) -> Value {
    match value {
        SpanValue::Text(text) => Value::String(text.into()),
        SpanValue::Number(number) => Value::I64(number),
        SpanValue::Bool(value) => Value::Bool(value),
    }
}

/// Posts on the I/O runtime for the SDK's thread, which has none; and says when the collector does not take spans.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    io: Handle,
    warned: Mutex<Option<Instant>>,
}

impl Collector {
    /// Once, then rarely: a collector that is away stays away for thousands of batches.
    fn warn(&self, reason: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(
                reason,
                "the collector does not take spans: they are dropped, recordings are not held up"
            );
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.io.spawn(async move { send(&client, request).await });
        let answered = sent.await.map_err(HttpError::from).and_then(|answered| answered);
        match &answered {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => self.warn(&format!("it answered {}", answer.status().as_u16())),
            Err(error) if error.downcast_ref().is_some_and(reqwest::Error::is_timeout) => {
                self.warn("it took too long");
            }
            Err(_) => self.warn("it cannot be reached"),
        }
        answered
    }
}

async fn send(client: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let mut answer = client.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(wait) = answer.headers().get(reqwest::header::RETRY_AFTER) {
        response = response.header(reqwest::header::RETRY_AFTER, wait);
    }
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER
        && let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(response.body(body.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_behind_the_collectors_base() {
        for (base, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://otlp.example/a/", "https://otlp.example/a/v1/traces"),
        ] {
            assert_eq!(traces_url(&base.parse().unwrap()), url);
        }
    }
}
